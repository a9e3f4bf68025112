/** Inference: batched, changing nothing, and safe while a training goes on. */
import { TorchwireError } from "../bridge/errors.ts";
import { isNDArray, sizeOf, itemSize, toBytes, fromBytes, type NDArray } from "../bridge/ndarray.ts";
import { py } from "../bridge/py.ts";
import type { AnyRef, PyObject } from "../bridge/types/core.ts";
import { workerOf } from "../bridge/worker.ts";
import { toTorch } from "./convert.ts";
import { isReference, mapInputs, toBatch } from "./data/batch.ts";
import type { Data, Inputs } from "./data/types.ts";
import { rootOf } from "./failures.ts";
import type { Format } from "./formats/index.ts";
import { described } from "./keywords.ts";
import { forward } from "./phases.ts";
import { traced } from "../bridge/site.ts";

export interface PredictOptions {
  /** Samples in a batch, where `data` is one array. Default 64. */
  readonly batchSize?: number;
  /** How the inputs lie in memory, as in a learner. */
  readonly input?: Format;
  /** Default: the worker's device. */
  readonly device?: string;
}

export interface ClassifyOptions extends PredictOptions {
  /** Names of the classes, by index. Default: the indices themselves. */
  readonly classes?: readonly string[];
  /** How many of the likeliest classes `top` has. Default 1. */
  readonly topK?: number;
}

/** One class that a sample may be of. */
export interface Candidate {
  readonly label: string;
  readonly index: number;
  /** Softmax of the scores: 0 to 1, all classes together 1. */
  readonly probability: number;
  /** The model's output itself. */
  readonly score: number;
}

/** What one sample is: the likeliest class, and the `topK` likeliest, that one first. */
export interface Prediction extends Candidate {
  readonly top: readonly Candidate[];
  /** Of all classes, by index. */
  readonly scores: Float32Array;
  readonly probabilities: Float32Array;
}

/** Samples: an array whose first axis counts them, several inputs of that kind, or data whose targets, if it has any, are not looked at. */
export type Samples = Inputs | Data;

const AHEAD = 3;

/** The outputs of `model`, one array over all samples, in float32. Runs in eval and inference mode, with a fork of the random numbers. */
export function outputs(model: PyObject, samples: Samples, options: PredictOptions = {}): Promise<NDArray> {
  return traced("predict", async () => {
    const chunks: NDArray[] = [];
    for await (const chunk of run(model as AnyRef, samples, options, (out) => [py.ndarray(out.float())]))
      chunks.push(chunk[0]!);
    return joined(chunks);
  });
}

/**
 * The classes that `model` finds for each sample, from outputs of shape [samples, classes], as logits.
 *
 * Throws MISUSE where the outputs have another shape, or not as many columns as `classes` has names.
 */
export function classify(model: PyObject, samples: Samples, options: ClassifyOptions = {}): Promise<Prediction[]> {
  return traced("predict", async () => {
    const { classes, topK = 1 } = options;
    if (!Number.isSafeInteger(topK) || topK < 1)
      throw new TorchwireError("MISUSE", `predict: topK must be a whole number from 1, not ${String(topK)}`);
    const predictions: Prediction[] = [];
    const both = (out: AnyRef): Promise<NDArray>[] => {
      const scores = out.float();
      return [py.ndarray(scores), py.ndarray(scores.softmax(-1))];
    };
    for await (const [scores, probabilities] of run(model as AnyRef, samples, options, both)) {
      const [rows, columns, ...rest] = scores!.shape;
      if (columns === undefined || rest.length > 0)
        throw new TorchwireError(
          "MISUSE",
          `predict: the model gives outputs of shape [${scores!.shape.join(", ")}], which are no scores of classes [samples, classes]; leave out topK and classes to have the outputs as they are`,
        );
      if (classes !== undefined && classes.length !== columns)
        throw new TorchwireError(
          "MISUSE",
          `predict: the model has ${columns} outputs, and classes has ${classes.length} names`,
        );
      for (let row = 0; row < rows!; row++) {
        const cut = ({ data }: NDArray): Float32Array =>
          (data as Float32Array).slice(row * columns, (row + 1) * columns);
        predictions.push(predictionOf(cut(scores!), cut(probabilities!), classes, Math.min(topK, columns)));
      }
    }
    return predictions;
  });
}

function predictionOf(
  scores: Float32Array,
  probabilities: Float32Array,
  classes: readonly string[] | undefined,
  topK: number,
): Prediction {
  const order = Array.from(scores.keys()).toSorted((a, b) => scores[b]! - scores[a]! || a - b);
  const top = order.slice(0, topK).map((index): Candidate => {
    return {
      label: classes?.[index] ?? String(index),
      index,
      probability: probabilities[index]!,
      score: scores[index]!,
    };
  });
  return { ...top[0]!, top, scores, probabilities };
}

