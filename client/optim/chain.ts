/** Optimisers composed as in Flux: each part passes its gradient to the next one. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { described, float } from "../options/keywords.ts";
import type { OptimizerSpec } from "./spec.ts";

/** One part that a gradient passes through: `clipNorm(1)`. */
export interface ChainPart {
  readonly part: string;
  readonly values: readonly number[];
}

/**
 * Flux's `WeightDecay(wd)`, an L2 penalty: adds `wd` times the parameter to the gradient. After the optimiser it adds
 * to the update instead, and is not multiplied by the learning rate, which adamW's is.
 */
export function weightDecay(wd = 0): ChainPart {
  return made("weightDecay", { wd }, isNatural);
}

/**
 * Flux's `ClipValue(thresh)`, or `ClipGrad`: limits each element of the gradient to the range from `-threshold` to
 * `threshold`.
 */
export function clipValue(threshold: number): ChainPart {
  return made("clipValue", { threshold }, isPositive);
}

/**
 * Flux's `ClipNorm(thresh)`: scales the gradient of a parameter down to the norm `threshold` where its norm is greater.
 * It treats each parameter by itself, as Flux does. PyTorchBackend's `clipGradNorm`, which is PyTorch's
 * `clip_grad_norm_`, takes the norm of all parameters together.
 */
export function clipNorm(threshold: number): ChainPart {
  return made("clipNorm", { threshold }, isPositive);
}

/**
 * Flux's `ExpDecay(η, decay, step, clip, start)`: multiplies by a factor that begins at `eta`. After every `decayStep`
 * steps past `start`, the factor is multiplied by `decay`, down to `clip`. For an optimiser that ignores the size of
 * gradients, such as Adam, put it after the optimiser.
 */
export function expDecay(eta = 0.001, decay = 0.1, decayStep = 1000, clip = 1e-4, start = 0): ChainPart {
  if (!Number.isSafeInteger(decayStep) || decayStep < 1 || !Number.isSafeInteger(start))
    throw new TorchwireError("MISUSE", "expDecay: decayStep must be a whole number from 1, and start a whole number");
  return made("expDecay", { eta, decay, decayStep, clip, start }, isNatural);
}

/** Flux's `InvDecay(γ)`: multiplies by 1 / (1 + gamma · n) in step n, counted from 1. */
export function invDecay(gamma = 0.001): ChainPart {
  return made("invDecay", { gamma }, isNatural);
}

interface Chained extends OptimizerSpec {
  /** Its parts. */
  readonly chained?: readonly (ChainPart | OptimizerSpec)[];
}

/**
 * Parts after an optimiser work through its learning rate. The updates of these optimisers are not proportional to it.
 */
const WITHOUT_AFTER = ["Adafactor", "ASGD", "Rprop"];

/**
 * Chains parts and one optimiser, in the order in which a gradient passes through them, as Flux's `Optimiser` and
 * `OptimiserChain`: `chain(weightDecay(1e-4), clipValue(0.5), clipNorm(1), adam())`.
 *
 * Parts before the optimiser change the gradients at the beginning of its `step()`, in hand-written loops too, when the
 * gradients of all batches have been added up. Parts after it change its update; only weightDecay and the decays can.
 * The decays keep their count in the optimiser's `state_dict`.
 */
export function chain(...parts: readonly (ChainPart | OptimizerSpec)[]): OptimizerSpec {
  const flat = parts.flatMap((part) => (part as Chained | null | undefined)?.chained ?? [part]);
  for (const part of flat)
    if (!isPart(part) && !isSpec(part))
      throw new TorchwireError(
        "MISUSE",
        `chain: ${described(part)} is neither a part, such as clipNorm(1), nor an optimizer, such as adam()`,
      );
  const at = flat.findIndex(isSpec);
  if (at === -1) throw new TorchwireError("MISUSE", "chain: it has no optimizer; write chain(clipNorm(1), adam())");
  const optimizer = flat[at] as OptimizerSpec;
  const [before, after] = [flat.slice(0, at) as ChainPart[], flat.slice(at + 1)];
  check(optimizer, after);
  const sent = (those: readonly ChainPart[]): unknown =>
    those.map(({ part, values }) => [part, values.map(float.send)]);
  return {
    name: optimizer.name,
    chained: flat,
    create(worker, model) {
      const helpers = worker.import("torchwire_worker.helpers.chain");
      return helpers.chain(optimizer.create(worker, model), sent(before), sent(after as ChainPart[])) as AnyRef;
    },
  } as Chained;
}

function check({ name, closure }: OptimizerSpec, after: readonly (ChainPart | OptimizerSpec)[]): void {
  if (closure === true)
    throw new TorchwireError(
      "MISUSE",
      `chain: ${name} computes new gradients within a step, where no part would see them`,
    );
  const [first] = after;
  if (first === undefined) return;
  const second = after.find(isSpec);
  if (second !== undefined)
    throw new TorchwireError("MISUSE", `chain: it has two optimizers, ${name} and ${second.name}; it must have one`);
  const clip = (after as ChainPart[]).find(({ part }) => part.startsWith("clip"));
  if (clip !== undefined)
    throw new TorchwireError("MISUSE", `chain: ${clip.part} must come before ${name}; an update cannot be clipped`);
  if (WITHOUT_AFTER.includes(name))
    throw new TorchwireError(
      "MISUSE",
      `chain: ${(first as ChainPart).part} must come before ${name}, whose update is not proportional to its learning rate`,
    );
}

const isPart = (part: unknown): part is ChainPart => Array.isArray((part as ChainPart | null | undefined)?.values);
const isSpec = (part: unknown): part is OptimizerSpec =>
  typeof (part as OptimizerSpec | null | undefined)?.create === "function";

const isNatural = { is: "a number from 0", holds: (value: number) => value >= 0 && Number.isFinite(value) };
const isPositive = { is: "a number above 0", holds: (value: number) => value > 0 && Number.isFinite(value) };

function made(part: string, values: { readonly [name: string]: number }, rule: typeof isNatural): ChainPart {
  for (const [name, value] of Object.entries(values))
    if (typeof value !== "number" || !rule.holds(value))
      throw new TorchwireError("MISUSE", `${part}: ${name} is ${described(value)}; it must be ${rule.is}`);
  return { part, values: Object.values(values) };
}
