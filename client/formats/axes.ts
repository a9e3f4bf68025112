import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { FormatContext } from "./format.ts";

/** `x` with the axes after the leading ones in the order `axes`, as a view. */
export function permuted(x: AnyRef, axes: readonly number[], { lead = 0 }: FormatContext): AnyRef {
  const order = [...Array.from({ length: lead }, (_, i) => i), ...axes.map((axis) => axis + lead)];
  // Without an axis there is nothing to move, and PyTorch wants at least one argument.
  return order.length === 0 ? x : x.permute(...order);
}

/** The permutation that undoes `axes`. */
export const inverse = (axes: readonly number[]): number[] => axes.map((_, i) => axes.indexOf(i));

/** Throws MISUSE where the array is known and has not the axes `names` after the leading ones. */
export function checkAxes(format: string, names: readonly string[], { shape, lead = 0 }: FormatContext): void {
  if (shape === undefined || shape.length === lead + names.length) return;
  const all = [...Array.from({ length: lead }, (_, i) => (i === 0 ? "N" : `N${i + 1}`)), ...names];
  throw new TorchwireError("MISUSE", `${format} takes [${all.join(", ")}], not an array of shape ${shapeText(shape)}`);
}

export const shapeText = (shape: readonly number[]): string => `[${shape.join(", ")}]`;
