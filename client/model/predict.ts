/** Inference: it is batched, changes nothing, and is safe while a training goes on. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { toTorch } from "../formats/convert.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { mapInputs, namesOf } from "../data/batch.ts";
import { EncodedImages } from "../data/encoded.ts";
import { checkPick, pickedBy, type Picked } from "../data/picked.ts";
import type { Inputs } from "../data/types.ts";
import type { KeptBatch } from "../kept/batch.ts";
import { describedArray } from "../kept/described.ts";
import { rootOf } from "../loop/failures.ts";
import { described } from "../options/keywords.ts";
import type { Loss } from "../losses/spec.ts";
import { named, type Task } from "../metrics/options.ts";
import { forward } from "../training/forward.ts";
import type { Trainer } from "../training/trainer.ts";
import { traced } from "../../bridge/errors/site.ts";
import { isInTheOpen } from "../../bridge/log/in-the-open.ts";
import { unlessAborted } from "./abort.ts";
import type { Kind } from "./group.ts";
import { joinable } from "./joinable.ts";
import { joined, type Chunk, type Outputs } from "./joined.ts";
import type { Candidate, ClassifyOptions, Prediction, PredictOptions, Selected, SelectOptions } from "./options.ts";
import { formOf, partsOf } from "./parts.ts";
import { inputsOf, isBatch, isKept, isList, type Samples } from "./pieces.ts";
import { nameOf, Requests, waitOf } from "./together.ts";
export type { Outputs } from "./joined.ts";
export type { Samples } from "./pieces.ts";
export type { TogetherOptions } from "./together.ts";
export type { Candidate, ClassifyOptions, Prediction, PredictOptions, Selected, SelectOptions } from "./options.ts";

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
  return asked(options, async () => {
    const chunks: Chunk[] = [];
    for await (const chunk of eachBatch(model as AnyRef, samples, options, asOutputs)) chunks.push(chunk);
    return joined(chunks);
  });
}

/** Runs a prediction. Its errors name the line that asked for it. */
const asked = <T>({ signal }: PredictOptions, run: () => Promise<T>): Promise<T> =>
  traced("predict", () => unlessAborted(signal, run));

/** What is asked of the outputs of a batch, and how the answer is taken apart. */
interface Question<T> extends Pick<Kind<T>, "key" | "formOf" | "partsOf"> {
  /** It gets the outputs, the worker's helpers, and the inputs as tensors. It returns at once a value on its way. */
  readonly ask: (out: unknown, helpers: AnyRef, inputs: unknown) => Promise<unknown>;
  /** The answer, from that value and the inputs as they were given. */
  readonly answer: (value: unknown, given: Inputs) => T;
}

const asOutputs: Question<Chunk> = {
  key: "outputs",
  ask: (out, { outputs }) => py.js(outputs(out)),
  answer: (value, given) => ({
    outputs: value as Outputs,
    samples: rowsOf(given),
    // (Images become one array.)
    listed: isList(given) && !(given instanceof EncodedImages) ? given.length : undefined,
  }),
  formOf: ({ outputs }, rows) => formOf(outputs, rows),
  partsOf: ({ outputs }, rows) => partsOf(outputs, rows).map((part, i) => ({ outputs: part, samples: rows[i] })),
};

/** How many samples inputs have, where all of them are arrays that say the same. */
function rowsOf(xs: Inputs): number | undefined {
  const rows = namesOf(xs, "xs").map(([, value]) =>
    isReference(value) ? describedArray(value)?.shape[0] : isNDArray(value) ? value.shape[0] : imagesIn(value),
  );
  return rows.every((one) => one === rows[0]) ? rows[0] : undefined;
}

const imagesIn = (value: unknown): number | undefined => (value instanceof EncodedImages ? value.length : undefined);

/**
 * Returns the classes that `model` finds for each sample. Outputs have the shape [samples, classes]; outputs [samples]
 * or [samples, 1] are a yes or a no, and have two classes. They are logits, unless the loss says that they are
 * probabilities.
 *
 * Throws MISUSE where the outputs have another shape, or classes another number of names; and for a loss of numbers,
 * such as `mse`.
 */
export function classify(model: PyObject, samples: Samples, options: ClassifyOptions = {}): Promise<Prediction[]> {
  return asked(options, async () => {
    const { classes, topK = 1, loss, task } = options;
    if (!Number.isSafeInteger(topK) || topK < 1)
      throw new TorchwireError("MISUSE", `predict: topK must be a whole number from 1, not ${String(topK)}`);
    if (task !== undefined && task !== "classes" && task !== "labels")
      throw new TorchwireError("MISUSE", `predict: task is ${described(task)}; it must be "classes" or "labels"`);
    const predictions: Prediction[] = [];
    for await (const found of eachBatch(model as AnyRef, samples, options, asClasses(loss, task))) {
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

const asClasses = (loss: Loss | undefined, task: Task | undefined): Question<Classified> => ({
  key: `classes ${nameOf(loss)} ${nameOf(task)}`,
  ask: (out, { classified }, inputs) => py.js(classified(out, inputs, named(loss), task ?? null)),
  answer: (value) => value as Classified,
  formOf: (found, rows) => ("problem" in found ? undefined : formOf([found.scores, found.probabilities], rows)),
  partsOf(found, rows) {
    const { scores, probabilities, is_one } = found as Scores;
    const parts = partsOf([scores, probabilities], rows) as [NDArray, NDArray][];
    return parts.map(([scores, probabilities]) => ({ scores, probabilities, is_one }));
  },
});

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
type Classified = Scores | Problem;

interface Scores {
  readonly scores: NDArray;
  readonly probabilities: NDArray;
  readonly is_one: boolean;
}

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

/** The answers to `question` for each batch, in order. Some batches are in flight at any time. */
async function* eachBatch<T>(
  model: AnyRef,
  samples: Samples,
  { batchSize = 64, input, device, select, together, signal }: PredictOptions,
  { ask, answer, ...question }: Question<T>,
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
  const wait = waitOf(together);
  const how = { worker, device: device ?? worker.device, format: input };
  const run = async (given: Inputs | KeptBatch): Promise<T> => {
    let xs!: Inputs;
    // A lane of its own: a failure here stops nothing else, and an earlier failure does not stop this.
    const value = await worker.lane(() =>
      worker.context({ mode: "no_grad", eval: [model], rng: "fork" }, () =>
        worker.scope(() => {
          xs = isKept(given) ? given.xs : given;
          const inputs = mapInputs(xs, "xs", (value, path) => toTorch(value, path, how)) as Inputs;
          const yhat = forward(model, inputs);
          const picked = select === undefined ? yhat : pickedBy("predict: select", select, yhat);
          return ask(picked, worker.import("torchwire_worker.helpers.predictions"), inputs);
        }),
      ),
    );
    return answer(value, xs);
  };
  const request =
    wait !== undefined && isInTheOpen(model) && isBatch(samples) ? joinable(samples, batchSize) : undefined;
  if (request !== undefined) {
    const alike = [question.key, request.form, batchSize, wait, how.device, ...[input, select].map(nameOf)];
    const kind = { ...question, key: alike.join("\n"), batchSize, wait: wait!, run };
    yield await done(Requests.of(worker, model).ask(model, kind, request, signal));
    return;
  }
  const waiting: Promise<T>[] = [];
  for await (const xs of inputsOf(samples, batchSize, worker)) {
    signal?.throwIfAborted();
    const sent = run(xs);
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
