import { TorchwireError } from "../errors/errors.ts";
import { viewKind } from "../runtime/kinds.ts";

/** Element types, by NumPy's and PyTorch's names. */
export type DType =
  | "bool"
  | "uint8"
  | "int8"
  | "int16"
  | "int32"
  | "int64"
  | "float16"
  | "bfloat16"
  | "float32"
  | "float64"
  | "complex64";

export type TypedArray =
  | Uint8Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint16Array
  | Float32Array
  | Float64Array;

const arrays = {
  bool: Uint8Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  complex64: Float32Array,
} as const satisfies Record<DType, unknown>;

/**
 * An n-dimensional array in row-major (C) order. `data` has as many elements as `shape` says; with complex64, twice as
 * many.
 */
export interface NDArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /**
   * The typed array of the dtype's name; int64 has a BigInt64Array. bool has a Uint8Array of 0 and 1. The half floats
   * have a Uint16Array of their bits, on every Node (`float16.from` and `float16.toFloat32` convert). complex64 has a
   * Float32Array of real and imaginary parts in turn.
   */
  readonly data: TypedArray;
}

export const dtypes: readonly DType[] = Object.keys(arrays) as DType[];

export function isDType(name: unknown): name is DType {
  return typeof name === "string" && Object.hasOwn(arrays, name);
}

/** The same as `torch.dtype.is_floating_point`. */
export const isFloating = (dtype: DType): boolean => dtype.includes("float");

/** Bytes of one element. */
export const itemSize = (dtype: DType): number => arrays[dtype].BYTES_PER_ELEMENT * (dtype === "complex64" ? 2 : 1);

/** The number of elements of `shape`; 1 for a zero-dimensional array. */
export const sizeOf = (shape: readonly number[]): number =>
  // (Infinity times zero would be NaN.)
  shape.includes(0) ? 0 : shape.reduce((size, n) => size * n, 1);

/**
 * A typed array does not tell these by itself: `bool` looks like uint8, `complex64` like float32, bits of half floats
 * like numbers.
 */
const UNTOLD: readonly DType[] = ["bool", "float16", "bfloat16", "complex64"];

/** The dtype that a typed array has by itself; undefined where torch has no counterpart for it here. */
export function dtypeOf(data: ArrayBufferView): DType | undefined {
  const kind = viewKind(data);
  if (kind === "Uint8ClampedArray") return "uint8";
  if (isFloat16Array(data)) return "float16";
  return dtypes.find((dtype) => !UNTOLD.includes(dtype) && arrays[dtype].name === kind);
}

/** Says why `data` has no dtype by itself, and how to give it one. */
export function withoutDType(data: ArrayBufferView): string {
  const name = viewKind(data);
  if (name === "Uint16Array")
    return `a ${name} may hold numbers or the bits of half floats: say { dtype: "float16", shape, data } (or "bfloat16"), or give Int32Array.from(x)`;
  if (name === "Uint32Array" || name === "BigUint64Array")
    return `a ${name} has no dtype here: give BigInt64Array.from(x${name === "Uint32Array" ? ", BigInt" : ""}), which is int64`;
  return `a ${name} has no dtype here: give a typed array (known: ${dtypes.join(", ")})`;
}

/** Newer runtimes have a Float16Array, and their types differ. It is taken as its bits, and never given. */
function isFloat16Array(data: ArrayBufferView): boolean {
  const kind = viewKind(data);
  // (Elsewhere a Uint16Array stands in for it, and says so by its tag.)
  return (
    kind === "Float16Array" || (kind === "Uint16Array" && Reflect.get(data, Symbol.toStringTag) === "Float16Array")
  );
}

/** The same memory in the typed array that holds its dtype. */
export function asStored(data: ArrayBufferView): TypedArray {
  if (viewKind(data) === "Uint8ClampedArray") return toBytes(data);
  if (isFloat16Array(data)) return new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength / 2);
  return data as TypedArray;
}

/** The typed array that holds `dtype`, by name. */
export const holderOf = (dtype: DType): string => arrays[dtype].name;

/** Whether `data` is of the kind that holds `dtype`. */
export const holds = (dtype: DType, data: ArrayBufferView): boolean =>
  viewKind(data) === holderOf(dtype) || (dtype === "float16" && isFloat16Array(data));

/** The dtypes that hold every number of another. */
const WIDER: Partial<Record<DType, readonly DType[]>> = {
  uint8: ["int16", "int32", "int64", "float32", "float64"],
  int8: ["int16", "int32", "int64", "float32", "float64"],
  int16: ["int32", "int64", "float32", "float64"],
  int32: ["int64", "float64"],
  float32: ["float64"],
};

/** The same numbers as `dtype`; undefined where that might change them. */
export function widened({ dtype, shape, data }: NDArray, to: DType): NDArray | undefined {
  if (WIDER[dtype]?.includes(to) !== true) return undefined;
  if (to === "int64") return { dtype: to, shape, data: BigInt64Array.from(data as Int32Array, BigInt) };
  const wide = new arrays[to](data.length) as Float64Array;
  wide.set(data as Int32Array);
  return { dtype: to, shape, data: wide };
}

/**
 * Views `bytes`, little-endian and row after row, as an array of `dtype`. They are copied only where they do not lie at
 * a multiple of the element size, as a part of a file may. Throws BAD_DATA where their number does not fit `shape`.
 */
export function fromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): NDArray {
  const size = arrays[dtype].BYTES_PER_ELEMENT;
  const expected = sizeOf(shape) * itemSize(dtype);
  if (bytes.length !== expected)
    throw new TorchwireError(
      "BAD_DATA",
      `fromBytes: ${dtype} [${shape.join(", ")}] takes ${expected} bytes, there are ${bytes.length}`,
    );
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  return {
    dtype,
    shape,
    data: new arrays[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, bytes.length / size),
  };
}

/** An array of the bytes in `pieces`, one after the other. There may be more bytes than a Uint8Array can have. */
export function joined(dtype: DType, shape: readonly number[], pieces: readonly Uint8Array[]): NDArray {
  const data = new arrays[dtype]((sizeOf(shape) * itemSize(dtype)) / arrays[dtype].BYTES_PER_ELEMENT);
  let at = 0;
  for (const piece of pieces) {
    new Uint8Array(data.buffer, at, piece.length).set(piece);
    at += piece.length;
  }
  return { dtype, shape, data };
}

export function toBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** The bytes of `data` in pieces of at most `most` bytes. An empty array gives one empty piece. */
export function piecesOf(data: ArrayBufferView, most: number): Uint8Array[] {
  if (data.byteLength <= most) return [toBytes(data)];
  return Array.from({ length: Math.ceil(data.byteLength / most) }, (_, i) => {
    const length = Math.min(most, data.byteLength - i * most);
    return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset + i * most, length);
  });
}

export function isNDArray(value: unknown): value is NDArray {
  if (typeof value !== "object" || value === null) return false;
  const { dtype, shape, data } = value as Partial<NDArray>;
  return isDType(dtype) && Array.isArray(shape) && ArrayBuffer.isView(data);
}