/** `ask` of the outputs of each batch, in order; some batches are under way at any time. */
async function* run(
  model: AnyRef,
  samples: Samples,
  { batchSize = 64, input, device }: PredictOptions,
  ask: (out: AnyRef) => Promise<NDArray>[],
): AsyncGenerator<NDArray[]> {
  const worker = workerOf(model);
  if (worker === undefined) throw new TorchwireError("MISUSE", "predict: the model is not a reference");
  if (!Number.isSafeInteger(batchSize) || batchSize < 1)
    throw new TorchwireError("MISUSE", `predict: batchSize must be a whole number from 1, not ${String(batchSize)}`);
  if (!isReference(samples) && (typeof samples !== "object" || samples === null))
    throw new TorchwireError(
      "MISUSE",
      `predict: the samples are ${described(samples)}; give an array { dtype, shape, data }, a reference to a tensor, or data`,
    );
  const how = { worker, device: device ?? worker.device, format: input };
  const send = (xs: Inputs): Promise<NDArray[]> =>
    // A lane of its own: what fails here stops nothing else, and is not stopped by what failed before.
    worker.lane(() =>
      worker.context({ mode: "inference", eval: [model], rng: "fork" }, () =>
        worker.scope(() => {
          const inputs = mapInputs(xs, "xs", (value, path) => toTorch(value, path, how)) as Inputs;
          return Promise.all(ask(forward(model, inputs)));
        }),
      ),
    );
  const waiting: Promise<NDArray[]>[] = [];
  for await (const xs of inputsOf(samples, batchSize)) {
    const sent = send(xs);
    sent.catch(() => undefined);
    waiting.push(sent);
    if (waiting.length >= AHEAD) yield await done(waiting.shift()!);
  }
  for (const one of waiting) yield await done(one);
}

/** What failed, rather than that the outputs were not made because of it. */
const done = (one: Promise<NDArray[]>): Promise<NDArray[]> =>
  one.catch((error: unknown) => {
    throw rootOf(error);
  });

async function* inputsOf(samples: Samples, batchSize: number): AsyncGenerator<Inputs> {
  if (isNDArray(samples)) yield* pieces(samples, batchSize);
  else if (isReference(samples) || isSeveralInputs(samples)) yield samples as Inputs;
  else if (Symbol.asyncIterator in samples || Symbol.iterator in samples)
    for await (const batch of samples as AsyncIterable<never>) yield isNDArray(batch) ? batch : toBatch(batch).xs;
  else yield samples;
}

/** `[a, b]` of arrays is one batch with two inputs; an array of batches is data. */
const isSeveralInputs = (samples: Samples): boolean =>
  Array.isArray(samples) && (isNDArray(samples[0]) || isReference(samples[0]));

function* pieces(array: NDArray, size: number): Generator<NDArray> {
  const [rows = 0, ...rest] = array.shape;
  if (array.shape.length === 0) throw new TorchwireError("BAD_DATA", "predict: a single number has no axis of samples");
  // A complex number takes two elements of its array.
  const row = (sizeOf(rest) * itemSize(array.dtype)) / array.data.BYTES_PER_ELEMENT;
  for (let start = 0; start < rows; start += size) {
    const end = Math.min(rows, start + size);
    yield { dtype: array.dtype, shape: [end - start, ...rest], data: array.data.subarray(start * row, end * row) };
  }
}

function joined(chunks: readonly NDArray[]): NDArray {
  const [first] = chunks;
  if (first === undefined) return { dtype: "float32", shape: [0], data: new Float32Array(0) };
  const rows = chunks.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const [, ...rest] = first.shape;
  const bytes = new Uint8Array(rows * sizeOf(rest) * itemSize(first.dtype));
  let place = 0;
  for (const { data, shape } of chunks) {
    if (shape.length === 0 || shape.slice(1).join() !== rest.join())
      throw new TorchwireError(
        "MISUSE",
        shape.length === 0
          ? "predict: the model gives a single number; its outputs must have an axis of samples"
          : `predict: the model gives outputs of shape [${rest.join(", ")}] for some samples and [${shape.slice(1).join(", ")}] for others, which make no array: predict them one batch at a time`,
      );
    bytes.set(toBytes(data), place);
    place += data.byteLength;
  }
  return fromBytes(first.dtype, [rows, ...rest], bytes);
}
