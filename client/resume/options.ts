import { TorchwireError } from "../../bridge/errors/errors.ts";
import { millisecondsOf } from "../../bridge/runtime/time.ts";
import { described, keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import { choice, text, wholeFrom } from "../options/kinds.ts";

export interface ResumeOptions {
  /**
   * The folder. It is made where it is missing, and belongs to one run. With `on: "worker"` it is relative to the
   * worker's current folder, and "~" is the home of the worker's user.
   */
  readonly folder: string;
  /**
   * From one checkpoint to the next: training steps, or a time, "30s", "5min", "1h". Default "5min". Each fit also
   * writes one when it ends, or is interrupted.
   */
  readonly every?: number | string;
  /** How many checkpoints stay, the newest ones. Default 2. */
  readonly keep?: number;
  /**
   * The machine whose disk has the folder. With "worker", which may be another machine, the tensors do not travel.
   * Default "client".
   */
  readonly on?: "client" | "worker";
}

/** When a checkpoint is due. */
export type Pace = { readonly steps: number } | { readonly milliseconds: number };

export function paceOf(every: unknown): Pace | undefined {
  if (Number.isSafeInteger(every) && (every as number) >= 1) return { steps: every as number };
  const milliseconds = millisecondsOf(every);
  return milliseconds === undefined ? undefined : { milliseconds };
}

const pace: Kind = {
  is: 'a number of steps from 1, or a time such as "5min"',
  send: (value) => (paceOf(value) === undefined ? undefined : value),
};

const KINDS: Kinds<ResumeOptions> = { folder: text, every: pace, keep: wholeFrom(1), on: choice("client", "worker") };

/** Throws MISUSE for what is no folder, and for options that make no sense. */
export function resumeOptions(given: string | ResumeOptions): {
  folder: string;
  pace: Pace;
  keep: number;
  on: "client" | "worker";
} {
  const options = typeof given === "string" ? { folder: given } : given;
  if (typeof options !== "object" || options === null || typeof options.folder !== "string" || options.folder === "")
    throw new TorchwireError(
      "MISUSE",
      `fit: resume is ${described(given)}; it must be a folder, or { folder, every, keep, on }`,
    );
  keywordsOf("fit: resume", KINDS, options);
  const { folder, every = "5min", keep = 2, on = "client" } = options;
  return { folder, pace: paceOf(every)!, keep, on };
}
