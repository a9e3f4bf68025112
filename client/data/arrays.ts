/**
 * Turns arrays of other libraries and of plain JavaScript into ours. It knows them by their shape and needs none of
 * those libraries.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { classOf } from "../../bridge/runtime/kinds.ts";
import { isRefusedPromise } from "../../bridge/reference/refused.ts";
import { checkNDArray } from "../../bridge/values/check.ts";
import {
  asStored,
  type DType,
  dtypeOf,
  dtypes,
  isDType,
  isNDArray,
  type NDArray,
  type TypedArray,
  withoutDType,
} from "../../bridge/values/ndarray.ts";
import { fromNumbers, isNumbers, type Numbers } from "./numbers.ts";

/** A tensor of onnxruntime or transformers.js. `getData()` reads it where `location` is not "cpu". */
export interface OnnxTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
  readonly location?: string;
  getData?(): Promise<unknown>;
}

/** A tensor of TensorFlow.js. */
export interface FlowTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  dataSync(): unknown;
}

/** A tensor whose elements arrive later, as a promise. */
export interface LateTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  data(): Promise<unknown>;
}

/** A canvas's pixels: RGBA, row after row. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray | Uint8Array;
}

/** An array whose elements are here now. A tensor with `getData` is none by its type: only its `location` tells. */
export type ReadyArray =
  | NDArray
  | TypedArray
  | Uint8ClampedArray
  | Numbers
  | (OnnxTensor & { getData?: undefined })
  | FlowTensor
  | Pixels;
export type AnyArray = ReadyArray | OnnxTensor | LateTensor;

export interface ToNDArrayOptions {
  /**
   * Element type for plain numbers: float32 by default. All other arrays keep their type, and must have this one where
   * it is given.
   */
  readonly dtype?: DType;
  /** Names the array in errors: "the array" by default. */
  readonly name?: string;
}

/**
 * Makes an `NDArray` from the arrays of other libraries and of plain JavaScript:
 *
 * - Nested numbers become float32, or `dtype`; booleans become bool, and bigints int64. The innermost lists may be
 *   typed arrays of equal length, which keep their type.
 * - A typed array becomes one dimension: Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, BigInt64Array
 *   (int64), Uint8Array and Uint8ClampedArray (uint8), and Float16Array (float16) where the runtime has it.
 * - `{ type, dims, data }` is a tensor of onnxruntime or transformers.js.
 * - `{ dtype, shape, dataSync() }` is a tensor of TensorFlow.js.
 * - `{ width, height, data }` is an ImageData: uint8 of shape [height, width, 4].
 * - An `NDArray` stays as it is.
 *
 * Returns a promise only where elements arrive later: for `{ dtype, shape, data() }` without `dataSync`, and for a
 * tensor on another device. The result shares the memory of a typed array; it does not copy it.
 *
 * Throws BAD_DATA, saying where, for anything else: rows of unequal length, element types without a dtype here (uint16,
 * uint32, text, …), and a shape that does not fit its elements.
 */
export function toNDArray(x: ReadyArray, options?: ToNDArrayOptions): NDArray;
export function toNDArray(x: AnyArray, options?: ToNDArrayOptions): NDArray | Promise<NDArray>;
export function toNDArray(x: AnyArray, options: ToNDArrayOptions = {}): NDArray | Promise<NDArray> {
  const { dtype, name = "the array" } = options;
  const checked = (array: NDArray): NDArray => hasDType(array, dtype, name);
  if (isNumbers(x)) return fromNumbers(x, name, dtype);
  if (ArrayBuffer.isView(x)) return checked(fromView(x, name));
  // `isOnnx` must come before the other tests: a tensor on another device throws when its `data` is read.
  if (isOnnx(x)) {
    const read = (data: unknown): NDArray => checked(fromParts(x.type, x.dims, data, name));
    return isElsewhere(x) ? x.getData().then(read) : read(x.data);
  }
  if (isNDArray(x)) return checked(verified(x, name));
  if (isFlow(x)) return checked(fromParts(x.dtype, x.shape, x.dataSync(), name));
  if (isLate(x)) return x.data().then((data) => checked(fromParts(x.dtype, x.shape, data, name)));
  if (isPixels(x)) return checked(fromParts("uint8", [x.height, x.width, 4], x.data, name));
  return refuseArray(x, name);
}

