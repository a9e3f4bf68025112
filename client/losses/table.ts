// Written by test/tables/make.py from torch 2.14: change it there.
import type { Float, Int, PyObject } from "../../bridge/types/core.ts";
import { flag, float, int, oneOf, reference, tensor, type TensorOption } from "../options/keywords.ts";
import { define, reduction, type LossFactory, type Reduction } from "./define.ts";

export interface L1Options {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** A weight for each element, broadcast. PyTorch's default: none. */
  readonly weight?: TensorOption;
}

/**
 * The mean of the absolute differences. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]: `F.l1_loss`.
 */
export const l1: LossFactory<L1Options> = define<L1Options>({
  name: "l1",
  function: "l1_loss",
  targets: "values",
  options: {
    reduction,
    weight: tensor,
  },
});

export interface MseOptions {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** A weight for each element, broadcast. PyTorch's default: none. */
  readonly weight?: TensorOption;
}

/**
 * The mean of the squared differences. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]: `F.mse_loss`.
 */
export const mse: LossFactory<MseOptions> = define<MseOptions>({
  name: "mse",
  function: "mse_loss",
  targets: "values",
  options: {
    reduction,
    weight: tensor,
  },
});

export interface HuberOptions {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** The difference at which the square ends and the line begins. PyTorch's default: 1. */
  readonly delta?: Float;
  /** A weight for each element, broadcast. PyTorch's default: none. */
  readonly weight?: TensorOption;
}

/** Half the squared difference up to `delta`; beyond it delta · (|difference| - delta / 2): `F.huber_loss`. */
export const huber: LossFactory<HuberOptions> = define<HuberOptions>({
  name: "huber",
  function: "huber_loss",
  targets: "values",
  options: {
    reduction,
    delta: float,
    weight: tensor,
  },
});

export interface SmoothL1Options {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** The difference at which the square ends and the line begins; 0 makes it l1. PyTorch's default: 1. */
  readonly beta?: Float;
}

/** Half the squared difference / beta up to `beta`; beyond it |difference| - beta / 2: `F.smooth_l1_loss`. */
export const smoothL1: LossFactory<SmoothL1Options> = define<SmoothL1Options>({
  name: "smoothL1",
  function: "smooth_l1_loss",
  targets: "values",
  options: {
    reduction,
    beta: float,
  },
});

export interface CrossEntropyOptions {
  /** A weight for each class. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** Targets of this index do not count. PyTorch's default: -100. */
  readonly ignoreIndex?: Int;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** The share of the target, 0 to 1, that is spread evenly over all classes. PyTorch's default: 0. */
  readonly labelSmoothing?: Float;
}

/**
 * Compares logits [N, C, …] with indices of classes [N, …], or with probabilities [N, C, …]. Targets of an integer type
 * are indices; those of a float type are probabilities: `F.cross_entropy`.
 */
export const crossEntropy: LossFactory<CrossEntropyOptions> = define<CrossEntropyOptions>({
  name: "crossEntropy",
  function: "cross_entropy",
  targets: "classes",
  options: {
    weight: tensor,
    ignoreIndex: int,
    reduction,
    labelSmoothing: float,
  },
});

