/** Inference: it is batched, changes nothing, and is safe while a training goes on. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray, itemSize, sizeOf, type NDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { type Worker, workerOf } from "../../bridge/worker.ts";
import { toTorch } from "../formats/convert.ts";
import { aside } from "../data/aside.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { isValue, mapInputs, namesOf, toBatch } from "../data/batch.ts";
import { ArrayList, list } from "../data/list.ts";
import { checkPick, pickedBy, type Picked } from "../data/picked.ts";
import type { Data, Inputs } from "../data/types.ts";
import { onWorker } from "../data/on-worker.ts";
import { KeptBatch } from "../kept/batch.ts";
import { describedArray } from "../kept/described.ts";
import { rootOf } from "../loop/failures.ts";
import type { Format } from "../formats/index.ts";
import { described } from "../options/keywords.ts";
import type { Loss } from "../losses/spec.ts";
import { named, type Task } from "../metrics/options.ts";
import { forward } from "../training/forward.ts";
import type { Trainer } from "../training/trainer.ts";
import { traced } from "../../bridge/errors/site.ts";
import { joined, type Chunk, type Outputs } from "./joined.ts";
export type { Outputs } from "./joined.ts";

export interface PredictOptions {
  /** Samples in a batch, where the samples are one array. Default 64. */
  readonly batchSize?: number;
  /** How the inputs lie in memory, as in a learner. */
  readonly input?: Format;
  /** Default: the worker's device. */
  readonly device?: string;
  /**
   * Picks what to return out of the model's output, or computes it there: `(y) => y.logits`. It returns a reference, or
   * an array or a record of some, which the result has the form of. Default: a learner's `output`, or all that the
   * model gives.
   */
  readonly select?: (yhat: any) => Picked;
}

/** Options whose `select` has the type that the result follows from. */
export type SelectOptions<S extends Picked> = PredictOptions & { readonly select: (yhat: any) => S };

/** The result of a prediction whose `select` returns `S`: an array of numbers for each reference. */
export type Selected<S> = 0 extends 1 & S
  ? NDArray
  : Picked extends S
    ? Outputs
    : S extends PyObject
      ? NDArray
      : { readonly [K in keyof S]: Selected<S[K]> };

export interface ClassifyOptions extends PredictOptions {
  /** Names of the classes, by index; for a yes or no those of no and yes. Default: the indices themselves. */
  readonly classes?: readonly string[];
  /** How many of the likeliest classes `top` has. Default 1. */
  readonly topK?: number;
  /**
   * The loss that the model was trained with: it tells logits from probabilities, and classes from labels. Default: a
   * learner's own.
   */
  readonly loss?: Loss;
  /**
   * "classes": each sample has one. "labels": each output is a yes or a no by itself. Default: as the loss or the shape
   * says.
   */
  readonly task?: Task;
}

/** One class that a sample may have. */
export interface Candidate {
  readonly label: string;
  readonly index: number;
  /** The probability, from 0 to 1. The probabilities of classes add up to 1; those of labels are independent. */
  readonly probability: number;
  /** The model's output itself. A single logit z gives 0 for no and z for yes. */
  readonly score: number;
}

/** The likeliest class of one sample, and the `topK` likeliest, that one first. */
export interface Prediction extends Candidate {
  readonly top: readonly Candidate[];
  /** The scores of all classes, by index; in double precision where the model computes in it. */
  readonly scores: Float32Array | Float64Array;
  readonly probabilities: Float32Array | Float64Array;
}

/** An array whose first axis counts the samples, several inputs of that kind, or data, whose targets are ignored. */
export type Samples = Inputs | Data;

const AHEAD = 3;

/**
 * Returns the outputs of `model`, one array over all samples, in their own dtype; half floats come as float32. A model
 * with several outputs gives records (for a dict, or a dataclass) or arrays (for a list, or a tuple) of such arrays,
 * which the type argument names: `outputs<{ out: NDArray }>(…)`. Beside them, None, numbers and texts stay as they are,
 * and must be the same in all batches. With `select` only what it picks is returned. It runs in eval mode, without
 * gradients, with a fork of the random numbers.
 *
 * Throws MISUSE where batches cannot be joined along the first axis, and where `select` returns no references.
 */
