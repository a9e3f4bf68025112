/** ParameterSchedulers.jl's decaying schedules. Steps count from 1. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, durationOf, type Duration, type Schedule } from "./schedule.ts";

/** Always `value`. */
export function constant(value: number): Schedule {
  checkNumbers("constant", { value });
  return () => value;
}

/**
 * `start · decay^i` in the i-th range, counted from 0. One size holds for all ranges. An array gives each range its own
 * size, and the last range has no end.
 */
export function step(start: number, decay: number, sizes: Duration | readonly Duration[]): Schedule {
  checkNumbers("step", { start, decay });
  if (!Array.isArray(sizes)) {
    const size = durationOf("step: sizes", sizes as Duration);
    return (t, run) => start * decay ** Math.floor((t - 1) / size(run));
  }
  if (sizes.length === 0)
    throw new TorchwireError("MISUSE", "step: sizes is an empty array; it must have a size for each range");
  const all = (sizes as readonly Duration[]).map((size, i) => durationOf(`step: sizes[${i}]`, size));
  return (t, run) => {
    let end = 0;
    // The last range has no end.
    const over = all.slice(0, -1).filter((size) => t > (end += size(run)));
    return start * decay ** over.length;
  };
}

/** `start · decay^(t - 1)`. */
export function exp(start: number, decay: number): Schedule {
  checkNumbers("exp", { start, decay });
  return (t) => start * decay ** (t - 1);
}

/**
 * `start · (1 - (t - 1) / max)^degree`. Throws MISUSE past `max` steps. (`polynomialLR` keeps its last value instead.)
 */
export function poly(start: number, degree: number, max: Duration): Schedule {
  checkNumbers("poly", { start, degree });
  const length = durationOf("poly: max", max);
  return (t, run) => {
    const end = length(run);
    if (t > end) throw ended("poly", end, t);
    return start * (1 - (t - 1) / end) ** degree;
  };
}

/** `start / (1 + (t - 1) · decay)^degree`. */
export function inv(start: number, decay: number, degree: number): Schedule {
  checkNumbers("inv", { start, decay, degree });
  return (t) => start / (1 + (t - 1) * decay) ** degree;
}

/** `schedule` for `steps` steps only. Throws MISUSE after them. */
export function shortened(schedule: Schedule, steps: Duration): Schedule {
  if (typeof schedule !== "function")
    throw new TorchwireError("MISUSE", `shortened: ${described(schedule)} is not a schedule`);
  const length = durationOf("shortened: steps", steps);
  return (t, run) => {
    const end = length(run);
    if (t > end) throw ended("shortened", end, t);
    return schedule(t, { ...run, steps: end });
  };
}

const ended = (what: string, end: number, t: number): TorchwireError =>
  new TorchwireError(
    "MISUSE",
    `${what} ends after ${end} steps, and was asked for step ${t}; use sequence to say what follows`,
  );
