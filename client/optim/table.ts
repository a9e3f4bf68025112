// Written by test/tables/make.py from torch 2.14: change it there.
import type { Float, Int } from "../../bridge/types/core.ts";
import type { TensorLike } from "../../bridge/types/values.ts";
import { flag, float, floats, int, oneOf } from "../options/keywords.ts";
import { define, type OptimizerFactory } from "./define.ts";

export interface AdadeltaOptions {
  /** Scales the update. PyTorch's default: 1. */
  readonly lr?: Float | TensorLike;
  /** The share of the squared gradient's running mean that each step keeps. PyTorch's default: 0.9. */
  readonly rho?: Float;
  /** Added to the denominator. PyTorch's default: 1e-6. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}

/** Scales steps by a window of past updates and gradients, https://arxiv.org/abs/1212.5701: `torch.optim.Adadelta`. */
export const adadelta: OptimizerFactory<AdadeltaOptions> = define<AdadeltaOptions>({
  name: "adadelta",
  className: "Adadelta",
  options: {
    lr: float,
    rho: float,
    eps: float,
    weightDecay: float,
    foreach: flag,
    capturable: flag,
    maximize: flag,
    differentiable: flag,
  },
});

export interface AdafactorOptions {
  /** The greatest step size, relative to the size of the parameter. PyTorch's default: 0.01. */
  readonly lr?: Float | TensorLike;
  /** The share of the squares' running mean that a step keeps is 1 - step ^ beta2Decay. PyTorch's default: -0.8. */
  readonly beta2Decay?: Float;
  /**
   * Two numbers: one is added to the squared gradient (null: the dtype's epsilon), the other is the least size of a
   * parameter that steps are relative to. PyTorch's default: [null, 0.001].
   */
  readonly eps?: readonly [Float | null, Float];
  /** The greatest root mean square of an update; larger updates are scaled down. PyTorch's default: 1. */
  readonly d?: Float;
  /** Shrinks the weights by lr · weightDecay at each step, apart from the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** Uses one operation for many tensors: faster, with more memory. PyTorch's default: false. */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
}

/**
 * Adam with little memory: for a matrix it keeps only means of rows and columns, https://arxiv.org/abs/1804.04235:
 * `torch.optim.Adafactor`.
 */
export const adafactor: OptimizerFactory<AdafactorOptions> = define<AdafactorOptions>({
  name: "adafactor",
  className: "Adafactor",
  options: {
    lr: float,
    beta2Decay: float,
    eps: floats(2, null),
    d: float,
    weightDecay: float,
    foreach: flag,
    maximize: flag,
  },
});

export interface AdagradOptions {
  /** Step size. PyTorch's default: 0.01. */
  readonly lr?: Float | TensorLike;
  /** The step size is lr / (1 + lrDecay · (step - 1)). PyTorch's default: 0. */
  readonly lrDecay?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** The first value of the sums of squares. PyTorch's default: 0. */
  readonly initialAccumulatorValue?: Float;
  /** Added to the denominator. PyTorch's default: 1e-10. */
  readonly eps?: Float;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Runs the whole update as one kernel. PyTorch's default: false. */
  readonly fused?: boolean;
}

/** Scales steps by all past gradients, https://jmlr.org/papers/v12/duchi11a.html: `torch.optim.Adagrad`. */
export const adagrad: OptimizerFactory<AdagradOptions> = define<AdagradOptions>({
  name: "adagrad",
  className: "Adagrad",
  options: {
    lr: float,
    lrDecay: float,
    weightDecay: float,
    initialAccumulatorValue: float,
    eps: float,
    foreach: flag,
    maximize: flag,
    differentiable: flag,
    fused: flag,
  },
});

export interface AdamOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the running means of the gradient and of its square. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float | TensorLike, Float | TensorLike];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** Divides by the greatest mean square so far instead of the present one. PyTorch's default: false. */
  readonly amsgrad?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Runs the whole update as one kernel. PyTorch's default: false. */
  readonly fused?: boolean;
  /** Decays the weights as adamW does, apart from the gradient. PyTorch's default: false. */
  readonly decoupledWeightDecay?: boolean;
}

