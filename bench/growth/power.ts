/** How a cost grows with the size of the work: the exponent k of size^k, by least squares on logarithms. */
import type { Measured } from "../rounds.ts";
import { summarise } from "../stats.ts";

/** Something whose cost is measured at several sizes. */
export interface Sizes {
  readonly sizes: readonly number[];
  /** The measure: the time of one of them, or of one unit of work beside so many. */
  readonly unit: string;
}

/** The exponent of `values` over `sizes`. It is 1 where the one is a multiple of the other. */
export function exponent(sizes: readonly number[], values: readonly number[]): number {
  const [x, y] = [sizes.map(Math.log), values.map(Math.log)];
  const mean = (of: readonly number[]): number => of.reduce((sum, one) => sum + one, 0) / of.length;
  const [middleX, middleY] = [mean(x), mean(y)];
  const along = x.map((one, i) => (one - middleX) * (y[i]! - middleY));
  const square = x.map((one) => (one - middleX) ** 2);
  return mean(along) / mean(square);
}

/**
 * Puts into the contest's name how the time of all of them grows: over all sizes, and between the two largest, where
 * what costs the same at any size weighs least.
 */
export function grown({ contest, kept, dropped }: Measured, { sizes, unit }: Sizes): Measured {
  const whole = kept.map(({ readings }) => contest.variants.map(({ name }, i) => sizes[i]! * readings[name]![unit]!));
  const shown = (from: number): string => {
    const { median, interval } = summarise(whole.map((values) => exponent(sizes.slice(from), values.slice(from))));
    return `n^${median.toFixed(2)}${interval === null ? "" : ` [${interval.map((one) => one.toFixed(2)).join(", ")}]`}`;
  };
  const ends = sizes.slice(-2).map(spelled);
  const name = `${contest.name}: the time of n grows as ${shown(0)}, from ${ends.join(" to ")} as ${shown(sizes.length - 2)}`;
  return { contest: { ...contest, name }, kept, dropped };
}

export const spelled = (size: number): string => size.toLocaleString("en-US");
