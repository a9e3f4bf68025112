import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { lookAfter } from "../../bridge/reference/refused.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import type { State, View } from "../callback/access.ts";
import {
  type CallbackOptions,
  CallbackObject,
  type KeptState,
  type Measured,
  type Observers,
} from "../callback/callback.ts";
import { isMeasurable, unmeasurable } from "../callback/measured.ts";
import { mapPicked, type Picked } from "../data/picked.ts";
import type { LossParts } from "../losses/weight.ts";
import type { MetricHistory } from "../training/state.ts";
import type { Step } from "../training/events.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { MeanLoss } from "../metrics/loss.ts";
import type { DoneStep, Metric, MetricResult, Tally } from "../metrics/metric.ts";
import { series } from "../metrics/series.ts";

/**
 * Computes metrics for each phase, where the tensors are. What a metric's `update` gives travels with the step and is
 * summed up here; `compute` makes its value for each step (`learner.state.metricsStep`) and for each epoch
 * (`learner.state.metricsEpoch`). The loss (see `MeanLoss`) always comes first; a `MeanLoss` that is given takes its
 * place.
 *
 * An epoch in which a fit ends has a value of the part that was done, marked `partial`.
 *
 * Throws MISUSE for two metrics of one name.
 */
export class Metrics extends CallbackObject {
  override readonly name = "Metrics";
  override readonly access = {
    state: { metricsStep: "write", metricsEpoch: "write", metricsTable: "write", history: "read" },
    step: "use",
  } as const;
  readonly #metrics: readonly Metric[];
  #tallies: Tally[];
  /** How many steps of this epoch each metric has seen. */
  #steps: number[];
  /** The tallies of the parts of a loss that the model computes, by name: each is a loss by itself. */
  #parts = new Map<string, Tally>();
  /** How many epochs of the phase had ended when this one began; undefined between epochs. */
  #before: number | undefined;
  #learner!: Pick<Trainer, "worker" | "loss">;

  constructor(...metrics: readonly Metric[]) {
    super();
    this.#metrics = withLoss(metrics);
    this.#tallies = this.#metrics.map((one) => one.start());
    this.#steps = this.#metrics.map(() => 0);
  }