/** Adam, https://arxiv.org/abs/1412.6980: `torch.optim.Adam`. */
export const adam: OptimizerFactory<AdamOptions> = define<AdamOptions>({
  name: "adam",
  className: "Adam",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    weightDecay: float,
    amsgrad: flag,
    foreach: flag,
    maximize: flag,
    capturable: flag,
    differentiable: flag,
    fused: flag,
    decoupledWeightDecay: flag,
  },
});

export interface AdamWOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the running means of the gradient and of its square. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float | TensorLike, Float | TensorLike];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** Shrinks the weights by lr · weightDecay at each step, apart from the gradient. PyTorch's default: 0.01. */
  readonly weightDecay?: Float;
  /** Divides by the greatest mean square so far instead of the present one. PyTorch's default: false. */
  readonly amsgrad?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Runs the whole update as one kernel. PyTorch's default: false. */
  readonly fused?: boolean;
}

/** Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101: `torch.optim.AdamW`. */
export const adamW: OptimizerFactory<AdamWOptions> = define<AdamWOptions>({
  name: "adamW",
  className: "AdamW",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    weightDecay: float,
    amsgrad: flag,
    maximize: flag,
    foreach: flag,
    capturable: flag,
    differentiable: flag,
    fused: flag,
  },
});

export interface AdamaxOptions {
  /** Step size. PyTorch's default: 0.002. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the gradient's running mean and of its greatest value. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float, Float];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
}

/** Adam by the greatest gradient instead of the mean square, https://arxiv.org/abs/1412.6980: `torch.optim.Adamax`. */
export const adamax: OptimizerFactory<AdamaxOptions> = define<AdamaxOptions>({
  name: "adamax",
  className: "Adamax",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    weightDecay: float,
    foreach: flag,
    maximize: flag,
    differentiable: flag,
    capturable: flag,
  },
});

export interface AsgdOptions {
  /** Step size. PyTorch's default: 0.01. */
  readonly lr?: Float | TensorLike;
  /** How fast the step size shrinks, and the weights with it. PyTorch's default: 0.0001. */
  readonly lambd?: Float;
  /** The power by which the step size shrinks. PyTorch's default: 0.75. */
  readonly alpha?: Float;
  /** The step at which averaging begins. PyTorch's default: 1000000. */
  readonly t0?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
}

/**
 * Averaged stochastic gradient descent, https://dl.acm.org/citation.cfm?id=131098; the state holds the means, under
 * `ax`: `torch.optim.ASGD`.
 */
export const asgd: OptimizerFactory<AsgdOptions> = define<AsgdOptions>({
  name: "asgd",
  className: "ASGD",
  options: {
    lr: float,
    lambd: float,
    alpha: float,
    t0: float,
    weightDecay: float,
    foreach: flag,
    maximize: flag,
    differentiable: flag,
    capturable: flag,
  },
});

export interface LbfgsOptions {
  /** Step size. PyTorch's default: 1. */
  readonly lr?: Float | TensorLike;
  /** The most iterations in a step. PyTorch's default: 20. */
  readonly maxIter?: Int;
  /** The most evaluations of the loss in a step. PyTorch's default: 1.25 · maxIter. */
  readonly maxEval?: Int;
  /** Ends the step where no gradient is larger. PyTorch's default: 1e-7. */
  readonly toleranceGrad?: Float;
  /** Ends the step where loss or parameters change by less. PyTorch's default: 1e-9. */
  readonly toleranceChange?: Float;
  /** The number of past updates that are remembered. PyTorch's default: 100. */
  readonly historySize?: Int;
  /** How the length of a step is searched for; without it the length is `lr`. PyTorch's default: none. */
  readonly lineSearchFn?: "strong_wolfe";
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
}

