/** Options that metrics share, and the kinds of their values. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { workerOf, type Worker } from "../../bridge/worker.ts";
import { keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import { choice, kind, text, whole } from "../options/kinds.ts";
import type { Loss, LossSpec } from "../losses/spec.ts";
import type { PhaseClass } from "../training/phase-class.ts";
import type { MeanBy } from "./metric.ts";

export interface CommonOptions {
  /** The name under which the value is kept and printed. */
  readonly name?: string;
  /** Measures only in phases of this class. Default: in all. */
  readonly phase?: PhaseClass;
}

export interface SumOptions extends CommonOptions {
  /**
   * Makes an epoch's value the mean of its steps' values, by samples or unweighted. Default: the value of the sums over
   * the epoch.
   */
  readonly mean?: MeanBy;
}

export interface ClassOptions {
  /** The axis of the classes, or labels, in the outputs; -1 where they come last. Default: the loss's own, or 1. */
  readonly axis?: number;
  /** Targets of this value do not count. Default: the loss's own, or -100, as in `crossEntropy`. */
  readonly ignoreIndex?: number;
  /**
   * "classes": each sample has one of them. "labels": each output is a yes or a no. Default: the loss decides, or the
   * shapes.
   */
  readonly task?: Task;
}

/** The meaning of outputs: one of several classes, or a yes or no for each label. */
export type Task = "classes" | "labels";

/** `ClassOptions` for metrics that decide between yes and no. */
export interface ThresholdOptions {
  /**
   * An output above this is a yes. Default: 0.5 where the loss takes probabilities, as `bce` does, else 0, for logits.
   */
  readonly threshold?: number;
}

export const commonKinds: Kinds<CommonOptions> = {
  name: text,
  phase: kind("a class, such as ValidationPhase", (value) => typeof value === "function"),
};
export const sumKinds: Kinds<SumOptions> = { ...commonKinds, mean: choice("samples", "steps") };
export const taskKind: Kind = choice("classes", "labels");
export const classKinds: Kinds<ClassOptions> = {
  axis: whole,
  ignoreIndex: whole,
  task: taskKind,
};

/** The arguments of the worker's `Reading`, which reads outputs and targets. */
export function reading(loss: Loss | undefined, options: ClassOptions & ThresholdOptions): readonly unknown[] {
  const { options: own = {} } = (typeof loss === "object" ? loss : {}) as Partial<LossSpec>;
  const { task = null, axis = own["dim"] ?? null, ignoreIndex = own["ignore_index"] ?? null, threshold } = options;
  return [named(loss), task, axis, ignoreIndex, threshold === undefined ? null : py.float(threshold)];
}

/** The loss as the worker knows it: the module itself, or the name of its function; else null. */
export function named(loss: Loss | undefined): PyObject | string | null {
  if (isReference(loss)) return loss;
  return typeof loss === "object" ? (loss as LossSpec).name : null;
}

/** @throws MISUSE for an option that `what` does not have, and for a value of a wrong kind. */
export function check<O extends object>(what: string, kinds: Kinds<O>, options: O): O {
  keywordsOf(what, kinds, options);
  return options;
}

/** Picks those of `options` that all metrics have and that were given. */
export function common({ phase, mean }: SumOptions): SumOptions {
  return { ...(phase && { phase }), ...(mean && { mean }) };
}

/** The function `name` of the module of metrics, in the worker that holds `ref`. */
export const helper = (ref: AnyRef, name: string): AnyRef =>
  py.get(workerWith(ref).import("torchwire_worker.helpers.metrics"), name);

/** The worker that holds a phase's outputs. */
export function workerWith(yhat: AnyRef): Worker {
  const worker = workerOf(yhat);
  if (worker === undefined)
    throw new TorchwireError("MISUSE", "the outputs of this phase are not a reference, which this metric needs");
  return worker;
}
