import { describe, expect, test } from "vitest";
import { toNDArray, type AnyArray } from "../../../client/data/arrays.ts";
import { caught } from "../../observed.ts";

describe("plain numbers", () => {
  test.each<[unknown, unknown]>([
    [5, { dtype: "float32", shape: [], data: Float32Array.of(5) }],
    [[], { dtype: "float32", shape: [0], data: new Float32Array() }],
    [[[], []], { dtype: "float32", shape: [2, 0], data: new Float32Array() }],
    [[1, 2.5, -0], { dtype: "float32", shape: [3], data: Float32Array.of(1, 2.5, -0) }],
    [
      [
        [[1], [2]],
        [[3], [4]],
        [[5], [6]],
      ],
      { dtype: "float32", shape: [3, 2, 1], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    ],
    [[[true], [false]], { dtype: "bool", shape: [2, 1], data: Uint8Array.of(1, 0) }],
    [[1n, -(2n ** 63n)], { dtype: "int64", shape: [2], data: BigInt64Array.of(1n, -(2n ** 63n)) }],
    [[Int32Array.of(1, 2), Int32Array.of(3, 4)], { dtype: "int32", shape: [2, 2], data: Int32Array.of(1, 2, 3, 4) }],
    [[Uint8ClampedArray.of(1), Uint8Array.of(3)], { dtype: "uint8", shape: [2, 1], data: Uint8Array.of(1, 3) }],
  ])("%o", (x, array) => {
    expect(toNDArray(x as number)).toStrictEqual(array);
  });

  test("as the dtype that is asked for", () => {
    expect(toNDArray([1, 2], { dtype: "int64" }).data).toEqual(BigInt64Array.of(1n, 2n));
    expect(toNDArray([0.1], { dtype: "float64" }).data).toEqual(Float64Array.of(0.1));
    expect(toNDArray([1, 0], { dtype: "bool" })).toEqual({ dtype: "bool", shape: [2], data: Uint8Array.of(1, 0) });
    expect(toNDArray([255], { dtype: "uint8" }).data).toEqual(Uint8Array.of(255));
  });

  const itself: unknown[] = [];
  itself.push(itself);
  test.each<[string, unknown, string, object?]>([
    ["rows of unequal length", [[1, 2], [3]], "x[1] has 1 elements, where those before it have 2"],
    [
      "deep inside",
      [
        [[1], [2]],
        [[3], [4, 5]],
      ],
      "x[1][1] has 2 elements",
    ],
    ["a number among lists", [[1], 2], "x[1] is 2, where a list of 1 was expected"],
    ["a list among numbers", [1, [2]], "x[1] is a list of 1, where those before it are each a number"],
    ["text among numbers", [[1, "2"]], "x[0][1] is a string, where those before it are each a number"],
    ["a hole", Array.from({ length: 2, 0: 1 }), "x[1] is undefined"],
    ["null", [[1], [null]], "x[1][0] is null"],
    ["true among numbers", [1, true], "x[1] is true"],
    ["typed arrays of unequal length", [Float32Array.of(1), Float32Array.of(1, 2)], "x[1] has 2 elements"],
    ["of two types", [Float32Array.of(1), Int32Array.of(1)], "x[1] is a Int32Array, where a Float32Array of 1"],
    ["of a type without dtype", [Uint32Array.of(1)], "x: a Uint32Array has no dtype here"],
    ["a bigint past 64 bits", [2n ** 63n], "x[0] is 9223372036854775808, which int64 cannot hold"],
    ["a list in itself", itself, "x is not an array: found a list of things that are not numbers"],
    ["300 as uint8", [300], "x[0] is 300, which uint8 cannot hold", { dtype: "uint8" }],
    ["2 as bool", [[2]], "x[0][0] is 2, which bool cannot hold", { dtype: "bool" }],
    ["1.5 as int64", [1.5], "x[0] is 1.5, which int64 cannot hold", { dtype: "int64" }],
    ["1.5 as int32", [1.5], "x[0] is 1.5, which int32 cannot hold", { dtype: "int32" }],
    ["booleans as int64", [true], "x is bool, dtype asks for int64", { dtype: "int64" }],
  ])("refuses %s with its place", (_, x, message, options) => {
    expect(() => toNDArray(x as number, { name: "x", ...options })).toThrow(
      expect.objectContaining({ code: "BAD_DATA", message: expect.stringContaining(message) }),
    );
  });
});

describe("typed arrays and arrays", () => {
  test.each([
    [Float32Array.of(1), "float32"],
    [Float64Array.of(1), "float64"],
    [Int32Array.of(1), "int32"],
    [BigInt64Array.of(1n), "int64"],
    [Uint8Array.of(1), "uint8"],
    [Uint8ClampedArray.of(1), "uint8"],
  ] as const)("%o is %s, in the same memory", (data, dtype) => {
    const array = toNDArray(data);
    expect([array.dtype, array.shape, array.data[0]]).toEqual([dtype, [1], data[0]]);
    expect(array.data.buffer).toBe(data.buffer);
  });

  test("an NDArray is itself, where it says the truth", () => {
    const array = { dtype: "bool", shape: [1], data: Uint8Array.of(1) } as const;
    expect(toNDArray(array)).toBe(array);
    expect(() => toNDArray({ ...array, shape: [2] })).toThrow(expect.objectContaining({ code: "BAD_DATA" }));
  });

  test("another dtype is not converted to", () => {
    expect(() => toNDArray(Uint8Array.of(1), { dtype: "float32" })).toThrow(
      expect.objectContaining({
        code: "BAD_DATA",
        message: expect.stringContaining("is uint8, dtype asks for float32"),
      }),
    );
  });

  test("numbers as half floats are rounded to them, as int8 must fit it, and are no complex ones", () => {
    expect(toNDArray([1, 1 / 3], { dtype: "float16" }).data).toEqual(Uint16Array.of(0x3c00, 0x3555));
    expect(toNDArray([[1], [1 / 3]], { dtype: "bfloat16" })).toEqual({
      dtype: "bfloat16",
      shape: [2, 1],
      data: Uint16Array.of(0x3f80, 0x3eab),
    });
    expect(toNDArray([-128, 127], { dtype: "int8" }).data).toEqual(Int8Array.of(-128, 127));
    expect(() => toNDArray([1, 128], { dtype: "int8" })).toThrow("the array[1] is 128, which int8 cannot hold");
    expect(() => toNDArray([1, 2], { dtype: "complex64" })).toThrow("complex64 needs pairs");
  });

  test.each([Uint16Array.of(1), Uint32Array.of(1), BigUint64Array.of(1n), new DataView(new ArrayBuffer(1))])(
    "%o has no dtype",
    (data) => {
      expect(() => toNDArray(data as never)).toThrow(
        expect.objectContaining({ code: "BAD_DATA", message: expect.stringContaining(data.constructor.name) }),
      );
    },
  );
});

describe("other libraries' arrays, by their shape", () => {
  /** As onnxruntime has it: elements behind a getter, which throws where they are on another device. */
  class OnnxTensor {
    readonly type: string;
    readonly dims: readonly number[];
    readonly location: string;
    readonly #data: unknown;

    constructor(type: string, data: unknown, dims: readonly number[], location = "cpu") {
      this.type = type;
      this.dims = dims;
      this.location = location;
      this.#data = data;
    }

    get data(): unknown {
      if (this.location !== "cpu") throw new Error("The data is not on CPU. Use getData() to download it.");
      return this.#data;
    }

    getData(): Promise<unknown> {
      return Promise.resolve(this.#data);
    }
  }

  class FlowTensor {
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly #data: Float32Array | Int32Array | Uint8Array;

    constructor(dtype: string, shape: readonly number[], data: Float32Array | Int32Array | Uint8Array) {
      this.dtype = dtype;
      this.shape = shape;
      this.#data = data;
    }

    dataSync(): Float32Array | Int32Array | Uint8Array {
      return this.#data;
    }

    data(): Promise<never> {
      return Promise.reject(new Error("dataSync is there"));
    }
  }

  test("onnxruntime and transformers.js", () => {
    expect(toNDArray({ type: "int32", dims: [1], data: Int32Array.of(1) }).shape).toEqual([1]);
    expect(toNDArray(new OnnxTensor("int64", BigInt64Array.of(1n, 2n), [2, 1]))).toEqual({
      dtype: "int64",
      shape: [2, 1],
      data: BigInt64Array.of(1n, 2n),
    });
    expect(toNDArray(new OnnxTensor("bool", Uint8Array.of(1, 0), [2]))).toMatchObject({ dtype: "bool" });
    expect(toNDArray(new OnnxTensor("float16", Uint16Array.of(0x3c00), [1]))).toMatchObject({ dtype: "float16" });
    for (const [type, data] of [
      ["uint16", Uint16Array.of(1)],
      ["string", ["a"]],
      ["float32", ["a"]],
      ["float32", Float32Array.of(1, 2)],
      ["float32", Float64Array.of(1)],
    ] as const)
      expect(() => toNDArray(new OnnxTensor(type, data, [1]))).toThrow(expect.objectContaining({ code: "BAD_DATA" }));
  });

  test("onnxruntime's on another device is waited for", async () => {
    const found = toNDArray(new OnnxTensor("float32", Float32Array.of(1), [1], "gpu-buffer"));
    expect(found).toBeInstanceOf(Promise);
    expect(await found).toEqual({ dtype: "float32", shape: [1], data: Float32Array.of(1) });
  });

  test("TensorFlow.js", () => {
    expect(toNDArray(new FlowTensor("float32", [1, 2], Float32Array.of(1, 2)))).toEqual({
      dtype: "float32",
      shape: [1, 2],
      data: Float32Array.of(1, 2),
    });
    expect(toNDArray(new FlowTensor("bool", [], Uint8Array.of(1)))).toMatchObject({ dtype: "bool", shape: [] });
    expect(() => toNDArray(new FlowTensor("string", [1], Uint8Array.of(1)))).toThrow("a tensor of string");
    expect(toNDArray(new FlowTensor("complex64", [1], Float32Array.of(1, 2)))).toMatchObject({ dtype: "complex64" });
  });

  test("elements that have to be waited for", async () => {
    const tensor = { dtype: "int32", shape: [2], data: async () => Int32Array.of(1, 2) };
    expect(await toNDArray(tensor)).toEqual({ dtype: "int32", shape: [2], data: Int32Array.of(1, 2) });
    expect(await caught(() => toNDArray({ ...tensor, shape: [3] }))).toMatchObject({ code: "BAD_DATA" });
    expect(await caught(() => toNDArray({ ...tensor, data: () => Promise.reject(new Error("lost")) }))).toMatchObject({
      message: "lost",
    });
  });

  test("ImageData", () => {
    const pixels = { width: 2, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 4, 5, 6, 7, 8), colorSpace: "srgb" };
    expect(toNDArray(pixels)).toStrictEqual({
      dtype: "uint8",
      shape: [1, 2, 4],
      data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    });
    expect(() => toNDArray({ ...pixels, width: 3 })).toThrow(expect.objectContaining({ code: "BAD_DATA" }));
  });

  test.each<[string, unknown]>([
    ["string", "1"],
    ["null", null],
    ["undefined", undefined],
    ["object", { a: 1 }],
    ["Map", new Map()],
    ["Promise", Promise.resolve(1)],
    ["function", () => 1],
    ["list", ["a"]],
  ])("a %s is refused by name", (name, x) => {
    expect(() => toNDArray(x as AnyArray as number)).toThrow(
      expect.objectContaining({
        code: "BAD_DATA",
        message: expect.stringMatching(new RegExp(`^the array is not an array: found a.*${name}`, "i")),
      }),
    );
  });
});