/**
 * L-BFGS evaluates model and loss several times in a step, in the worker, and takes one group only:
 * `torch.optim.LBFGS`.
 */
export const lbfgs: OptimizerFactory<LbfgsOptions> = define<LbfgsOptions>({
  name: "lbfgs",
  className: "LBFGS",
  closure: true,
  options: {
    lr: float,
    maxIter: int,
    maxEval: int,
    toleranceGrad: float,
    toleranceChange: float,
    historySize: int,
    lineSearchFn: oneOf("strong_wolfe"),
    maximize: flag,
  },
});

export interface MuonOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float;
  /** Shrinks the weights by lr · weightDecay at each step, apart from the gradient. PyTorch's default: 0.1. */
  readonly weightDecay?: Float;
  /** The share of the gradient's running mean that each step keeps. PyTorch's default: 0.95. */
  readonly momentum?: Float;
  /** Nesterov's momentum. PyTorch's default: true. */
  readonly nesterov?: boolean;
  /** Coefficients of the Newton-Schulz iteration. PyTorch's default: [3.4445, -4.775, 2.0315]. */
  readonly nsCoefficients?: readonly [Float, Float, Float];
  /** Added to the denominator. PyTorch's default: 1e-7. */
  readonly eps?: Float;
  /** Rounds of the Newton-Schulz iteration. PyTorch's default: 5. */
  readonly nsSteps?: Int;
  /** How the step size follows from the shape of a matrix. PyTorch's default: "original". */
  readonly adjustLrFn?: "original" | "match_rms_adamw";
}

/**
 * Momentum made orthogonal, https://kellerjordan.github.io/posts/muon; every parameter must be a matrix:
 * `torch.optim.Muon`. Since torch 2.9.
 */
export const muon: OptimizerFactory<MuonOptions> = define<MuonOptions>({
  name: "muon",
  className: "Muon",
  since: "2.9",
  options: {
    lr: float,
    weightDecay: float,
    momentum: float,
    nesterov: flag,
    nsCoefficients: floats(3),
    eps: float,
    nsSteps: int,
    adjustLrFn: oneOf("original", "match_rms_adamw"),
  },
});

export interface NadamOptions {
  /** Step size. PyTorch's default: 0.002. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the running means of the gradient and of its square. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float, Float];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient unless `decoupledWeightDecay`. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** How fast the momentum approaches its final value. PyTorch's default: 0.004. */
  readonly momentumDecay?: Float;
  /** Decays the weights as adamW does, apart from the gradient. PyTorch's default: false. */
  readonly decoupledWeightDecay?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}

/** Adam with Nesterov's momentum, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ: `torch.optim.NAdam`. */
export const nadam: OptimizerFactory<NadamOptions> = define<NadamOptions>({
  name: "nadam",
  className: "NAdam",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    weightDecay: float,
    momentumDecay: float,
    decoupledWeightDecay: flag,
    foreach: flag,
    maximize: flag,
    capturable: flag,
    differentiable: flag,
  },
});

export interface RadamOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the running means of the gradient and of its square. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float, Float];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient unless `decoupledWeightDecay`. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** Decays the weights as adamW does, apart from the gradient. PyTorch's default: false. */
  readonly decoupledWeightDecay?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}

/** Rectified Adam, https://arxiv.org/abs/1908.03265: `torch.optim.RAdam`. */
export const radam: OptimizerFactory<RadamOptions> = define<RadamOptions>({
  name: "radam",
  className: "RAdam",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    weightDecay: float,
    decoupledWeightDecay: flag,
    foreach: flag,
    maximize: flag,
    capturable: flag,
    differentiable: flag,
  },
});

export interface RmspropOptions {
  /** Step size. PyTorch's default: 0.01. */
  readonly lr?: Float | TensorLike;
  /** The share of the squared gradient's running mean that each step keeps. PyTorch's default: 0.99. */
  readonly alpha?: Float;
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float;
  /** The share of the last update in the next one. PyTorch's default: 0. */
  readonly momentum?: Float;
  /** Divides by an estimate of the variance instead of the mean square. PyTorch's default: false. */
  readonly centered?: boolean;
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}

