/** The learner's view of data. */
import type { NDArray, TypedArray } from "../../bridge/values/ndarray.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import type { EncodedImage } from "./encoded-image.ts";
import type { ArrayList } from "./list.ts";

/** An array to send, a list of arrays of different shapes, or a reference to something in the worker. */
export type Values = NDArray | ArrayList | PyObject;

/**
 * One input, several by position, or several by name: `model(x)`, `model(a, b)`, `model(kw({ a, b }))`. Each of several
 * may hold several: the model gets a list or a dict there, nested alike.
 */
export type Inputs = Values | readonly Inputs[] | { readonly [name: string]: Inputs };

/** Inputs and targets of one step. The first axis of each, or the length of a list, counts the samples. */
export interface Batch {
  readonly xs: Inputs;
  readonly ys: Inputs;
  /** The number of samples, where first axes do not count them: the nodes of several graphs in one array. */
  readonly size?: number;
}

/** A batch or a pair. In the worker it is a list or tuple of two, as torch.utils.data.DataLoader gives it. */
export type BatchLike = Batch | readonly [xs: Inputs, ys: Inputs] | PyObject;

/** Data gives the same batches again each time it is iterated. */
export type Data = (Iterable<BatchLike> | AsyncIterable<BatchLike>) & {
  /** The number of batches in one pass, where it is known. */
  readonly length?: number;
};

/** One sample. Its arrays have no batch axis. */
export type Sample =
  | Batch
  | readonly [x: SampleValue, y: SampleValue]
  | { readonly xs: SampleValue; readonly ys: SampleValue };
export type SampleValue =
  | NDArray
  | EncodedImage
  | TypedArray
  | number
  | boolean
  | readonly SampleValue[]
  | { readonly [name: string]: SampleValue };

/**
 * Samples by index, 0 to `length - 1`. An index gives the same sample each time. A sample may be anything where
 * `collate` is a function.
 */
export interface Dataset<S = Sample> {
  readonly length: number;
  get(index: number): S | Promise<S>;
}
