/**
 * A worker that lies: two sockets of this process that speak the wire, and answer wrong. Every promise settles, the
 * process lives, and nothing outside of the answer is touched, whatever the lie.
 */
import { assert, asyncProperty, constantFrom, integer, nat, oneof } from "fast-check";
import { Packr } from "msgpackr";
import { pino } from "pino";
import { Router } from "zeromq";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { TorchwireError, Worker } from "torchwire";
import { attach } from "../../../bridge/start/attach.ts";
import type { Owned } from "../../../bridge/start/keyed.ts";
import { HEADER_BYTES, MessageType, writeHeader } from "../../../bridge/wire/header.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";
import { decodeMessage, type Incoming } from "../../../bridge/wire/meta.ts";
import { caught } from "../../observed.ts";

const uncaught: unknown[] = [];
const note = (error: unknown): void => void uncaught.push(error);
beforeAll(() => void process.on("uncaughtException", note).on("unhandledRejection", note));
afterAll(() => void process.off("uncaughtException", note).off("unhandledRejection", note));

const pure = Object.getOwnPropertyNames(Object.prototype).toString();

const WELCOME = { pid: 1, device: "cpu", versions: { python: "3.11.0" }, limits: {}, grace: null, received: 0 };

/** A message as it stands, however wrong: `meta` is bytes, or packed as msgpack has it. */
function message(
  type: MessageType,
  meta: unknown,
  frames: Uint8Array[] = [],
  told: { seq?: number } = {},
): Uint8Array[] {
  const body = meta instanceof Uint8Array ? meta : new Packr({ useRecords: false, variableMapSize: true }).pack(meta);
  const head = Buffer.alloc(HEADER_BYTES + body.length);
  const totalBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  const rest = { flags: 0, session: 1, parentCall: 0, seq: told.seq ?? 0, ack: 0, frames: frames.length, totalBytes };
  writeHeader(head, { type, metaBytes: body.length, ...rest });
  head.set(body, HEADER_BYTES);
  return [head, ...frames];
}

class Liar implements AsyncDisposable {
  readonly #data = new Router({ linger: 0 });
  readonly #control = new Router({ linger: 0 });
  owned!: Owned;
  #peer!: Buffer;
  #controlPeer!: Buffer;
  readonly #batches: Incoming[] = [];
  #wake: () => void = () => undefined;

  static async welcoming(welcome: unknown = WELCOME, control: unknown = {}): Promise<Liar> {
    const liar = new Liar();
    await liar.#data.bind("tcp://127.0.0.1:*");
    await liar.#control.bind("tcp://127.0.0.1:*");
    void liar.#listen(liar.#data, (peer) => (liar.#peer = peer), message(MessageType.welcome, welcome));
    void liar.#listen(liar.#control, (peer) => (liar.#controlPeer = peer), message(MessageType.welcome, control));
    try {
      liar.owned = await attach({
        endpoints: { data: liar.#data.lastEndpoint!, control: liar.#control.lastEndpoint! },
        token: "t",
        limits: defaultLimits,
        logger: pino({ level: "silent" }),
        version: "0",
        over: "machine",
      });
    } catch (error) {
      await liar[Symbol.asyncDispose]();
      throw error;
    }
    return liar;
  }

  get worker(): Worker {
    return this.owned.worker;
  }

  async #listen(socket: Router, met: (peer: Buffer) => void, welcome: Uint8Array[]): Promise<void> {
    try {
      for await (const [peer, ...parts] of socket) {
        const said = decodeMessage(parts, defaultLimits);
        if (said.header.type === MessageType.hello) {
          met(peer!);
          await socket.send([peer!, ...welcome]);
        } else if (said.header.type === MessageType.batch) {
          this.#batches.push(said);
          this.#wake();
        } else if (said.header.type === MessageType.close)
          await socket.send([peer!, ...message(MessageType.closed, {})]);
      }
    } catch {
      // It was closed.
    }
  }

