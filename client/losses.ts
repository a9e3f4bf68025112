/** Losses of torch.nn.functional as values, and what a learner makes of a loss, whichever kind it is. */
import { TorchwireError } from "../bridge/errors.ts";
import { kw } from "../bridge/kw.ts";
import { isFloating, type DType } from "../bridge/ndarray.ts";
import { py } from "../bridge/py.ts";
import { inner } from "../bridge/ref.ts";
import type { AnyRef, Float, Int, Is, PyObject } from "../bridge/types/core.ts";
import type { Worker } from "../bridge/worker.ts";
import { described, float, int, isTensorData, keywordsOf, oneOf, tensor } from "./keywords.ts";
import type { Kinds, TensorOption } from "./keywords.ts";

/** What a loss asks of its targets: indices of classes, which are int64, or values, which are floats. */
export type TargetKind = "classes" | "values";

/** A loss that is to be made: `crossEntropy({ labelSmoothing: 0.1 })`. */
export interface LossSpec {
  /** The function in torch.nn.functional. */
  readonly name: string;
  readonly targets: TargetKind;
  /** Makes it: with tensors on `device`, which live as long as what is returned. To be called outside of contexts. */
  create(worker: Worker, device: string): (yhat: AnyRef, ys: AnyRef) => AnyRef;
}

/**
 * A loss of one's own, over references: `(yhat, ys) => F.huber_loss(yhat, ys).mul(2)`. It gives its result at once, which is
 * why an async function is none; a learner wants a tensor with one number.
 */
export type LossFunction = (yhat: AnyRef, ys: AnyRef) => PyObject;

/** What a learner takes: a spec, a function of references, or a module in the worker such as `torch.nn.CrossEntropyLoss()`. */
export type Loss = LossSpec | LossFunction | Is<"torch.nn.Module">;

/** How the losses of a batch's samples become one number; "none" leaves them. PyTorch's default: "mean". */
export type Reduction = "mean" | "sum" | "none";
const reduction = oneOf("mean", "sum", "none");

export type LossFactory<O extends object> = (options?: O) => LossSpec;

export interface CrossEntropyOptions {
  /** A weight for each class. */
  readonly weight?: TensorOption;
  /** Targets of this index count for nothing. PyTorch's default: -100. */
  readonly ignoreIndex?: Int;
  readonly reduction?: Reduction;
  /** How much of the target is spread evenly over all classes, 0 to 1. PyTorch's default: 0. */
  readonly labelSmoothing?: Float;
}

/**
 * Between logits [N, C, …] and indices of classes [N, …], or probabilities [N, C, …]: `F.cross_entropy`. Targets of an
 * integer type are indices; those of a float type are probabilities.
 */
export const crossEntropy: LossFactory<CrossEntropyOptions> = define<CrossEntropyOptions>(
  "crossEntropy",
  "cross_entropy",
  "classes",
  { weight: tensor, ignoreIndex: int, reduction, labelSmoothing: float },
);

/** `crossEntropy`, by Flux's name. */
export const logitCrossEntropy: LossFactory<CrossEntropyOptions> = crossEntropy;

export interface DistanceOptions {
  readonly reduction?: Reduction;
}

/** The mean of the squared differences: `F.mse_loss`. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]. */
export const mse: LossFactory<DistanceOptions> = define<DistanceOptions>("mse", "mse_loss", "values", { reduction });

/** The mean of the absolute differences: `F.l1_loss`. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]. */
export const l1: LossFactory<DistanceOptions> = define<DistanceOptions>("l1", "l1_loss", "values", { reduction });

export interface BceWithLogitsOptions {
  /** A weight for each element; broadcast. */
  readonly weight?: TensorOption;
  readonly reduction?: Reduction;
  /** A weight of the positive examples for each class; above 1 favours recall. */
  readonly posWeight?: TensorOption;
}

/** Between logits and probabilities of the same shape, each by itself: `F.binary_cross_entropy_with_logits`. */
export const bceWithLogits: LossFactory<BceWithLogitsOptions> = define<BceWithLogitsOptions>(
  "bceWithLogits",
  "binary_cross_entropy_with_logits",
  "values",
  { weight: tensor, reduction, posWeight: tensor },
);

/** One row of the table. It throws MISUSE for an unknown option and for a value of a wrong kind. */
function define<O extends object>(
  name: string,
  functionName: string,
  targets: TargetKind,
  kinds: Kinds<O>,
): LossFactory<O> {
  return (options = {} as O) => {
    const keywords = keywordsOf(name, kinds, options);
    return {
      name: functionName,
      targets,
      create(worker, device) {
        const F = py.keep(worker.import("torch.nn.functional"));
        const entries = Object.entries(keywords).map(([key, value]) => [key, onDevice(worker, device, value)] as const);
        if (entries.length === 0) return (yhat, ys) => py.get(F, functionName)(yhat, ys);
        const given = kw(Object.fromEntries(entries));
        return (yhat, ys) => py.get(F, functionName)(yhat, ys, given);
      },
    };
  };
}

/** Numbers and arrays as tensors; everything else, references too, as it is. */
function onDevice(worker: Worker, device: string, value: unknown): unknown {
  return isTensorData(value) ? py.keep(worker.tensor(value).to(device)) : value;
}

/**
 * The function that `loss` stands for. To be called once, before the first step: tensors that its options hold are made
 * here, on `device` (by default the worker's). A module in the worker is called as it is.
 *
 * Throws MISUSE for what is no loss; the function throws it where a loss of one's own gives anything but a reference.
 */
export function toLoss(
  worker: Worker,
  loss: Loss,
  device: string = worker.device,
): (yhat: AnyRef, ys: AnyRef) => AnyRef {
  if (inner(loss) !== undefined) return loss as unknown as AnyRef;
  if (typeof loss === "function")
    return (yhat, ys) => {
      const result: unknown = loss(yhat, ys);
      if (inner(result) === undefined)
        throw new TorchwireError("MISUSE", `the loss function gave ${described(result)}; ${advice(result)}`);
      return result as AnyRef;
    };
  if (typeof (loss as LossSpec | null | undefined)?.create !== "function")
    throw new TorchwireError(
      "MISUSE",
      `the loss is ${described(loss)}; it is to be crossEntropy() or its like, a function (yhat, ys) => …, or a module in the worker`,
    );
  return (loss as LossSpec).create(worker, device);
}

function advice(result: unknown): string {
  if (result instanceof Promise)
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
