import { TorchwireError } from "./errors.ts";
import { checkMemory } from "./lend.ts";

/** Element types, by NumPy's names. `bool` holds 0 and 1 in a Uint8Array. */
export type DType = "float32" | "float64" | "int64" | "int32" | "uint8" | "bool";

export type TypedArray = Float32Array | Float64Array | BigInt64Array | Int32Array | Uint8Array;

/** An n-dimensional array in row-major (C) order: `data.length` is the product of `shape`. */
export interface NDArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export const dtypes: readonly DType[] = Object.keys(arrays) as DType[];

export function isDType(name: unknown): name is DType {
  return typeof name === "string" && Object.hasOwn(arrays, name);
}

export const itemSize = (dtype: DType): number => arrays[dtype].BYTES_PER_ELEMENT;

/** The number of elements of `shape`; 1 for a zero-dimensional array. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, n) => size * n, 1);

/** The dtype that a typed array has by itself, or undefined for one that torch has no counterpart of here. */
export function dtypeOf(data: ArrayBufferView): DType | undefined {
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return "uint8";
  return dtypes.find((dtype) => dtype !== "bool" && data instanceof arrays[dtype]);
}

/** Views `bytes` as an array of `dtype`, copying only where their place in memory is not aligned. */
export function fromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): NDArray {
  const size = itemSize(dtype);
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  return {
    dtype,
    shape,
    data: new arrays[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, bytes.length / size),
  };
}

export function toBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

export function isNDArray(value: unknown): value is NDArray {
  if (typeof value !== "object" || value === null) return false;
  const { dtype, shape, data } = value as Partial<NDArray>;
  return isDType(dtype) && Array.isArray(shape) && ArrayBuffer.isView(data);
}

/** Throws NOT_SENDABLE unless `array` says the truth about itself, MISUSE where its memory was taken back. `what` names it in the error. */
export function checkNDArray(array: NDArray, what: string): void {
  const { dtype, shape, data } = array;
  const say = (text: string): never => {
    throw new TorchwireError("NOT_SENDABLE", `${what}: ${text}`);
  };
  if (!isDType(dtype)) say(`dtype is ${JSON.stringify(dtype)}; known are ${dtypes.join(", ")}`);
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) say(`shape is [${shape.join(", ")}], not whole numbers`);
  if (!(data instanceof arrays[dtype]))
    say(`dtype ${dtype} is held in a ${arrays[dtype].name}, not in a ${data.constructor.name}`);
  checkMemory(data.buffer, what);
  if (data.length !== sizeOf(shape))
    say(`shape [${shape.join(", ")}] has ${sizeOf(shape)} elements, data has ${data.length}`);
}
