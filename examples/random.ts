/** Random numbers for made-up data, the same in each run. */

/** Gives a number from 0 up to, but not including, 1 at each call. */
export function generator(): () => number {
  let state = 1;
  return () => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) / 2 ** 32;
}

export const random: () => number = generator();

/** A whole number from 0 to `n - 1`. */
export const randomBelow = (n: number): number => Math.floor(n * random());
