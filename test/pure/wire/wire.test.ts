/** The wire as TypeScript speaks it, held against golden/wire-v1.json. Python's half is python/tests/test_wire.py. */
import { describe, expect, test } from "vitest";
import { kw, py, type AnyRef } from "torchwire";
import { Session } from "../../../bridge/session/session.ts";
import { Encoder } from "../../../bridge/log/encoder.ts";
import { decodeValue } from "../../../bridge/values/decode.ts";
import { FramePool } from "../../../bridge/log/frame-pool.ts";
import { HEADER_BYTES, MessageType, readHeader, URGENT, writeHeader } from "../../../bridge/wire/header.ts";
import { defaultLimits, type Limits } from "../../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage } from "../../../bridge/wire/meta.ts";
import { inMemory } from "../in-memory.ts";
import { bytes, golden, named, received, toHex, written, type MessageVector } from "../../golden/vectors.ts";

const typeOf = (name: string): MessageType => MessageType[name as keyof typeof MessageType];

const messageNamed = (name: string): MessageVector => golden.messages.find((message) => message.name === name)!;

/** {"value": …}, but for the value. */
const VALUE = "81a576616c7565";

/** The message that `meta`, as it lies in the bytes, and `frames` are read as. */
function decoded(meta: string, frames: readonly Uint8Array[], limits: Partial<Limits> = {}): unknown {
  const body = bytes(VALUE + meta);
  const head = new Uint8Array(HEADER_BYTES + body.length);
  const totalBytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  const rest = { flags: 0, session: 1, parentCall: 0, seq: 0, ack: 0, frames: frames.length, totalBytes };
  writeHeader(head, { type: MessageType.reply, metaBytes: body.length, ...rest });
  head.set(body, HEADER_BYTES);
  const message = decodeMessage([head, ...frames], defaultLimits);
  return decodeValue(message.meta["value"], message.frames, { ...defaultLimits, ...limits });
}

/** A session, and what has come at the other end of its link. */
function recorded(): { session: Session; sent: () => string[][] } {
  const { near, far } = inMemory();
  const session = new Session(near, { onWelcome: () => undefined, onClosed: () => undefined });
  return { session, sent: () => far.data.map((parts) => parts.map(toHex)) };
}

describe("the header", () => {
  test.for(named(golden.headers))("%s is written as these bytes, and read back", ([, { fields, hex }]) => {
    const into = new Uint8Array(HEADER_BYTES + 8);
    writeHeader(into.subarray(8), fields);
    expect(toHex(into.subarray(8))).toBe(hex);
    expect(readHeader(bytes(hex))).toEqual(fields);
  });

  test.for([-1, 0.5, 2 ** 53, Number.NaN, Infinity])("refuses to write %s as a count", (seq) => {
    const { fields } = golden.headers[0]!;
    expect(() => writeHeader(new Uint8Array(HEADER_BYTES), { ...fields, seq })).toThrow(RangeError);
    expect(() => writeHeader(new Uint8Array(HEADER_BYTES), { ...fields, totalBytes: seq })).toThrow(RangeError);
  });
});

describe("a message", () => {
  test.for(named(golden.messages.filter(({ sender }) => sender === "client")))(
    "%s is written as these bytes",
    ([, { type, fields, meta, frames, hex }]) => {
      const parts = encodeMessage(
        { type: typeOf(type), ...fields, meta: received(meta) as Record<string, unknown>, frames: frames.map(bytes) },
        defaultLimits,
      );
      expect(parts.map(toHex)).toEqual(hex);
    },
  );

  test.for(named(golden.messages))("%s is read from these bytes", ([, { type, fields, meta, frames, hex }]) => {
    const message = decodeMessage(hex.map(bytes), defaultLimits);
    expect(message.header).toMatchObject({ type: typeOf(type), frames: frames.length, ...fields });
    expect(message.meta).toEqual(received(meta));
    expect(message.frames.map(toHex)).toEqual(frames);
  });

  test("the first batch of a session is these bytes, written by the kernel itself", async () => {
    const { session, sent } = recorded();
    const torch = session.log.import("torch") as AnyRef;
    const float32 = torch.float32;
    const x = torch.zeros(2, 3, kw({ dtype: float32 })) as AnyRef;
    x.tag = [1.5, Int32Array.of(-(2 ** 31), 2 ** 31 - 1)];
    x[0] = -1;
    void x[0];
    py.delAt(x, 0);
    delete x.tag;
    void torch.nn.functional;
    void Promise.resolve(py.js(x.shape));
    (x as unknown as Disposable)[Symbol.dispose]();
    await new Promise(setImmediate);
    expect(sent()).toEqual([messageNamed("a batch of every operation").hex]);
    expect(session.counts).toMatchObject({ batches: 1, operations: 12, roundTrips: 1, inFlight: 1 });
  });

  test("a batch that nobody awaits is not urgent", async () => {
    const { session, sent } = recorded();
    session.log.import("torch");
    await new Promise(setImmediate);
    const { header } = decodeMessage(sent()[0]!.map(bytes), defaultLimits);
    expect(header.flags & URGENT).toBe(0);
    expect(header).toMatchObject({ seq: 1, session: 1, parentCall: 0 });
  });
});

