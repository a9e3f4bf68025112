/** torch's small value types, and what parameters of those kinds accept. */
import type { NDArray, TypedArray } from "../values/ndarray.ts";
import type {
  Int,
  Is,
  item,
  Kw,
  Maybe,
  PyBool,
  PyClass,
  PyInt,
  PyObject,
  PyStr,
  Ref,
  Scalar,
  Seq,
  Str,
} from "./core.ts";

export type TensorLike = Is<"torch.Tensor">;
/** A tensor, or a number that is broadcast. */
export type Operand = TensorLike | Scalar;
export type DTypeLike = Is<"torch.dtype">;
/** `"cpu"`, `"cuda:1"`, the index of an accelerator, or a `torch.device`. */
export type DeviceLike = Is<"torch.device"> | Str | Int;
export type LayoutLike = Is<"torch.layout">;
export type MemoryFormatLike = Is<"torch.memory_format">;
export type GeneratorLike = Is<"torch.Generator">;
/** One number for every spatial dimension, or a number for each. */
export type Extent = Int | Seq<Int>;

type Nested<T> = T | readonly Nested<T>[];
/**
 * Data that becomes a tensor: numbers, nested arrays of them, a typed array, an `NDArray`, or a reference to a tensor
 * or array.
 */
export type TensorData = Nested<Scalar | TensorLike> | TypedArray | NDArray | Seq<Scalar>;

/** A size given as numbers or as one array, and then keywords. */
export type Sized<O> = [...size: Int[]] | [...size: Int[], kw: Kw<O>] | [size: Seq<Int>, kw?: Kw<O>];
/** Dimensions given as numbers or as one array. */
export type Dims = [...dims: Int[]] | [dims: Seq<Int>];

/** The type of a tensor's elements: `torch.float32` and its like. */
export interface DType extends PyObject<{ "torch.dtype": true }> {
  readonly is_floating_point: PyBool;
  readonly is_complex: PyBool;
  readonly is_signed: PyBool;
  readonly itemsize: PyInt;
}

/** The device of a tensor. */
export interface Device extends PyObject<{ "torch.device": true; ContextManager: true }> {
  /** `"cpu"`, `"cuda"`, … */
  readonly type: PyStr;
  readonly index: Maybe<PyInt>;
}

export type DeviceClass = PyClass<Device, [device: DeviceLike] | [type: Str, index: Int]>;

export interface Layout extends PyObject<{ "torch.layout": true }> {}
export interface MemoryFormat extends PyObject<{ "torch.memory_format": true }> {}

/** A source of random numbers. */
export interface Generator extends PyObject<{ "torch.Generator": true }> {
  readonly device: Ref<Device>;
  manual_seed(seed: Int): Ref<Generator>;
  initial_seed(): PyInt;
  seed(): PyInt;
}

/** A tensor's shape. Negative indices count from the end. */
export interface Size extends PyObject<{ "torch.Size": true; tuple: true; Sequence: true; Iterable: true }> {
  readonly [item]: PyInt;
  readonly 0: PyInt;
  readonly 1: PyInt;
  readonly 2: PyInt;
  readonly 3: PyInt;
  readonly 4: PyInt;
  readonly "-1": PyInt;
  readonly "-2": PyInt;
  readonly "-3": PyInt;
  readonly [index: number]: PyInt;
  numel(): PyInt;
  [Symbol.asyncIterator](): AsyncIterator<number>;
}
