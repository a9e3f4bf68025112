/** Metrics: what to count in the worker, batch by batch, and what number to make of it. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { isRefusedPromise } from "../../bridge/reference/refused.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Measured } from "../callback/callback.ts";
import type { WeighedLoss } from "../losses/weight.ts";
import type { Step } from "../training/events.ts";
import { described } from "../options/keywords.ts";
import type { Loss } from "../losses/spec.ts";
import type { Phase } from "../training/phases.ts";
import { merged, plain } from "./sums.ts";

/**
 * A number goes into the history; undefined does not. A record of numbers goes there as several, `name/key`; an array is kept in `metricsTable`, of the
 * last epoch alone.
 */
export type MetricResult = number | undefined | NDArray | { readonly [key: string]: number };

/** Of a step that the worker has done. */
export interface DoneStep {
  /** Undefined in a phase that has none, and where no target of the batch counts. */
  readonly loss: number | undefined;
  /** What that adds to the mean over an epoch, which is Σ total / Σ weight. Undefined in a phase without a loss. */
  readonly weighed: WeighedLoss | undefined;
  /** Samples. */
  readonly size: number;
}

/** A metric in one epoch. */
export interface Tally {
  /**
   * In line, at the end of a step: what the worker is to do, and references whose values `add` is to have; they travel with the step. `loss` is the
   * learner's. Not async.
   */
  readonly update?: (yhat: AnyRef, ys: any, step: Readonly<Step>, loss?: Loss) => Measured;
  /** When the step is done, with the values of what `update` gave: the value of this step, or none. */
  readonly add: (values: any, step: DoneStep) => number | undefined;
  /** At the end of the epoch, if it had a step: its value. What is awaited here costs a round trip. */
  readonly compute: () => MetricResult | PromiseLike<MetricResult>;
}

type PhaseClass = abstract new (...args: any[]) => Phase;

/** How the steps of an epoch count in a mean: by their samples, or all the same, as in FluxTraining. */
export type MeanBy = "samples" | "steps";

export interface MetricOptions {
  /** Under which it is kept. Default: the function's own. */
  readonly name?: string;
  /** Only in phases of this class. Default: in all. */
  readonly phase?: PhaseClass;
  /** What the value of an epoch is: the mean of its steps, by their samples (the default) or unweighted. */
  readonly mean?: MeanBy;
}

/**
 * FluxTraining's form: the mean of a function of outputs and targets, which gives a number or a reference to one.
 *
 *     new Metric(function bias(yhat, ys) { return yhat.sub(ys).mean(); }, { phase: ValidationPhase })
 */
export class Metric {
  readonly name: string;
  readonly isFor: (phase: Phase) => boolean;
  /** Called when an epoch begins. */
  readonly start: () => Tally;

  /** @throws MISUSE where the function has no name and none is given. */
  constructor(f: (yhat: AnyRef, ys: any) => object | number, options: MetricOptions = {}) {
    const { phase, mean = "samples" } = options;
    if (typeof f !== "function")
      throw new TorchwireError("MISUSE", `new Metric: ${described(f)} is not a function of outputs and targets`);
    const name = options.name ?? (inner(f) === undefined ? f.name : "");
    if (name === "")
      throw new TorchwireError(
        "MISUSE",
        `new Metric: the function has no name; give one: new Metric(f, { name: "…" })`,
      );
    const update: MetricParts["update"] = (yhat, ys) => {
      const value = f(yhat, ys);
      if (typeof value === "number" || inner(value) !== undefined) return { value };
      throw new TorchwireError(
        "MISUSE",
        `metric ${name}: the function gave ${described(value)}; it is to give a number or a reference to one, and not to be async`,
      );
    };
    const compute = ({ value }: { value: unknown }): number => {
      if (typeof value === "number") return value;
      throw new TorchwireError(
        "MISUSE",
        `metric ${name}: the function gave a tensor with axes; it is to give one number`,
      );
    };
    ({
      name: this.name,
      isFor: this.isFor,
      start: this.start,
    } = metric(name, {
      update,
      compute,
      mean,
      ...(phase && { phase }),
    }));
  }
}

