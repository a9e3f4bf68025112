/** Schedules made of schedules. Within a part, "run" means the length of that part. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, durationOf, toSchedule, type Duration, type RunLength, type Schedule } from "./schedule.ts";

/**
 * A schedule, or a constant, and its duration. The last stage may leave out its duration: it lasts for the rest of the
 * run.
 */
export type Stage = readonly [schedule: Schedule | number, duration: Duration] | readonly [schedule: Schedule | number];

/**
 * Runs stages one after the other, each from its own step 1: `sequence([warmUp, "1ep"], [decay])`. The last one goes on
 * past its end.
 */
export function sequence(...stages: readonly Stage[]): Schedule {
  if (stages.length === 0)
    throw new TorchwireError("MISUSE", "sequence: there are no stages; write sequence([schedule, 100], [another])");
  const parts = stages.map((stage, i) => {
    if (!Array.isArray(stage))
      throw new TorchwireError(
        "MISUSE",
        `sequence: stage ${i} is ${described(stage)}; it must be [schedule, duration]`,
      );
    const [schedule, duration] = stage as [Schedule | number, Duration?];
    if (duration === undefined && i < stages.length - 1)
      throw new TorchwireError("MISUSE", `sequence: stage ${i} has no duration; only the last stage may leave it out`);
    return {
      schedule: toSchedule(`sequence: stage ${i}`, schedule),
      steps: duration === undefined ? undefined : durationOf(`sequence: stage ${i}`, duration),
    };
  });
  return (t, run) => {
    let start = 0;
    for (const [i, { schedule, steps }] of parts.entries()) {
      const length = steps?.(run) ?? (run?.steps === undefined ? undefined : Math.max(1, run.steps - start));
      if (i === parts.length - 1 || t <= start + length!) return schedule(t - start, { ...run, steps: length });
      start += length!;
    }
    throw new Error("unreachable: the last stage has no end");
  };
}

/** Starts `schedule` again from its step 1 after each `period` steps. */
export function loop(schedule: Schedule, period: Duration): Schedule {
  const inner = toSchedule("loop", schedule);
  const length = durationOf("loop: period", period);
  return (t, run) => {
    const steps = length(run);
    return inner(((t - 1) % steps) + 1, { ...run, steps });
  };
}

/** `schedule(ceil(t / rate))`: each step of `schedule` takes `rate`. With "1ep" it counts epochs. */
export function interpolator(schedule: Schedule, rate: Duration, ceil: (t: number) => number = Math.ceil): Schedule {
  const inner = toSchedule("interpolator", schedule);
  const length = durationOf("interpolator: rate", rate);
  return (t, run) => {
    const each = length(run);
    const slower = (steps: number | undefined): number | undefined => steps && steps / each;
    const inside: RunLength = { steps: slower(run?.steps), stepsPerEpoch: slower(run?.stepsPerEpoch) };
    return inner(ceil(t / each), inside);
  };
}

/** Starts `schedule` at its step `offset`. */
export function shifted(schedule: Schedule, offset: number): Schedule {
  const inner = toSchedule("shifted", schedule);
  checkNumbers("shifted", { offset });
  return (t, run) => inner(t - 1 + offset, run);
}

/**
 * A schedule whose parameters are schedules: at step t it is `make(…parameters at t)`. Example:
 * `composed((top) => sin(0, top, 20), [exp(1, 0.9)])`.
 */
export function composed(
  make: (...parameters: number[]) => Schedule,
  parameters: readonly (Schedule | number)[],
): Schedule {
  if (typeof make !== "function")
    throw new TorchwireError(
      "MISUSE",
      `composed: make is ${described(make)}; it must be a function that makes a schedule`,
    );
  const all = parameters.map((one, i) => toSchedule(`composed: parameters[${i}]`, one));
  return (t, run) => make(...all.map((one) => one(t, run)))(t, run);
}

/**
 * Goes in a straight line from `from` (default: 0) to the first value of `schedule`, in `duration` steps. Then
 * `schedule` runs from its step 1.
 */
export function warmUp(duration: Duration, schedule: Schedule, from = 0): Schedule {
  const inner = toSchedule("warmUp", schedule);
  const length = durationOf("warmUp: duration", duration);
  checkNumbers("warmUp", { from });
  return (t, run) => {
    const steps = length(run);
    const rest: RunLength = { ...run, steps: run?.steps && Math.max(1, run.steps - steps) };
    return t > steps ? inner(t - steps, rest) : from + ((inner(1, rest) - from) * (t - 1)) / steps;
  };
}

/** A schedule that counts its own steps, for hand-written loops: ParameterSchedulers.jl's Stateful. */
export interface Stateful {
  /** Returns the value of the present step, and goes to the next one. */
  next(): number;
  /** Goes back to step 1. */
  reset(): void;
}

/** `advance` gets the step that `next` used, and returns whether to go to the next one. Default: always. */
export function stateful(
  schedule: Schedule,
  { run, advance = () => true }: { readonly run?: RunLength; readonly advance?: (t: number) => boolean } = {},
): Stateful {
  const inner = toSchedule("stateful", schedule);
  let t = 1;
  return {
    next() {
      const value = inner(t, run);
      if (advance(t)) t++;
      return value;
    },
    reset() {
      t = 1;
    },
  };
}