export function outputs<S extends Picked>(
  model: PyObject,
  samples: Samples,
  options: SelectOptions<S>,
): Promise<Selected<S>>;
export function outputs<T extends Outputs = NDArray>(
  model: PyObject,
  samples: Samples,
  options?: PredictOptions,
): Promise<T>;
export function outputs(model: PyObject, samples: Samples, options: PredictOptions = {}): Promise<unknown> {
  return traced("predict", async () => {
    const chunks: Chunk[] = [];
    const ask = async (out: unknown, { outputs }: AnyRef, inputs: Inputs): Promise<Chunk> => {
      const asked = py.js(outputs(out));
      const listed = isList(inputs) ? inputs.length : undefined;
      return { outputs: (await asked) as Outputs, samples: rowsOf(inputs), listed };
    };
    for await (const chunk of eachBatch(model as AnyRef, samples, options, ask)) chunks.push(chunk);
    return joined(chunks);
  });
}

/** How many samples inputs have, where all of them are arrays that say the same. */
function rowsOf(xs: Inputs): number | undefined {
  const rows = namesOf(xs, "xs").map(([, value]) =>
    isNDArray(value) ? value.shape[0] : isReference(value) ? describedArray(value)?.shape[0] : undefined,
  );
  return rows.every((one) => one === rows[0]) ? rows[0] : undefined;
}

/**
 * Returns the classes that `model` finds for each sample. Outputs have the shape [samples, classes]; outputs [samples]
 * or [samples, 1] are a yes or a no, and have two classes. They are logits, unless the loss says that they are
 * probabilities.
 *
 * Throws MISUSE where the outputs have another shape, or classes another number of names; and for a loss of numbers,
 * such as `mse`.
 */
export function classify(model: PyObject, samples: Samples, options: ClassifyOptions = {}): Promise<Prediction[]> {
  return traced("predict", async () => {
    const { classes, topK = 1, loss, task } = options;
    if (!Number.isSafeInteger(topK) || topK < 1)
      throw new TorchwireError("MISUSE", `predict: topK must be a whole number from 1, not ${String(topK)}`);
    if (task !== undefined && task !== "classes" && task !== "labels")
      throw new TorchwireError("MISUSE", `predict: task is ${described(task)}; it must be "classes" or "labels"`);
    const predictions: Prediction[] = [];
    const ask = async (out: unknown, { classified }: AnyRef, _: Inputs, inputs: unknown): Promise<Classified> =>
      (await py.js(classified(out, inputs, named(loss), task ?? null))) as Classified;
    for await (const found of eachBatch(model as AnyRef, samples, options, ask)) {
      const columns = "problem" in found ? found.columns : found.scores.shape[1]!;
      if (classes !== undefined && columns !== undefined && classes.length !== columns)
        throw new TorchwireError(
          "MISUSE",
          "is_one" in found && found.is_one
            ? `predict: the model has one output, a yes or a no: classes are the names of no and of yes, and not ${classes.length}`
            : `predict: the model has ${columns} outputs, and classes has ${classes.length} names`,
        );
      if ("problem" in found || columns === undefined)
        throw new TorchwireError("MISUSE", `predict: ${(found as Problem).problem}`);
      for (let row = 0; row < found.scores.shape[0]!; row++) {
        const cut = ({ data }: NDArray): Float32Array | Float64Array =>
          (data as Float32Array).slice(row * columns, (row + 1) * columns);
        predictions.push(predictionOf(cut(found.scores), cut(found.probabilities), classes, Math.min(topK, columns)));
      }
    }
    return predictions;
  });
}

/** Predicts as a learner does: classes, where `classes` or `topK` asks for them; else the outputs. */
export function predictedBy(
  { model, input, output, loss, backend }: Pick<Trainer, "model" | "input" | "output" | "loss" | "backend">,
  samples: Samples,
  options: ClassifyOptions,
): Promise<unknown> {
  const own = { ...(input && { input }), ...(output && { select: output }), device: backend.device, loss };
  const predict = options.classes === undefined && options.topK === undefined ? outputs : classify;
  return predict(model as PyObject, samples, { ...own, ...options });
}

