/**
 * Faults between a client and a serving worker: half of a link, a cut in the middle of a farewell, programs that stop,
 * block, or end.
 */
import { execa } from "execa";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Dealer } from "zeromq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectWorker, kw, type ConnectOptions, type Worker } from "torchwire";
import type { LinkState } from "torchwire/bridge";
import { MessageType } from "../../bridge/wire/header.ts";
import { defaultLimits } from "../../bridge/wire/limits.ts";
import { encodeMessage } from "../../bridge/wire/meta.ts";
import { built } from "../built.ts";
import { ends, poll } from "../fixtures/life/world.ts";
import { serve, type Served, UNTIL_GREETED } from "../fixtures/served.ts";
import { caught } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const SECOND = 1000;
const root = fileURLToPath(new URL("../..", import.meta.url));
const settings: ConnectOptions = { device: "cpu", seed: 0, deterministic: true, threads: 1 };

/** Two ports in front of a worker's. A connection that `hangs` is taken, and nothing passes; others can be cut. */
class Gate implements AsyncDisposable {
  hangs: (link: "data" | "control", number: number) => boolean = () => false;
  readonly counts = { data: 0, control: 0 };
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();

  private constructor(servers: readonly Server[]) {
    this.#servers = servers;
  }

  static async open(workerPort: number): Promise<Gate> {
    for (;;) {
      const servers = [createServer({ noDelay: true }), createServer({ noDelay: true })] as const;
      const gate = new Gate(servers);
      for (const [i, link] of (["data", "control"] as const).entries())
        servers[i]!.on("connection", (client: Socket) => gate.#take(client, link, workerPort + i));
      try {
        await once(servers[0].listen(0, "127.0.0.1"), "listening");
        await once(servers[1].listen(gate.port + 1, "127.0.0.1"), "listening");
        return gate;
      } catch {
        servers[0].close();
      }
    }
  }

  get port(): number {
    return (this.#servers[0]!.address() as { port: number }).port;
  }

  get address(): string {
    return `tcp://127.0.0.1:${this.port}`;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    for (const server of this.#servers) server.close();
    return Promise.resolve();
  }

  #take(client: Socket, link: "data" | "control", port: number): void {
    this.#keep(client);
    if (this.hangs(link, ++this.counts[link])) return void client.resume();
    const worker = this.#keep(connect({ host: "127.0.0.1", port, noDelay: true }));
    for (const [from, to] of [
      [client, worker],
      [worker, client],
    ] as const)
      from.on("data", (piece) => to.write(piece)).on("close", () => to.destroySoon());
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket)));
    return socket;
  }
}

/** A program of its own, which must end by itself. In it `worker` is connected. */
function program(address: string, code: string) {
  const torchwire = pathToFileURL(built("client/index.ts")).href;
  const before = `import { connectWorker } from ${JSON.stringify(torchwire)}; const connecting = connectWorker("${address}", { device: "cpu", threads: 1, timeout: 10000 });`;
  return execa(process.execPath, ["--input-type=module", "-e", `${before}\n${code}`], { reject: false, cwd: root });
}

