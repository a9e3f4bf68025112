/** Uses that `AnyRef` does not allow. Each line ends in the one error it must give. */
import { kw, worker } from "../worker.ts";

const numpy = worker.import("numpy");
const linalg = worker.import("numpy.linalg");

export const n: number = numpy; // TS2322 a number
export const s: string = linalg(3); // TS2322 a string
export const plus = numpy + 1; // TS2365 part of an addition
export const times = 2 * linalg(3); // TS2363 part of a product
export const more = linalg(3) > 2; // TS2365 part of an order
export const letters = Math.sqrt(numpy); // TS2345 an argument of JavaScript's functions
export const options: ReturnType<typeof kw<{ lr: number }>> = numpy; // TS2739 keywords
for (const row of numpy) linalg(row); // TS2488 iterable at once
