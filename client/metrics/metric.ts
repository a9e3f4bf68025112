/** A metric says what the worker counts, batch by batch, and which number it makes of the counts. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { isRefusedPromise } from "../../bridge/reference/refused.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { KeptState, Measured } from "../callback/callback.ts";
import { isMeasurable } from "../callback/measured.ts";
import type { WeighedLoss } from "../losses/weight.ts";
import type { Step } from "../training/events.ts";
import { described } from "../options/keywords.ts";
import type { Loss } from "../losses/spec.ts";
import type { PhaseClass } from "../training/phase-class.ts";
import type { Phase } from "../training/phases.ts";
import type { Trainer } from "../training/trainer.ts";
import { merged, plain } from "./sums.ts";

/**
 * A number goes into the history, undefined does not. A record of numbers goes there as several metrics, `name/key`. An
 * array goes into `metricsTable`, which holds the last epoch alone.
 */
export type MetricResult = number | undefined | NDArray | { readonly [key: string]: number };

/** A step that the worker has done. */
export interface DoneStep {
  /** Undefined in a phase without a loss, and where no target of the batch counts. */
  readonly loss: number | undefined;
  /** The loss's part in the mean over an epoch, Σ total / Σ weight. Undefined in a phase without a loss. */
  readonly weighed: WeighedLoss | undefined;
  /** The number of samples. */
  readonly size: number;
}

/** The state of a metric in one epoch, as `KeptState` is that of a callback. */
export interface TallyState<S = any> extends Omit<KeptState<S>, "load"> {
  readonly load: (saved: S, learner: Pick<Trainer, "worker" | "loss">) => void;
}

/** A metric in one epoch. */
export interface Tally {
  /**
   * Runs in line at the end of a step. It queues work for the worker, and returns references, or values on their way
   * (`py.len(x)`, not awaited), whose values `add` gets; they travel with the step. `loss` is the learner's. It must
   * not be async.
   */
  readonly update?: (yhat: AnyRef, ys: any, step: Readonly<Step>, loss?: Loss) => Measured;
  /** Runs when the step is done, with the values of `update`. Returns the value of this step, or undefined. */
  readonly add: (values: any, step: DoneStep) => number | undefined;
  /** Returns the value of an epoch, at its end, if it had a step. Each value awaited here costs a round trip. */
  readonly compute: () => MetricResult | PromiseLike<MetricResult>;
  /**
   * What it has counted so far, for checkpoints in the middle of an epoch. Where it is missing, they wait for the
   * epoch's end. `load` also gets the learner's worker and loss.
   */
  readonly state?: TallyState;
}

/** How the steps of an epoch count in a mean: by their samples, or all the same as in FluxTraining. */
export type MeanBy = "samples" | "steps";

export interface MetricOptions {
  /** The metric's name. Default: the function's. */
  readonly name?: string;
  /** Measures only in phases of this class. Default: in all. */
  readonly phase?: PhaseClass;
  /** How the mean over an epoch weighs its steps: by "samples" (default), or all the same. */
  readonly mean?: MeanBy;
}

/**
 * FluxTraining's form: the mean of a function of outputs and targets, which returns a number, a reference to one, or a
 * number on its way (`py.len(x)`, not awaited).
 *
 *     new Metric(function bias(yhat, ys) { return yhat.sub(ys).mean(); }, { phase: ValidationPhase })
 */
export class Metric {
  readonly name: string;
  readonly isFor: (phase: Phase) => boolean;
  /** Called at the beginning of an epoch. */
  readonly start: () => Tally;
  /** What it remembers beyond an epoch, if anything. */
  readonly state?: KeptState;

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
      if (isMeasurable(value)) return { value };
      throw new TorchwireError(
        "MISUSE",
        `metric ${name}: the function gave ${described(value)}; it must return a number or a reference to one (what py.len(x) or py.js(x) returns will do), and must not be async`,
      );
    };
    const compute = ({ value }: { value: unknown }): number => {
      if (typeof value === "number") return value;
      throw new TorchwireError(
        "MISUSE",
        `metric ${name}: the function gave a tensor with axes; it must return one number`,
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
   * Counts one batch. It returns numbers, references to numbers or tensors, or values on their way (`py.len(x)`, not
   * awaited), that can be added up over batches: counts and sums, not means. `yhat` carries no gradient. `step` holds whatever else a phase of your own put there,
   * and `loss` is the learner's. It must not be async.
   */
  readonly update: (yhat: AnyRef, ys: any, step: Readonly<Step>, loss?: Loss) => Measured;
  /**
   * The value from the sums over an epoch, or from one batch. A tensor with axes is a `SumArray` here:
   * `{ shape, data }`, in float64.
   */
  readonly compute: (sums: any) => number;
  /** Merges two results of `update`. Default: adds them key by key. */
  readonly merge?: (one: any, other: any) => any;
  /**
   * The value of an epoch is the mean of its steps' values, by samples or unweighted. Default: the value of the sums.
   */
  readonly mean?: MeanBy;
  /** Measures only in phases of this class. Default: in all. */
  readonly phase?: PhaseClass;
}

/** A metric of sums, made by `metric`. */
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

/**
 * A metric that is not a sum. `start` is called when an epoch begins, and its result lives as long as the epoch. `state`
 * is what the metric remembers from epoch to epoch.
 */
export function statefulMetric(
  name: string,
  { start, phase, state }: { readonly start: () => Tally; readonly phase?: PhaseClass; readonly state?: KeptState },
): Metric {
  if (typeof name !== "string" || name === "") throw new TorchwireError("MISUSE", "a metric needs a name");
  if (phase !== undefined && typeof phase !== "function")
    throw new TorchwireError(
      "MISUSE",
      `metric ${name}: phase is ${described(phase)}; it must be a class, such as ValidationPhase`,
    );
  return { name, isFor: (one) => phase === undefined || one instanceof phase, start, ...(state && { state }) };
}

/** Throws where `part` of a metric of sums returned a promise: a step's value must be known at once. */
function atOnce<T>(metric: string, part: string, value: T): T {
  if (isRefusedPromise(value))
    throw new TorchwireError("MISUSE", `metric ${metric}: ${part} gave a Promise; it must not be async`);
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
    state: {
      save: () => ({ total, average: average.state.save() }),
      load(saved: { total: unknown; average: unknown }) {
        total = saved.total;
        average.state.load(saved.average);
      },
    },
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

  readonly state: Pick<KeptState, "save" | "load"> = {
    save: () => [this.#sum, this.#weight],
    load: (saved: [number, number]) => void ([this.#sum, this.#weight] = saved),
  };

  /** Undefined before anything was added. */
  get value(): number | undefined {
    return this.#weight === 0 ? undefined : this.#sum / this.#weight;
  }
}

/** @throws MISUSE where `mean` is not a way to take a mean. */
export function checkMean(name: string, mean: unknown): void {
  if (mean !== undefined && mean !== "samples" && mean !== "steps")
    throw new TorchwireError("MISUSE", `metric ${name}: mean is ${described(mean)}; it must be "samples" or "steps"`);
}
