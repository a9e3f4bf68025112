/** The learner's view of data. */
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { PyObject } from "../../bridge/types/core.ts";

/** An array to send, or a reference to one in the worker. */
export type Values = NDArray | PyObject;

/** One input, several by position, or several by name: `model(x)`, `model(a, b)`, `model(kw({ a, b }))`. */
export type Inputs = Values | readonly Values[] | { readonly [name: string]: Values };

/** Inputs and targets of one step. The first axis of each counts the samples. */
export interface Batch {
  readonly xs: Inputs;
  readonly ys: Inputs;
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
export type SampleValue = NDArray | number;

/** Samples by index, 0 to `length - 1`. An index gives the same sample each time. */
export interface Dataset {
  readonly length: number;
  get(index: number): Sample | Promise<Sample>;
}
