/**
 * Flux's optimisers by Flux's names, arguments and defaults, made of PyTorch's. OAdam, AdaBelief and Lion are missing,
 * since PyTorch has none of them.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import type { Float } from "../../bridge/types/core.ts";
import { described } from "../options/keywords.ts";
import type { Grouped, OptimizerFactory } from "../optim/define.ts";
import type { OptimizerSpec } from "../optim/spec.ts";
import {
  adadelta,
  adagrad,
  adam,
  adamax,
  nadam,
  radam,
  rmsprop,
  sgd,
  type AdadeltaOptions,
  type AdagradOptions,
  type AdamaxOptions,
  type AdamOptions,
  type NadamOptions,
  type RadamOptions,
  type RmspropOptions,
  type SgdOptions,
} from "../optim/table.ts";

/** The last argument: PyTorch's other options, and groups. */
type Rest<O, K extends keyof O> = Omit<O, K> & Grouped<O>;
type Betas = readonly [Float, Float];

/** Flux's `Descent(η)`: the same. */
export function descent(eta: Float = 0.1, options: Rest<SgdOptions, "lr"> = {}): OptimizerSpec {
  return made("descent(eta)", sgd, { ...options, lr: eta });
}

/**
 * Flux's `Momentum(η, ρ)`: the same while η stays. Flux keeps η in the velocity; PyTorch multiplies by the present η.
 */
export function momentum(
  eta: Float = 0.01,
  rho: Float = 0.9,
  options: Rest<SgdOptions, "lr" | "momentum"> = {},
): OptimizerSpec {
  return made("momentum(eta, rho)", sgd, { ...options, lr: eta, momentum: rho });
}

/** Flux's `Nesterov(η, ρ)`: the same while η stays, as for `momentum`. */
export function nesterov(
  eta: Float = 0.001,
  rho: Float = 0.9,
  options: Rest<SgdOptions, "lr" | "momentum" | "nesterov"> = {},
): OptimizerSpec {
  return made("nesterov(eta, rho)", sgd, { ...options, lr: eta, momentum: rho, nesterov: true });
}

/** Flux's `RMSProp(η, ρ, ϵ)`: the same. */
export function rmsProp(
  eta: Float = 0.001,
  rho: Float = 0.9,
  epsilon: Float = 1e-8,
  options: Rest<RmspropOptions, "lr" | "alpha" | "eps"> = {},
): OptimizerSpec {
  return made("rmsProp(eta, rho, epsilon)", rmsprop, { ...options, lr: eta, alpha: rho, eps: epsilon });
}

/**
 * Flux's `AdaMax(η, β, ϵ)`: nearly the same. Flux adds ϵ to the greatest gradient as it divides; PyTorch adds it to
 * each gradient before it compares.
 */
export function adaMax(
  eta: Float = 0.001,
  beta: Betas = [0.9, 0.999],
  epsilon: Float = 1e-8,
  options: Rest<AdamaxOptions, "lr" | "betas" | "eps"> = {},
): OptimizerSpec {
  return made("adaMax(eta, beta, epsilon)", adamax, { ...options, lr: eta, betas: beta, eps: epsilon });
}

/** Flux's `AdaGrad(η, ϵ)`: the same. Sums of squares begin at ϵ. */
export function adaGrad(
  eta: Float = 0.1,
  epsilon: Float = 1e-8,
  options: Rest<AdagradOptions, "lr" | "eps" | "initialAccumulatorValue"> = {},
): OptimizerSpec {
  return made("adaGrad(eta, epsilon)", adagrad, {
    ...options,
    lr: eta,
    eps: epsilon,
    initialAccumulatorValue: epsilon,
  });
}

/** Flux's `AdaDelta(ρ, ϵ)`: the same. */
export function adaDelta(
  rho: Float = 0.9,
  epsilon: Float = 1e-8,
  options: Rest<AdadeltaOptions, "rho" | "eps"> = {},
): OptimizerSpec {
  return made("adaDelta(rho, epsilon)", adadelta, { ...options, rho, eps: epsilon });
}

/**
 * Flux's `AMSGrad(η, β, ϵ)`: the first steps differ much. PyTorch corrects their bias; Flux does not, and begins its
 * means at ϵ.
 */
export function amsGrad(
  eta: Float = 0.001,
  beta: Betas = [0.9, 0.999],
  epsilon: Float = 1e-8,
  options: Rest<AdamOptions, "lr" | "betas" | "eps" | "amsgrad"> = {},
): OptimizerSpec {
  return made("amsGrad(eta, beta, epsilon)", adam, { ...options, lr: eta, betas: beta, eps: epsilon, amsgrad: true });
}

/**
 * Flux's `NAdam(η, β, ϵ)`: the first steps differ. PyTorch's momentum grows with the steps (`momentumDecay`); Flux's
 * stays.
 */
export function nAdam(
  eta: Float = 0.001,
  beta: Betas = [0.9, 0.999],
  epsilon: Float = 1e-8,
  options: Rest<NadamOptions, "lr" | "betas" | "eps"> = {},
): OptimizerSpec {
  return made("nAdam(eta, beta, epsilon)", nadam, { ...options, lr: eta, betas: beta, eps: epsilon });
}

/** Flux's `RAdam(η, β, ϵ)`: one of the first steps differs. PyTorch rectifies from a length of 5 on, Flux from 4. */
export function rAdam(
  eta: Float = 0.001,
  beta: Betas = [0.9, 0.999],
  epsilon: Float = 1e-8,
  options: Rest<RadamOptions, "lr" | "betas" | "eps"> = {},
): OptimizerSpec {
  return made("rAdam(eta, beta, epsilon)", radam, { ...options, lr: eta, betas: beta, eps: epsilon });
}

/** `call` shows the user's call: `momentum(eta, rho)`. */
function made<O extends object>(call: string, factory: OptimizerFactory<O>, options: O & Grouped<O>): OptimizerSpec {
  const [, name, args] = /^(\w+)\((.*)\)$/.exec(call)!;
  for (const [key, value] of Object.entries(options))
    if (key !== "groups" && isPlainObject(value))
      throw new TorchwireError(
        "MISUSE",
        `${name} takes Flux's arguments, ${call}, and not ${described(value)}: PyTorch's options come after ${args}, ` +
          "or belong to the function with PyTorch's name",
      );
  return factory(options);
}
