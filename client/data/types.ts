/** What data is, to a learner. */
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { PyObject } from "../../bridge/types/core.ts";

/** An array that is to be sent, or a reference to what is in the worker already. */
export type Values = NDArray | PyObject;

/** One thing, several by position, or several by name: `model(x)`, `model(a, b)`, `model(kw({ a, b }))`. */
export type Inputs = Values | readonly Values[] | { readonly [name: string]: Values };

/** Inputs and targets of one step; the first axis of each counts the samples. */
export interface Batch {
  readonly xs: Inputs;
  readonly ys: Inputs;
}

/** A batch, or a pair; in the worker, a list or tuple of two, as torch.utils.data.DataLoader gives it. */
export type BatchLike = Batch | readonly [xs: Inputs, ys: Inputs] | PyObject;

/** Whatever gives the same batches again each time it is iterated. */
export type Data = (Iterable<BatchLike> | AsyncIterable<BatchLike>) & {
  /** Batches in one pass, where that is known. */
  readonly length?: number;
};

/** One sample: its arrays have no batch axis. */
export type Sample =
  | Batch
  | readonly [x: SampleValue, y: SampleValue]
  | { readonly xs: SampleValue; readonly ys: SampleValue };
export type SampleValue = NDArray | number;

/** Samples by index, 0 to `length - 1`: the same sample for the same index each time. */
export interface Dataset {
  readonly length: number;
  get(index: number): Sample | Promise<Sample>;
}
