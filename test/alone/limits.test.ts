/**
 * Values that are too large, too deep or too many are refused before they are sent. The other side refuses them too.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { Dealer } from "zeromq";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { py, spawnWorker, type NDArray, type Worker } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { startProcess, type WorkerProcess } from "../../bridge/start/process.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { decodeValue } from "../../bridge/values/decode.ts";
import { HEADER_BYTES, MessageType, URGENT } from "../../bridge/wire/header.ts";
import { defaultLimits, limitsOf, smaller, told, type Limits } from "../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage, type Incoming } from "../../bridge/wire/meta.ts";
import { caught, untyped } from "../observed.ts";
import { testWorker } from "../worker.ts";
import { describeWithIpc } from "../only.ts";

const low: Limits = limitsOf({
  frameBytes: 4096,
  frames: 16,
  messageBytes: 2 ** 17,
  metaBytes: 2 ** 16,
  textBytes: 5000,
  ops: 3,
  depth: 4,
  dims: 8,
  inFlightOps: 1000,
  inFlightBytes: 2 ** 20,
});

const bytes = (length: number, shape: number[] = [length]): NDArray => ({
  dtype: "uint8",
  shape,
  data: Uint8Array.from({ length }, (_, i) => i % 251),
});
const nested = (levels: number): unknown[] => (levels === 1 ? [1] : [nested(levels - 1)]);

describe("the limits option", () => {
  test.each<[object, string]>([
    [{ depht: 3 }, "limits: there is no depht; there are frameBytes, frames, "],
    [{ dims: 65 }, "limits: dims is 65, not a whole number from 8 to 64"],
    [{ frames: 2 ** 16 }, "limits: frames is 65536, not a whole number from 8 to 65535"],
    [{ ops: 0 }, "limits: ops is 0, not a whole number from 1 to"],
    [{ depth: 4.5 }, "limits: depth is 4.5, not a whole number"],
    [{ metaBytes: "1" }, "limits: metaBytes is 1, not a whole number"],
  ])("%o is refused before anything is started", async (limits, message) => {
    const error = await caught(() => spawnWorker({ python: "/nowhere", limits }));
    expect(error).toMatchObject({ code: "MISUSE", message: expect.stringContaining(message) });
  });

  test("of each limit the smaller counts, and one that is not told is ours", () => {
    expect(smaller(defaultLimits, { frames: 7, dims: 100 })).toEqual({ ...defaultLimits, frames: 7 });
    expect(limitsOf({ depth: undefined as never })).toEqual(defaultLimits);
  });
});

describe("what this side does not send, and does not ask for", () => {
  let worker: Worker;
  let builtins: AnyRef;
  let identity: AnyRef;
  let torch: AnyRef;

  beforeAll(async () => {
    worker = await testWorker({ limits: low });
    builtins = worker.import("builtins");
    torch = untyped(worker, "torch");
    identity = await worker.import("torchwire_worker.helpers").identity;
  });
  afterAll(() => worker?.close());

  /** The lane goes on, and older objects still exist. */
  async function goesOn(): Promise<void> {
    expect(await identity([1]).pop()).toBe(1);
  }

  const args: [keyof Limits, () => unknown, string][] = [
    [
      "dims",
      () =>
        bytes(
          1,
          Array.from({ length: 9 }, () => 1),
        ),
      "args[0] has 9 dimensions, the limit is 8",
    ],
    ["depth", () => nested(5), "args[0][0][0][0][0] is nested 5 deep (or contains itself), the limit is 4"],
    ["textBytes", () => ["é".repeat(2501)], "args[0][0] has 5002 bytes, the limit is 5000"],
    ["textBytes", () => py.bytes(new Uint8Array(5001)), "args[0] has 5001 bytes, the limit is 5000"],
    [
      "metaBytes",
      () => Array.from({ length: 2000 }, (_, i) => i),
      "bytes beside its arrays, the limit is 16384 (a quarter of metaBytes, which is 65536)",
    ],
    [
      "messageBytes",
      () => bytes(2 ** 15 + 1),
      "one operation has 32769 bytes of arrays, the limit is 32768 (a quarter of messageBytes, which is 131072)",
    ],
    [
      "frames",
      () => Array.from({ length: 5 }, () => Uint8Array.of(1)),
      "one operation has 5 frames of arrays, the limit is 4 (a quarter of frames, which is 16)",
    ],
    ["frames", () => bytes(4 * 4096 + 1), "one operation has 5 frames of arrays"],
  ];
  test.for(args)("an argument past %s", async ([name, value, message]) => {
    const error = await caught(() => identity(value()));
    expect(error.code).toBe("LIMIT");
    expect(error.message).toContain(message);
    expect(error.message).toContain(`the option limits: { ${name} } raises it`);
    expect(error.message).toMatch(/limits\.test\.ts:\d+/);
    await goesOn();
  });

  const asked: [keyof Limits, string, string][] = [
    ["dims", "torch.ones([1] * 9)", "value has 9 dimensions, the limit is 8"],
    ["depth", "[[[[[1]]]]]", "value[0][0][0][0] is nested 5 deep (or contains itself), the limit is 4"],
    ["textBytes", "['é' * 2501]", "value[0] has 5002 bytes, the limit is 5000"],
    ["textBytes", "{'a': bytearray(5001)}", "value['a'] has 5001 bytes, the limit is 5000"],
    ["textBytes", "1 << 20004", "value has 5002 bytes, the limit is 5000"],
    ["metaBytes", "list(range(8000))", "bytes beside its tensors: fetch less at once; value["],
    [
      "messageBytes",
      "torch.ones(2 ** 17 + 1, dtype=torch.uint8)",
      "a reply of 131073 bytes of tensors: fetch less at once; value",
    ],
    ["frames", "[torch.ones(1)] * 17", "a reply of 17 frames: fetch less at once; value[16], the limit is 16"],
  ];
  test.for(asked)("a value that is asked for and is past %s", async ([name, code, message]) => {
    const error = await caught(() => py.js(builtins.eval(`lambda torch: ${code}`)(torch)));
    expect(error.code).toBe("LIMIT");
    expect(error.message).toContain(message);
    expect(error.message).toContain(`the option limits: { ${name} } raises it`);
    expect(error.message).toMatch(/limits\.test\.ts:\d+/);
    await goesOn();
  });

  test("a text that is awaited", async () => {
    expect(await caught(async () => void (await builtins.str("x").__mul__(5001)))).toMatchObject({ code: "LIMIT" });
    await goesOn();
  });

  test("what just fits goes there and back: arrays in pieces, and all else", async () => {
    for (const value of [
      bytes(4096),
      bytes(4097),
      bytes(3 * 4096),
      bytes(4 * 4096 - 1),
      { dtype: "complex64", shape: [1000], data: Float32Array.from({ length: 2000 }, (_, i) => i) },
      bytes(
        1,
        Array.from({ length: 8 }, () => 1),
      ),
      bytes(0),
      nested(4),
      "x".repeat(5000),
    ])
      expect(await py.js(identity(value))).toStrictEqual(value);
  });

  test("a tensor in pieces is one tensor, and its memory its own", async () => {
    const data = Uint8Array.from({ length: 10_000 }, (_, i) => (i % 7 === 0 ? 1 : 0));
    const there = worker.tensor({ dtype: "bool", shape: [100, 100], data }) as unknown as AnyRef;
    data.fill(0);
    expect(await there.sum().item()).toBe(Math.ceil(10_000 / 7));
    there.logical_not_();
    expect(await there.sum().item()).toBe(10_000 - Math.ceil(10_000 / 7));
  });

  test("many operations, each of which fits, go in as many batches as that takes", async () => {
    const before = (await worker.stats()).batches;
    const items = builtins.list();
    for (let i = 0; i < 20; i++) items.append("x".repeat(4000));
    for (let i = 0; i < 20; i++) items.append(bytes(4000));
    expect(await py.len(items)).toBe(40);
    expect((await worker.stats()).batches - before).toBeGreaterThanOrEqual(41 / 3);
  });

  test("many values that are asked for at once, each of which fits, come in as many replies as that takes", async () => {
    const texts = Array.from({ length: 40 }, (_, i) => String(i).repeat(1000));
    expect(await Promise.all(texts.map((text) => py.js(identity([text]))))).toEqual(texts.map((text) => [text]));
    const arrays = Array.from({ length: 40 }, (_, i) => bytes(4097 + i));
    expect(await Promise.all(arrays.map((array) => py.ndarray(identity(array))))).toEqual(arrays);
  });

  test("references that are disposed of one by one do not make a batch too long", async () => {
    const many = Array.from({ length: 50 }, () => builtins.object());
    await Promise.all(many);
    const { batches } = await worker.stats();
    for (const reference of many) (reference as unknown as Disposable)[Symbol.dispose]();
    await goesOn();
    // Three to a batch.
    expect((await worker.stats()).batches - batches).toBeGreaterThanOrEqual(50 / 3);
  });

  test("one operation may be larger than all that may be in flight", async () => {
    await using other = await testWorker({ limits: { inFlightBytes: 2 ** 20 } });
    const there = other.tensor(bytes(2 ** 22)) as unknown as AnyRef;
    const torch = untyped(other, "torch");
    expect(await torch.numel(there.view(-1))).toBe(2 ** 22);
  });

  test("a loop that never awaits is told so", async () => {
    const time = worker.import("time");
    const there = identity([1]);
    time.sleep(0.3);
    const error = await caught(() => {
      for (let i = 0; i < 5000; i++) identity(i);
    });
    expect(error).toMatchObject({ code: "TOO_FAR_AHEAD" });
    expect(error.message).toContain("The limits are 1000 and 1 (limits: { inFlightOps, inFlightBytes })");
    // It may still ask for values.
    expect(await py.js(there)).toEqual([1]);
    await goesOn();
    time.sleep(0.3);
    const tooMuch = await caught(() => {
      for (let i = 0; i < 300; i++) identity(bytes(8192));
    });
    expect(tooMuch).toMatchObject({ code: "TOO_FAR_AHEAD" });
    expect(await py.js(there)).toEqual([1]);
    await goesOn();
  });
});

