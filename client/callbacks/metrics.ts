import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import type { State } from "../callback/access.ts";
import { callback, CallbackObject, type Measured } from "../callback/callback.ts";
import type { MetricHistory } from "../training/state.ts";
import type { Step } from "../training/events.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { MeanLoss } from "../metrics/loss.ts";
import type { DoneStep, Metric, MetricResult, Tally } from "../metrics/metric.ts";
import { series } from "../metrics/series.ts";

/**
 * Computes metrics for each phase, where the tensors are: what their `update` gives travels with the step, is summed up here, and `compute` makes
 * the value of it, for each step (`learner.state.metricsStep`) and for each epoch (`learner.state.metricsEpoch`). The loss (see `MeanLoss`) is
 * always the first; a `MeanLoss` that is given takes its place.
 *
 * Of an epoch in which a fit ends there is a value of the part that was done, marked `partial`.
 *
 * Throws MISUSE for two metrics of one name.
 */
export class Metrics extends CallbackObject {
  constructor(...metrics: readonly Metric[]) {
    const all = withLoss(metrics);
    const start = (): Tally[] => all.map((one) => one.start());
    let tallies = start();
    let steps = all.map(() => 0);
    /** Of the epoch that has begun and not ended: how many of its phase had ended before. */
    let before: number | undefined;
    let learner: Trainer;

    const finish = async (phase: string, state: MetricState, place: Place, isFailed: boolean): Promise<void> => {
      const had = all.flatMap(({ name }, i) => (steps[i]! > 0 ? [{ name, tally: tallies[i]! }] : []));
      // All of them at once, so that together they cost one message and one round trip, or none.
      const asked = learner.worker.scope(() => had.map(async ({ tally }) => tally.compute()));
      const values = await Promise.allSettled(asked);
      for (const [i, outcome] of values.entries()) {
        if (outcome.status === "fulfilled") keep(state, phase, had[i]!.name, { ...place, value: outcome.value });
        // A fit that failed says why, and what is known without the worker is known all the same.
        else if (!isFailed) throw outcome.reason;
      }
    };
    super(
      callback({
        name: "Metrics",
        access: {
          state: { metricsStep: "write", metricsEpoch: "write", metricsTable: "write", history: "read" },
          step: "use",
        },
        init: (its) => {
          learner = its;
          Object.assign(its.state, { metricsStep: {}, metricsEpoch: {}, metricsTable: {} });
        },
        measure: ({ phase, step }) => {
          const asked: { [name: string]: object | number } = {};
          // Detached once, and only where somebody looks at it.
          let yhat: AnyRef | undefined;
          for (const [i, { name, isFor }] of all.entries()) {
            const { update } = tallies[i]!;
            if (update === undefined || !isFor(phase)) continue;
            yhat ??= detached(step.yhat);
            const own = measured(name, step, () => update(yhat!, step.ys, step as unknown as Step, learner.loss));
            for (const [key, value] of Object.entries(own)) asked[`${i}.${key}`] = value;
          }
          return asked;
        },
        observe: {
          fitBegin: () => {
            before = undefined;
          },
          epochBegin: ({ phase, state }) => {
            before = state.history[phase.name]?.epochs ?? 0;
            tallies = start();
            steps = all.map(() => 0);
          },
          stepEnd: ({ phase, state, values, size }) => {
            const at = state.history[phase.name]!.steps;
            const { loss, weighed } = values as Pick<DoneStep, "loss" | "weighed">;
            const given = byMetric(values, all.length);
            for (const [i, { name, isFor }] of all.entries()) {
              if (!isFor(phase)) continue;
              const value = tallies[i]!.add(given[i], { loss, weighed, size });
              steps[i]!++;
              if (value !== undefined) ((state.metricsStep[phase.name] ??= {})[name] ??= series()).push({ at, value });
            }
          },
          epochEnd: async ({ phase, state }) => {
            before = undefined;
            await finish(phase.name, state, { at: state.history[phase.name]!.epochs }, false);
          },
          fitEnd: async ({ phase, state, batches, ending }) => {
            if (before === undefined) return;
            const done = state.history[phase.name]?.stepsEpoch ?? 0;
            const at = before + (batches === undefined ? 1 : Math.min(1, done / batches));
            before = undefined;
            await finish(phase.name, state, { at, partial: true }, ending?.status === "failed");
          },
        },
      }),
    );
  }
}

type MetricState = Pick<State, "metricsEpoch" | "metricsTable">;

interface Place {
  readonly at: number;
  readonly partial?: true;
}

function withLoss(metrics: readonly Metric[]): Metric[] {
  for (const one of metrics)
    // References have every name.
    if (inner(one) !== undefined || typeof (one as Partial<Metric> | undefined)?.start !== "function")
      throw new TorchwireError("MISUSE", `Metrics: ${described(one)} is no metric${advice(one)}`);
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
  const worker = workerOf(yhat);
  return worker === undefined ? yhat! : py.get(worker.import("torchwire_worker.helpers.metrics"), "detached")(yhat);
}

/** What `update` gives. An error in it is most likely about outputs that a phase of one's own has not got. */
function measured(name: string, step: { readonly yhat?: unknown }, update: () => Measured): Measured {
  let given: unknown;
  try {
    given = update();
  } catch (cause) {
    if (step.yhat !== undefined) throw cause;
    throw new TorchwireError("MISUSE", `metric ${name}: this phase has no step.yhat to measure`, { cause });
  }
  if (typeof given === "object" && given !== null && typeof (given as { then?: unknown }).then !== "function")
    return given as Measured;
  throw new TorchwireError(
    "MISUSE",
    `metric ${name}: update gave ${described(given)}; it is to return a record of references or numbers, and not to be async`,
  );
}

/** The values of a step under the keys that each metric gave them. */
function byMetric(values: object, metrics: number): { [key: string]: unknown }[] {
  const given: { [key: string]: unknown }[] = Array.from({ length: metrics }, () => ({}));
  for (const [key, value] of Object.entries(values)) {
    const dot = key.indexOf(".");
    if (dot > 0) given[Number(key.slice(0, dot))]![key.slice(dot + 1)] = value;
  }
  return given;
}

/** A number goes into the history, an array to the tables, and a record as its parts. */
function keep(
  state: MetricState,
  phase: string,
  name: string,
  { value, ...place }: Place & { readonly value: MetricResult },
): void {
  if (value === undefined) return;
  if (typeof value === "number") {
    const history: MetricHistory[string] = (state.metricsEpoch[phase] ??= {});
    (history[name] ??= []).push({ ...place, value });
  } else if (isNDArray(value)) (state.metricsTable[phase] ??= {})[name] = { ...place, value };
  else if (typeof value === "object" && value !== null)
    for (const [key, part] of Object.entries(value)) keep(state, phase, `${name}/${key}`, { ...place, value: part });
  else
    throw new TorchwireError(
      "MISUSE",
      `metric ${name}: its value is ${described(value)}; it is to be a number, an array, a record of numbers, or undefined`,
    );
}
