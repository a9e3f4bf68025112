/** A schedule is a value for each step. It keeps no state. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Told } from "../callback/python-form.ts";
import { described } from "../options/keywords.ts";

/**
 * The length of a run, which gives "run" and "ep" their meaning. Undefined where the data does not say its number of
 * batches.
 */
export interface RunLength {
  /** All steps of the run; within `sequence` and the like, those of the part. */
  readonly steps?: number | undefined;
  readonly stepsPerEpoch?: number | undefined;
}

/**
 * The value at step `t` of a run, counted from 1. `(t) => 0.1 / t` is a schedule. It keeps no state, because it may be
 * called for any step in any order.
 */
export type Schedule = (t: number, run?: RunLength) => number;

/** Tells what a schedule is in a run, where a Python script has a function for it (`learner.toPython`). */
const told = new WeakMap<Schedule, (run: RunLength | undefined) => Told>();

export function tell(schedule: Schedule, what: (run: RunLength | undefined) => Told): Schedule {
  told.set(schedule, what);
  return schedule;
}

export const toldOf = (schedule: Schedule, run: RunLength | undefined): Told | undefined => told.get(schedule)?.(run);

/**
 * Steps; epochs, "10ep"; a share of the run, "0.5run"; or the whole run, "run". Those in words are rounded to at least
 * one whole step.
 */
export type Duration = number | "run" | `${number}run` | `${number}ep`;

/** A duration in steps, once the run is known. */
export type Steps = (run: RunLength | undefined) => number;

const WORDS = /^(\d*\.?\d+(?:e[+-]?\d+)?)?(run|ep)$/;

/**
 * `what` names the duration in errors. Throws MISUSE where it is not a duration; the result throws it where the run has
 * no such length.
 */
export function durationOf(what: string, duration: Duration): Steps {
  if (typeof duration === "number" && duration > 0 && Number.isFinite(duration)) return () => duration;
  const [, number, unit] = (typeof duration === "string" && WORDS.exec(duration)) || [];
  const count = number === undefined ? 1 : Number(number);
  if (unit === undefined || count === 0 || (unit === "ep" && number === undefined))
    throw new TorchwireError(
      "MISUSE",
      `${what} is ${described(duration)}; it must be a number of steps above 0, or of epochs, "10ep", or a share of the run, "0.5run", "run"`,
    );
  return (run) => {
    const length = unit === "run" ? run?.steps : run?.stepsPerEpoch;
    if (length === undefined)
      throw new TorchwireError(
        "MISUSE",
        `${what} is ${described(duration)}, and the number of steps in ${unit === "run" ? "the run" : "an epoch"} is not known here: ` +
          "give it in steps, or use data that says its length",
      );
    return Math.max(1, Math.round(count * length));
  };
}

/** Throws MISUSE where one of `numbers` is not a finite number. */
export function checkNumbers(what: string, numbers: { readonly [name: string]: unknown }): void {
  for (const [name, value] of Object.entries(numbers))
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new TorchwireError("MISUSE", `${what}: ${name} is ${described(value)}; it must be a number`);
}

/** Throws MISUSE for an option that is not in `known`. */
export function checkOptions(what: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new TorchwireError("MISUSE", `${what} has no option "${name}"; it has ${known.join(", ")}`);
}

/** A number becomes a constant schedule. Throws MISUSE where `value` is neither a number nor a schedule. */
export function toSchedule(what: string, value: Schedule | number): Schedule {
  if (typeof value === "function") return value;
  checkNumbers(what, { value });
  return () => value;
}
