import { beforeAll, describe, expect, test } from "vitest";
import { runInNewContext } from "node:vm";
import { kw, py, type NDArray, type Worker } from "torchwire";
import { lend, type TypedArray } from "torchwire/bridge";
import { toNDArray } from "torchwire/data";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let builtins: AnyRef;
let torch: AnyRef;
let numpy: AnyRef;
let identity: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  builtins = worker.import("builtins");
  torch = untyped(worker, "torch");
  numpy = worker.import("numpy");
  identity = await worker.import("torchwire_worker.helpers").identity;
});

/** Python's description of `value`, and the value that comes back. */
async function roundTrip(value: unknown): Promise<{ python: string; back: unknown }> {
  const there = identity(value);
  const [python, back] = await Promise.all([py.repr(there), py.js(there)]);
  return { python, back };
}

describe("plain values, to Python and back", () => {
  test.each<[unknown, string, unknown?]>([
    [null, "None"],
    [undefined, "None", null],
    [true, "True"],
    [false, "False"],
    [0, "0"],
    [1, "1"],
    [-1, "-1"],
    [127, "127"],
    [128, "128"],
    [-32, "-32"],
    [-33, "-33"],
    [2 ** 31 - 1, "2147483647"],
    [2 ** 31, "2147483648"],
    [-(2 ** 31), "-2147483648"],
    [-(2 ** 31) - 1, "-2147483649"],
    [2 ** 32 - 1, "4294967295"],
    [2 ** 32, "4294967296"],
    [2 ** 32 + 1, "4294967297"],
    [-(2 ** 32), "-4294967296"],
    [2 ** 53 - 1, "9007199254740991"],
    [1 - 2 ** 53, "-9007199254740991"],
    // Numbers that may stand for other integers than themselves are floats there, as they are here.
    [2 ** 53, "9007199254740992.0"],
    [-(2 ** 53), "-9007199254740992.0"],
    [1e21, "1e+21"],
    [0n, "0", 0],
    [-5n, "-5", -5],
    [2n ** 32n, "4294967296", 2 ** 32],
    [2n ** 53n - 1n, "9007199254740991", 2 ** 53 - 1],
    [2n ** 53n, "9007199254740992"],
    [-(2n ** 53n), "-9007199254740992"],
    [2n ** 53n + 1n, "9007199254740993"],
    [2n ** 63n - 1n, "9223372036854775807"],
    [2n ** 63n, "9223372036854775808"],
    [-(2n ** 63n), "-9223372036854775808"],
    [-(2n ** 63n) - 1n, "-9223372036854775809"],
    [2n ** 64n - 1n, "18446744073709551615"],
    [2n ** 64n, "18446744073709551616"],
    [-(2n ** 64n), "-18446744073709551616"],
    [7n ** 100n, String(7n ** 100n)],
    [-(7n ** 100n), String(-(7n ** 100n))],
    [1.5, "1.5"],
    [0.1, "0.1"],
    [-0, "-0.0"],
    [Number.NaN, "nan"],
    [Number.POSITIVE_INFINITY, "inf"],
    [Number.NEGATIVE_INFINITY, "-inf"],
    [5e-324, "5e-324"],
    [Number.MAX_VALUE, "1.7976931348623157e+308"],
    [Number.EPSILON, "2.220446049250313e-16"],
    [py.float(1), "1.0", 1],
    [py.float(-0), "-0.0", -0],
    [py.float(2 ** 53), "9007199254740992.0", 2 ** 53],
    [py.float(Number.NaN), "nan", Number.NaN],
    [py.float(0.5), "0.5", 0.5],
    [py.int(3), "3", 3],
    [py.int(2 ** 53), "9007199254740992", 2n ** 53n],
    [py.int(2n ** 70n), String(2n ** 70n), 2n ** 70n],
    ["", "''"],
    ["text", "'text'"],
    ["grüße, 世界 👩‍🚀 \u{1F600}", "'grüße, 世界 👩\\u200d🚀 😀'"],
    ["a\0b\n\t\u007F", "'a\\x00b\\n\\t\\x7f'"],
    ["\uFEFF\uFFFF", "'\\ufeff\\uffff'"],
  ])("%o is %s", async (value, python, back = value) => {
    const found = await roundTrip(value);
    expect(found.python).toBe(python);
    expect(Object.is(found.back, back)).toBe(true);
  });

  test("a long text", async () => {
    const text = "ä👍".repeat(100_000);
    const { back } = await roundTrip(text);
    expect(back === text).toBe(true);
    expect(await py.len(identity(text))).toBe(200_000);
  });

  test("half of a surrogate pair, which is no text: refused, both ways, and the lane stays open", async () => {
    for (const wrong of ["\uD83D", "x\uDE00y", { a: "\uD800" }, { "\uD800": 1 }])
      expect(await caught(() => identity(wrong))).toMatchObject({
        code: "NOT_SENDABLE",
        message: expect.stringContaining("surrogate"),
      });
    expect(await caught(() => builtins.chr(0xd800))).toMatchObject({ pyType: "UnicodeEncodeError" });
    expect(await caught(() => py.js(builtins.list([builtins.chr(0xdfff)])))).toMatchObject({
      pyType: "UnicodeEncodeError",
    });
    expect(await caught(() => builtins.getattr(builtins.object(), builtins.chr(0xd800)))).toMatchObject({
      pyMessage: "'object' object has no attribute '\\ud800'",
    });
    const raise = builtins.eval("lambda: (_ for _ in ()).throw(ValueError('bad \\ud800 text'))");
    expect(await caught(() => raise())).toMatchObject({ pyType: "ValueError", pyMessage: "bad \\ud800 text" });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("a log record that is no text, or whose arguments do not fit, does not silence the worker", async () => {
    const logging = worker.import("logging");
    logging.warning(builtins.chr(0xd800));
    logging.warning("%d", "not a number");
    expect(await builtins.abs(-1)).toBe(1);
    expect((await worker.stats()).inFlight).toBe(0);
  });

  test("a float by type where the number is whole", async () => {
    const types = [py.float(1), 1, -0, 1e300, 0.5].map((value) => py.type(identity(value)).__name__);
    expect(await Promise.all(types)).toEqual(["float", "int", "float", "float", "float"]);
  });

  test.each([["1"], [1n], [null], [{}]])("py.float(%o) is refused", async (wrong) => {
    expect(await caught(() => py.float(wrong as number))).toMatchObject({ code: "MISUSE" });
  });

  test.each([[1.5], [Number.NaN], [Number.POSITIVE_INFINITY], ["1"]])("py.int(%o) is refused", async (wrong) => {
    expect(await caught(() => py.int(wrong as number))).toMatchObject({ code: "MISUSE" });
  });
});

describe("containers", () => {
  test.each<[unknown, string, unknown?]>([
    [[], "[]"],
    [[1, [2, [3]], "x", null], "[1, [2, [3]], 'x', None]"],
    [[undefined, 1], "[None, 1]", [null, 1]],
    // A list that begins with a number is not mistaken for a tag of the wire.
    [[0, 16], "[0, 16]"],
    [[4, 0, "float32", []], "[4, 0, 'float32', []]"],
    [py.tuple(), "()", []],
    [py.tuple(1, py.tuple(2), [3]), "(1, (2,), [3])", [1, [2], [3]]],
    [{}, "{}"],
    [{ a: 1, b: { c: [1] } }, "{'a': 1, 'b': {'c': [1]}}"],
    [{ a: undefined }, "{'a': None}", { a: null }],
    [JSON.parse('{"__proto__": 1, "constructor": 2}'), "{'__proto__': 1, 'constructor': 2}"],
    [Object.assign(Object.create(null) as object, { a: 1 }), "{'a': 1}", { a: 1 }],
    [{ 1: "a" }, "{'1': 'a'}"],
    [new Map(), "{}", {}],
    [new Map([["a", 1]]), "{'a': 1}", { a: 1 }],
    [
      new Map<unknown, unknown>([
        [1, "a"],
        ["b", 2],
        [null, 3],
        [true, 4],
      ]),
      "{1: 4, 'b': 2, None: 3}",
      new Map<unknown, unknown>([
        [1, 4],
        ["b", 2],
        [null, 3],
      ]),
    ],
    [new Map([[py.tuple(1, 2), "t"]]), "{(1, 2): 't'}", new Map([[[1, 2], "t"]])],
    [new Map([[py.float(1.5), 2n ** 70n]]), `{1.5: ${2n ** 70n}}`, new Map([[1.5, 2n ** 70n]])],
    [py.bytes(Uint8Array.of(0, 255, 65)), "b'\\x00\\xffA'", Uint8Array.of(0, 255, 65)],
    [py.bytes(new Uint8Array()), "b''", new Uint8Array()],
    [[py.float(1), -0, 2n ** 64n], "[1.0, -0.0, 18446744073709551616]", [1, -0, 2n ** 64n]],
  ])("%o is %s", async (value, python, back = value) => {
    const found = await roundTrip(value);
    expect(found.python).toBe(python);
    expect(found.back).toEqual(back);
  });

  test("sets, ranges and the views of a dict come as arrays; bytearray and memoryview as bytes", async () => {
    const code = "[{1}, frozenset(), range(3), {'a': 1}.keys(), {'a': 1}.values(), {'a': 1}.items()]";
    expect(await py.js(builtins.eval(code))).toEqual([[1], [], [0, 1, 2], ["a"], [1], [["a", 1]]]);
    expect(await py.js(builtins.eval("[bytearray(b'ab'), memoryview(b'cd')]"))).toEqual([
      Uint8Array.of(97, 98),
      Uint8Array.of(99, 100),
    ]);
  });

  test("bytes come as a Uint8Array of their own", async () => {
    const back = (await py.js(identity(py.bytes(Uint8Array.of(1, 2, 3))))) as Uint8Array;
    expect(Object.getPrototypeOf(back)).toBe(Uint8Array.prototype);
  });

  test("references stand in containers and keywords for the objects themselves", async () => {
    const list = builtins.list([1]);
    const same = builtins.eval("lambda x, y, z: x is y[0] and x is z['k'][0]");
    expect(await same(list, [list], kw({ z: { k: py.tuple(list) } }))).toBe(true);
  });

  test.each<[unknown, string]>([
    [py.slice(), "slice(None, None, None)"],
    [py.slice(1), "slice(1, None, None)"],
    [py.slice(null, -1, 2), "slice(None, -1, 2)"],
    [py.tuple(py.slice(0, 3), 1), "(slice(0, 3, None), 1)"],
  ])("%o is %s", async (value, python) => {
    expect(await py.repr(identity(value))).toBe(python);
  });

  test("what has no JavaScript counterpart is an error that names its place", async () => {
    const error = await caught(() => py.js(builtins.eval("{'a': [1, object()]}")));
    expect(error).toMatchObject({ code: "PYTHON", pyType: "TypeError" });
    expect(error.message).toContain("value['a'][1] is a builtins.object");
    expect((await caught(() => py.js(identity(py.slice(1))))).message).toContain("value is a builtins.slice");
  });

  test("a list that contains itself is an error, on either side, and breaks nothing", async () => {
    const list = builtins.list();
    list.append(list);
    expect(await caught(() => py.js(list))).toMatchObject({
      code: "LIMIT",
      message: expect.stringMatching(
        /is nested 65 deep \(or contains itself\), the limit is 64.*\(.*values\.test\.ts:\d+\)/,
      ),
    });
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    for (const wrong of [cyclic, loop, new Map([["a", cyclic]])])
      expect(await caught(() => identity(wrong))).toMatchObject({
        code: "LIMIT",
        message: expect.stringContaining("contains itself"),
      });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("64 levels of nesting are sent and given back, 65 are refused", async () => {
    const nested = (levels: number): unknown[] => (levels === 1 ? [1.5, 2n ** 70n] : [nested(levels - 1)]);
    expect((await roundTrip(nested(64))).back).toEqual(nested(64));
    expect(await caught(() => identity(nested(65)))).toMatchObject({ code: "LIMIT" });
  });

  test("hundreds of thousands of items", async () => {
    const items = Array.from({ length: 300_000 }, (_, i) => i);
    const { back } = (await py.js(identity({ back: items }))) as { back: number[] };
    expect(back).toHaveLength(300_000);
    expect(back.every((item, i) => item === i)).toBe(true);
  });

  test("settled values of subclasses: py.js gives the plain value", async () => {
    expect(await py.js(worker.import("signal").SIGINT)).toBe(2);
    expect(await py.js(numpy.float64(1.5))).toBe(1.5);
    expect(await py.js(torch.Size([1, 2]))).toEqual([1, 2]);
    expect(await py.js(worker.import("collections").OrderedDict({ a: 1 }))).toEqual({ a: 1 });
  });
});

describe("arrays", () => {
  const bits = ({ data }: NDArray): string =>
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex");

  const arrays: [NDArray, string][] = [
    [{ dtype: "float32", shape: [2, 3], data: Float32Array.of(1, -0, 0.1, Infinity, -Infinity, 1e-45) }, "float32"],
    [{ dtype: "float64", shape: [3], data: Float64Array.of(5e-324, Number.MAX_VALUE, -0) }, "float64"],
    [{ dtype: "int64", shape: [2, 1], data: BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n) }, "int64"],
    [{ dtype: "int32", shape: [1, 2], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) }, "int32"],
    [{ dtype: "uint8", shape: [2, 2], data: Uint8Array.of(0, 1, 128, 255) }, "uint8"],
    [{ dtype: "bool", shape: [3], data: Uint8Array.of(0, 1, 1) }, "bool"],
    [{ dtype: "float32", shape: [0], data: new Float32Array() }, "float32"],
    [{ dtype: "int64", shape: [2, 0, 3], data: new BigInt64Array() }, "int64"],
    [{ dtype: "bool", shape: [0, 5], data: new Uint8Array() }, "bool"],
    [{ dtype: "float64", shape: [], data: Float64Array.of(7) }, "float64"],
    [{ dtype: "bool", shape: [], data: Uint8Array.of(1) }, "bool"],
    [{ dtype: "uint8", shape: Array.from({ length: 20 }, () => 1), data: Uint8Array.of(9) }, "uint8"],
  ];

  test.each(arrays)("%o arrives as a tensor and comes back with its bits", async (array, dtype) => {
    const tensor = identity(array);
    expect(await py.str(tensor.dtype)).toBe(`torch.${dtype}`);
    expect(await py.js(tensor.shape)).toEqual(array.shape);
    expect(await tensor.is_contiguous()).toBe(true);
    for (const back of [await py.ndarray(tensor), await py.js(tensor), await py.ndarray(worker.tensor(array))]) {
      expect(back).toStrictEqual(array);
      expect(bits(back as NDArray)).toBe(bits(array));
    }
  });

  test.each(arrays)("%o comes back from NumPy too", async (array) => {
    expect(await py.ndarray(identity(array).numpy())).toStrictEqual(array);
  });

  test("NaN stays NaN", async () => {
    const { data } = await py.ndarray(identity(Float32Array.of(Number.NaN, 1)));
    expect([...data]).toEqual([Number.NaN, 1]);
  });

  test("a typed array is a tensor of one dimension", async () => {
    for (const [data, dtype] of [
      [Float32Array.of(1.5), "float32"],
      [Float64Array.of(1.5), "float64"],
      [BigInt64Array.of(1n), "int64"],
      [Int32Array.of(1), "int32"],
      [Int16Array.of(-1), "int16"],
      [Int8Array.of(-1), "int8"],
      [Uint8Array.of(1), "uint8"],
      [Uint8ClampedArray.of(300), "uint8"],
      [Buffer.of(1), "uint8"],
    ] as const) {
      const back = await py.ndarray(identity(data));
      expect([back.dtype, back.shape, [...back.data].map(Number)]).toEqual([dtype, [1], [...data].map(Number)]);
    }
  });

  test("views into a shared buffer at odd offsets send their own elements", async () => {
    const { buffer } = Uint8Array.from({ length: 64 }, (_, i) => i);
    const bytes = new Uint8Array(buffer, 3, 5);
    const doubles = new Float64Array(buffer, 8, 3).subarray(1, 2);
    const [first, second] = await Promise.all([py.ndarray(identity(bytes)), py.ndarray(identity([doubles, bytes])[0])]);
    expect(first).toEqual({ dtype: "uint8", shape: [5], data: Uint8Array.of(3, 4, 5, 6, 7) });
    expect(second).toEqual({ dtype: "float64", shape: [1], data: Float64Array.from(doubles) });
    const shared = new Int32Array(new SharedArrayBuffer(16), 4, 2).fill(5);
    expect((await py.ndarray(identity(shared))).data).toEqual(Int32Array.of(5, 5));
  });

  test("arrays after arrays of odd sizes are aligned where they are read", async () => {
    const values = [Uint8Array.of(1, 2, 3), Float64Array.of(0.5), Uint8Array.of(4), BigInt64Array.of(6n)];
    const sum = builtins.eval("lambda arrays: sum(a.sum().item() for a in arrays)");
    expect(await sum(values)).toBe(16.5);
    expect(await py.js(identity(values))).toEqual(
      values.map((data, i) => ({ dtype: ["uint8", "float64", "uint8", "int64"][i], shape: [data.length], data })),
    );
  });

  test.each<[string, number[]]>([
    ["x.t()", [0, 3, 1, 4, 2, 5]],
    ["x[:, ::2]", [0, 2, 3, 5]],
    ["x.flip(0)", [3, 4, 5, 0, 1, 2]],
    ["x[1].expand(2, 3)", [3, 4, 5, 3, 4, 5]],
    ["x[0, 1]", [1]],
    ["x.requires_grad_() * 1", [0, 1, 2, 3, 4, 5]],
    ["x.numpy().T", [0, 3, 1, 4, 2, 5]],
    ["x.numpy()[::-1]", [3, 4, 5, 0, 1, 2]],
    ["x.numpy().astype('>f4')", [0, 1, 2, 3, 4, 5]],
    ["torch.nn.Parameter(x)", [0, 1, 2, 3, 4, 5]],
  ])("py.ndarray of %s, which does not lie in memory as it reads", async (code, data) => {
    const f = builtins.eval(`lambda x, torch: ${code}`);
    const back = await py.ndarray(f(torch.arange(6).float().reshape(2, 3), torch));
    expect([...back.data]).toEqual(data);
    expect(back.data).toBeInstanceOf(Float32Array);
  });

  test("what comes back is a copy of the moment at which it was asked for", async () => {
    const x = torch.zeros(1000);
    const before = py.ndarray(x);
    x.add_(1);
    const after = py.ndarray(x);
    x.add_(1);
    expect((await before).data.every((value) => value === 0)).toBe(true);
    expect((await after).data.every((value) => value === 1)).toBe(true);
  });

  test("an array that is written to right after the call arrives as it was", async () => {
    const data = new Float32Array(2 ** 18).fill(1);
    const sent = [identity(data), worker.tensor(data), worker.tensor(data, { shape: [512, 512] })];
    sent.push(identity({ dtype: "float32", shape: [data.length], data }));
    data.fill(7);
    for (const tensor of sent) expect(await tensor.sum().item()).toBe(2 ** 18);
  });

  test("many arrays of equal sizes keep their own elements, whether or not those before them have been answered", async () => {
    const sums: Promise<unknown>[] = [];
    const kept: AnyRef[] = [];
    const expected: number[] = [];
    for (let i = 0; i < 120; i++) {
      const data = new Uint8Array(2 ** 18 + (i % 3)).fill(i);
      kept.push(identity(data));
      sums.push(py.js(kept.at(-1)!.sum().item()));
      expected.push(i * data.length);
      data.fill(255);
      if (i % 7 === 0) await Promise.resolve();
      if (i % 20 === 0) await sums.at(-1);
    }
    expect(await Promise.all(sums)).toEqual(expected);
    expect(await Promise.all(kept.map((tensor) => tensor.sum().item()))).toEqual(expected);
  });

  test.each<[string, unknown]>([
    ["Uint16Array", new Uint16Array(2)],
    ["Uint32Array", new Uint32Array(2)],
    ["BigUint64Array", new BigUint64Array(2)],
    ["DataView", new DataView(new ArrayBuffer(8))],
    ["ArrayBuffer", new ArrayBuffer(8)],
    ["SharedArrayBuffer", new SharedArrayBuffer(8)],
  ])("%s is refused by name", async (name, value) => {
    for (const wrong of [() => identity(1, value), () => worker.tensor(value as TypedArray)])
      expect(await caught(wrong)).toMatchObject({ code: "NOT_SENDABLE", message: expect.stringContaining(name) });
  });

  test.each<[string, unknown, string | RegExp]>([
    [
      "more elements than its shape",
      { dtype: "float32", shape: [2], data: new Float32Array(3) },
      "has 2 elements, data has 3",
    ],
    ["fewer", { dtype: "float32", shape: [2, 2], data: new Float32Array(3) }, "has 4 elements, data has 3"],
    ["none, of a shape without dimensions", { dtype: "uint8", shape: [], data: new Uint8Array() }, "has 1 elements"],
    ["another element type", { dtype: "float32", shape: [2], data: new Float64Array(2) }, "not in a Float64Array"],
    ["float32 in bytes", { dtype: "float32", shape: [2], data: new Uint8Array(2) }, "not in a Uint8Array"],
    ["a negative dimension", { dtype: "float32", shape: [-1, -2], data: new Float32Array(2) }, "whole numbers"],
    ["a broken dimension", { dtype: "float32", shape: [0.5, 4], data: new Float32Array(2) }, "whole numbers"],
    ["a dimension that is text", { dtype: "float32", shape: ["2"], data: new Float32Array(2) }, "whole numbers"],
  ])("an array that lies is refused: %s", async (_name, array, message) => {
    for (const wrong of [() => identity(array), () => worker.tensor(array as NDArray)])
      expect(await caught(wrong)).toMatchObject({
        code: "NOT_SENDABLE",
        message: expect.stringMatching(message),
      });
  });

  test("an object that only looks like an array is a dict", async () => {
    expect((await roundTrip({ dtype: "float32", shape: [1], data: [1] })).python).toBe(
      "{'dtype': 'float32', 'shape': [1], 'data': [1]}",
    );
  });

  test("py.ndarray of what is no array, and of a sparse tensor, is Python's error", async () => {
    expect(await caught(() => py.ndarray(builtins.list([1])))).toMatchObject({ code: "PYTHON" });
    expect(await caught(() => py.ndarray(torch.zeros(2, 2).to_sparse()))).toMatchObject({ code: "PYTHON" });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("worker.tensor of nested numbers is float32, of booleans bool; dtype and shape can be told", async () => {
    const cases: [AnyRef, string, number[]][] = [
      [worker.tensor([[1, 2, 3]]) as unknown as AnyRef, "torch.float32", [1, 3]],
      [worker.tensor(5) as unknown as AnyRef, "torch.float32", []],
      [worker.tensor([]) as unknown as AnyRef, "torch.float32", [0]],
      [worker.tensor([true, false]) as unknown as AnyRef, "torch.bool", [2]],
      [worker.tensor([1, 2], { dtype: "int64" }) as unknown as AnyRef, "torch.int64", [2]],
      [worker.tensor([1, 2, 3, 4], { shape: [2, 2] }) as unknown as AnyRef, "torch.float32", [2, 2]],
      [worker.tensor(Uint8Array.of(0, 1), { dtype: "bool" }) as unknown as AnyRef, "torch.bool", [2]],
      [worker.tensor(Float32Array.of(1, 2), { shape: [2, 1] }) as unknown as AnyRef, "torch.float32", [2, 1]],
    ];
    for (const [tensor, dtype, shape] of cases) {
      expect(await py.str(tensor.dtype)).toBe(dtype);
      expect(await py.js(tensor.shape)).toEqual(shape);
    }
    expect((await py.ndarray(cases[6]![0])).data).toEqual(Uint8Array.of(0, 1));
    expect(await caught(() => worker.tensor(Float32Array.of(1), { dtype: "int64" }))).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining(".to(torch.int64)"),
    });
  });
});

describe("what another realm has made", () => {
  const elsewhere = (code: string): unknown => runInNewContext(`(${code})`, { SharedArrayBuffer, structuredClone });

  test.each<[string, string]>([
    ["[1, [2, null]]", "[1, [2, None]]"],
    ["{ a: { b: [1] } }", "{'a': {'b': [1]}}"],
    ["Object.create(null, { a: { value: 1, enumerable: true } })", "{'a': 1}"],
    ["new Map([['a', new Map([[1, 2]])]])", "{'a': {1: 2}}"],
    ["Int32Array.of(1, 2)", "tensor([1, 2], dtype=torch.int32)"],
    ["new Float32Array([0, 1, 2]).subarray(1)", "tensor([1., 2.])"],
    ["BigInt64Array.of(5n)", "tensor([5])"],
    ["Uint8ClampedArray.of(300)", "tensor([255], dtype=torch.uint8)"],
    ["new Float64Array(new SharedArrayBuffer(8))", "tensor([0.], dtype=torch.float64)"],
    ["{ dtype: 'float32', shape: [1, 2], data: Float32Array.of(1, 2) }", "tensor([[1., 2.]])"],
    ["{ dtype: 'bool', shape: [2], data: Uint8Array.of(0, 1) }", "tensor([False,  True])"],
    ["structuredClone({ x: Float32Array.of(1), y: new Map([[1, 'a']]) })", "{'x': tensor([1.]), 'y': {1: 'a'}}"],
  ])("%s is %s", async (code, python) => {
    expect(await py.repr(identity(elsewhere(code)))).toBe(python);
  });

  test("arrays are worker.tensor's too, and toNDArray's", async () => {
    expect(await py.repr(worker.tensor(elsewhere("Float32Array.of(1, 2)") as TypedArray))).toBe("tensor([1., 2.])");
    const widened = worker.tensor(elsewhere("Int32Array.of(1)") as TypedArray, { dtype: "int64" });
    expect(await py.repr(widened)).toBe("tensor([1])");
    expect(await py.repr(worker.tensor(elsewhere("[[1, 2]]") as number[][]))).toBe("tensor([[1., 2.]])");
    const rows = toNDArray(elsewhere("[Float64Array.of(1, 2), Float64Array.of(3, 4)]") as number[][]);
    expect(rows).toEqual({ dtype: "float64", shape: [2, 2], data: Float64Array.of(1, 2, 3, 4) });
  });

  test("bytes are py.bytes's too, and arguments by name are kw's", async () => {
    const bytes = elsewhere("Uint8Array.of(0, 65)") as Uint8Array;
    expect(await py.repr(identity(py.bytes(bytes)))).toBe("b'\\x00A'");
    expect(await py.js(builtins.dict(kw(elsewhere("{ a: 1 }") as { a: number })))).toEqual({ a: 1 });
  });

  test.each<[string, string]>([
    ["Promise.resolve(1)", "a Promise has no value yet; await it first"],
    ["new Date(0)", "a Date has no counterpart"],
    ["new Set()", "a Set has no counterpart"],
    ["new (class Thing {})()", "a Thing has no counterpart"],
    ["new DataView(new ArrayBuffer(1))", "a DataView has no dtype here"],
    ["new Uint32Array(1)", "a Uint32Array has no dtype here: give BigInt64Array.from(x, BigInt)"],
    ["new Error('x')", "a Error has no counterpart"],
    [
      "{ a: { constructor: 1, x: Object.assign(new (class Thing {})(), { constructor: 2 }) } }",
      "args[0].a.x: a object has no counterpart",
    ],
  ])("%s is refused as its like of here is", async (code, message) => {
    const error = await caught(() => identity(elsewhere(code)));
    expect(error).toMatchObject({ code: "NOT_SENDABLE", message: expect.stringContaining(message) });
  });
});

describe("subclasses of JavaScript's own", () => {
  test("are sent by what they hold, whatever they make of their methods", async () => {
    class Rows extends Array<number> {
      constructor(from: Iterable<number>) {
        super();
        for (const each of from) super.push(each);
      }
      override map(): never {
        throw new Error("map was asked");
      }
    }
    class Names extends Map<string, number> {
      override entries(): never {
        throw new Error("entries was asked");
      }
      override [Symbol.iterator](): never {
        throw new Error("the iterator was asked");
      }
    }
    class Row extends Float32Array {
      override get [Symbol.toStringTag](): "Float32Array" {
        throw new Error("the tag was asked");
      }
    }
    const names = new Names();
    names.set("a", 1);
    expect(await py.repr(identity([new Rows([1, 2]), names]))).toBe("[[1, 2], {'a': 1}]");
    const holes: unknown[] = [];
    holes[1] = 1;
    expect(await py.repr(identity(holes))).toBe("[None, 1]");
    expect(await py.repr(worker.tensor({ dtype: "float32", shape: [1], data: Row.of(1) }))).toBe("tensor([1.])");
    expect(await py.repr(identity(Row.of(1)))).toBe("tensor([1.])");
  });

  test("bytes are copied when they are given", async () => {
    const bytes = Uint8Array.of(1, 2);
    const there = identity(py.bytes(bytes));
    bytes.fill(0);
    expect(await py.js(there)).toEqual(Uint8Array.of(1, 2));
    expect(await caught(() => py.bytes("text" as never))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("text is no Uint8Array; give one over its bytes"),
    });
  });
});

describe("arrays at the edge", () => {
  /** As Node 20's types do not know it. */
  const resizable = (bytes: number): ArrayBuffer & { resize(bytes: number): void } =>
    Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: bytes }]) as ReturnType<typeof resizable>;

  const gone: [string, () => TypedArray][] = [
    [
      "that was transferred",
      () => {
        const data = new Float32Array(2);
        structuredClone(data, { transfer: [data.buffer] });
        return data;
      },
    ],
    [
      "past the end of a buffer that was made smaller",
      () => {
        const buffer = resizable(16);
        const data = new Float32Array(buffer, 8, 2);
        buffer.resize(12);
        return data;
      },
    ],
    [
      "of no elements, in a buffer that was made smaller",
      () => {
        const buffer = resizable(16);
        const data = new Float32Array(buffer, 16, 0);
        buffer.resize(0);
        return data;
      },
    ],
  ];

  test.each(gone)("an array %s is refused, wherever it goes", async (_, make) => {
    const array = (): NDArray => ({ dtype: "float32", shape: [2], data: make() });
    const empty = (): NDArray => ({ dtype: "float32", shape: [0], data: make() });
    for (const wrong of [
      () => identity(make()),
      () => identity([1, { x: array() }]),
      () => identity(empty()),
      () => worker.tensor(make()),
      () => worker.tensor(array()),
      () => lend(array()),
    ])
      expect(await caught(wrong)).toMatchObject({
        code: "NOT_SENDABLE",
        message: expect.stringMatching(/: its memory is gone: the ArrayBuffer was transferred, or made smaller/),
      });
    for (const wrong of [() => toNDArray(make()), () => toNDArray(array()), () => toNDArray([make(), make()] as never)])
      expect(await caught(wrong)).toMatchObject({
        code: "BAD_DATA",
        message: expect.stringContaining("memory is gone"),
      });
    expect(await identity(1)).toBe(1);
  });

  test("py.bytes of what was transferred is refused", async () => {
    const bytes = new Uint8Array(2);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    expect((await caught(() => identity(py.bytes(bytes)))).message).toContain("its memory is gone");
  });

  test("what can be resized is sent as it is, and not lent", async () => {
    const buffer = resizable(16);
    const tracking = new Float32Array(buffer);
    tracking.set([1, 2, 3, 4]);
    buffer.resize(8);
    expect(await py.js(identity(tracking).tolist())).toEqual([1, 2]);
    expect(await caught(() => lend({ dtype: "float32", shape: [2], data: tracking }))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("can be resized"),
    });
  });

  test("dimensions past 32 bits, of an array without elements, arrive as whole numbers and come back", async () => {
    const array = { dtype: "float32", shape: [0, 2 ** 33, 2 ** 20], data: new Float32Array() } as const;
    expect(await py.js(identity(array).shape)).toEqual(array.shape);
    expect(await py.ndarray(identity(array))).toEqual(array);
    // Past what a shape may be there, or a number here.
    const endless = { ...array, shape: [0, ...Array.from({ length: 40 }, () => 2 ** 52)] };
    expect(await caught(() => py.js(identity(endless)))).toMatchObject({ message: expect.stringContaining("64 bits") });
    expect(await caught(() => py.ndarray(torch.empty(0, 2n ** 53n)))).toMatchObject({
      pyType: "TypeError",
      message: expect.stringContaining("JavaScript's numbers cannot tell"),
    });
    expect(await identity(1)).toBe(1);
  });

  test("a count past 32 bits is a whole number wherever it stands", async () => {
    const far = 2 ** 40 + 1;
    expect(await py.repr(identity([far, -far, { far }, py.slice(far, null, -far)]))).toBe(
      `[${far}, -${far}, {'far': ${far}}, slice(${far}, None, -${far})]`,
    );
    expect(await py.at(builtins.range(2 * far), far)).toBe(far);
  });
});

