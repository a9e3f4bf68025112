/** Every element type, from JavaScript to PyTorch and back, bit by bit. */
import { beforeAll, describe, expect, test } from "vitest";
import { kw, py, type NDArray, type Worker } from "torchwire";
import { bfloat16, float16, fromBytes, type DType, type TypedArray } from "torchwire/bridge";
import { itemSize, sizeOf, toBytes } from "../../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const halves = { float16, bfloat16 } as const;
const everyBits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
const everyHalf = (dtype: "float16" | "bfloat16"): NDArray => ({ dtype, shape: [2 ** 16], data: everyBits });

/** Values at the limits of each type. */
const held: Record<DType, TypedArray> = {
  bool: Uint8Array.of(0, 1, 1),
  uint8: Uint8Array.of(0, 128, 255),
  int8: Int8Array.of(-128, -1, 127),
  int16: Int16Array.of(-32768, -1, 32767),
  int32: Int32Array.of(-(2 ** 31), -1, 2 ** 31 - 1),
  int64: BigInt64Array.of(-(2n ** 63n), -1n, 2n ** 63n - 1n),
  float16: Uint16Array.of(0x3c00, 0x8001, 0xfc00),
  bfloat16: Uint16Array.of(0x3f80, 0x8001, 0xff80),
  float32: Float32Array.of(0.1, -0, -Infinity),
  float64: Float64Array.of(0.1, 5e-324, -Infinity),
  complex64: Float32Array.of(0.1, -0, Infinity, 1, 2, 3),
};
const cases = Object.entries(held) as [DType, TypedArray][];

describe("an element type", () => {
  test.for(cases)("%s arrives as torch's own and comes back with its bits", async ([dtype, data]) => {
    const array: NDArray = { dtype, shape: [3, 1], data };
    const there = worker.tensor(array);
    expect(await py.str(there.dtype)).toBe(`torch.${dtype}`);
    for (const back of [await py.ndarray(there), (await py.js(there)) as NDArray]) {
      expect(back).toStrictEqual(array);
      expect(toBytes(back.data)).toEqual(toBytes(data));
    }
  });

  // bfloat16 is no type of NumPy's.
  test.for(cases.filter(([dtype]) => dtype !== "bfloat16"))("%s comes from NumPy too", async ([dtype, data]) => {
    const array: NDArray = { dtype, shape: [3, 1], data };
    const there = worker.tensor(array) as unknown as AnyRef;
    expect(await py.ndarray(there.numpy())).toStrictEqual(array);
  });

  test.for(cases)("%s: torch reads the numbers that are meant", async ([dtype, data]) => {
    const list = (await py.js(
      (worker.tensor({ dtype, shape: [3], data }) as unknown as AnyRef)
        .to(py.get(torch, numberType(dtype)))
        .real.tolist(),
    )) as unknown[];
    expect(list.map(Number)).toEqual(numbers(dtype, data));
  });

  test.for(cases)("%s of no elements, of one without dimensions, and with its rows apart", async ([dtype, data]) => {
    const one = data.subarray(0, dtype === "complex64" ? 2 : 1);
    for (const array of [
      { dtype, shape: [2, 0, 3], data: data.subarray(0, 0) },
      { dtype, shape: [], data: one },
    ] as NDArray[])
      expect(await py.ndarray(worker.tensor(array))).toStrictEqual({ ...array, data: array.data.slice() });
    const there = worker.tensor({ dtype, shape: [3], data }) as unknown as AnyRef;
    const apart = await py.ndarray(py.at(there.expand(2, 3).t(), py.slice(null, null, 2)));
    expect([apart.dtype, apart.shape]).toEqual([dtype, [2, 2]]);
    const size = itemSize(dtype);
    const bytes = toBytes(data);
    const [first, last] = [bytes.subarray(0, size), bytes.subarray(2 * size)];
    expect(Buffer.from(toBytes(apart.data))).toEqual(Buffer.concat([first, first, last, last]));
  });

  test.for(cases)("%s from bytes that do not lie at a multiple of its size, as in a file", async ([dtype, data]) => {
    const file = new Uint8Array(data.byteLength + 3);
    file.set(toBytes(data), 3);
    const array = fromBytes(dtype, [3], file.subarray(3));
    expect(array.data).toEqual(data);
    expect((await py.ndarray(worker.tensor(array))).data).toEqual(data);
    expect(() => fromBytes(dtype, [4], file.subarray(3))).toThrow(`${dtype} [4] takes`);
  });

  test.for(cases)("%s in shared memory", async ([dtype, data]) => {
    const shared = new SharedArrayBuffer(data.byteLength + 16);
    const view = new (data.constructor as Uint8ArrayConstructor)(shared, 8, data.length);
    view.set(data as Uint8Array);
    const back = await py.ndarray(worker.tensor({ dtype, shape: [3], data: view }));
    expect(back.data).toEqual(data);
    expect(back.data.buffer).toBeInstanceOf(ArrayBuffer);
  });

  const numbers = (dtype: DType, data: TypedArray): number[] => {
    if (dtype === "float16" || dtype === "bfloat16") return [...halves[dtype].toFloat32(data as Uint16Array)];
    const all = [...data].map(Number);
    return dtype === "complex64" ? all.filter((_, i) => i % 2 === 0) : all;
  };
  // Python's ints have no end, and so only these are wide enough for each.
  const numberType = (dtype: DType): string =>
    dtype === "complex64" ? dtype : dtype.includes("int") || dtype === "bool" ? "int64" : "float64";
});