  override get options(): CallbackOptions {
    return { metrics: this.#metrics.map(({ name }) => name) };
  }

  override readonly init = (learner: Trainer): void => {
    this.#learner = learner;
    Object.assign(learner.state, { metricsStep: {}, metricsEpoch: {}, metricsTable: {} });
  };

  override readonly measure = ({ phase, step }: View<Metrics["access"], "stepEnd">): Measured => {
    const asked: { [name: string]: object | number } = {};
    // Detached once, and only where a metric looks at it.
    let yhat: AnyRef | undefined;
    for (const [i, { name, isFor }] of this.#metrics.entries()) {
      const { update } = this.#tallies[i]!;
      if (update === undefined || !isFor(phase)) continue;
      yhat ??= detached(step.yhat);
      const own = measured(name, step, () => update(yhat!, step.ys, step as Step, this.#learner.loss));
      for (const [key, value] of Object.entries(own)) asked[`${i}.${key}`] = value;
    }
    return asked;
  };

  override readonly observe: Observers<Metrics["access"]> = {
    fitBegin: () => {
      this.#before = undefined;
    },
    epochBegin: ({ phase, state }) => {
      this.#before = state.history[phase.name]?.epochs ?? 0;
      this.#tallies = this.#metrics.map((one) => one.start());
      this.#steps = this.#metrics.map(() => 0);
      this.#parts.clear();
    },
    stepEnd: ({ phase, state, values, size }) => {
      const at = state.history[phase.name]!.steps;
      const { loss, weighed, parts } = values as Pick<DoneStep, "loss" | "weighed"> & { readonly parts?: LossParts };
      const push = (name: string, value: number): void =>
        void ((state.metricsStep[phase.name] ??= {})[name] ??= series()).push({ at, value });
      const given = byMetric(values, this.#metrics.length);
      for (const [i, { name, isFor }] of this.#metrics.entries()) {
        if (!isFor(phase)) continue;
        const value = this.#tallies[i]!.add(given[i], { loss, weighed, size });
        this.#steps[i]!++;
        if (value !== undefined) push(name, value);
      }
      for (const [name, part] of Object.entries(parts ?? {})) {
        const { weight } = weighed!;
        this.#tallyOf(name).add({}, { loss: part, weighed: { weight, total: part * weight }, size });
        push(name, part);
      }
    },
    epochEnd: async ({ phase, state }) => {
      this.#before = undefined;
      await this.#finish(phase.name, state, { at: state.history[phase.name]!.epochs }, false);
    },
    fitEnd: async ({ phase, state, batches, ending }) => {
      if (this.#before === undefined) return;
      const done = state.history[phase.name]?.stepsEpoch ?? 0;
      const at = this.#before + (batches === undefined ? 1 : Math.min(1, done / batches));
      this.#before = undefined;
      await this.#finish(phase.name, state, { at, partial: true }, ending?.status === "failed");
    },
  };

  override readonly state: KeptState = {
    save: () => ({
      before: this.#before,
      steps: this.#steps,
      tallies: this.#tallies.map(({ state }) => (this.#before === undefined ? undefined : state?.save())),
      parts: [...this.#parts].map(([name, part]) => [name, part.state!.save()]),
      lasting: this.#metrics.map(({ state }) => state?.save()),
    }),
    load: async ({ before, steps, tallies, parts, lasting }) => {
      for (const [i, saved] of lasting.entries()) await this.#metrics[i]!.state?.load(saved);
      this.#before = before;
      this.#steps = steps;
      this.#tallies = this.#metrics.map((one) => one.start());
      this.#parts.clear();
      if (before === undefined) return;
      for (const [i, saved] of tallies.entries()) this.#tallies[i]!.state?.load(saved, this.#learner);
      for (const [name, saved] of parts) this.#tallyOf(name).state!.load(saved, this.#learner);
    },
    objects: () => {
      const own = this.#metrics.flatMap(({ name, state }, i) =>
        [state, this.#before === undefined ? undefined : this.#tallies[i]!.state].flatMap((one) =>
          Object.entries(one?.objects?.() ?? {}).map(([key, object]) => [`${name}: ${key}`, object] as const),
        ),
      );
      return Object.fromEntries(own);
    },
    waits: () => {
      const reasons = this.#metrics.map(({ name, state: lasting }, i) => {
        const { state } = this.#tallies[i]!;
        if (this.#steps[i] === 0) return undefined;
        const why = state === undefined ? "there is none" : (state.waits?.() ?? lasting?.waits?.());
        return why && `the metric ${name} says no state of the epoch under way: ${why}`;
      });
      return reasons.find((why) => why !== undefined);
    },
  };

  /** The tally of a part of the loss, which counts as the loss does. */
  #tallyOf(part: string): Tally {
    let tally = this.#parts.get(part);
    if (tally !== undefined) return tally;
    if (this.#metrics.some(({ name }) => name === part))
      throw new TorchwireError(
        "MISUSE",
        `Metrics: the loss of the model has a part "${part}", and there is a metric of that name; give the metric another name`,
      );
    this.#parts.set(part, (tally = this.#metrics[0]!.start()));
    return tally;
  }

  async #finish(phase: string, state: MetricState, when: When, isFailed: boolean): Promise<void> {
    const own = this.#metrics.flatMap(({ name }, i) =>
      this.#steps[i]! > 0 ? [{ name, tally: this.#tallies[i]! }] : [],
    );
    const had = [...own, ...[...this.#parts].map(([name, tally]) => ({ name, tally }))];
    // Asks for all of them at once: together they cost one message and one round trip, or none.
    const asked = this.#learner.worker.scope(() => had.map(async ({ tally }) => tally.compute()));
    const values = await Promise.allSettled(asked);
    for (const [i, outcome] of values.entries()) {
      if (outcome.status === "fulfilled") keep(state, phase, had[i]!.name, { ...when, value: outcome.value });
      // A fit that failed tells its own error, and keeps the values that needed no worker.
      else if (!isFailed) throw outcome.reason;
    }
  }
}

type MetricState = Pick<State, "metricsEpoch" | "metricsTable">;

interface When {
  readonly at: number;
  readonly partial?: true;
}

function withLoss(metrics: readonly Metric[]): Metric[] {
  for (const one of metrics)
    // A reference seems to have every method: refuse it.
    if (inner(one) !== undefined || typeof (one as Partial<Metric> | undefined)?.start !== "function")
      throw new TorchwireError("MISUSE", `Metrics: ${described(one)} is not a metric${advice(one)}`);
  const loss = metrics.find((one) => one instanceof MeanLoss) ?? new MeanLoss();
  const all = [loss, ...metrics.filter((one) => one !== loss)];
  const names = all.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new TorchwireError("MISUSE", `Metrics: there are two metrics called "${twice}"; names are keys`);
  return all;
}

function advice(given: unknown): string {
  if (Array.isArray(given)) return ": give its metrics one by one, new Metrics(...metrics)";
  if (inner(given) !== undefined) return ': for an object in the worker, torchmetric("name", object)';
  return typeof given === "function"
    ? ": call it, as in new Metrics(f1()), or, where it is a function of outputs and targets, new Metrics(new Metric(f))"
    : "";
}

function detached(yhat: AnyRef | undefined): AnyRef {
  return mapPicked(yhat as Picked, (part) => {
    const worker = workerOf(part);
    return worker === undefined ? part : py.get(worker.import("torchwire_worker.helpers.metrics"), "detached")(part);
  }) as AnyRef;
}

/** Calls `update`. Where it fails in a phase that has no outputs, the missing outputs are most likely the reason. */
function measured(name: string, step: { readonly yhat?: unknown }, update: () => Measured): Measured {
  let given: unknown;
  try {
    given = update();
  } catch (cause) {
    if (step.yhat !== undefined) throw cause;
    throw new TorchwireError("MISUSE", `metric ${name}: this phase has no step.yhat to measure`, { cause });
  }
  const misuse = (what: string): never => {
    lookAfter(given);
    throw new TorchwireError("MISUSE", `metric ${name}: update gave ${what}`);
  };
  if (typeof given !== "object" || given === null || typeof (given as { then?: unknown }).then === "function")
    return misuse(
      `${described(given)}; it must return a record of references or numbers, and must not be async: what py.len(x) or py.js(x) returns may stand in the record, not awaited`,
    );
  for (const [key, value] of Object.entries(given))
    if (!isMeasurable(value)) misuse(`"${key}", which is ${unmeasurable(value)}`);
  return given as Measured;
}

/** Gives each metric its own values of a step, under the keys that it gave them. */
function byMetric(values: object, metrics: number): { [key: string]: unknown }[] {
  const given: { [key: string]: unknown }[] = Array.from({ length: metrics }, () => ({}));
  for (const [key, value] of Object.entries(values)) {
    const dot = key.indexOf(".");
    if (dot > 0) given[Number(key.slice(0, dot))]![key.slice(dot + 1)] = value;
  }
  return given;
}

/** Puts a number into the history, an array into the tables, and each part of a record where it belongs. */
function keep(
  state: MetricState,
  phase: string,
  name: string,
  { value, ...when }: When & { readonly value: MetricResult },
): void {
  if (value === undefined) return;
  if (typeof value === "number") {
    const history: MetricHistory[string] = (state.metricsEpoch[phase] ??= {});
    (history[name] ??= []).push(Object.freeze({ ...when, value }));
  } else if (isNDArray(value)) (state.metricsTable[phase] ??= {})[name] = { ...when, value };
  else if (typeof value === "object" && value !== null)
    for (const [key, part] of Object.entries(value)) keep(state, phase, `${name}/${key}`, { ...when, value: part });
  else
    throw new TorchwireError(
      "MISUSE",
      `metric ${name}: its value is ${described(value)}; it must be a number, an array, a record of numbers, or undefined`,
    );
}
