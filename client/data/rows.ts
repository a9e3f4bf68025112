import { TorchwireError } from "../../bridge/errors/errors.ts";
import { checkNDArray } from "../../bridge/values/check.ts";
import { itemSize, type NDArray, sizeOf, toBytes } from "../../bridge/values/ndarray.ts";

/** Inputs and targets: row i of `xs` goes with row i of `ys`. */
export interface Rows {
  readonly xs: NDArray;
  readonly ys: NDArray;
}

/** The rows from `start` to `end - 1`, or `order[start]` to `order[end - 1]` where there is an order. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly order: Uint32Array | undefined;
}

/**
 * Copies rows of `array` into `target`, which has `end - start` rows. Throws NOT_SENDABLE where the program has given
 * the memory of `array` away: `target` would else keep rows of an earlier batch.
 */
export function gather(array: NDArray, { start, end, order }: Cut, target: NDArray): void {
  checkNDArray(array, "an array of the data set");
  const rowBytes = sizeOf(array.shape.slice(1)) * itemSize(array.dtype);
  const from = toBytes(array.data);
  const to = toBytes(target.data);
  if (order === undefined) {
    to.set(from.subarray(start * rowBytes, end * rowBytes));
    return;
  }
  let place = 0;
  for (let i = start; i < end; i++) {
    const row = order[i]!;
    to.set(from.subarray(row * rowBytes, (row + 1) * rowBytes), place);
    place += rowBytes;
  }
}

/**
 * The number of rows of `array`. Throws BAD_DATA, naming `name`, where it has none, and NOT_SENDABLE where its shape
 * and data disagree.
 */
export function rowsOf(array: NDArray, name: string): number {
  checkNDArray(array, name);
  const [rows] = array.shape;
  if (rows === undefined)
    throw new TorchwireError("BAD_DATA", `${name} is a single number, without rows to cut into batches`);
  return rows;
}
