import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { FormatContext } from "./format.ts";

/** A view of `x` whose axes after the leading ones are in the order `axes`. */
export function permuted(x: AnyRef, axes: readonly number[], { lead = 0 }: FormatContext): AnyRef {
  const order = [...Array.from({ length: lead }, (_, i) => i), ...axes.map((axis) => axis + lead)];
  // `permute` needs at least one argument, and without an axis there is nothing to move.
  return order.length === 0 ? x : x.permute(...order);
}

/** The permutation that undoes `axes`. */
export const inverse = (axes: readonly number[]): number[] => axes.map((_, i) => axes.indexOf(i));

/** Throws MISUSE where the array's shape is known and does not have the axes `names` after the leading ones. */
export function checkAxes(format: string, names: readonly string[], { shape, lead = 0 }: FormatContext): void {
  if (shape === undefined || shape.length === lead + names.length) return;
  const all = [...Array.from({ length: lead }, (_, i) => (i === 0 ? "N" : `N${i + 1}`)), ...names];
  throw new TorchwireError("MISUSE", `${format} takes [${all.join(", ")}], not an array of shape ${shapeText(shape)}`);
}

export const shapeText = (shape: readonly number[]): string => `[${shape.join(", ")}]`;