export interface MetricParts {
  /**
   * Of one batch: references to numbers or tensors, or numbers, that can be added up over batches: counts and sums, not means. `yhat` carries
   * no gradient; what else a phase of one's own has left is in `step`; `loss` is the learner's. Not async.
   */
  readonly update: (yhat: AnyRef, ys: any, step: Readonly<Step>, loss?: Loss) => Measured;
  /** The value, of the sums over the batches of an epoch, or of one batch. A tensor with axes is a `SumArray` here: `{ shape, data }`, in float64. */
  readonly compute: (sums: any) => number;
  /** What two batches make together, each as `update` gave it. Default: the sums, key by key. */
  readonly merge?: (one: any, other: any) => any;
  /** The value of an epoch is the mean of those of its steps: by their samples, or unweighted. Default: that of the sums. */
  readonly mean?: MeanBy;
  /** Only in phases of this class. Default: in all. */
  readonly phase?: PhaseClass;
}

/** What `metric` makes. */
export interface CountingMetric extends Metric {
  readonly update: MetricParts["update"];
  readonly compute: MetricParts["compute"];
}

/**
 * A metric of sums:
 *
 *     metric("recall", {
 *       update: (yhat, ys) => ({ found: yhat.argmax(1).mul(ys).sum(), all: ys.sum() }),
 *       compute: ({ found, all }) => found / all,
 *     })
 */
export function metric(name: string, parts: MetricParts): CountingMetric {
  const { update, compute, phase } = parts;
  checkMean(name, parts.mean);
  const { isFor, start } = statefulMetric(name, { start: () => counting(name, parts), ...(phase && { phase }) });
  return { name, isFor, start, update, compute };
}

/** A metric that is more than sums: `start` is called when an epoch begins, and what it returns lives as long as that. */
export function statefulMetric(
  name: string,
  { start, phase }: { readonly start: () => Tally; readonly phase?: PhaseClass },
): Metric {
  if (typeof name !== "string" || name === "") throw new TorchwireError("MISUSE", "a metric needs a name");
  if (phase !== undefined && typeof phase !== "function")
    throw new TorchwireError(
      "MISUSE",
      `metric ${name}: phase is ${described(phase)}; it is to be a class, such as ValidationPhase`,
    );
  return { name, isFor: (one) => phase === undefined || one instanceof phase, start };
}

/** What `part` of a metric of sums gave: a step's value is known at once. */
function atOnce<T>(metric: string, part: string, value: T): T {
  if (isRefusedPromise(value))
    throw new TorchwireError("MISUSE", `metric ${metric}: ${part} gave a Promise; it is not to be async`);
  return value;
}

function counting(name: string, { update, compute, merge = merged, mean }: MetricParts): Tally {
  let total: unknown;
  const average = new Mean(mean);
  return {
    update,
    add(values, { size }) {
      const own = plain(values as { readonly [name: string]: unknown });
      const value = atOnce(name, "compute", compute(own));
      if (mean === undefined) total = total === undefined ? own : atOnce(name, "merge", merge(total, own));
      else average.add(value, size);
      return value;
    },
    compute: () => (mean === undefined ? atOnce(name, "compute", compute(total)) : average.value),
  };
}

/** The mean of the values of steps. */
export class Mean {
  readonly #by: MeanBy | undefined;
  #sum = 0;
  #weight = 0;

  constructor(by: MeanBy | undefined) {
    this.#by = by;
  }

  add(value: number, weight: number, total: number = value * weight): void {
    const bySteps = this.#by === "steps";
    this.#sum += bySteps ? value : total;
    this.#weight += bySteps ? 1 : weight;
  }

  /** Undefined before anything was added. */
  get value(): number | undefined {
    return this.#weight === 0 ? undefined : this.#sum / this.#weight;
  }
}

/** @throws MISUSE for what is not a way to take a mean. */
export function checkMean(name: string, mean: unknown): void {
  if (mean !== undefined && mean !== "samples" && mean !== "steps")
    throw new TorchwireError("MISUSE", `metric ${name}: mean is ${described(mean)}; it is to be "samples" or "steps"`);
}