  /** The batches that have come, once there are so many. */
  async batches(count: number): Promise<readonly Incoming[]> {
    while (this.#batches.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#batches;
  }

  async says(parts: Uint8Array[]): Promise<void> {
    await this.#data.send([this.#peer, ...parts]);
  }

  async saysByControl(parts: Uint8Array[]): Promise<void> {
    await this.#control.send([this.#controlPeer, ...parts]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned?.worker.kill();
    this.#data.close();
    this.#control.close();
  }
}

const FAILURE = {
  type: "ValueError",
  mro: ["ValueError", "Exception", "BaseException", "object"],
  message: "no",
  frames: [{ file: "a.py", line: 1, name: "f", source: "raise" }],
  notes: [],
  cause: null,
  operation: "abs(...)",
  id: 17,
  last: 17,
};

// Batch 1 has the positions: import 16, abs 17, its result 18, fetch 19. Batch 2: abs 20, result 21, fetch 22.
const ANSWER = [1, [19, 3], null];
const without = (name: string): object => Object.fromEntries(Object.entries(FAILURE).filter(([key]) => key !== name));
const failed = (changes: object): unknown => [1, [], { ...FAILURE, ...changes }];
const deep = (levels: number): object => ({ ...FAILURE, cause: levels === 0 ? null : deep(levels - 1) });
const polluting = Buffer.concat([
  Buffer.from([0x82, 0xa9]),
  Buffer.from("__proto__"),
  Buffer.from([0x81, 0xa8]),
  Buffer.from("polluted"),
  Buffer.from([0xc3, 0xa7]),
  Buffer.from("replies"),
  Buffer.from([0x90]),
]);

/** The answer to the first batch. */
const lies: readonly (readonly [string, () => Uint8Array[]])[] = [
  ...(
    [
      ["nothing at all", {}],
      ["replies that are no list", { replies: { 0: ANSWER } }],
      ["a reply that is no list", { replies: [7] }],
      ["a reply that is cut", { replies: [[1, []]] }],
      ["a reply with more than there is", { replies: [[1, [19, 3], null, undefined, 5]] }],
      ["no value", { replies: [[1, [], null]] }],
      ["an id without its value", { replies: [[1, [19], null]] }],
      ["the value of another id", { replies: [[1, [17, 3], null]] }],
      ["an id nobody asked for", { replies: [[1, [19, 3, 99, 4], null]] }],
      ["a value twice", { replies: [[1, [19, 3, 19, 4], null]] }],
      ["an id that is NaN", { replies: [[1, [Number.NaN, 3], null]] }],
      ["an id that is text", { replies: [[1, ["19", 3], null]] }],
      ["an id below zero", { replies: [[1, [-19, 3], null]] }],
      ["values that are a map", { replies: [[1, { 19: 3 }, null]] }],
      ["a batch that never was", { replies: [[5, [19, 3], null]] }],
      ["the second before the first", { replies: [[2, [22, 3], null]] }],
      ["a number that is NaN", { replies: [[Number.NaN, [19, 3], null]] }],
      ["a number below zero", { replies: [[-1, [19, 3], null]] }],
      ["a number that is text", { replies: [["1", [19, 3], null]] }],
      ["a value of an unknown kind", { replies: [[1, [19, [77]], null]] }],
      ["a value that is a map", { replies: [[1, [19, { then: 1 }], null]] }],
      ["a tensor without frames", { replies: [[1, [19, [4, 0, "float32", [2]]], null]] }],
      ["an integer that is none", { replies: [[1, [19, [5, "xyz"]], null]] }],
      ["a dict with half a pair", { replies: [[1, [19, [3, "a"]], null]] }],
      ["a reference without its type", { replies: [[1, [19, [0]], null]] }],
      ["a failure that is text", { replies: [[1, [], "no"]] }],
      ["a failure and a value of what had not been run", { replies: [[1, [19, 3], FAILURE]] }],
      ["a failure of another batch", { replies: [failed({ id: 90, last: 90 })] }],
      ["a failure that ends before it begins", { replies: [failed({ id: 18, last: 17 })] }],
      ["a failure at NaN", { replies: [failed({ id: Number.NaN })] }],
      ["a failure in no operation, with what was asked left out", { replies: [failed({ id: 20, last: 20 })] }],
      ["a failure with a message that is none", { replies: [failed({ message: null })] }],
      ["a failure with frames that are none", { replies: [failed({ frames: [{ file: 1 }] })] }],
      ["a failure with a cause that has no parts", { replies: [failed({ cause: {} })] }],
      ["a failure whose causes have no end", { replies: [[1, [], deep(200)]] }],
      ...Object.keys(FAILURE).map((name) => [`a failure without its ${name}`, { replies: [[1, [], without(name)]] }]),
      ["warnings that are none", { replies: [[1, [19, 3], null, "careful"]] }],
      ["keys that are __proto__", polluting],
      ["meta that is no msgpack", Buffer.from([0xc1])],
      ["meta that is a list", []],
      ["meta that is cut", Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff])],
      ["a list without an end", Buffer.from([0x81, 0xa7, ...Buffer.from("replies"), 0xdd, 0xff, 0xff, 0xff, 0xff])],
      ["lists in lists in lists", Buffer.from([0x81, 0xa7, ...Buffer.from("replies"), ...Buffer.alloc(100_000, 0x91)])],
    ] as [string, unknown][]
  ).map(([name, meta]) => [name, () => message(MessageType.reply, meta)] as const),
  ["a frame too few", () => [Buffer.from(message(MessageType.reply, {}, [new Uint8Array(8)])[0]!)]],
  ["a frame too many", () => [...message(MessageType.reply, { replies: [ANSWER] }), new Uint8Array(8)]],
  ["less than a header", () => [new Uint8Array(3)]],
  ["another letter", () => [Buffer.alloc(HEADER_BYTES)]],
  ["a message that only a client sends", () => message(MessageType.batch, {})],
  ["a second welcome", () => message(MessageType.welcome, WELCOME)],
  ["a farewell with something unanswered", () => message(MessageType.closed, {})],
  ["a refusal without a word", () => message(MessageType.fatal, {})],
  ["a refusal whose code is none", () => message(MessageType.fatal, { message: "no", code: "EVERYTHING_IS_FINE" })],
];

