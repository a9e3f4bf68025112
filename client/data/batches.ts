import { TorchwireError } from "../../bridge/errors/errors.ts";
import { fromBytes, itemSize, type NDArray, sizeOf } from "../../bridge/values/ndarray.ts";
import { type Cut, gather, type Rows, rowsOf } from "./rows.ts";
import { permutation } from "./shuffle.ts";

export interface BatchOptions {
  /** Rows in a batch. */
  readonly batchSize: number;
  /**
   * `permutation(rows, seed, epoch)`, where `epoch` is 0 by default. False, the default, keeps the order of the data.
   */
  readonly shuffle?: { readonly seed: number; readonly epoch?: number } | false;
  /** Leaves out a last batch with fewer than `batchSize` rows. Default: false. */
  readonly dropLast?: boolean;
}

/**
 * Cuts `data` into batches along the first axis, for a hand-written loop. Every batch is a fresh copy, so the program
 * may send it, keep it or change it.
 *
 * Throws at the call, not at the first batch: BAD_DATA where `xs` or `ys` has no rows, or they have different numbers
 * of rows; NOT_SENDABLE where an array's shape and data disagree; MISUSE for an option out of range.
 */
export function batches(data: Rows, options: BatchOptions): Generator<{ xs: NDArray; ys: NDArray }, void, undefined> {
  const { batchSize, shuffle = false, dropLast = false } = options;
  const rows = rowsOf(data.xs, "xs");
  const targets = rowsOf(data.ys, "ys");
  if (rows !== targets)
    throw new TorchwireError("BAD_DATA", `xs has ${rows} rows and ys has ${targets}; each row needs its target`);
  const total = numBatches(rows, batchSize, dropLast);
  const order = shuffle === false ? undefined : permutation(rows, shuffle.seed, shuffle.epoch);
  return cut(data, total, rows, batchSize, order);
}

/** How many batches `rows` rows make. `dropLast` (default: false) leaves out a smaller last batch. Throws MISUSE. */
export function numBatches(rows: number, batchSize: number, dropLast = false): number {
  if (!Number.isSafeInteger(batchSize) || batchSize < 1)
    throw new TorchwireError("MISUSE", `batchSize must be a positive integer, not ${String(batchSize)}`);
  return dropLast ? Math.floor(rows / batchSize) : Math.ceil(rows / batchSize);
}

function* cut(
  { xs, ys }: Rows,
  total: number,
  rows: number,
  batchSize: number,
  order: Uint32Array | undefined,
): Generator<{ xs: NDArray; ys: NDArray }, void, undefined> {
  for (let batch = 0; batch < total; batch++) {
    const start = batch * batchSize;
    const which = { start, end: Math.min(start + batchSize, rows), order };
    yield { xs: copyOf(xs, which), ys: copyOf(ys, which) };
  }
}

function copyOf(array: NDArray, which: Cut): NDArray {
  const { dtype } = array;
  const shape = [which.end - which.start, ...array.shape.slice(1)];
  const copy = fromBytes(dtype, shape, new Uint8Array(sizeOf(shape) * itemSize(dtype)));
  gather(array, which, copy);
  return copy;
}