describe("what a tensor may be", () => {
  test("of complex numbers that are conjugated, or negated, by a mark alone", async () => {
    const z = worker.tensor(Float32Array.of(1, 2, 3, -4), { dtype: "complex64" }) as unknown as AnyRef;
    expect((await py.ndarray(z.conj())).data).toEqual(Float32Array.of(1, -2, 3, 4));
    expect(await z.conj().imag.is_neg()).toBe(true);
    expect((await py.ndarray(z.conj().imag)).data).toEqual(Float32Array.of(-2, 4));
  });

  test.each<[string, string, string]>([
    ["sparse", "torch.eye(2).to_sparse()", ".to_dense()"],
    ["quantised", "torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)", ".dequantize()"],
    ["without elements", "torch.ones(2, device='meta')", "on another device"],
    ["uint16", "torch.ones(2, dtype=torch.uint16)", ".to(torch.int32)"],
    ["uint32", "torch.ones(2, dtype=torch.uint32)", ".to(torch.int64)"],
    ["uint64", "torch.ones(2, dtype=torch.uint64)", ".view(torch.int64)"],
    ["of eight bits", "torch.ones(2).to(torch.float8_e5m2)", ".view(torch.uint8)"],
    ["complex128", "torch.ones(2, dtype=torch.complex128)", ".to(torch.complex64)"],
  ])(
    "%s: it cannot be fetched, and the error says what to do, and where it was asked for",
    async (_name, code, advice) => {
      const make = worker.import("builtins").eval(`lambda torch: ${code}`);
      const error = await caught(() => py.ndarray(make(torch)));
      expect(error).toMatchObject({ code: "PYTHON", pyType: "TypeError" });
      expect(error.message).toContain("cannot be sent; convert it first");
      expect(error.message).toContain(advice);
      expect(error.message).toContain("dtypes.test.ts:");
      expect(await torch.ones(1).sum().item()).toBe(1);
    },
  );
});

describe("worker.tensor", () => {
  const dtypeOf = (tensor: unknown): Promise<string> => py.str((tensor as AnyRef).dtype);

  test("is told by dtype what a typed array holds, where it does not tell", async () => {
    for (const [data, dtype, shape] of [
      [Uint8Array.of(1), "bool", [1]],
      [Uint16Array.of(0x3c00), "float16", [1]],
      [Uint16Array.of(0x3f80), "bfloat16", [1]],
      [Float32Array.of(1, 2), "complex64", [1]],
    ] as const) {
      const there = worker.tensor(data, { dtype });
      expect(await py.ndarray(there)).toStrictEqual({ dtype, shape, data });
    }
    expect(await caught(() => worker.tensor(Float32Array.of(1, 2, 3), { dtype: "complex64" }))).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining("of which each takes two"),
    });
  });

  test("widens where no number can change, and nowhere else", async () => {
    for (const [data, dtype] of [
      [Int32Array.of(-5), "int64"],
      [Uint8Array.of(255), "int16"],
      [Int8Array.of(-5), "float32"],
      [Int16Array.of(-5), "int64"],
      [Float32Array.of(0.5), "float64"],
    ] as const) {
      const back = await py.ndarray(worker.tensor(data, { dtype }));
      expect([back.dtype, Number(back.data[0])]).toEqual([dtype, data[0]]);
    }
    for (const [data, dtype, advice] of [
      [Int32Array.of(1), "float32", ".to(torch.float32)"],
      [Float32Array.of(1), "float16", "float16.from(x)"],
      [Float64Array.of(1), "bfloat16", "bfloat16.from(x)"],
      [Int8Array.of(1), "uint8", ".to(torch.uint8)"],
    ] as const)
      expect(await caught(() => worker.tensor(data, { dtype }))).toMatchObject({
        code: "NOT_SENDABLE",
        message: expect.stringContaining(advice),
      });
  });

  test("of plain numbers has the dtype that is asked for", async () => {
    for (const [dtype] of cases) expect(await dtypeOf(worker.tensor([1, 0], { dtype }))).toBe(`torch.${dtype}`);
  });

  test("takes a Float16Array of newer runtimes for its bits, and gives none back", async () => {
    class Float16Array extends Uint16Array {
      // Newer runtimes know the real class everywhere.
      override get [Symbol.toStringTag](): "Uint16Array" {
        return "Float16Array" as "Uint16Array";
      }
    }
    const data = Float16Array.of(0x3c00, 0xc000);
    const expected = { dtype: "float16", shape: [2], data: Uint16Array.of(0x3c00, 0xc000) };
    const identity = worker.import("torchwire_worker.helpers").identity;
    for (const there of [worker.tensor(data), worker.tensor({ dtype: "float16", shape: [2], data }), identity(data)])
      expect(await py.ndarray(there as object)).toStrictEqual(expected);
  });

  test.each<[string, TypedArray | Uint32Array | BigUint64Array, string]>([
    ["a Uint16Array", Uint16Array.of(1), 'say { dtype: "float16", shape, data } (or "bfloat16"), or give Int32Array'],
    ["a Uint32Array", Uint32Array.of(1), "BigInt64Array.from(x, BigInt)"],
    ["a BigUint64Array", BigUint64Array.of(1n), "BigInt64Array.from(x)"],
  ])("says what to do about %s", async (_name, data, advice) => {
    expect(await caught(() => worker.tensor(data as TypedArray))).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining(advice),
    });
  });

  test("refuses a bool that is neither 0 nor 1, and the lane stays open", async () => {
    const wrong: NDArray = { dtype: "bool", shape: [3], data: Uint8Array.of(0, 1, 2) };
    expect(await caught(() => worker.tensor(wrong))).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining("a bool is 0 or 1, and element 2 is 2"),
    });
    expect(await caught(() => worker.tensor(Uint8Array.of(255), { dtype: "bool" }))).toMatchObject({
      code: "NOT_SENDABLE",
    });
    expect(await torch.ones(2).sum().item()).toBe(2);
  });
});

