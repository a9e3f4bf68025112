/** Kinds of options that callbacks have and PyTorch's functions do not. */
import type { Kind } from "../options/keywords.ts";
import { Phase } from "../training/phases.ts";

export type PhaseClass = abstract new (...args: any[]) => Phase;

const kind = (is: string, fits: (value: unknown) => boolean): Kind => ({
  is,
  send: (value) => (fits(value) ? value : undefined),
});

export const text: Kind = kind("a name", (value) => typeof value === "string" && value !== "");
export const atLeast0: Kind = kind(
  "a number from 0",
  (value) => typeof value === "number" && value >= 0 && value < Infinity,
);
export const aPhase: Kind = kind(
  "a class of phases",
  (value) => typeof value === "function" && ((value as unknown) === Phase || value.prototype instanceof Phase),
);
export const wholeFrom = (least: number): Kind =>
  kind(`a whole number from ${least}`, (value) => Number.isSafeInteger(value) && (value as number) >= least);