describeOnLinux("a link to a worker that serves", () => {
  let served: Served;
  let other: Served;
  let stopped: ReturnType<typeof program>;
  let stoppedAt = 0;
  let ofStopped = 0;
  beforeAll(async () => {
    [served, other] = await Promise.all([serve({ args: ["--grace", "20"] }), serve({ args: ["--grace", "2"] })]);
    // The last test takes half a minute.
    const client = program(
      other.address,
      `const worker = await connecting; await worker.tensor([1]).item(); console.log(worker.pid); setInterval(() => undefined, 1000);`,
    );
    stopped = client;
    const [said] = (await once(client.stdout, "data")) as [Buffer];
    ofStopped = Number(said.toString());
    client.kill("SIGSTOP");
    stoppedAt = performance.now();
  });
  afterAll(async () => {
    stopped?.kill("SIGKILL");
    await served?.[Symbol.asyncDispose]();
    await other?.[Symbol.asyncDispose]();
  });
  const to = (address: string, options: ConnectOptions = {}): Promise<Worker> =>
    connectWorker(address, { ...settings, timeout: 10 * SECOND, ...options });
  const link = (worker: Worker, state: LinkState): Promise<unknown> =>
    poll(
      10 * SECOND,
      () => worker.link,
      (found) => found === state,
    );

  test.for(["data", "control"] as const)("of which %s alone is silent is no link, and said so", async (silent) => {
    await using gate = await Gate.open(served.port);
    gate.hangs = (each) => each === silent;
    const error = await caught(() => to(gate.address, { timeout: 1.5 * SECOND }));
    expect(error).toMatchObject({ code: "UNREACHABLE", message: expect.stringContaining("two ports are needed") });
    expect(error.message.includes("its second port")).toBe(silent === "control");
    // And nobody has the worker.
    gate.hangs = () => false;
    const next = await poll(
      15 * SECOND,
      () => to(gate.address).catch(() => undefined),
      (worker) => worker !== undefined,
    );
    await next!.close();
  });

  test("whose one half is there again and whose other is not takes nothing before its greeting", async () => {
    await using gate = await Gate.open(served.port);
    // (The worker of the session before may be ending, and the next one may be loading PyTorch.)
    await using worker = (await poll(
      20 * SECOND,
      () => to(gate.address, { timeout: 1.5 * SECOND }).catch(() => undefined),
      (connected) => connected !== undefined,
    ))!;
    expect(await worker.tensor([1]).item()).toBe(1);
    gate.hangs = (each) => each === "control";
    gate.cut();
    await link(worker, "connecting");
    const values: Promise<unknown>[] = [];
    for (let i = 0; gate.counts.control < 4; i++) {
      values.push(Promise.resolve(worker.tensor([i]).item()));
      await sleep(10);
    }
    gate.hangs = () => false;
    expect(await Promise.all(values)).toEqual(values.map((_, i) => i));
    const { batches, worker: ran } = await worker.stats();
    expect(ran.batches).toBe(batches);
  });

  /**
   * The result of an operation before close(), and the end of close(), when the link is cut meanwhile and a value is
   * asked for after it.
   */
  async function cutWhileClosing(asked: (worker: Worker) => void): Promise<[unknown, unknown]> {
    await using gate = await Gate.open(served.port);
    const worker = await to(gate.address);
    void worker.import("time").sleep(1);
    const value = Promise.resolve(worker.tensor([7]).item());
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    const closing = worker.close();
    asked(worker);
    await sleep(50);
    gate.cut();
    return [await value, await closing.catch((error: unknown) => error)];
  }

  test("that is cut while close() is under way loses no answer", async () => {
    expect(await cutWhileClosing(() => undefined)).toEqual([7, undefined]);
  });

  test("that is cut while close() is under way loses no answer for what is asked too late, which close() tells of", async () => {
    const late: Promise<Error>[] = [];
    const ended = await cutWhileClosing((worker) => {
      late.push(caught(() => Promise.resolve(worker.tensor([8]).item())));
    });
    expect(ended).toEqual([7, expect.objectContaining({ code: "CLOSED" })]);
    expect(await late[0]).toMatchObject({ code: "CLOSED" });
  });

  test("ends by kill() where close() waits for what takes too long; who comes then is let in", async () => {
    const worker = await to(served.address);
    const sleeping = caught(() => Promise.resolve(worker.import("time").sleep(100)));
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    const closing = worker.close();
    await worker.kill();
    await closing;
    expect(await sleeping).toMatchObject({ code: "CLOSED" });
    for (let i = 0; i < 2; i++) {
      const next = await to(served.address);
      await next.kill();
      expect(next.link).toBe("down");
    }
  });

  test("is not left to who greeted by data alone and went", async () => {
    const meta = { token: "t".repeat(64), client: {}, limits: {} };
    const free = await serve({ args: ["--grace", "1"] });
    try {
      const dealer = new Dealer({ linger: 0, receiveTimeout: UNTIL_GREETED });
      dealer.connect(free.address);
      await dealer.send(encodeMessage({ type: MessageType.hello, session: 1, meta }, defaultLimits));
      await dealer.receive();
      expect(await caught(() => to(free.address, { timeout: 2 * SECOND }))).toMatchObject({ code: "BUSY" });
      dealer.close();
      const next = await poll(
        15 * SECOND,
        () => to(free.address).catch(() => undefined),
        (worker) => worker !== undefined,
      );
      await next!.close();
    } finally {
      await free[Symbol.asyncDispose]();
    }
  });

  test("is there again though children of the worker before hold its ports for a while", async () => {
    const worker = await to(served.address);
    const forks = worker.import("multiprocessing").get_context("fork");
    const child = forks.Process(kw({ target: worker.import("time").sleep, args: [100] }));
    await child.start();
    await worker.kill();
    await using next = await to(served.address, { timeout: 5 * SECOND });
    expect(await next.tensor([1]).item()).toBe(1);
    expect(served.lines.join("\n")).not.toMatch(/Traceback|ended with code/);
  });

  test("comes about though its program is busy when the answer comes", async () => {
    // A stranger is refused when the worker has loaded PyTorch. From then on, an answer comes at once.
    const stranger = new Dealer({ linger: 0, receiveTimeout: SECOND });
    stranger.connect(served.address);
    const meta = { token: "6".repeat(64), client: {}, limits: {}, resumes: true };
    // (A greeting may go to the worker before, which is about to end, and to which nobody listens any more.)
    const greeted = async (): Promise<boolean> => {
      await stranger.send(encodeMessage({ type: MessageType.hello, session: 2, meta }, defaultLimits));
      return stranger.receive().then(
        () => true,
        () => false,
      );
    };
    expect(await poll(UNTIL_GREETED, greeted, (isGreeted) => isGreeted)).toBe(true);
    stranger.close();
    const connecting = to(served.address, { timeout: 3 * SECOND });
    await sleep(1);
    // Longer than the timeout.
    for (const start = performance.now(); performance.now() - start < 4 * SECOND;);
    await using worker = await connecting;
    expect(await worker.tensor([1]).item()).toBe(1);
  });

  test.for([0, -1, NaN, Infinity, 2 ** 31])("does not wait %s milliseconds", async (timeout) => {
    const error = await caught(() => to(served.address, { timeout }));
    expect(error).toMatchObject({ code: "MISUSE", message: expect.stringContaining(`timeout is ${timeout}`) });
  });

  test("takes a seed past 32 bits, as Date.now() gives", async () => {
    const drawn: unknown[] = [];
    for (const seed of [2 ** 40, 2 ** 40 + 1, 2 ** 40]) {
      await using worker = await to(served.address, { seed });
      drawn.push(await worker.import("torch").rand(1).item());
    }
    expect(drawn[2]).toBe(drawn[0]);
    expect(drawn[1]).not.toBe(drawn[0]);
  });

  test("lets its program end by itself, closed or never made, and is not ended by a listener that throws", async () => {
    const listening = `
      process.on("uncaughtException", ({ message }) => console.log("heard", message));
      const worker = await connecting;
      worker.onLink(() => { throw new Error("mine"); });
      console.log(await worker.tensor([3]).item());
      await worker.close();
      console.log(worker.link);`;
    const [{ stdout, stderr, exitCode }, nobody] = await Promise.all([
      program(served.address, listening),
      program("tcp://127.0.0.1:9", `connecting.catch(({ code }) => console.log(code));`),
    ]);
    expect({ lines: stdout.split("\n"), stderr, exitCode }).toEqual({
      lines: ["3", "down", "heard mine"],
      stderr: "",
      exitCode: 0,
    });
    expect([nobody.stdout, nobody.stderr, nobody.exitCode]).toEqual(["UNREACHABLE", "", 0]);
  });

  test("whose client is stopped for longer than the grace time is dropped, though the system answers for it", async () => {
    expect(ofStopped).toBeGreaterThan(0);
    await ends(ofStopped, 45 * SECOND);
    expect(performance.now() - stoppedAt).toBeGreaterThan(2 * SECOND);
    expect(other.lines.join("\n")).toContain("was away for longer than 2 s");
  });
});
