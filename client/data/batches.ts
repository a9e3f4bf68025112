import { TorchwireError } from "../../bridge/errors.ts";
import { checkNDArray, fromBytes, itemSize, type NDArray, sizeOf, toBytes } from "../../bridge/ndarray.ts";
import { permutation } from "./shuffle.ts";

/** Inputs and targets: row i of `xs` goes with row i of `ys`. */
export interface Rows {
  readonly xs: NDArray;
  readonly ys: NDArray;
}

export interface BatchOptions {
  /** Rows in a batch. */
  readonly batchSize: number;
  /** The order of `permutation(rows, seed, epoch)`; false, the default, keeps the order of the data. `epoch` is 0 by default. */
  readonly shuffle?: { readonly seed: number; readonly epoch?: number } | false;
  /** Leaves out a last batch with fewer than `batchSize` rows. Default false. */
  readonly dropLast?: boolean;
}

/**
 * Cuts `data` into batches along the first axis, for a hand-written loop. Every batch is a fresh copy, so it may be sent, kept or changed.
 *
 * Throws at the call, not at the first batch: BAD_DATA where `xs` and `ys` have no rows to cut or not equally many, NOT_SENDABLE where an array's
 * shape and data disagree, MISUSE for an option out of range.
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

/** How many batches `rows` rows make. The last may be smaller, and is left out with `dropLast` (false by default). Throws MISUSE. */
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
    const end = Math.min(start + batchSize, rows);
    yield { xs: gather(xs, start, end, order), ys: gather(ys, start, end, order) };
  }
}

/** Rows `order[start]` to `order[end - 1]`, or `start` to `end - 1` where there is no order. */
function gather({ dtype, shape, data }: NDArray, start: number, end: number, order: Uint32Array | undefined): NDArray {
  const rest = shape.slice(1);
  const rowBytes = sizeOf(rest) * itemSize(dtype);
  const bytes = toBytes(data);
  const gathered = new Uint8Array((end - start) * rowBytes);
  if (order === undefined) gathered.set(bytes.subarray(start * rowBytes, end * rowBytes));
  else {
    let place = 0;
    for (const row of order.subarray(start, end)) {
      gathered.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), place);
      place += rowBytes;
    }
  }
  return fromBytes(dtype, [end - start, ...rest], gathered);
}

function rowsOf(array: NDArray, name: string): number {
  checkNDArray(array, name);
  const [rows] = array.shape;
  if (rows === undefined)
    throw new TorchwireError("BAD_DATA", `${name} is a single number, without rows to cut into batches`);
  return rows;
}