/** The result of python/torchwire_worker/helpers/predictions.py. */
type Classified = { readonly scores: NDArray; readonly probabilities: NDArray; readonly is_one: boolean } | Problem;

interface Problem {
  readonly problem: string;
  readonly columns?: number;
}

function predictionOf(
  scores: Float32Array | Float64Array,
  probabilities: Float32Array | Float64Array,
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

/**
 * Calls `ask` with the outputs of each batch, the worker's helpers, and the inputs as they were given and as tensors,
 * in order. Some batches are in flight at any time.
 */
async function* eachBatch<T>(
  model: AnyRef,
  samples: Samples,
  { batchSize = 64, input, device, select }: PredictOptions,
  ask: (out: unknown, helpers: AnyRef, given: Inputs, inputs: unknown) => Promise<T>,
): AsyncGenerator<T> {
  const worker = workerOf(model);
  if (worker === undefined) throw new TorchwireError("MISUSE", "predict: the model is not a reference");
  if (!Number.isSafeInteger(batchSize) || batchSize < 1)
    throw new TorchwireError("MISUSE", `predict: batchSize must be a whole number from 1, not ${String(batchSize)}`);
  if (!isReference(samples) && (typeof samples !== "object" || samples === null))
    throw new TorchwireError(
      "MISUSE",
      `predict: the samples are ${described(samples)}; give an array { dtype, shape, data }, a reference to a tensor, or data`,
    );
  checkPick("predict: select", select);
  const how = { worker, device: device ?? worker.device, format: input };
  const send = (given: Inputs | KeptBatch): Promise<T> =>
    // A lane of its own: a failure here stops nothing else, and an earlier failure does not stop this.
    worker.lane(() =>
      worker.context({ mode: "no_grad", eval: [model], rng: "fork" }, () =>
        worker.scope(() => {
          const xs = isKept(given) ? given.xs : given;
          const inputs = mapInputs(xs, "xs", (value, path) => toTorch(value, path, how)) as Inputs;
          const yhat = forward(model, inputs);
          const picked = select === undefined ? yhat : pickedBy("predict: select", select, yhat);
          return ask(picked, worker.import("torchwire_worker.helpers.predictions"), xs, inputs);
        }),
      ),
    );
  const waiting: Promise<T>[] = [];
  for await (const xs of inputsOf(samples, batchSize, worker)) {
    const sent = send(xs);
    sent.catch(() => undefined);
    waiting.push(sent);
    if (waiting.length >= AHEAD) yield await done(waiting.shift()!);
  }
  for (const one of waiting) yield await done(one);
}

/** Rejects with the failure itself, and not with the error that its outputs were never made. */
const done = <T>(one: Promise<T>): Promise<T> =>
  one.catch((error: unknown) => {
    throw rootOf(error);
  });

/** A batch that the worker keeps comes as it is: reading its inputs makes them, which belongs into the scope that uses them. */
async function* inputsOf(samples: Samples, batchSize: number, worker: Worker): AsyncGenerator<Inputs | KeptBatch> {
  if (isNDArray(samples)) yield* pieces(samples, batchSize);
  else if (isList(samples)) yield* piecesOf(samples, batchSize);
  else if (isReference(samples) || isSeveralInputs(samples)) yield samples as Inputs;
  else if (Symbol.asyncIterator in samples || Symbol.iterator in samples)
    for await (const batch of onWorker(aside(samples as Data), worker) as AsyncIterable<never>)
      yield isNDArray(batch) || isList(batch) || isKept(batch) ? batch : toBatch(batch).xs;
  else yield samples;
}

const isKept = (value: unknown): value is KeptBatch => value instanceof KeptBatch;

const isList = (value: unknown): value is ArrayList => value instanceof ArrayList;

/** `[a, { b }]` of arrays is one batch with two inputs; an array of batches is data. */
const isSeveralInputs = (samples: Samples): boolean =>
  Array.isArray(samples) &&
  samples.some((one: unknown) => isValue(one) || (isPlainObject(one) && !("xs" in one) && !("ys" in one)));

function* piecesOf(samples: ArrayList, size: number): Generator<ArrayList> {
  const { items } = samples;
  for (let start = 0; start < items.length; start += size) yield list(items.slice(start, start + size));
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