/** Scales steps by a running mean of squared gradients: `torch.optim.RMSprop`. */
export const rmsprop: OptimizerFactory<RmspropOptions> = define<RmspropOptions>({
  name: "rmsprop",
  className: "RMSprop",
  options: {
    lr: float,
    alpha: float,
    eps: float,
    weightDecay: float,
    momentum: float,
    centered: flag,
    capturable: flag,
    foreach: flag,
    maximize: flag,
    differentiable: flag,
  },
});

export interface RpropOptions {
  /** Step size. PyTorch's default: 0.01. */
  readonly lr?: Float | TensorLike;
  /**
   * Factors of the step size where the sign of the gradient changes, and where it stays. PyTorch's default: [0.5, 1.2].
   */
  readonly etas?: readonly [Float, Float];
  /** The least and the greatest step. PyTorch's default: [1e-6, 50]. */
  readonly stepSizes?: readonly [Float, Float];
  /** Can be captured in a CUDA graph. PyTorch's default: false. */
  readonly capturable?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
}

/**
 * Resilient propagation, which steps by the signs of gradients and needs the whole data in one batch:
 * `torch.optim.Rprop`.
 */
export const rprop: OptimizerFactory<RpropOptions> = define<RpropOptions>({
  name: "rprop",
  className: "Rprop",
  options: {
    lr: float,
    etas: floats(2),
    stepSizes: floats(2),
    capturable: flag,
    foreach: flag,
    maximize: flag,
    differentiable: flag,
  },
});

export interface SgdOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float | TensorLike;
  /** The share of the last update in the next one. PyTorch's default: 0. */
  readonly momentum?: Float;
  /** The share of the gradient that the momentum leaves out. PyTorch's default: 0. */
  readonly dampening?: Float;
  /** L2 penalty, added to the gradient. PyTorch's default: 0. */
  readonly weightDecay?: Float | TensorLike;
  /** Nesterov's momentum; needs a momentum and no dampening. PyTorch's default: false. */
  readonly nesterov?: boolean;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
  /**
   * Uses one operation for many tensors: faster, with more memory. PyTorch's default: on CUDA, where `fused` is not.
   */
  readonly foreach?: boolean;
  /** Lets gradients flow through the update. PyTorch's default: false. */
  readonly differentiable?: boolean;
  /** Runs the whole update as one kernel. PyTorch's default: false. */
  readonly fused?: boolean;
}

/** Stochastic gradient descent: `torch.optim.SGD`. */
export const sgd: OptimizerFactory<SgdOptions> = define<SgdOptions>({
  name: "sgd",
  className: "SGD",
  options: {
    lr: float,
    momentum: float,
    dampening: float,
    weightDecay: float,
    nesterov: flag,
    maximize: flag,
    foreach: flag,
    differentiable: flag,
    fused: flag,
  },
});

export interface SparseAdamOptions {
  /** Step size. PyTorch's default: 0.001. */
  readonly lr?: Float | TensorLike;
  /**
   * The shares that each step keeps of the running means of the gradient and of its square. PyTorch's default: [0.9,
   * 0.999].
   */
  readonly betas?: readonly [Float, Float];
  /** Added to the denominator. PyTorch's default: 1e-8. */
  readonly eps?: Float;
  /** Climbs instead of descending. PyTorch's default: false. */
  readonly maximize?: boolean;
}

/** Adam for sparse gradients alone, such as those of `Embedding(…, sparse=True)`: `torch.optim.SparseAdam`. */
export const sparseAdam: OptimizerFactory<SparseAdamOptions> = define<SparseAdamOptions>({
  name: "sparseAdam",
  className: "SparseAdam",
  options: {
    lr: float,
    betas: floats(2),
    eps: float,
    maximize: flag,
  },
});
