/** Losses as values, and the function that a learner makes from a loss of any kind. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPromise } from "../../bridge/runtime/kinds.ts";
import { isFloating, type DType } from "../../bridge/values/ndarray.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef, Is, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";
import { weighed, weigherBy } from "./weight.ts";

/** The targets of a loss: indices of classes, which are int64, or values, which are floats. */
export type TargetKind = "classes" | "values";

/** Outputs or targets of a model: one, several in PyTorch's order, or several by PyTorch's names in camelCase. */
export type LossInput = PyObject | readonly PyObject[] | { readonly [name: string]: PyObject };

/** A loss to be made: `crossEntropy({ labelSmoothing: 0.1 })`. */
export interface LossSpec {
  /** The function in Python. */
  readonly name: string;
  readonly targets: TargetKind;
  /** The options, by Python's names. */
  readonly options?: Readonly<Record<string, unknown>>;
  /**
   * Makes the loss. Its tensors are on `device`, and live as long as the returned function. Call it outside of
   * contexts.
   */
  create(worker: Worker, device: string): (yhat: LossInput, ys: LossInput) => AnyRef;
  /** The same as one function in Python, for an optimiser that takes a closure and evaluates the loss in the worker. */
  createInWorker?(worker: Worker, device: string): AnyRef;
  /**
   * Calls the model, where the model itself computes the loss (see `ownLoss`), and returns what `output` gives. The
   * function from `create` then gives the loss that belongs to these outputs.
   */
  forward?(call: ModelCall): unknown;
}

/** A call of a model that gets its targets, too. */
export interface ModelCall {
  readonly worker: Worker;
  readonly model: AnyRef;
  /** The inputs by position, and those by name. */
  readonly args: unknown;
  readonly named: unknown;
  readonly ys: unknown;
  /** Gives of the model's output what losses and metrics see. */
  readonly output: (given: AnyRef) => unknown;
}

/**
 * A loss of your own, over references: `(yhat, ys) => F.huber_loss(yhat, ys).mul(2)`. It must return its result at
 * once, so an async function does not fit. A learner needs a tensor with one number.
 *
 * In the mean over an epoch a batch counts by its samples, unless the loss has a `weight` (see `loss`) or returns the
 * result of one of this package's losses.
 */
export interface LossFunction {
  (yhat: AnyRef, ys: AnyRef): PyObject;
  readonly weight?: LossWeightFunction;
}

/** The divisor of a loss: a number, or a reference to one. */
export type LossWeightFunction = (yhat: AnyRef, ys: AnyRef) => PyObject | number;

export interface OwnLoss {
  readonly fn: (yhat: AnyRef, ys: AnyRef) => PyObject;
  /** The divisor of `fn`: a batch weighs this much in the mean over an epoch. */
  readonly weight: LossWeightFunction;
}

/**
 * A loss of your own that states its divisor. The loss of an epoch is then the mean over the whole epoch, not a mean of
 * the batches' means:
 *
 *     loss({
 *       fn: (yhat, ys) => F.cross_entropy(yhat, ys, kw({ ignore_index: PAD })),
 *       weight: (_, ys) => ys.ne(PAD).sum(),
 *     })
 *
 * A batch that weighs 0 has no loss. Throws MISUSE where `fn` or `weight` is not a function.
 */
export function loss({ fn, weight }: OwnLoss): LossFunction {
  for (const [name, value] of Object.entries({ fn, weight }))
    if (typeof value !== "function")
      throw new TorchwireError(
        "MISUSE",
        `loss: ${name} is ${described(value)}; it must be a function of outputs and targets`,
      );
  return Object.assign((yhat: AnyRef, ys: AnyRef) => fn(yhat, ys), { weight });
}

/**
 * A learner takes a spec, a function of references, or a module in the worker such as `torch.nn.CrossEntropyLoss()`.
 */
export type Loss = LossSpec | LossFunction | Is<"torch.nn.Module">;

/**
 * Makes the function for `loss`. Call it once, before the first step: it makes the tensors of the options here, on
 * `device` (default: the worker's). A module in the worker is called as it is. The result carries its weight, where the
 * weight is known.
 *
 * Throws MISUSE where `loss` is not a loss. The function throws it where a loss of your own does not return a
 * reference.
 */
export function toLoss(worker: Worker, loss: Loss, device: string = worker.device): (yhat: AnyRef, ys: any) => AnyRef {
  if (isReference(loss)) {
    const weigher = weigherBy(worker, (denominators) => denominators.weigher(loss));
    return (yhat, ys) => weighed(loss(yhat, ys), { weigher, yhat, ys });
  }
  if (typeof loss === "function")
    return (yhat, ys) => {
      const result: unknown = loss(yhat, ys);
      if (!isReference(result))
        throw new TorchwireError("MISUSE", `the loss function gave ${described(result)}; ${advice(result)}`);
      const { weight } = loss;
      return weight === undefined ? result : weighed(result, { said: once(() => weight(yhat, ys)) });
    };
  if (typeof (loss as LossSpec | null | undefined)?.create !== "function")
    throw new TorchwireError(
      "MISUSE",
      `the loss is ${described(loss)}; it must be crossEntropy() or its like, a function (yhat, ys) => …, or a module in the worker`,
    );
  return (loss as LossSpec).create(worker, device);
}

/** Asks at most once, however many callers there are. */
function once<T>(ask: () => T): () => T {
  let found: { readonly value: T } | undefined;
  return () => (found ??= { value: ask() }).value;
}

function advice(result: unknown): string {
  if (isPromise(result))
    return "it must return a reference at once: leave async and await out, as operations on references wait for nothing";
  if (result === undefined) return "it must return a reference: is a return missing?";
  return "it must return a reference, such as F.mse_loss(yhat, ys)";
}

/**
 * The targets `y`, from an array of the type `dtype`, as `loss` needs them: indices of classes as int64, values as
 * float32. Floats stay as they are, and so does everything for a loss that is not a spec.
 *
 * The plain script does this with `y.long()`. It happens where a batch is sent, not in the loss, so that handlers and
 * metrics see the same targets as the loss.
 */
export function toTargets(loss: Loss, y: AnyRef, dtype: DType): AnyRef {
  const wanted = targetType(loss, dtype);
  if (wanted === dtype) return y;
  return wanted === "float32" ? y.float() : y.long();
}

/** The type in which `loss` needs targets that come as `dtype`. */
export function targetType(loss: Loss, dtype: DType): DType {
  if (isFloating(dtype) || dtype === "complex64" || isReference(loss) || typeof loss === "function") return dtype;
  return (loss as LossSpec).targets === "values" ? "float32" : "int64";
}
