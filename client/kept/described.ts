/** References to tensors that are arrays of the program's, as they lie in its axes: their dtype and shape are known here. */
import type { DType } from "../../bridge/values/ndarray.ts";

export interface Described {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

const known = new WeakMap<object, Described>();

/** Notes what `reference` is, and gives it back. */
export function describe<T extends object>(reference: T, array: Described): T {
  known.set(reference, array);
  return reference;
}

/** What is known of a reference; undefined for all but those that stand for an array of the program's. */
export const describedArray = (reference: object): Described | undefined => known.get(reference);
