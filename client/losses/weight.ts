/** The weight of a step's loss in the mean over an epoch. */
import { whenHere } from "../../bridge/reference/fetched.ts";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { numbersIn } from "../data/plain-numbers.ts";
import { described } from "../options/keywords.ts";

/**
 * The worker tells the divisor of a loss from its outputs and targets, through `weigher`, where it knows it. Else the
 * program says it.
 */
export type LossWeight =
  | { readonly weigher: AnyRef; readonly yhat: unknown; readonly ys: unknown }
  | { readonly said: () => PyObject | number };

/**
 * The loss of a step, and its part in the mean over an epoch: Σ total / Σ weight. Without a weight it counts by its
 * samples.
 */
export interface CountedLoss {
  /** Undefined where a model that computes its own loss gave none. */
  readonly loss: number | undefined;
  readonly weight: number | undefined;
  readonly total: number | undefined;
  readonly parts?: LossParts | undefined;
}

/** The parts of a loss that the model computes, by name. */
export interface LossParts {
  readonly [name: string]: number;
}

/**
 * For a loss that is a mean, `weight` is its divisor where that is known, else the number of samples; `total` is the
 * product.
 */
export interface WeighedLoss {
  readonly total: number;
  readonly weight: number;
}

/** The loss of a step, and its weight where a phase gives one. */
interface WithLoss {
  readonly loss: AnyRef;
  readonly lossWeight?: PyObject | number | undefined;
}

/** The parts of a learner that say where its losses are. */
interface Where {
  readonly worker: Worker;
  readonly backend: { readonly device: string };
}

/** The weight of each reference that a loss returned. */
const ofLoss = new WeakMap<object, LossWeight>();
/** The weight of the loss that the learner's function returned in each step; null where it returned several. */
const ofStep = new WeakMap<WithLoss, LossWeight | null>();

/** Notes the weight of `loss`, and returns `loss`. */
export function weighed<T extends object>(loss: T, weight: LossWeight): T {
  ofLoss.set(loss, weight);
  return loss;
}

/** Makes a weigher in the worker's module that knows the divisors of losses, and keeps it. */
export function weigherBy(worker: Worker, make: (denominators: AnyRef) => AnyRef): AnyRef {
  return worker.scope(() => py.keep(make(worker.import("torchwire_worker.helpers.denominators"))));
}

/** Notes that the learner's function returned `loss` in this step. The step may compute its own loss from it. */
export function given<T extends object>(step: WithLoss | undefined, loss: T): T {
  const weight = ofLoss.get(loss);
  if (step === undefined || weight === undefined || isAgain) return loss;
  const before = ofStep.get(step);
  ofStep.set(step, before === undefined || before === weight ? weight : null);
  return loss;
}

let isAgain = false;

/** Computes a loss that belongs to no step that is being issued: one of a step that runs, evaluated again. */
export function ungiven<T>(compute: () => T): T {
  isAgain = true;
  try {
    return compute();
  } finally {
    isAgain = false;
  }
}

/** Undefined where the loss of a step counts by its samples. */
export function weightOf(step: WithLoss): LossWeight | undefined {
  const { lossWeight } = step;
  if (lossWeight !== undefined) return { said: () => lossWeight };
  return ofLoss.get(step.loss) ?? ofStep.get(step) ?? undefined;
}

/**
 * Arguments for a helper that needs the weight: a weigher with outputs and targets, or the stated weight; none where it
 * is unknown.
 */
export function weightArguments(step: WithLoss): readonly unknown[] {
  const weight = weightOf(step);
  if (weight === undefined) return [];
  return "said" in weight ? [checked(weight.said())] : [weight.weigher, weight.yhat, weight.ys];
}

/**
 * Asks for a step's loss and its weight in the step's batch, by one operation where the worker knows the weight. The
 * returned function awaits them. It must be called after the step, since awaiting within a step would send its batch
 * early. A worker with a GPU goes on meanwhile: there the numbers come as tensors.
 */
export function counted(step: WithLoss, learner: Where): () => CountedLoss | Promise<CountedLoss> {
  const { loss } = step;
  const weight = weightOf(step);
  if (weight === undefined) {
    const asked = askFor(loss, learner);
    return () => whenHere(asked, (value) => ({ loss: numberIn(value), weight: undefined, total: undefined }));
  }
  if ("said" in weight) {
    const said = checked(weight.said());
    const asked = [askFor(loss, learner), typeof said === "number" ? said : py.js(said)] as const;
    return async () => {
      const [value, weighs] = [numberIn(await asked[0]), weightFrom(await asked[1])];
      return { loss: value, weight: weighs, total: value * weighs };
    };
  }
  const isChanged = ofLoss.get(loss) !== weight;
  const asked = py.js(weight.weigher.counted(loss, weight.yhat, weight.ys, isChanged));
  return () => whenHere(asked, (answer) => countedBy(answer as Answer));
}

type Answer = readonly [unknown, unknown, unknown, Record<string, unknown>?];

function countedBy([found, divisor, product, named]: Answer): CountedLoss {
  const [value, weighs, given] = [found, divisor, product].map((one) => (one === null ? undefined : numberIn(one)));
  const total = given ?? (value === undefined || weighs === undefined ? undefined : value * weighs);
  const parts = named && Object.fromEntries(Object.entries(named).map(([name, part]) => [name, numberIn(part)]));
  return { loss: value, weight: weighs, total, parts };
}

function askFor(loss: AnyRef, { worker, backend }: Where): Promise<unknown> {
  const { device } = backend;
  return py.js(device === "cpu" ? loss.item() : worker.import("torchwire_worker.helpers.batches").number(loss));
}

const numberIn = (value: unknown): number =>
  isNDArray(value) ? (numbersIn(value, "the loss")[0] as number) : (value as number);

function checked(said: unknown): PyObject | number {
  if (typeof said !== "number" && inner(said) === undefined)
    throw refused(said, "it must be a number or a reference to one, given at once");
  return said as PyObject | number;
}

function weightFrom(value: unknown): number {
  const weight = Number(isNDArray(value) && value.data.length === 1 ? numberIn(value) : value);
  if (!(weight >= 0 && weight < Infinity)) throw refused(value, "it must be a number from 0");
  return weight;
}

const refused = (value: unknown, wanted: string): TorchwireError =>
  new TorchwireError("MISUSE", `the weight of the loss is ${described(value)}; ${wanted}`);
