/** The order of an epoch whose batches have samples of similar length. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import { permutation } from "./shuffle.ts";

/** The length of each sample, or a function that gives that of the sample at an index. */
export type Lengths = ArrayLike<number> | ((index: number) => number);

/** The length of each of `samples` samples. Throws MISUSE where that is not a number for each. */
export function lengthsOf(bucketBy: Lengths, samples: number): Float64Array {
  const isFunction = typeof bucketBy === "function";
  if (!isFunction && !(typeof bucketBy === "object" && bucketBy !== null && typeof bucketBy.length === "number"))
    throw new TorchwireError(
      "MISUSE",
      `bucketBy is ${described(bucketBy)}; give the length of each sample, or a function (index) => length`,
    );
  if (!isFunction && bucketBy.length !== samples)
    throw new TorchwireError(
      "MISUSE",
      `bucketBy: there are ${bucketBy.length} lengths for ${samples} samples; each sample needs one`,
    );
  return Float64Array.from({ length: samples }, (_, i) => {
    const length: unknown = isFunction ? bucketBy(i) : bucketBy[i];
    if (typeof length === "number" && Number.isFinite(length)) return length;
    throw new TorchwireError(
      "MISUSE",
      `bucketBy: the length of sample ${i} is ${described(length)}; it must be a number${isFunction ? ", given at once" : ""}`,
    );
  });
}

/** The order by length, shortest first; samples of one length keep the order of the data. */
export function byLength(lengths: Float64Array): Uint32Array {
  return Uint32Array.from({ length: lengths.length }, (_, i) => i).toSorted(
    (a, b) => lengths[a]! - lengths[b]! || a - b,
  );
}

/**
 * `drawn` in another order, in which each `batchSize` samples make a batch of similar length. It depends on the
 * arguments alone.
 *
 * - `drawn` is cut into pools of `poolOf` batches. Each pool is sorted by length and cut into batches: so which samples
 *   meet is random, and changes in each epoch.
 * - Where samples are left over, one batch of the last pool is smaller: which one is drawn. So no length is left out
 *   more often than others where that batch is dropped. It comes last.
 * - The others come in a random order.
 */
export function bucketed(
  drawn: Uint32Array,
  lengths: Float64Array,
  { batchSize, seed, epoch }: { readonly batchSize: number; readonly seed: number; readonly epoch: number },
): Uint32Array {
  const whole = Math.floor(drawn.length / batchSize);
  const pool = batchSize * poolOf(whole);
  const batches: Uint32Array[] = [];
  // Other random numbers than those of the order of the samples.
  const [stream, draw] = [(epoch ^ 0x80000000) >>> 0, (epoch ^ 0x40000000) >>> 0];
  let rest = new Uint32Array(0);
  for (let start = 0; start < drawn.length; start += pool) {
    // What is left after the last whole pool belongs to it.
    const end = drawn.length - start < 2 * pool ? drawn.length : start + pool;
    const sorted = drawn.slice(start, end);
    const place = new Map(Array.from(sorted, (sample, i) => [sample, i]));
    sorted.sort((a, b) => lengths[a]! - lengths[b]! || place.get(a)! - place.get(b)!);
    const left = sorted.length % batchSize;
    const many = (sorted.length - left) / batchSize;
    const smaller = left === 0 ? many : permutation(many + 1, seed, draw)[0]!;
    for (let i = 0, at = 0; at < sorted.length; i++) {
      const size = i === smaller ? left : batchSize;
      const batch = sorted.subarray(at, at + size);
      if (i === smaller) rest = batch;
      else batches.push(batch);
      at += size;
    }
    if (end === drawn.length) break;
  }
  const order = new Uint32Array(drawn.length);
  for (const [i, batch] of permutation(batches.length, seed, stream).entries())
    order.set(batches[batch]!, i * batchSize);
  order.set(rest, batches.length * batchSize);
  return order;
}

/** How many batches are sorted together: 50, or fewer where that would make less than four pools. */
const poolOf = (batches: number): number => Math.max(1, Math.min(50, Math.floor(batches / 4)));
