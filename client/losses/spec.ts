/** Losses as values, and what a learner makes of a loss, whichever kind it is. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPromise } from "../../bridge/runtime/kinds.ts";
import { isFloating, type DType } from "../../bridge/values/ndarray.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef, Is, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";
import { weighed, weigherBy } from "./weight.ts";

/** What a loss asks of its targets: indices of classes, which are int64, or values, which are floats. */
export type TargetKind = "classes" | "values";

/** Outputs or targets of a model: one, or several in PyTorch's order or by PyTorch's names in camelCase. */
export type LossInput = PyObject | readonly PyObject[] | { readonly [name: string]: PyObject };

/** A loss that is to be made: `crossEntropy({ labelSmoothing: 0.1 })`. */
export interface LossSpec {
  /** The function in Python. */
  readonly name: string;
  readonly targets: TargetKind;
  /** Its options, by Python's names. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Makes it: with tensors on `device`, which live as long as what is returned. To be called outside of contexts. */
  create(worker: Worker, device: string): (yhat: LossInput, ys: LossInput) => AnyRef;
  /** The same as one function of Python's, for what evaluates a loss within the worker: optimisers that take a closure. */
  createInWorker?(worker: Worker, device: string): AnyRef;
}

/**
 * A loss of one's own, over references: `(yhat, ys) => F.huber_loss(yhat, ys).mul(2)`. It gives its result at once, which is
 * why an async function is none; a learner wants a tensor with one number.
 *
 * In the mean over an epoch it counts by the samples of its batches, unless it has a `weight` (see `loss`), or gives what a loss of this package gave.
 */
export interface LossFunction {
  (yhat: AnyRef, ys: AnyRef): PyObject;
  readonly weight?: LossWeightFunction;
}

/** What a loss was divided by: a number, or a reference to one. */
export type LossWeightFunction = (yhat: AnyRef, ys: AnyRef) => PyObject | number;

export interface OwnLoss {
  readonly fn: (yhat: AnyRef, ys: AnyRef) => PyObject;
  /** What `fn` divides by: as much does a batch weigh in the mean over an epoch. */
  readonly weight: LossWeightFunction;
}

/**
 * A loss of one's own that says what it divides by, so that the loss of an epoch is the mean over all of it, and not a mean of its batches' means:
 *
 *     loss({
 *       fn: (yhat, ys) => F.cross_entropy(yhat, ys, kw({ ignore_index: PAD })),
 *       weight: (_, ys) => ys.ne(PAD).sum(),
 *     })
 *
 * A batch that weighs 0 has no loss. Throws MISUSE where one of the two is no function.
 */
export function loss({ fn, weight }: OwnLoss): LossFunction {
  for (const [name, value] of Object.entries({ fn, weight }))
    if (typeof value !== "function")
      throw new TorchwireError(
        "MISUSE",
        `loss: ${name} is ${described(value)}; it is to be a function of outputs and targets`,
      );
  return Object.assign((yhat: AnyRef, ys: AnyRef) => fn(yhat, ys), { weight });
}

/** What a learner takes: a spec, a function of references, or a module in the worker such as `torch.nn.CrossEntropyLoss()`. */
export type Loss = LossSpec | LossFunction | Is<"torch.nn.Module">;

/**
 * The function that `loss` stands for. To be called once, before the first step: tensors that its options hold are made
 * here, on `device` (by default the worker's). A module in the worker is called as it is. What it gives is known by what it weighs, where that is known.
 *
 * Throws MISUSE for what is no loss; the function throws it where a loss of one's own gives anything but a reference.
 */
export function toLoss(worker: Worker, loss: Loss, device: string = worker.device): (yhat: AnyRef, ys: any) => AnyRef {
  if (inner(loss) !== undefined) {
    const module = loss as unknown as AnyRef;
    const weigher = weigherBy(worker, (denominators) => denominators.weigher(module));
    return (yhat, ys) => weighed(module(yhat, ys), { weigher, yhat, ys });
  }
  if (typeof loss === "function")
    return (yhat, ys) => {
      const result: unknown = loss(yhat, ys);
      if (inner(result) === undefined)
        throw new TorchwireError("MISUSE", `the loss function gave ${described(result)}; ${advice(result)}`);
      const { weight } = loss;
      return weight === undefined
        ? (result as AnyRef)
        : weighed(result as AnyRef, { said: once(() => weight(yhat, ys)) });
    };
  if (typeof (loss as LossSpec | null | undefined)?.create !== "function")
    throw new TorchwireError(
      "MISUSE",
      `the loss is ${described(loss)}; it is to be crossEntropy() or its like, a function (yhat, ys) => …, or a module in the worker`,
    );
  return (loss as LossSpec).create(worker, device);
}

/** It is asked for once in a step, whoever asks. */
function once<T>(ask: () => T): () => T {
  let found: { readonly value: T } | undefined;
  return () => (found ??= { value: ask() }).value;
}

function advice(result: unknown): string {
  if (isPromise(result))
    return "it is to give a reference at once: leave async and await out, as operations on references wait for nothing";
  if (result === undefined) return "it is to return a reference: is a return missing?";
  return "it is to give a reference, such as F.mse_loss(yhat, ys)";
}

/**
 * The targets `y`, which arrived from an array of the type `dtype`, as `loss` asks for them: indices of classes as int64,
 * values as float32. Floats stay as they are, and so does everything for a loss that is not a spec.
 *
 * This is `y.long()` of the plain script; it belongs where a batch is sent, and not to the loss, so that handlers and
 * metrics see the same targets as the loss.
 */
export function toTargets(loss: Loss, y: AnyRef, dtype: DType): AnyRef {
  if (isFloating(dtype) || dtype === "complex64" || inner(loss) !== undefined || typeof loss === "function") return y;
  if ((loss as LossSpec).targets === "values") return y.float();
  return dtype === "int64" ? y : y.long();
}