describe("an argument", () => {
  test.for(named(golden.arguments))("%s is written as these bytes", ([, { js, hex, frames, limits }]) => {
    const { session } = recorded();
    const found: Uint8Array[] = [];
    const encoder = new Encoder(
      found,
      new FramePool(),
      { ...defaultLimits, ...limits },
      () => 17,
      () => 0,
    );
    // Ids begin at 16, so that this is #17.
    const reference = (): unknown => [session.log.import("a"), session.log.import("b")][1];
    const value = encoder.encode(written(js, reference), "value");
    const [head] = encodeMessage({ type: MessageType.batch, meta: { value }, frames: found }, defaultLimits);
    expect(toHex(head!.subarray(HEADER_BYTES))).toBe(VALUE + hex);
    expect(found.map(toHex)).toEqual(frames);
  });

  test("an array on its way is a copy: what the program does to it later is not sent", () => {
    const frames: Uint8Array[] = [];
    const data = Float32Array.of(1, 2);
    new Encoder(
      frames,
      new FramePool(),
      defaultLimits,
      () => 17,
      () => 0,
    ).encode(data, "x");
    data.fill(9);
    expect(toHex(frames[0]!)).toBe("0000803f00000040");
  });

  test("is refused past the limits of nesting and of dimensions, with its path", () => {
    const limits = { ...defaultLimits, depth: 3, dims: 2, textBytes: 5000 };
    const encode = (value: unknown) => () =>
      new Encoder(
        [],
        new FramePool(),
        limits,
        () => 17,
        () => 0,
      ).encode(value, "args[0]");
    expect(encode([[[1]]])()).toEqual([1, [1, [1, 1]]]);
    expect(encode([[[[1]]]])).toThrow(
      expect.objectContaining({ code: "LIMIT", message: expect.stringContaining("args[0][0][0][0] is nested") }),
    );
    const cube = { dtype: "uint8", shape: [1, 1, 1], data: new Uint8Array(1) };
    expect(encode({ a: cube })).toThrow(
      expect.objectContaining({ code: "LIMIT", message: expect.stringContaining("args[0].a has 3 dimensions") }),
    );
    for (const [text, size] of [
      ["é".repeat(2501), 5002],
      [py.bytes(new Uint8Array(5001)), 5001],
    ] as const)
      expect(encode([text])).toThrow(
        expect.objectContaining({
          code: "LIMIT",
          message: `args[0][0] has ${size} bytes, the limit is 5000; the option limits: { textBytes } raises it`,
        }),
      );
    const knot: unknown[] = [];
    knot.push(knot);
    expect(encode(knot)).toThrow(expect.objectContaining({ code: "LIMIT" }));
  });
});

describe("a value of a reply", () => {
  test.for(named(golden.replies))("%s is read from these bytes", ([, { hex, frames, js }]) => {
    expect(decoded(hex, frames.map(bytes))).toStrictEqual(received(js));
  });

  test("an array whose bytes do not lie at a multiple of its element's size is copied to where they do", () => {
    const frame = bytes("ff0000803f00000040").subarray(1);
    expect(decodeValue([4, 0, "float32", [2]], [frame])).toStrictEqual({
      dtype: "float32",
      shape: [2],
      data: Float32Array.of(1, 2),
    });
  });
});

