/** fastai's annealing from one value to another, and its one cycle. Steps count from 1. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, checkOptions, durationOf, tell, type Duration, type Schedule } from "./schedule.ts";

/**
 * The way from one value to another. A function of your own maps the place, 0 to 1, to the share of the way, 0 to 1.
 */
export type Shape = "linear" | "cosine" | "exponential" | ((place: number) => number);

/**
 * Goes from `from`, at the first step, to `to`, `duration` steps later, and stays there: fastai's SchedLin, SchedCos
 * and SchedExp. For SchedPoly the shape is `(x) => x ** power`.
 */
export function anneal(from: number, to: number, duration: Duration, shape: Shape = "linear"): Schedule {
  checkNumbers("anneal", { from, to });
  const length = durationOf("anneal: duration", duration);
  if (shape === "exponential" && !(from * to > 0))
    throw new TorchwireError("MISUSE", `anneal: "exponential" multiplies, so it cannot lead from ${from} to ${to}`);
  if (typeof shape !== "function" && shape !== "linear" && shape !== "cosine" && shape !== "exponential")
    throw new TorchwireError(
      "MISUSE",
      `anneal: the shape is ${described(shape)}; it must be "linear", "cosine", "exponential" or a function`,
    );
  const way = (place: number): number => {
    if (shape === "exponential") return from * (to / from) ** place;
    if (shape === "cosine") return from + ((1 + Math.cos(Math.PI * (1 - place))) * (to - from)) / 2;
    return from + (to - from) * (shape === "linear" ? place : shape(place));
  };
  return (t, run) => {
    const steps = length(run);
    return t - 1 >= steps ? to : way((t - 1) / steps);
  };
}

export interface OneCycleOptions {
  /** The first value. Default: the top / 25. */
  readonly startValue?: number;
  /** The last value, which stays. Default: the top / 100,000. */
  readonly endValue?: number;
  /** The share of the steps in which the value rises, rounded up to a whole step. Default: 0.25. */
  readonly percentStart?: number;
  /**
   * "cosine" (default): half a cosine up and half a cosine down, as ParameterSchedulers.jl's OneCycle and fastai's
   * fit_one_cycle. "sine": a quarter of a sine up and one down, as FluxTraining.jl's onecycle. (Past the end that one
   * rises again; ours stays.)
   */
  readonly form?: "cosine" | "sine";
}

/** Rises to `top` and falls again, once: the learning rate of "super-convergence" (arXiv:1708.07120). */
export function oneCycle(duration: Duration, top: number, options: OneCycleOptions = {}): Schedule {
  checkOptions("oneCycle", options, ["startValue", "endValue", "percentStart", "form"]);
  const { startValue = top / 25, endValue = top / 1e5, percentStart = 0.25, form = "cosine" } = options;
  checkNumbers("oneCycle", { top, startValue, endValue, percentStart });
  if (percentStart < 0 || percentStart > 1)
    throw new TorchwireError("MISUSE", `oneCycle: percentStart is ${percentStart}; it must be from 0 to 1`);
  if (form !== "cosine" && form !== "sine")
    throw new TorchwireError("MISUSE", `oneCycle: form is ${described(form)}; it must be "cosine" or "sine"`);
  const length = durationOf("oneCycle: duration", duration);
  // Both are 1 at the top: at the end of the rise, and at the beginning of the fall.
  const rise = (x: number): number =>
    form === "cosine" ? (1 - Math.cos(Math.PI * x)) / 2 : Math.sin((Math.PI * x) / 2);
  const fall = (x: number): number =>
    form === "cosine" ? (1 + Math.cos(Math.PI * x)) / 2 : Math.sin((Math.PI * (1 + x)) / 2);
  const schedule: Schedule = (t, run) => {
    const steps = length(run);
    const up = Math.ceil(steps * percentStart);
    const over = t - 1;
    if (over < up) return (top - startValue) * rise(over / up) + startValue;
    return over < steps ? (top - endValue) * fall((over - up) / (steps - up)) + endValue : endValue;
  };
  if (form === "sine") return schedule;
  const floats = { top, start: startValue, end: endValue, percent: percentStart };
  return tell(schedule, (run) => ({ name: "one_cycle", ints: { steps: length(run) }, floats }));
}
