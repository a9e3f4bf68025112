/**
 * A format says how an array lies in JavaScript and how PyTorch needs it. A batch is sent as it lies in memory; the
 * format then changes it in the worker, by operations on references. Each format has its inverse:
 * `fromTorch(toTorch(a))` is `a`.
 */
import type { DType } from "../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";

/** The array that a format converts, and how. */
export interface FormatContext {
  readonly worker: Worker;
  /** The array's element type in JavaScript, in both directions. */
  readonly dtype: DType;
  /** The array's shape in JavaScript, where it is known. `toTorch` checks it, so that errors name it. */
  readonly shape?: readonly number[];
  /** The number of axes before those that the format describes. Default: 0; `batch` adds one. */
  readonly lead?: number;
  /** Images keep their order in memory, and PyTorch's axes are a view of it. Default: false, a contiguous copy. */
  readonly channelsLast?: boolean;
}

export interface Format {
  /** Names the format in errors. */
  readonly name: string;
  /**
   * True where it describes a whole batch, whose first axis counts the samples. Else it describes one sample, and
   * `batch` lifts it.
   */
  readonly batched: boolean;
  /** Converts from JavaScript's axes to PyTorch's, on the model's device. */
  toTorch(x: AnyRef, how: FormatContext): AnyRef;
  /** Converts back. */
  fromTorch(y: AnyRef, how: FormatContext): AnyRef;
}

/** Leaves the array as it is. */
export const same: Format = { name: "same", batched: false, toTorch: (x) => x, fromTorch: (y) => y };

/** Lifts a format by one leading axis: it then holds for each sample of a batch. */
export function batch(format: Format): Format {
  const lifted = (how: FormatContext): FormatContext => ({ ...how, lead: (how.lead ?? 0) + 1 });
  return {
    name: `batch(${format.name})`,
    batched: true,
    toTorch: (x, how) => format.toTorch(x, lifted(how)),
    fromTorch: (y, how) => format.fromTorch(y, lifted(how)),
  };
}

/** `format` for a batch: lifted unless it describes a batch already. A learner applies this to every format. */
export const ofBatch = (format: Format): Format => (format.batched ? format : batch(format));