describe("what this side does not take", () => {
  test("a value deeper than the limit", () => {
    expect(decodeValue([1, [1, 5]], [], { ...defaultLimits, depth: 2 })).toEqual([[5]]);
    expect(() => decodeValue([1, [1, [2]]], [], { ...defaultLimits, depth: 2 })).toThrow(
      expect.objectContaining({ code: "LIMIT", message: expect.stringContaining("nested 3 deep, the limit is 2") }),
    );
  });
});

describeWithIpc("a client that keeps to no limit is refused by the worker", () => {
  let child: WorkerProcess;
  const token = randomBytes(32).toString("hex");

  class Raw {
    readonly #socket = new Dealer({ linger: 0, receiveTimeout: 10_000 });
    readonly disconnected: Promise<unknown>;

    constructor() {
      this.disconnected = new Promise((resolve) => this.#socket.events.on("disconnect", resolve));
      this.#socket.connect(child.endpoints.data);
    }

    async ask(parts: readonly Uint8Array[]): Promise<Incoming> {
      await this.send(parts);
      const answer = decodeMessage(await this.#socket.receive(), defaultLimits);
      if (answer.header.type === MessageType.welcome) seq = Number(answer.meta["received"]);
      return answer;
    }

    send(parts: readonly Uint8Array[]): Promise<void> {
      return this.#socket.send(parts as Uint8Array[]);
    }

    [Symbol.dispose](): void {
      this.#socket.close();
    }
  }

  let epoch = 0;
  const hello = (limits: Partial<Limits>): Uint8Array[] =>
    encodeMessage(
      {
        type: MessageType.hello,
        session: ++epoch,
        ack: seq,
        meta: { token, client: {}, limits: told(limits as Limits) },
      },
      defaultLimits,
    );
  let seq = 0;
  let first = 16;
  /** The next message of the session: what the worker has is counted by it, and told with its welcome. */
  const batch = (operations: unknown[], frames: Uint8Array[] = []): Uint8Array[] => {
    const meta = { lane: 0, generation: seq, first, contexts: [], operations, finalised: [], ended_contexts: [] };
    first += 10;
    return encodeMessage({ type: MessageType.batch, flags: URGENT, seq: ++seq, meta, frames }, defaultLimits);
  };
  const call = (value: unknown): unknown[] => [2, 3, ["identity"], [value], {}];

  beforeAll(async () => {
    const config = { token, directory: null, device: "cpu", seed: 0, deterministic: true, threads: 1, malloc: true };
    const { executable } = await findPython();
    const logger = pino({ level: "silent" });
    const options = { cwd: undefined, env: undefined, workerDir: undefined, logger };
    child = await startProcess(executable, { ...config, limits: low }, options);
  });
  afterAll(() => child?.kill("SIGKILL"));

  const messages: [keyof Limits, Uint8Array[], string][] = [
    [
      "frames",
      batch(
        [],
        Array.from({ length: 18 }, () => new Uint8Array(0)),
      ),
      "more than 16 frames",
    ],
    [
      "messageBytes",
      batch(
        [],
        Array.from({ length: 10 }, () => new Uint8Array(14_000)),
      ),
      "140000 bytes in the frames of a message, the limit is 131072; the option limits: { messageBytes }",
    ],
    [
      "metaBytes",
      batch([call("x".repeat(2 ** 16))]),
      "bytes of meta, the limit is 65536; the option limits: { metaBytes }",
    ],
  ];
  test.for(messages)("%s, before anything of the message is read", async ([, parts, why]) => {
    using client = new Raw();
    const answer = await client.ask(parts);
    expect(answer.header.type).toBe(MessageType.fatal);
    expect(answer.meta["message"]).toContain(why);
  });

  test("frameBytes: the connection ends before such a frame is in memory", async () => {
    using client = new Raw();
    expect((await client.ask(hello({}))).meta["limits"]).toEqual({ ...low });
    await client.send(batch([], [new Uint8Array(2 ** 20)]));
    await client.disconnected;
    expect((await client.ask(hello({}))).header.type).toBe(MessageType.welcome);
  });

  test("limits that nothing can keep to are no greeting", async () => {
    using client = new Raw();
    const answer = await client.ask(hello({ frames: 0 }));
    expect(answer.meta["message"]).toContain("limits that nothing can keep to");
  });

  const values: [keyof Limits, unknown, Uint8Array[], string][] = [
    [
      "dims",
      [4, 0, "uint8", [1, 1, 1, 1, 1, 1, 1, 1, 1]],
      [new Uint8Array(1)],
      "a tensor of 9 dimensions, the limit is 8",
    ],
    ["depth", [1, [1, [1, [1, [1]]]]], [], "a value nested 5 deep, the limit is 4"],
    ["textBytes", "é".repeat(2501), [], "text of 5002 bytes, the limit is 5000"],
    ["textBytes", new Uint8Array(5001), [], "text of 5001 bytes, the limit is 5000"],
  ];
  test.for(values)("%s, of one value: its operation fails, and nothing else", async ([name, value, frames, why]) => {
    using client = new Raw();
    await client.ask(hello({}));
    const answer = await client.ask(batch([call(value)], frames));
    expect(answer.header.type).toBe(MessageType.reply);
    const [[, , failure]] = answer.meta["replies"] as [[number, unknown[], { type: string; message: string }]];
    expect(failure).toMatchObject({ type: "torchwire.LimitError", message: expect.stringContaining(why) });
    expect(failure.message).toContain(`{ ${name} }`);
  });

  test("and it keeps to those of its client, where they are smaller", async () => {
    using client = new Raw();
    await client.ask(hello({ frameBytes: 4, textBytes: 3 }));
    const place = first;
    const fetched = await client.ask(
      batch([call([4, 0, "uint8", [10]]), [8, place + 1, 2]], [new Uint8Array(10).fill(7)]),
    );
    expect(fetched.frames.map((frame) => frame.length)).toEqual([4, 4, 2]);
    const text = await client.ask(batch([call("abcd"), [8, place + 11, 0]]));
    const [[, , failure]] = text.meta["replies"] as [[number, unknown[], { message: string }]];
    expect(failure.message).toContain("value has 4 bytes, the limit is 3");
  });

  test("another version of the protocol: both are named, and who has to be updated", async () => {
    using client = new Raw();
    for (const [major, who] of [
      [2, "this worker is the older, update it"],
      [0, "the client is the older, update it: npm install torchwire@latest"],
    ] as const) {
      const [head] = hello({});
      head![2] = major;
      const answer = await client.ask([head!]);
      expect(answer.meta["message"]).toContain(`protocol version ${major}.0, this side speaks 1.0; ${who}`);
      head![4] = MessageType.welcome;
      expect(() => decodeMessage([head!.subarray(0, HEADER_BYTES)], defaultLimits)).toThrow(
        major === 2
          ? "; this client is the older, update it: npm install torchwire@latest"
          : "; the worker is the older, update it",
      );
    }
  });

  test("ops: the session is over, as others may have been lost with that message", async () => {
    using client = new Raw();
    await client.ask(hello({}));
    const answer = await client.ask(batch(Array.from({ length: 4 }, () => call(1))));
    expect(answer.header.type).toBe(MessageType.fatal);
    expect(answer.meta["message"]).toContain("4 operations in a batch, the limit is 3; the option limits: { ops }");
    expect((await child.exited).code).toBe(0);
  });
});
