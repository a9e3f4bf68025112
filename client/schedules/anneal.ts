/** fastai's ways from one value to another, and its one cycle. Steps count from 1. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, checkOptions, durationOf, type Duration, type Schedule } from "./schedule.ts";

/** How far it is, 0 to 1, at a place from 0 to 1: of a shape of one's own. */
export type Shape = "linear" | "cosine" | "exponential" | ((place: number) => number);

/**
 * From `from`, at the first step, to `to`, `duration` steps later, and there it stays: fastai's SchedLin, SchedCos and SchedExp; of SchedPoly, the
 * shape is `(x) => x ** power`.
 */
export function anneal(from: number, to: number, duration: Duration, shape: Shape = "linear"): Schedule {
  checkNumbers("anneal", { from, to });
  const length = durationOf("anneal: duration", duration);
  if (shape === "exponential" && !(from * to > 0))
    throw new TorchwireError("MISUSE", `anneal: "exponential" multiplies, and cannot lead from ${from} to ${to}`);
  if (typeof shape !== "function" && shape !== "linear" && shape !== "cosine" && shape !== "exponential")
    throw new TorchwireError(
      "MISUSE",
      `anneal: the shape is ${described(shape)}; it is to be "linear", "cosine", "exponential" or a function`,
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
  /** Where it begins. Default: the top / 25. */
  readonly startValue?: number;
  /** Where it ends, and stays. Default: the top / 100,000. */
  readonly endValue?: number;
  /** The share of the steps in which it rises, rounded up to whole ones. Default 0.25. */
  readonly percentStart?: number;
  /**
   * "cosine", the default: half a cosine up and half a cosine down, as ParameterSchedulers.jl's OneCycle and fastai's fit_one_cycle. "sine": a quarter
   * of a sine up and one down, as FluxTraining.jl's onecycle; but for what comes after the end, where that one rises again.
   */
  readonly form?: "cosine" | "sine";
}

/** Up to `top` and down again, once: the learning rate of "super-convergence" (arXiv:1708.07120). */
export function oneCycle(duration: Duration, top: number, options: OneCycleOptions = {}): Schedule {
  checkOptions("oneCycle", options, ["startValue", "endValue", "percentStart", "form"]);
  const { startValue = top / 25, endValue = top / 1e5, percentStart = 0.25, form = "cosine" } = options;
  checkNumbers("oneCycle", { top, startValue, endValue, percentStart });
  if (percentStart < 0 || percentStart > 1)
    throw new TorchwireError("MISUSE", `oneCycle: percentStart is ${percentStart}; it is to be from 0 to 1`);
  if (form !== "cosine" && form !== "sine")
    throw new TorchwireError("MISUSE", `oneCycle: form is ${described(form)}; it is to be "cosine" or "sine"`);
  const length = durationOf("oneCycle: duration", duration);
  // Both are 1 at the top: at the end of a rise, and at the beginning of a fall.
  const rise = (x: number): number =>
    form === "cosine" ? (1 - Math.cos(Math.PI * x)) / 2 : Math.sin((Math.PI * x) / 2);
  const fall = (x: number): number =>
    form === "cosine" ? (1 + Math.cos(Math.PI * x)) / 2 : Math.sin((Math.PI * (1 + x)) / 2);
  return (t, run) => {
    const steps = length(run);
    const up = Math.ceil(steps * percentStart);
    const over = t - 1;
    if (over < up) return (top - startValue) * rise(over / up) + startValue;
    return over < steps ? (top - endValue) * fall((over - up) / (steps - up)) + endValue : endValue;
  };
}
