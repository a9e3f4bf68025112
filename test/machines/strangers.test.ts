/**
 * A stranger who found the sockets but does not know the token is refused, and does not disturb the present session.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Dealer } from "zeromq";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Worker } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { makeSocketDirectory, removeDirectory } from "../../bridge/start/directory.ts";
import type { Endpoints } from "../../bridge/link/link.ts";
import { startProcess, type WorkerProcess } from "../../bridge/start/process.ts";
import { MessageType, URGENT } from "../../bridge/wire/header.ts";
import { defaultLimits } from "../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage, type Incoming } from "../../bridge/wire/meta.ts";
import { ends, poll, portsOf, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { bytes, golden } from "../golden/vectors.ts";
import { testWorker } from "../worker.ts";
import { describeOnLinux } from "../only.ts";

class Raw {
  readonly #socket: Dealer;

  constructor(endpoint: string) {
    this.#socket = new Dealer({ linger: 0, receiveTimeout: 300 });
    this.#socket.connect(endpoint);
  }

  async send(parts: readonly Uint8Array[]): Promise<void> {
    await this.#socket.send(parts as Uint8Array[]);
  }

  /** The next message, or undefined where none comes. */
  async receive(): Promise<Incoming | undefined> {
    try {
      return decodeMessage(await this.#socket.receive(), defaultLimits);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
      throw error;
    }
  }

  /** The messages up to the next one of this type, inclusive. */
  async until(type: MessageType): Promise<Incoming[]> {
    const found: Incoming[] = [];
    await poll(
      10_000,
      () => this.receive(),
      (message) => {
        if (message !== undefined) found.push(message);
        return message?.header.type === type;
      },
    );
    return found;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

const hello = (token: string): Uint8Array[] =>
  encodeMessage({ type: MessageType.hello, meta: { token, client: {}, limits: {} } }, defaultLimits);

const batch = (seq: number, first: number, operations: unknown[], flags = URGENT): Uint8Array[] =>
  encodeMessage(
    {
      type: MessageType.batch,
      seq,
      flags,
      meta: { lane: 0, generation: 0, first, contexts: [], operations, finalised: [], ended_contexts: [] },
    },
    defaultLimits,
  );

const close = encodeMessage({ type: MessageType.close, meta: {} }, defaultLimits);
const ping = encodeMessage({ type: MessageType.ping, meta: {}, seq: 1 }, defaultLimits);
const exit = batch(1, 16, [[2, 1, ["exec"], ["import os; os._exit(9)"], {}]]);

/** A generator of its own, so that a failure can be had again. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

for (const transport of ["ipc", "tcp"] as const)
  describeOnLinux(`a stranger on a worker's sockets, over ${transport}`, () => {
    let runtime: Runtime;
    let worker: Worker;
    let endpoints: Endpoints;

    beforeAll(async () => {
      runtime = privateRuntime();
      worker = await testWorker({ transport });
      const [data, control] = portsOf(worker.pid);
      endpoints =
        transport === "tcp"
          ? { data: `tcp://127.0.0.1:${data}`, control: `tcp://127.0.0.1:${control}` }
          : {
              data: `ipc://${join(runtime.directory(), "data")}`,
              control: `ipc://${join(runtime.directory(), "control")}`,
            };
    });

    afterAll(async () => {
      await worker?.close();
      runtime?.remove();
    });

    /** The session still does what it is asked, and what it kept is still there. */
    async function undisturbed(act: () => Promise<void>): Promise<void> {
      const x = worker.tensor([1, 2, 3]);
      await act();
      expect(await x.sum().item()).toBe(6);
      // (Its answer is out a moment before it waits again.)
      const state = await poll(
        1000,
        async () => (await worker.liveness()).state,
        (found) => found === "idle",
      );
      expect(state).toBe("idle");
    }

    const wrong: [string, readonly Uint8Array[], string][] = [
      ["the wrong token", hello("0".repeat(64)), "the token is wrong"],
      ["a token past ASCII", hello("é"), "the token is wrong"],
      ["no greeting but a batch", exit, "before a greeting"],
      ["no greeting but a farewell", close, "before a greeting"],
      ["a greeting of another shape", encodeMessage({ type: MessageType.hello, meta: {} }, defaultLimits), "not one"],
      ["a header of another version", golden.refusedMessages[3]!.hex.map(bytes), "protocol version 2.7"],
      ["bytes that are no message", [randomBytes(100)], ""],
      ["an empty part", [new Uint8Array(0)], "0 bytes"],
      ["two thousand parts", Array.from({ length: 2000 }, () => new Uint8Array(0)), "more than 1024 frames"],
      ["an answer that only a worker gives", encodeMessage({ type: MessageType.reply, meta: {} }, defaultLimits), ""],
    ];

    test.for(wrong)("with %s is told so, and nothing else happens", async ([, parts, why]) => {
      await undisturbed(async () => {
        for (const name of ["data", "control"] as const) {
          using stranger = new Raw(endpoints[name]);
          await stranger.send(parts);
          const answer = await stranger.receive();
          expect(answer?.header.type).toBe(MessageType.fatal);
          expect(answer?.meta["message"]).toContain(why);
        }
      });
    });

    test("asks how the worker is, and is not answered", async () => {
      await undisturbed(async () => {
        using stranger = new Raw(endpoints.control);
        await stranger.send(ping);
        expect(await stranger.receive()).toBeUndefined();
      });
    });

    test("who goes on after a refusal is refused again", async () => {
      await undisturbed(async () => {
        using stranger = new Raw(endpoints.data);
        for (const parts of [hello("no"), exit, close]) {
          await stranger.send(parts);
          expect((await stranger.receive())?.header.type).toBe(MessageType.fatal);
        }
      });
    });

    test("sends hundreds of broken messages while batches run, and every one of those is answered", async () => {
      const random = mulberry(1);
      const below = (n: number): number => Math.floor(random() * n);
      using data = new Raw(endpoints.data);
      using control = new Raw(endpoints.control);
      const samples = [hello("x"), exit, close, ping, ...golden.messages.map(({ hex }) => hex.map(bytes))];
      const torch = worker.import("torch");
      const answers: Promise<number>[] = [];
      for (let i = 0; i < 300; i++) {
        const parts = samples[below(samples.length)]!.map((part) => Uint8Array.from(part));
        const head = parts[0]!;
        for (let changes = below(4); changes >= 0; changes--) head[below(head.length)] = below(256);
        if (below(4) === 0) parts[0] = head.subarray(0, below(head.length));
        await (below(2) === 0 ? data : control).send(parts);
        if (i % 10 === 0) answers.push(Promise.resolve(torch.tensor(i).item()));
      }
      expect(await Promise.all(answers)).toEqual(Array.from({ length: 30 }, (_, i) => 10 * i));
      // The last answer is here a moment before the worker waits again.
      const state = async (): Promise<string> => (await worker.liveness()).state;
      expect(await poll(1000, state, (found) => found === "idle")).toBe("idle");
      expect(processesOf(worker.pid)).toContain(worker.pid);
    });
  });

