/**
 * Flux's losses by Flux's names. Each is called with (ŷ, y), as PyTorch's losses are. Flux's `agg` is `reduction`, and
 * its `dims`, the axis of the classes, is `dim`.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, Float, Int, PyObject } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { described, float, int } from "../options/keywords.ts";
import { define as defineOf, reduction, type LossFactory, type LossRow, type Reduction } from "../losses/define.ts";
import { bceWithLogits, crossEntropy, huber, l1 } from "../losses/table.ts";
import type { BceWithLogitsOptions, CrossEntropyOptions, HuberOptions, L1Options } from "../losses/table.ts";

const define = <O extends object>(row: LossRow<O>): LossFactory<O> =>
  defineOf({ ...row, module: "torchwire_worker.helpers.losses" });

interface Reduced {
  /** How the losses of a batch become one number; "none" leaves them. Default: "mean". */
  readonly reduction?: Reduction;
}
interface Regulated extends Reduced {
  /** Keeps logarithms away from log(0). Default: the machine epsilon of the outputs' type. */
  readonly eps?: Float;
}
interface OfClasses extends Regulated {
  /** The axis of the classes. Default: 1, the axis after the samples. */
  readonly dim?: Int;
}

/** Flux's `mae` is `l1`: the mean of the absolute differences. */
export const mae: LossFactory<L1Options> = l1;

/** Flux's `huber_loss` is `huber`, with the same delta. */
export const huberLoss: LossFactory<HuberOptions> = huber;

/** Flux's `logitcrossentropy` is PyTorch's `crossEntropy`, of logits. Targets may be indices or distributions. */
export const logitCrossEntropy: LossFactory<CrossEntropyOptions> = crossEntropy;

/** Flux's `logitbinarycrossentropy` is `bceWithLogits`. */
export const logitBinaryCrossEntropy: LossFactory<BceWithLogitsOptions> = bceWithLogits;

export type MsleOptions = Regulated;

/** Flux's `msle`: the mean of log((ŷ + eps) / (y + eps))². */
export const msle: LossFactory<MsleOptions> = define<MsleOptions>({
  name: "msle",
  function: "msle",
  targets: "values",
  options: { eps: float, reduction },
});

export type ProbabilityCrossEntropyOptions = OfClasses;

/**
 * Flux's `crossentropy`, of probabilities: the mean of -sum(y · log(ŷ + eps)) over the classes. (`crossEntropy` is
 * PyTorch's name, and takes logits.) Targets are distributions of a float type, or indices of classes.
 */
export const probabilityCrossEntropy: LossFactory<ProbabilityCrossEntropyOptions> =
  define<ProbabilityCrossEntropyOptions>({
    name: "probabilityCrossEntropy",
    function: "cross_entropy_of_probabilities",
    targets: "classes",
    options: { dim: int, eps: float, reduction },
  });

export type BinaryCrossEntropyOptions = Regulated;

/**
 * Flux's `binarycrossentropy`, of probabilities: the mean of -y · log(ŷ + eps) - (1 - y) · log(1 - ŷ + eps). PyTorch's
 * `bce` has no eps: its logarithms end at -100.
 */
export const binaryCrossEntropy: LossFactory<BinaryCrossEntropyOptions> = define<BinaryCrossEntropyOptions>({
  name: "binaryCrossEntropy",
  function: "binary_cross_entropy",
  targets: "values",
  options: { eps: float, reduction },
});

export type KlDivergenceOptions = OfClasses;

/**
 * Flux's `kldivergence`, of probabilities: the mean over the samples of sum(y · log(y / (ŷ + eps))). PyTorch's `klDiv`
 * takes log-probabilities, and is this with the reduction "batchmean".
 */
export const klDivergence: LossFactory<KlDivergenceOptions> = define<KlDivergenceOptions>({
  name: "klDivergence",
  function: "kl_divergence",
  targets: "values",
  options: { dim: int, eps: float, reduction },
});

export type PoissonLossOptions = Reduced;

/**
 * Flux's `poisson_loss`, of rates: the mean of ŷ - y · log(ŷ). PyTorch's `poissonNll({ logInput: false })` adds an
 * epsilon, and takes logarithms of rates by default.
 */
export const poissonLoss: LossFactory<PoissonLossOptions> = define<PoissonLossOptions>({
  name: "poissonLoss",
  function: "poisson_loss",
  targets: "values",
  options: { reduction },
});

export type HingeLossOptions = Reduced;

/**
 * Flux's `hinge_loss`: the mean of max(0, 1 - ŷ · y), with targets 1 and -1. PyTorch's `hingeEmbedding` is another
 * loss.
 */