describe("what cannot be sent", () => {
  class Thing {
    field = 1;
  }

  test.each<[string, unknown[], string]>([
    ["a class in an object", [0, { transform: Thing }], "args[1].transform"],
    ["a class", [Thing], "args[0]"],
    ["a symbol in keywords", [kw({ weights: Symbol("x") })], "kw.weights"],
    ["an instance in an array in keywords", [1, kw({ a: { b: [0, new Thing()] } })], "kw.a.b[1]"],
    ["a Promise", [[Promise.resolve(1)]], "args[0][0]"],
    ["a Date", [{ "not a name": new Date(0) }], 'args[0]["not a name"]'],
    ["a Set", [py.tuple(1, new Set())], "args[0][1]"],
    ["a RegExp", [new Map([[1, /x/]])], "args[0][1]"],
    ["a symbol as a key", [new Map([[Symbol("x"), 1]])], "a key of args[0]"],
    ["an Error", [new Error("x")], "args[0]"],
  ])("%s: refused at once with its path, nothing is queued, the lane stays open", async (_name, args, path) => {
    let error: { code: string; message: string } | undefined;
    const queued = await operationsOf(worker, () => {
      try {
        identity(...args);
      } catch (thrown) {
        error = thrown as typeof error;
      }
    });
    expect(queued).toBe(0);
    expect(error).toMatchObject({ code: "NOT_SENDABLE", message: expect.stringContaining(`${path}: `) });
    expect(await identity(1)).toBe(1);
  });

  test("an assignment, an index and an item say what they are", async () => {
    const space = await worker.import("types").SimpleNamespace();
    expect((await caught(() => (space.hook = Thing))).message).toMatch(/^value of \.hook: /);
    expect((await caught(() => py.at(space, new Date(0)))).message).toMatch(/^index: /);
    expect((await caught(() => (space[0] = Symbol("x")))).message).toMatch(/^value: /);
    expect((await caught(() => py.setAt(space, { a: Symbol("x") }, 1))).message).toMatch(/^index\.a: /);
  });

  test("arrays in an operation that was refused do not travel with the next one", async () => {
    const big = new Float32Array(1000);
    expect((await caught(() => identity(big, big, Symbol("no")))).code).toBe("NOT_SENDABLE");
    expect(await py.ndarray(identity(Float32Array.of(1, 2)))).toEqual({
      dtype: "float32",
      shape: [2],
      data: Float32Array.of(1, 2),
    });
  });

  test("a method whose arguments were refused can be called again", async () => {
    const items = builtins.list();
    const add = items.append;
    expect((await caught(() => add(Symbol("no")))).code).toBe("NOT_SENDABLE");
    add(1);
    expect(await py.js(items)).toEqual([1]);
  });

  test("too many arrays in one operation", async () => {
    const many = Array.from({ length: 2000 }, () => new Uint8Array(1));
    expect(await caught(() => identity(many))).toMatchObject({
      code: "LIMIT",
      message: expect.stringMatching(/arrays/),
    });
    expect(await py.len(identity(many.slice(0, 200)))).toBe(200);
  });

  test("more dimensions than there can be", async () => {
    const array: NDArray = { dtype: "uint8", shape: Array.from({ length: 65 }, () => 1), data: Uint8Array.of(1) };
    expect(await caught(() => identity(array))).toMatchObject({ code: "LIMIT" });
    expect(await identity({ ...array, shape: array.shape.slice(1) }).dim()).toBe(64);
  });
});