describeOnLinux("a client who knows the token", () => {
  let runtime: Runtime;
  let directory: string;
  let child: WorkerProcess;
  const token = randomBytes(32).toString("hex");

  beforeAll(async () => {
    runtime = privateRuntime();
    directory = makeSocketDirectory().directory!;
    const config = { token, directory, device: "cpu", seed: 0, deterministic: true, threads: 1, malloc: true };
    const { executable } = await findPython();
    const logger = pino({ level: "silent" });
    child = await startProcess(executable, config, { cwd: undefined, env: undefined, logger });
  });

  afterAll(() => {
    child?.kill("SIGKILL");
    removeDirectory(directory);
    runtime?.remove();
  });

  test("and then says what is not understood has everything before it answered, is told why, and the worker ends", async () => {
    using client = new Raw(child.endpoints.data);
    using stranger = new Raw(child.endpoints.data);
    await client.send(hello(token));
    expect((await client.until(MessageType.welcome)).at(-1)?.meta).toMatchObject({ pid: child.pid, device: "cpu" });
    await stranger.send(exit);
    await client.send(
      batch(
        1,
        16,
        [
          [2, 1, ["sum"], [[1, 2, 3]], {}],
          [8, 17, 0],
        ],
        0,
      ),
    );
    await client.send(batch(2, 19, [[2, 1, ["f"], []]], 0));
    await client.send(batch(3, 20, [[2, 1, ["print"], ["never"], {}]]));
    const found = await client.until(MessageType.fatal);
    const replies = found.filter(({ header }) => header.type === MessageType.reply);
    expect(replies.map(({ meta }) => meta["replies"])).toEqual([[[1, [18, 5], null]]]);
    expect(found.at(-1)?.meta["message"]).toContain("a batch that is not one");
    const { code, signal, lastLines } = await child.exited;
    expect({ code, signal, lastLines }).toEqual({ code: 0, signal: undefined, lastLines: [] });
    expect(await ends(child.pid, 1000)).toBe(true);
    expect(
      await poll(
        1000,
        () => processesOf(child.pid),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
  });
});
