/** How a callback's part of a fit is written in a Python script, by `learner.toPython`. */
import type { AnyRef } from "../../bridge/types/core.ts";

/** It only watches: the training is the same without it. */
export const watches = (): PythonForm => ({ kind: "watches" });

export type PythonForm =
  | { readonly kind: "watches" }
  | { readonly kind: "stopsOnNaN" }
  | {
      readonly kind: "average";
      readonly name: string;
      readonly decay: number | undefined;
      readonly buffers: boolean;
      readonly validate: boolean;
      readonly shown: "updates" | "epochs";
      readonly start: number;
      readonly average: AnyRef;
    }
  | {
      readonly kind: "schedules";
      /** What it sets at each of the next `steps` steps of the optimizer, in a fit of so many. */
      readonly scheduled: (steps: number, stepsPerEpoch: number) => readonly ScheduledValues[];
      /** Hyperparameters that are no optimizer's. */
      readonly own: readonly string[];
    };

/** The values of one hyperparameter, by step. */
export interface ScheduledValues {
  readonly name: string;
  readonly group: string | undefined;
  readonly how: "now" | "relative";
  readonly values: readonly number[];
  /** The formula, where the script has one for it. */
  readonly told: Told | undefined;
}

/** A function of the script's, and its arguments. */
export interface Told {
  readonly name: string;
  readonly ints: { readonly [argument: string]: number };
  readonly floats: { readonly [argument: string]: number };
}

/** A callback that tells its form. One that does not has none, unless it only observes. */
export interface WithPythonForm {
  readonly pythonForm?: () => PythonForm;
}