/** Two things that a program waits for: the value in a batch, and that in the next one. */
function asking(worker: Worker): readonly [Promise<unknown>, Promise<unknown>] {
  const builtins = worker.import("builtins");
  const ask = (): Promise<unknown> => Promise.resolve(builtins.abs(-3) as PromiseLike<unknown>);
  const first = ask();
  return [
    first,
    Promise.resolve()
      .then(() => new Promise((resolve) => setImmediate(resolve)))
      .then(ask),
  ];
}

describe("a worker that lies", () => {
  afterEach(() => {
    if (uncaught.length > 0) throw new Error("something was thrown to nobody", { cause: uncaught });
    if (Object.getOwnPropertyNames(Object.prototype).toString() !== pure) throw new Error("a prototype was touched");
  });

  test("and one that does not gives its answers", async () => {
    await using liar = await Liar.welcoming();
    const [first, second] = asking(liar.worker);
    await liar.batches(2);
    await liar.says(message(MessageType.reply, { replies: [[1, [19, 3], null]] }));
    await liar.says(message(MessageType.reply, { replies: [[2, [22, 4], null]] }));
    expect(await Promise.all([first, second])).toEqual([3, 4]);
  });

  test.for(lies)("%s", async ([, said]) => {
    await using liar = await Liar.welcoming();
    const [first, second] = asking(liar.worker);
    await liar.batches(2);
    await liar.says(said());
    const errors = await Promise.all([caught(() => first), caught(() => second)]);
    expect(errors.map(({ code }) => code)).toEqual(["PROTOCOL", "PROTOCOL"]);
    // And the session is over: nothing waits for it from now on.
    expect(await caught(() => liar.worker.import("os").getcwd())).toMatchObject({ code: "PROTOCOL" });
    await liar.owned.gone;
    expect(await liar.worker.liveness()).toEqual({ state: "gone" });
  });

  test.for<readonly [string, object]>([
    ["nothing", {}],
    ["a device that is none", { ...WELCOME, device: 7 }],
    ["versions that are none", { ...WELCOME, versions: { python: 3 } }],
    ["limits below everything", { ...WELCOME, limits: { metaBytes: 0 } }],
    ["limits that are no numbers", { ...WELCOME, limits: { metaBytes: Number.NaN } }],
    ["a grace time that is none", { ...WELCOME, grace: "long" }],
    ["more received than was sent", { ...WELCOME, received: 3 }],
    ["something received that is no count", { ...WELCOME, received: -1 }],
  ])("a welcome that tells %s", async ([, welcome]) => {
    expect(await caught(() => Liar.welcoming(welcome))).toMatchObject({ code: "PROTOCOL" });
  });

  test.for<readonly [string, MessageType, object]>([
    ["a pong of nothing", MessageType.pong, {}],
    [
      "a pong whose counts are NaN",
      MessageType.pong,
      { busy: null, batches: Number.NaN, objects: 0, rss: 0, nondeterministic: [] },
    ],
    ["a log record without a message", MessageType.log, { level: 30, logger: "a" }],
    ["a log record of a level that is none", MessageType.log, { level: "high", logger: "a", message: "b" }],
    ["a line of no stream", MessageType.log, { stream: 1, line: "b" }],
    ["a warning without a category", MessageType.log, { category: null, message: "b" }],
    ["a refusal without a word", MessageType.fatal, {}],
    ["an answer of the other socket", MessageType.reply, { replies: [ANSWER] }],
  ])("on control: %s", async ([, type, meta]) => {
    await using liar = await Liar.welcoming();
    const [first, second] = asking(liar.worker);
    const stats = liar.worker.stats();
    await liar.batches(2);
    await liar.saysByControl(message(type, meta, [], { seq: 1 }));
    const errors = await Promise.all([first, second, stats].map((each) => caught(() => each)));
    expect(errors.map(({ code }) => code)).toEqual(["PROTOCOL", "PROTOCOL", "PROTOCOL"]);
  });

  test("a true answer in which anything is changed settles everything, as itself or as PROTOCOL", async () => {
    const truth = [
      { replies: [[1, [19, [1, 3, [3, "a", 2.5], [5, "-ff"]]], null]] },
      { replies: [[1, [], { ...FAILURE, cause: { ...FAILURE, cause: null } }]] },
    ];
    const junk = oneof(
      constantFrom<unknown>(
        null,
        true,
        -1,
        0,
        1,
        2 ** 53,
        Number.NaN,
        0.5,
        "",
        "x",
        [],
        {},
        [0],
        [4, 0, "float32", [2]],
      ),
      integer({ min: -3, max: 30 }),
    );
    await assert(
      asyncProperty(
        constantFrom(...truth),
        nat(),
        junk,
        constantFrom("put", "drop", "twice"),
        async (true_, at, put, how) => {
          await using liar = await Liar.welcoming();
          const [first, second] = asking(liar.worker);
          await liar.batches(2);
          await liar.says(message(MessageType.reply, changed(true_, at, put, how)));
          // Where that passed for an answer, or for one to be passed over, the rest is heard too.
          await liar.says(message(MessageType.reply, { replies: [[1, [19, 3], null]] }));
          await liar.says(message(MessageType.reply, { replies: [[2, [22, 4], null]] }));
          const outcomes = await Promise.allSettled([first, second]);
          const codes = outcomes.map((each) =>
            each.status === "rejected" ? (each.reason as TorchwireError).code : "",
          );
          expect(["", "PROTOCOL", "PYTHON", "NOT_RUN"]).toEqual(expect.arrayContaining(codes));
        },
      ),
      { numRuns: 150 },
    );
  });
});

/** `value` with one of its parts, at any depth, replaced, left out or told twice. */
function changed(value: unknown, at: number, put: unknown, how: string): unknown {
  const places: [parent: Record<string, unknown> | unknown[], key: string][] = [];
  const collect = (part: unknown): void => {
    if (typeof part !== "object" || part === null) return;
    for (const key of Object.keys(part)) {
      places.push([part as unknown[], key]);
      collect((part as Record<string, unknown>)[key]);
    }
  };
  const copy: unknown = structuredClone(value);
  collect(copy);
  const [parent, key] = places[at % places.length]!;
  if (how === "put") (parent as Record<string, unknown>)[key] = put;
  else if (!Array.isArray(parent)) Reflect.deleteProperty(parent, key);
  else if (how === "drop") parent.splice(Number(key), 1);
  else parent.splice(Number(key), 0, parent[Number(key)]);
  return copy;
}
