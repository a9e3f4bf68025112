/** What a schedule is: a value for each step, and nothing that it remembers. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";

/** How long the run is in which a schedule is asked: what "run" and "ep" mean. Undefined where the data does not say how many batches it has. */
export interface RunLength {
  /** Steps in all. Inside of `sequence` and the like, those of the part. */
  readonly steps?: number | undefined;
  readonly stepsPerEpoch?: number | undefined;
}

/**
 * The value at step `t`, which counts from 1, of a run: `(t) => 0.1 / t` is one. It may be asked for any step in any order, so it must
 * remember nothing.
 */
export type Schedule = (t: number, run?: RunLength) => number;

/** Steps; or epochs, "10ep"; or a share of the run, "0.5run"; or all of it, "run". Those in words are rounded to whole steps, 1 at least. */
export type Duration = number | "run" | `${number}run` | `${number}ep`;

/** A duration in steps, once the run is known. */
export type Steps = (run: RunLength | undefined) => number;

const WORDS = /^(\d*\.?\d+(?:e[+-]?\d+)?)?(run|ep)$/;

/** `what` names it in errors. Throws MISUSE for what is no duration, and, when it is asked, where the run has no such length. */
export function durationOf(what: string, duration: Duration): Steps {
  if (typeof duration === "number" && duration > 0 && Number.isFinite(duration)) return () => duration;
  const [, number, unit] = (typeof duration === "string" && WORDS.exec(duration)) || [];
  const count = number === undefined ? 1 : Number(number);
  if (unit === undefined || count === 0 || (unit === "ep" && number === undefined))
    throw new TorchwireError(
      "MISUSE",
      `${what} is ${described(duration)}; it is to be a number of steps above 0, or of epochs, "10ep", or a share of the run, "0.5run", "run"`,
    );
  return (run) => {
    const length = unit === "run" ? run?.steps : run?.stepsPerEpoch;
    if (length === undefined)
      throw new TorchwireError(
        "MISUSE",
        `${what} is ${described(duration)}, and how many steps ${unit === "run" ? "the run" : "an epoch"} has is not known here: ` +
          "give it in steps, or data that says its length",
      );
    return Math.max(1, Math.round(count * length));
  };
}

/** Throws MISUSE for one that is not a finite number. */
export function checkNumbers(what: string, numbers: { readonly [name: string]: unknown }): void {
  for (const [name, value] of Object.entries(numbers))
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new TorchwireError("MISUSE", `${what}: ${name} is ${described(value)}; it is to be a number`);
}

/** Throws MISUSE for an option that is none of `known`. */
export function checkOptions(what: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new TorchwireError("MISUSE", `${what} has no option "${name}"; it has ${known.join(", ")}`);
}

/** A number is always that. Throws MISUSE for what is neither. */
export function toSchedule(what: string, value: Schedule | number): Schedule {
  if (typeof value === "function") return value;
  checkNumbers(what, { value });
  return () => value;
}