export const hingeLoss: LossFactory<HingeLossOptions> = define<HingeLossOptions>({
  name: "hingeLoss",
  function: "hinge_loss",
  targets: "values",
  options: { reduction },
});

/** Flux's `squared_hinge_loss`: the mean of max(0, 1 - ŷ · y)², with targets 1 and -1. */
export const squaredHingeLoss: LossFactory<HingeLossOptions> = define<HingeLossOptions>({
  name: "squaredHingeLoss",
  function: "squared_hinge_loss",
  targets: "values",
  options: { reduction },
});

export interface DiceCoeffLossOptions {
  /** Added to numerator and denominator. Default: 1. */
  readonly smooth?: Float;
}

/**
 * Flux's `dice_coeff_loss`, for masks: 1 - (2 · sum(ŷ · y) + smooth) / (sum(ŷ²) + sum(y²) + smooth), over the whole
 * batch.
 */
export const diceCoeffLoss: LossFactory<DiceCoeffLossOptions> = define<DiceCoeffLossOptions>({
  name: "diceCoeffLoss",
  function: "dice_coeff_loss",
  targets: "values",
  options: { smooth: float },
});

export interface TverskyLossOptions {
  /** The weight of false positives; false negatives weigh 1 - beta. Default: 0.7. */
  readonly beta?: Float;
}

/**
 * Flux's `tversky_loss`: 1 - (sum(ŷ · y) + 1) / (sum(ŷ · y + beta · (1 - y) · ŷ + (1 - beta) · y · (1 - ŷ)) + 1), over
 * the whole batch.
 */
export const tverskyLoss: LossFactory<TverskyLossOptions> = define<TverskyLossOptions>({
  name: "tverskyLoss",
  function: "tversky_loss",
  targets: "values",
  options: { beta: float },
});

export interface BinaryFocalLossOptions extends Regulated {
  /** Lowers the weight of samples that are nearly right. Default: 2. */
  readonly gamma?: Float;
}

/**
 * Flux's `binary_focal_loss`, of probabilities: the mean of -(1 - p)^gamma · log(p). Here p is ŷ + eps where y is 1,
 * and 1 - ŷ - eps where y is 0.
 */
export const binaryFocalLoss: LossFactory<BinaryFocalLossOptions> = define<BinaryFocalLossOptions>({
  name: "binaryFocalLoss",
  function: "binary_focal_loss",
  targets: "values",
  options: { gamma: float, eps: float, reduction },
});

export interface FocalLossOptions extends OfClasses {
  /** Lowers the weight of samples that are nearly right. Default: 2. */
  readonly gamma?: Float;
}

/**
 * Flux's `focal_loss`, of probabilities: the mean over the samples of sum(-y · (1 - ŷ)^gamma · log(ŷ)). Targets are
 * distributions, or indices of classes.
 */
export const focalLoss: LossFactory<FocalLossOptions> = define<FocalLossOptions>({
  name: "focalLoss",
  function: "focal_loss",
  targets: "classes",
  options: { gamma: float, dim: int, eps: float, reduction },
});

export interface SiameseContrastiveLossOptions extends Reduced {
  /** Pairs further apart than this add no loss. Default: 1. */
  readonly margin?: Float;
}

/**
 * Flux's `siamese_contrastive_loss`, of distances ŷ: the mean of (1 - y) · ŷ² + y · max(0, margin - ŷ)². The target is
 * 0 for a pair that is alike, and 1 for one that is not.
 */
export const siameseContrastiveLoss: LossFactory<SiameseContrastiveLossOptions> = define<SiameseContrastiveLossOptions>(
  {
    name: "siameseContrastiveLoss",
    function: "siamese_contrastive_loss",
    targets: "values",
    options: { margin: float, reduction },
  },
);

/**
 * Flux's `label_smoothing`: spreads the share `alpha` of the targets evenly over the classes, which lie along the axis
 * `dim`. With null (Flux's `dims = 0`) each target is the probability of one thing, and is drawn towards a half. Use it
 * in losses of your own: `(yhat, ys) => F.mse_loss(yhat, labelSmoothing(ys, 0.1))`.
 */
export function labelSmoothing(ys: PyObject, alpha: number, dim: number | null = 1): AnyRef {
  const worker = workerOf(ys);
  if (worker === undefined)
    throw new TorchwireError("MISUSE", `labelSmoothing: ys is ${described(ys)}; it must be a reference to a tensor`);
  if (!(alpha > 0 && alpha < 1))
    throw new TorchwireError("MISUSE", `labelSmoothing: alpha is ${described(alpha)}; it must be between 0 and 1`);
  const { label_smoothing } = worker.import("torchwire_worker.helpers.losses");
  return label_smoothing(ys, py.float(alpha), dim) as AnyRef;
}
