/** Schedules made of schedules. Inside of a part, "run" is the length of that part. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { checkNumbers, durationOf, toSchedule, type Duration, type RunLength, type Schedule } from "./schedule.ts";

/** A schedule, or a constant number, and how long it lasts; the last one may leave that out: the rest of the run. */
export type Stage = readonly [schedule: Schedule | number, duration: Duration] | readonly [schedule: Schedule | number];

/** One after the other, each from its own step 1: `sequence([warmUp, "1ep"], [decay])`. Past the end the last one goes on. */
export function sequence(...stages: readonly Stage[]): Schedule {
  if (stages.length === 0)
    throw new TorchwireError("MISUSE", "sequence: there are no stages: sequence([schedule, 100], [another])");
  const parts = stages.map((stage, i) => {
    if (!Array.isArray(stage))
      throw new TorchwireError(
        "MISUSE",
        `sequence: stage ${i} is ${described(stage)}; it is to be [schedule, duration]`,
      );
    const [schedule, duration] = stage as [Schedule | number, Duration?];
    if (duration === undefined && i < stages.length - 1)
      throw new TorchwireError("MISUSE", `sequence: stage ${i} has no duration; only the last one needs none`);
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

/** `schedule`, from its step 1 again after each `period` steps. */
export function loop(schedule: Schedule, period: Duration): Schedule {
  const inner = toSchedule("loop", schedule);
  const length = durationOf("loop: period", period);
  return (t, run) => {
    const steps = length(run);
    return inner(((t - 1) % steps) + 1, { ...run, steps });
  };
}

/** `schedule(ceil(t / rate))`: each of its steps takes `rate`. With "1ep" it counts epochs. */
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

/** `schedule`, whose first step is its step `offset`. */
export function shifted(schedule: Schedule, offset: number): Schedule {
  const inner = toSchedule("shifted", schedule);
  checkNumbers("shifted", { offset });
  return (t, run) => inner(t - 1 + offset, run);
}

/** A schedule whose parameters are scheduled: at step t that of `make(…parameters at t)`. `composed((top) => sin(0, top, 20), [exp(1, 0.9)])`. */
export function composed(
  make: (...parameters: number[]) => Schedule,
  parameters: readonly (Schedule | number)[],
): Schedule {
  if (typeof make !== "function")
    throw new TorchwireError("MISUSE", `composed: ${described(make)} is to be a function that makes a schedule`);
  const all = parameters.map((one, i) => toSchedule(`composed: parameters[${i}]`, one));
  return (t, run) => make(...all.map((one) => one(t, run)))(t, run);
}

/** In a straight line from `from`, 0 by default, up to where `schedule` begins, in `duration` steps; then `schedule`, from its step 1, with the rest of the run. */
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

/** A schedule that counts by itself, for loops of one's own: ParameterSchedulers.jl's Stateful. */
export interface Stateful {
  /** The value of the present step, and on to the next one. */
  next(): number;
  /** Back to step 1. */
  reset(): void;
}

/** `advance` says whether `next` goes on, by the step that it gave. Default: always. */
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
