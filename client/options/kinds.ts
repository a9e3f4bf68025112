/** Kinds of options that stay on this side: they are checked, and sent as they are. */
import type { Kind } from "./keywords.ts";

export const kind = (is: string, fits: (value: unknown) => boolean): Kind => ({
  is,
  send: (value) => (fits(value) ? value : undefined),
});

export const text: Kind = kind("a name", (value) => typeof value === "string" && value !== "");
export const yesOrNo: Kind = kind("true or false", (value) => typeof value === "boolean");
export const number: Kind = kind("a number", (value) => typeof value === "number");
export const finite: Kind = kind("a number", Number.isFinite);
export const positive: Kind = kind("a number above 0", (value) => isFinite(value) && value > 0);
export const atLeast0: Kind = kind("a number from 0", (value) => isFinite(value) && value >= 0);
export const whole: Kind = kind("a whole number", Number.isSafeInteger);
export const wholeFrom = (least: number): Kind =>
  kind(`a whole number from ${least}`, (value) => Number.isSafeInteger(value) && (value as number) >= least);

/** One of `names`. A reference to a name is not: this side reads it. */
export const choice = (...names: readonly string[]): Kind =>
  kind(names.map((name) => JSON.stringify(name)).join(" or "), (value) => names.includes(value as string));

const isFinite = (value: unknown): value is number => Number.isFinite(value);
