/** The samples of a prediction, in batches. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray, itemSize, sizeOf, type NDArray } from "../../bridge/values/ndarray.ts";
import { aside } from "../data/aside.ts";
import { isValue, toBatch } from "../data/batch.ts";
import { ArrayList } from "../data/list.ts";
import { onWorker } from "../data/on-worker.ts";
import type { Data, Inputs } from "../data/types.ts";
import { KeptBatch } from "../kept/batch.ts";
import type { Worker } from "../../bridge/worker.ts";

/** An array whose first axis counts the samples, several inputs of that kind, or data, whose targets are ignored. */
export type Samples = Inputs | Data;

/**
 * The inputs of the model, batch by batch. Only arrays are cut into batches of `batchSize`. A batch that the worker keeps
 * comes as it is: reading its inputs makes them, which belongs into the scope that uses them.
 */
export async function* inputsOf(
  samples: Samples,
  batchSize: number,
  worker: Worker,
): AsyncGenerator<Inputs | KeptBatch> {
  if (isNDArray(samples)) yield* pieces(samples, batchSize);
  else if (isList(samples)) yield* piecesOf(samples, batchSize);
  else if (isBatch(samples)) yield samples;
  else
    for await (const batch of onWorker(aside(samples), worker) as AsyncIterable<never>)
      yield isNDArray(batch) || isList(batch) || isKept(batch) ? batch : toBatch(batch).xs;
}

/** Whether `samples` are the inputs of one batch, and not data. */
export const isBatch = (samples: Samples): samples is Inputs =>
  isValue(samples) ||
  isSeveralInputs(samples) ||
  !(Symbol.asyncIterator in (samples as object) || Symbol.iterator in (samples as object));

export const isKept = (value: unknown): value is KeptBatch => value instanceof KeptBatch;

export const isList = (value: unknown): value is ArrayList => value instanceof ArrayList;

/** `[a, { b }]` of arrays is one batch with two inputs; an array of batches is data. */
const isSeveralInputs = (samples: Samples): boolean =>
  Array.isArray(samples) &&
  samples.some((one: unknown) => isValue(one) || (isPlainObject(one) && !("xs" in one) && !("ys" in one)));

function* piecesOf(samples: ArrayList, size: number): Generator<ArrayList> {
  for (let start = 0; start < samples.length; start += size) yield samples.slice(start, start + size);
}

function* pieces(array: NDArray, size: number): Generator<NDArray> {
  const [rows = 0, ...rest] = array.shape;
  if (array.shape.length === 0) throw new TorchwireError("BAD_DATA", "predict: a single number has no axis of samples");
  // A complex number has two elements in its array.
  const row = (sizeOf(rest) * itemSize(array.dtype)) / array.data.BYTES_PER_ELEMENT;
  for (let start = 0; start < rows; start += size) {
    const end = Math.min(rows, start + size);
    yield { dtype: array.dtype, shape: [end - start, ...rest], data: array.data.subarray(start * row, end * row) };
  }
}
