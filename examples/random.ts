/** Random numbers for made-up data, the same in each run. */
let state = 1;

/** A number from 0 up to, but not including, 1. */
export const random = (): number => (state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) / 2 ** 32;

/** A whole number from 0 to `n - 1`. */
export const randomBelow = (n: number): number => Math.floor(n * random());