export interface NllOptions {
  /** A weight for each class. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** Targets of this index do not count. PyTorch's default: -100. */
  readonly ignoreIndex?: Int;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/** Compares log-probabilities [N, C, …] with indices of classes [N, …]: `F.nll_loss`. */
export const nll: LossFactory<NllOptions> = define<NllOptions>({
  name: "nll",
  function: "nll_loss",
  targets: "classes",
  options: {
    weight: tensor,
    ignoreIndex: int,
    reduction,
  },
});

export interface BceOptions {
  /** A weight for each element, broadcast. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * Compares probabilities with probabilities of the same shape, element by element; logarithms end at -100:
 * `F.binary_cross_entropy`.
 */
export const bce: LossFactory<BceOptions> = define<BceOptions>({
  name: "bce",
  function: "binary_cross_entropy",
  targets: "values",
  options: {
    weight: tensor,
    reduction,
  },
});

export interface BceWithLogitsOptions {
  /** A weight for each element, broadcast. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** The weight of positive examples, for each class; above 1 it favours recall. PyTorch's default: none. */
  readonly posWeight?: TensorOption;
}

/** Compares logits with probabilities of the same shape, element by element: `F.binary_cross_entropy_with_logits`. */
export const bceWithLogits: LossFactory<BceWithLogitsOptions> = define<BceWithLogitsOptions>({
  name: "bceWithLogits",
  function: "binary_cross_entropy_with_logits",
  targets: "values",
  options: {
    weight: tensor,
    reduction,
    posWeight: tensor,
  },
});

export interface KlDivOptions {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: "mean" | "batchmean" | "sum" | "none";
  /** The targets are log-probabilities too. PyTorch's default: false. */
  readonly logTarget?: boolean;
}

/**
 * The Kullback-Leibler divergence between log-probabilities and probabilities. "mean" divides by all elements; the
 * divergence by definition is "batchmean": `F.kl_div`.
 */
export const klDiv: LossFactory<KlDivOptions> = define<KlDivOptions>({
  name: "klDiv",
  function: "kl_div",
  targets: "values",
  options: {
    reduction: oneOf("mean", "batchmean", "sum", "none"),
    logTarget: flag,
  },
});

export interface PoissonNllOptions {
  /** The model gives logarithms of rates, not rates. PyTorch's default: true. */
  readonly logInput?: boolean;
  /** Adds Stirling's approximation of the term that does not depend on the model. PyTorch's default: false. */
  readonly full?: boolean;
  /** Keeps logarithms away from log(0), with `logInput: false` only. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/** The negative log-likelihood of counts, given the logarithms of their rates: `F.poisson_nll_loss`. */
export const poissonNll: LossFactory<PoissonNllOptions> = define<PoissonNllOptions>({
  name: "poissonNll",
  function: "poisson_nll_loss",
  targets: "values",
  options: {
    logInput: flag,
    full: flag,
    eps: float,
    reduction,
  },
});

export interface GaussianNllOptions {
  /** Adds the term that does not depend on the model. PyTorch's default: false. */
  readonly full?: boolean;
  /** The least variance. PyTorch's default: 1e-6. */
  readonly eps?: Float;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * The negative log-likelihood of values, given their means and variances; the model gives (means, variances):
 * `F.gaussian_nll_loss`.
 */
export const gaussianNll: LossFactory<GaussianNllOptions> = define<GaussianNllOptions>({
  name: "gaussianNll",
  function: "gaussian_nll_loss",
  targets: "values",
  outputs: ["input", "var"],
  given: ["target"],
  options: {
    full: flag,
    eps: float,
    reduction,
  },
});

export interface HingeEmbeddingOptions {
  /** The distance that is far enough. PyTorch's default: 1. */
  readonly margin?: Float;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * The model gives distances. The loss is the distance where the target is 1, and max(0, margin - distance) where it is
 * -1: `F.hinge_embedding_loss`.
 */
export const hingeEmbedding: LossFactory<HingeEmbeddingOptions> = define<HingeEmbeddingOptions>({
  name: "hingeEmbedding",
  function: "hinge_embedding_loss",
  targets: "values",
  options: {
    margin: float,
    reduction,
  },
});

export interface MarginRankingOptions {
  /** The distance that is far enough. PyTorch's default: 0. */
  readonly margin?: Float;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * max(0, -target · (input1 - input2) + margin), with targets 1 and -1; the model gives (input1, input2):
 * `F.margin_ranking_loss`.
 */
export const marginRanking: LossFactory<MarginRankingOptions> = define<MarginRankingOptions>({
  name: "marginRanking",
  function: "margin_ranking_loss",
  targets: "values",
  outputs: ["input1", "input2"],
  given: ["target"],
  options: {
    margin: float,
    reduction,
  },
});

export interface CosineEmbeddingOptions {
  /** The distance that is far enough. PyTorch's default: 0. */
  readonly margin?: Float;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * 1 - cosine where the target is 1, and max(0, cosine - margin) where it is -1; the model gives (input1, input2):
 * `F.cosine_embedding_loss`.
 */
export const cosineEmbedding: LossFactory<CosineEmbeddingOptions> = define<CosineEmbeddingOptions>({
  name: "cosineEmbedding",
  function: "cosine_embedding_loss",
  targets: "values",
  outputs: ["input1", "input2"],
  given: ["target"],
  options: {
    margin: float,
    reduction,
  },
});

export interface TripletMarginOptions {
  /** The distance that is far enough. PyTorch's default: 1. */
  readonly margin?: Float;
  /** The norm that measures distances. PyTorch's default: 2. */
  readonly p?: Float;
  /** Added to the differences. PyTorch's default: 1e-6. */
  readonly eps?: Float;
  /**
   * Uses the distance of positive and negative where it is less than that of anchor and negative. PyTorch's default:
   * false.
   */
  readonly swap?: boolean;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * max(0, |anchor - positive| - |anchor - negative| + margin); the model gives (anchor, positive, negative), and there
 * is no target: `F.triplet_margin_loss`.
 */
export const tripletMargin: LossFactory<TripletMarginOptions> = define<TripletMarginOptions>({
  name: "tripletMargin",
  function: "triplet_margin_loss",
  targets: "values",
  outputs: ["anchor", "positive", "negative"],
  given: [],
  options: {
    margin: float,
    p: float,
    eps: float,
    swap: flag,
    reduction,
  },
});

export interface TripletMarginWithDistanceOptions {
  /**
   * A reference to a Python function of two tensors that gives their distances. PyTorch's default: the Euclidean
   * distance.
   */
  readonly distanceFunction?: PyObject;
  /** The distance that is far enough. PyTorch's default: 1. */
  readonly margin?: Float;
  /**
   * Uses the distance of positive and negative where it is less than that of anchor and negative. PyTorch's default:
   * false.
   */
  readonly swap?: boolean;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * tripletMargin with a distance of your own; the model gives (anchor, positive, negative), and there is no target:
 * `F.triplet_margin_with_distance_loss`.
 */
export const tripletMarginWithDistance: LossFactory<TripletMarginWithDistanceOptions> =
  define<TripletMarginWithDistanceOptions>({
    name: "tripletMarginWithDistance",
    function: "triplet_margin_with_distance_loss",
    targets: "values",
    outputs: ["anchor", "positive", "negative"],
    given: [],
    options: {
      distanceFunction: reference,
      margin: float,
      swap: flag,
      reduction,
    },
  });

export interface MultiMarginOptions {
  /** The power of the hinge, 1 or 2. PyTorch's default: 1. */
  readonly p?: Int;
  /** The distance that is far enough. PyTorch's default: 1. */
  readonly margin?: Float;
  /** A weight for each class. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/** The hinge loss of scores [N, C] for indices of classes [N]: `F.multi_margin_loss`. */
export const multiMargin: LossFactory<MultiMarginOptions> = define<MultiMarginOptions>({
  name: "multiMargin",
  function: "multi_margin_loss",
  targets: "classes",
  options: {
    p: int,
    margin: float,
    weight: tensor,
    reduction,
  },
});

export interface MultilabelMarginOptions {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * The hinge loss of scores [N, C] for indices of classes [N, C], of which those before the first -1 count:
 * `F.multilabel_margin_loss`.
 */
export const multilabelMargin: LossFactory<MultilabelMarginOptions> = define<MultilabelMarginOptions>({
  name: "multilabelMargin",
  function: "multilabel_margin_loss",
  targets: "classes",
  options: {
    reduction,
  },
});

export interface MultilabelSoftMarginOptions {
  /** A weight for each class. PyTorch's default: none. */
  readonly weight?: TensorOption;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/**
 * bceWithLogits of logits [N, C] and zeros and ones [N, C], as a mean over the classes:
 * `F.multilabel_soft_margin_loss`.
 */
export const multilabelSoftMargin: LossFactory<MultilabelSoftMarginOptions> = define<MultilabelSoftMarginOptions>({
  name: "multilabelSoftMargin",
  function: "multilabel_soft_margin_loss",
  targets: "values",
  options: {
    weight: tensor,
    reduction,
  },
});

export interface SoftMarginOptions {
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
}

/** log(1 + exp(-target · input)), with targets 1 and -1: `F.soft_margin_loss`. */
export const softMargin: LossFactory<SoftMarginOptions> = define<SoftMarginOptions>({
  name: "softMargin",
  function: "soft_margin_loss",
  targets: "values",
  options: {
    reduction,
  },
});

export interface CtcOptions {
  /** The class that stands for no label. PyTorch's default: 0. */
  readonly blank?: Int;
  /** How the losses of a batch become one number; "none" leaves them. PyTorch's default: "mean". */
  readonly reduction?: Reduction;
  /** Counts sequences that are too short for their targets as 0, not as infinite. PyTorch's default: false. */
  readonly zeroInfinity?: boolean;
}

/**
 * Connectionist temporal classification of log-probabilities [T, N, C]; the target is (targets, inputLengths,
 * targetLengths): `F.ctc_loss`.
 */
export const ctc: LossFactory<CtcOptions> = define<CtcOptions>({
  name: "ctc",
  function: "ctc_loss",
  targets: "classes",
  outputs: ["log_probs"],
  given: ["targets", "input_lengths", "target_lengths"],
  options: {
    blank: int,
    reduction,
    zeroInfinity: flag,
  },
});
