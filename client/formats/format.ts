/**
 * How arrays lie in JavaScript, and how PyTorch wants them. A batch is sent as it lies in memory; a format is what is done
 * to it in the worker, as operations on references. Each has its inverse: `fromTorch(toTorch(a))` is `a`.
 */
import type { DType } from "../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";

/** What a format is told about the array. */
export interface FormatContext {
  readonly worker: Worker;
  /** The element type that the array has in JavaScript, in both directions. */
  readonly dtype: DType;
  /** Its shape in JavaScript, where that is known: `toTorch` checks it, so that an error can name it. */
  readonly shape?: readonly number[];
  /** How many axes come before those that the format describes. Default 0; `batch` adds one. */
  readonly lead?: number;
  /** Images keep their order in memory, and get PyTorch's axes as a view of it. Default false: they are made contiguous. */
  readonly channelsLast?: boolean;
}

export interface Format {
  /** In error messages. */
  readonly name: string;
  /** It describes a whole batch, whose first axis counts the samples. Otherwise it describes one sample, and `batch` lifts it. */
  readonly batched: boolean;
  /** From the axes of JavaScript to those of PyTorch; `x` is where the model is. */
  toTorch(x: AnyRef, how: FormatContext): AnyRef;
  /** The way back. */
  fromTorch(y: AnyRef, how: FormatContext): AnyRef;
}

/** As it is. */
export const same: Format = { name: "same", batched: false, toTorch: (x) => x, fromTorch: (y) => y };

/** Lifts a format by one leading axis: what it says of one sample holds for each of a batch. */
export function batch(format: Format): Format {
  const lifted = (how: FormatContext): FormatContext => ({ ...how, lead: (how.lead ?? 0) + 1 });
  return {
    name: `batch(${format.name})`,
    batched: true,
    toTorch: (x, how) => format.toTorch(x, lifted(how)),
    fromTorch: (y, how) => format.fromTorch(y, lifted(how)),
  };
}

/** `format` for a batch: itself where it describes one, else lifted. A learner does this with every format it is given. */
export const ofBatch = (format: Format): Format => (format.batched ? format : batch(format));