/** Whether `toNDArray` accepts `x`. An empty list is an array; a list of anything but numbers is not. */
export function isAnyArray(x: unknown): x is AnyArray {
  return ArrayBuffer.isView(x) || isNumbers(x) || isOnnx(x) || isNDArray(x) || isFlow(x) || isLate(x) || isPixels(x);
}

/** The shape that a tensor claims before its elements arrive. */
export function shapeOf(x: OnnxTensor | LateTensor): readonly number[] {
  return "dims" in x ? x.dims : x.shape;
}

/** Whether the elements of `x` arrive later. */
export function isPending(x: AnyArray): x is OnnxTensor | LateTensor {
  return isOnnx(x) ? isElsewhere(x) : isLate(x) && !isFlow(x);
}

export function refuseArray(x: unknown, name: string): never {
  let found: string = typeof x;
  if (x === null) found = "null";
  else if (Array.isArray(x)) found = "list of things that are not numbers";
  else if (isRefusedPromise(x)) found = "Promise, which must be awaited first";
  else if (typeof x === "object") found = classOf(x);
  throw new TorchwireError(
    "BAD_DATA",
    `${name} is not an array: found a ${found}; give { dtype, shape, data }, a typed array, nested numbers, an ImageData, or a tensor of onnxruntime, transformers.js or TensorFlow.js`,
  );
}

function fromView(data: ArrayBufferView, name: string): NDArray {
  const dtype = dtypeOf(data);
  if (dtype === undefined) throw new TorchwireError("BAD_DATA", `${name}: ${withoutDType(data)}`);
  const typed = asStored(data);
  return verified({ dtype, shape: [typed.length], data: typed }, name);
}

function fromParts(type: string, dims: readonly number[], data: unknown, name: string): NDArray {
  if (!isDType(type))
    throw new TorchwireError(
      "BAD_DATA",
      `${name} is a tensor of ${type}, which has no dtype here (known: ${dtypes.join(", ")}); convert it first`,
    );
  if (!ArrayBuffer.isView(data))
    throw new TorchwireError("BAD_DATA", `${name}: the data of this ${type} tensor is not a typed array`);
  return verified({ dtype: type, shape: [...dims], data: asStored(data) }, name);
}

function verified(array: NDArray, name: string): NDArray {
  try {
    checkNDArray(array, name);
  } catch (error) {
    if (!(error instanceof TorchwireError) || error.code !== "NOT_SENDABLE") throw error;
    throw new TorchwireError("BAD_DATA", error.message, { cause: error });
  }
  return array;
}

function hasDType(array: NDArray, dtype: DType | undefined, name: string): NDArray {
  if (dtype === undefined || dtype === array.dtype) return array;
  throw new TorchwireError(
    "BAD_DATA",
    `${name} is ${array.dtype}, dtype asks for ${dtype}; only plain numbers are converted`,
  );
}

const isObject = (x: unknown): x is Readonly<Record<string, unknown>> => typeof x === "object" && x !== null;

const isOnnx = (x: unknown): x is OnnxTensor =>
  isObject(x) && typeof x["type"] === "string" && Array.isArray(x["dims"]) && "data" in x;

const isElsewhere = (x: OnnxTensor): x is OnnxTensor & { getData(): Promise<unknown> } =>
  x.location !== undefined && x.location !== "cpu" && typeof x.getData === "function";

const isFlow = (x: unknown): x is FlowTensor =>
  isObject(x) && typeof x["dtype"] === "string" && Array.isArray(x["shape"]) && typeof x["dataSync"] === "function";

const isLate = (x: unknown): x is LateTensor =>
  isObject(x) && typeof x["dtype"] === "string" && Array.isArray(x["shape"]) && typeof x["data"] === "function";

const isPixels = (x: unknown): x is Pixels =>
  isObject(x) && typeof x["width"] === "number" && typeof x["height"] === "number" && ArrayBuffer.isView(x["data"]);