describe("what is refused on arrival", () => {
  const ours = <T extends { by: string[] }>(vectors: T[]): T[] => vectors.filter(({ by }) => by.includes("client"));

  test.for(named(ours(golden.refusedMessages)))("%s", ([, { hex, limits, says }]) => {
    expect(() => decodeMessage(hex.map(bytes), { ...defaultLimits, ...limits })).toThrow(
      expect.objectContaining({
        name: "TorchwireError",
        code: Object.keys(limits).length > 0 ? "LIMIT" : "PROTOCOL",
        message: expect.stringContaining(says),
      }),
    );
  });

  test("a message without any part", () => {
    expect(() => decodeMessage([], defaultLimits)).toThrow(expect.objectContaining({ code: "PROTOCOL" }));
  });

  test.for(named(ours(golden.refusedValues)))("%s", ([, { hex, frames, says, limits }]) => {
    const code = Object.keys(limits).length > 0 ? "LIMIT" : "PROTOCOL";
    expect(() => decoded(hex, frames.map(bytes), limits)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(says) }),
    );
  });
});

describe("what is never sent", () => {
  class Point {
    x = 1;
  }
  const strays: [string, unknown][] = [
    ["Float32Array", Float32Array.of(1, 2)],
    ["Float64Array", Float64Array.of(1)],
    ["Int8Array", Int8Array.of(1)],
    ["Uint8ClampedArray", Uint8ClampedArray.of(1)],
    ["Int16Array", Int16Array.of(1)],
    ["Uint16Array", Uint16Array.of(1)],
    ["Int32Array", Int32Array.of(1)],
    ["Uint32Array", Uint32Array.of(1)],
    ["BigInt64Array", BigInt64Array.of(1n)],
    ["BigUint64Array", BigUint64Array.of(1n)],
    ["DataView", new DataView(new ArrayBuffer(8))],
    ["ArrayBuffer", new ArrayBuffer(8)],
    ["SharedArrayBuffer", new SharedArrayBuffer(8)],
    ["Date", new Date(0)],
    ["TypeError", new TypeError("no")],
    ["Map", new Map([[1, 1]])],
    ["Set", new Set([1])],
    ["RegExp", /a/],
    ["Point", new Point()],
    ["Promise", Promise.resolve(1)],
    ["function", () => 1],
    ["symbol", Symbol("s")],
  ];

  test.for(strays)("a %s in the meta, which msgpackr would garble", ([name, value]) => {
    for (const meta of [{ value }, { list: [1, { deep: [value] }] }]) {
      expect(() => encodeMessage({ type: MessageType.ping, meta }, defaultLimits)).toThrow(
        expect.objectContaining({ code: "NOT_SENDABLE", message: expect.stringContaining(`a ${name} cannot`) }),
      );
    }
  });

  test("but a Uint8Array and a Buffer go out as their bytes", () => {
    for (const value of [Uint8Array.of(0, 255), Buffer.from("00ff", "hex")]) {
      const [head] = encodeMessage({ type: MessageType.ping, meta: { value } }, defaultLimits);
      expect(toHex(head!.subarray(HEADER_BYTES))).toBe(`${VALUE}c40200ff`);
    }
  });

  test("and whole numbers past 32 bits go out as such, as ids and counts are after days, and change nothing that was given", () => {
    const far = [2 ** 32, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, 1e10];
    const meta = {
      far,
      deep: { list: [[far[0]]], names: new Map([["a", far[2]]]) },
      near: [2 ** 32 - 1, -(2 ** 31)],
      half: 0.5,
    };
    const [head] = encodeMessage({ type: MessageType.ping, meta }, defaultLimits);
    const told = toHex(head!.subarray(HEADER_BYTES));
    // 64 bits by cf or d3; cb would be a float.
    expect(
      told.match(/(?:cf|d3)(?:0000000100000000|ffffffff7fffffff|001fffffffffffff|00000002540be400)/g),
    ).toHaveLength(6);
    expect(told.match(/cb[\da-f]{16}/g)).toEqual(["cb3fe0000000000000"]);
    expect(far).toEqual([2 ** 32, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER, 1e10]);
    expect(meta.deep.list).toEqual([[2 ** 32]]);
  });

  test("a message past a limit of the other side, before a byte of it leaves", () => {
    const limits = { ...defaultLimits, frames: 2, frameBytes: 8, metaBytes: 16 };
    const send = (frames: Uint8Array[], meta: Record<string, unknown> = {}) => {
      return () => encodeMessage({ type: MessageType.batch, meta, frames }, limits);
    };
    expect(send([new Uint8Array(8), new Uint8Array(8)])()).toHaveLength(3);
    for (const over of [
      send([new Uint8Array(9)]),
      send([new Uint8Array(1), new Uint8Array(1), new Uint8Array(1)]),
      send([], { text: "x".repeat(20) }),
    ]) {
      expect(over).toThrow(expect.objectContaining({ code: "LIMIT" }));
    }
  });
});