describe.for(["float16", "bfloat16"] as const)("%s.from and .toFloat32", (dtype) => {
  const half = halves[dtype];
  /** Floats of every size: bits at random, ties between two neighbours, and what is just beside them. */
  const floats = ((): Float32Array => {
    const raw = new Uint32Array(400_000);
    let state = 1;
    for (let i = 0; i < raw.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      raw[i] = state;
    }
    const exact = half.toFloat32(everyBits);
    const ties = [...exact].flatMap((x, i) => {
      const middle = (x + exact[(i + 1) & 0xffff]!) / 2;
      return [middle, middle * (1 + 2 ** -22), middle * (1 - 2 ** -22)];
    });
    return Float32Array.from([
      ...new Float32Array(raw.buffer),
      ...ties,
      65504,
      65519.996,
      65520,
      3.4028235e38,
      2 ** -25,
      2 ** -134,
    ]);
  })();

  test("every one of the 65,536 is the number that torch has for it", async () => {
    const there = worker.tensor(everyHalf(dtype)) as unknown as AnyRef;
    const { data } = await py.ndarray(there.float());
    const ours = half.toFloat32(everyBits);
    expect(ours.findIndex((x, i) => !Object.is(x, data[i]))).toBe(-1);
  });

  test("every one comes back from its number", () => {
    const back = half.from(half.toFloat32(everyBits));
    const isNaN = half.toFloat32(everyBits).map(Number.isNaN as never);
    expect(everyBits.findIndex((bits, i) => isNaN[i] === 0 && back[i] !== bits)).toBe(-1);
    expect(half.toFloat32(back).findIndex((x, i) => Number.isNaN(x) !== (isNaN[i] === 1))).toBe(-1);
  });

  test("half a million float32s are rounded as torch rounds them", async () => {
    const there = worker.tensor(floats) as unknown as AnyRef;
    const { data } = await py.ndarray(there.to(py.get(torch, dtype)));
    const ours = half.from(floats);
    const wrong = ours.findIndex((bits, i) => bits !== data[i] && !Number.isNaN(floats[i]));
    expect(wrong < 0 ? "none" : `${floats[wrong]}: ${ours[wrong]}, torch ${String(data[wrong])}`).toBe("none");
    expect(half.toFloat32(ours).findIndex((x, i) => Number.isNaN(x) !== Number.isNaN(floats[i]))).toBe(-1);
  });

  test("a number is rounded once, not first to a float32", () => {
    // A little above a tie: as a float32 it would be the tie, and go down to even.
    const unit = dtype === "float16" ? 2 ** -10 : 2 ** -7;
    const above = 1 + unit / 2 + 2 ** -40;
    expect(Math.fround(above)).toBe(1 + unit / 2);
    expect(half.toFloat32(half.from([above, 1 + unit / 2, -above]))).toEqual(Float32Array.of(1 + unit, 1, -1 - unit));
  });

  test("an array of them has the shape that is said, and its own sum", async () => {
    const data = half.from(Array.from({ length: 6 }, (_, i) => i / 2));
    const there = worker.tensor({ dtype, shape: [2, 3], data }) as unknown as AnyRef;
    expect(await py.js(there.sum(kw({ dim: 1 })).tolist())).toEqual([1.5, 6]);
    expect(sizeOf([2, 3])).toBe(data.length);
  });
});
