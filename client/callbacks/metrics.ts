import { TorchwireError } from "../../bridge/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject, type Measured } from "../callback/callback.ts";
import type { Step } from "../events.ts";
import { described } from "../keywords.ts";
import { metric, type Metric } from "../metric.ts";

/** The mean of the step's loss, over samples. */
export const lossMetric = (): Metric =>
  metric("loss", { update: () => ({}), compute: ({ loss, size }) => (loss as number) / (size as number) });

/**
 * Computes metrics for each phase, where the tensors are: what their `update` gives travels with the step, is summed up here, and `compute` makes
 * the value of it, for each step (`learner.state.metricsStep`) and for each epoch (`learner.state.metricsEpoch`). The loss, weighted by samples, is
 * always the first.
 *
 * Throws MISUSE for two metrics of one name.
 */
export class Metrics extends CallbackObject {
  constructor(...metrics: readonly Metric[]) {
    const all = [lossMetric(), ...metrics];
    const names = all.map(({ name }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined)
      throw new TorchwireError("MISUSE", `Metrics: there are two metrics called "${twice}"; names are keys`);

    let sums: Sums[] = [];
    super(
      callback({
        name: "Metrics",
        access: {
          state: { metricsStep: "write", metricsEpoch: "write", history: "read" },
          step: "use",
        },
        init: ({ state }) => {
          state.metricsStep = {};
          state.metricsEpoch = {};
        },
        measure: ({ phase, step }) => {
          const asked: { [name: string]: object | number } = {};
          // Detached once, and only where somebody looks at it.
          let yhat: AnyRef | undefined;
          for (const [i, { name, update, isFor }] of all.entries()) {
            if (i === 0 || !isFor(phase)) continue;
            yhat ??= (typeof step.yhat === "function" ? step.yhat.detach() : step.yhat) as AnyRef;
            const own = measured(name, step, () => update(yhat!, step.ys, step as unknown as Step));
            for (const [key, value] of Object.entries(own)) asked[`${i}.${key}`] = value;
          }
          return asked;
        },
        observe: {
          epochBegin: () => {
            sums = all.map(() => new Sums());
          },
          stepEnd: ({ phase, state, values, size }) => {
            const { steps } = state.history[phase.name]!;
            for (const [i, { name, compute, isFor }] of all.entries()) {
              if (!isFor(phase) || (i === 0 && values.loss === undefined)) continue;
              const own = i === 0 ? { loss: values.loss * size, size } : ownOf(values, i);
              sums[i]!.add(own);
              push((state.metricsStep[phase.name] ??= {}), name, steps, compute(own));
            }
          },
          epochEnd: ({ phase, state }) => {
            const { epochs } = state.history[phase.name]!;
            for (const [i, { name, compute }] of all.entries())
              if (sums[i]!.steps > 0)
                push((state.metricsEpoch[phase.name] ??= {}), name, epochs, compute(sums[i]!.total));
          },
        },
      }),
    );
  }
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

interface Recorded {
  [metric: string]: { at: number; value: number }[];
}

function push(history: Recorded, name: string, at: number, value: number): void {
  (history[name] ??= []).push({ at, value });
}

function ownOf(values: { readonly [name: string]: unknown }, i: number): { [name: string]: unknown } {
  const prefix = `${i}.`;
  return Object.fromEntries(
    Object.entries(values)
      .filter(([key]) => key.startsWith(prefix))
      // The same kind of value as the sums have: of int64 no bigints.
      .map(([key, value]) => [key.slice(prefix.length), copied(value)]),
  );
}

/** Adds up what steps give, key by key; arrays element by element. */
class Sums {
  steps = 0;
  total: { [name: string]: any } = {};

  add(values: { readonly [name: string]: unknown }): void {
    this.steps++;
    for (const [key, value] of Object.entries(values)) {
      const before: unknown = this.total[key];
      this.total[key] = before === undefined ? copied(value) : added(before, value, key);
    }
  }
}

interface Numbers {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

function copied(value: unknown): unknown {
  if (typeof value === "number" || typeof value === "boolean") return Number(value);
  const { shape, data } = value as { shape: readonly number[]; data: ArrayLike<number | bigint> };
  if (shape === undefined || data === undefined)
    throw new TorchwireError("MISUSE", "a metric's update gave what cannot be added up: numbers and tensors can");
  return { dtype: "float64", shape, data: Float64Array.from(data, Number) };
}

function added(before: unknown, value: unknown, key: string): unknown {
  const more = copied(value);
  if (typeof before === "number" && typeof more === "number") return before + more;
  const [a, b] = [before as Numbers, more as Numbers];
  if (a.data?.length !== b.data?.length)
    throw new TorchwireError(
      "MISUSE",
      `a metric's update gave ${key} of another shape than before; what is added up must keep its shape`,
    );
  return { ...a, data: a.data.map((x, i) => x + b.data[i]!) };
}
