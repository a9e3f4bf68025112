/** Inputs that can be joined to those of a larger batch. */
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { checkNDArray } from "../../bridge/values/check.ts";
import { isLent } from "../../bridge/values/lend.ts";
import { asStored, isNDArray, joined, toBytes, type NDArray } from "../../bridge/values/ndarray.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { mapTree } from "../data/tree.ts";
import type { Inputs } from "../data/types.ts";
import { formOf } from "./parts.ts";

/** Inputs whose arrays have a row for each of `rows` samples. Those of one form can be joined. */
export interface Joinable {
  readonly xs: Inputs;
  /** The arrays in `xs`, in order. */
  readonly arrays: readonly NDArray[];
  readonly rows: number;
  readonly form: string;
}

/**
 * A copy of `xs`, which the program may change meanwhile. Undefined where it has no sample or more than `most`, and
 * where it holds something else than sound arrays with as many rows each. The shape of a reference is not known here;
 * lent memory comes back only where it is sent itself; and some models pad the arrays of a list to the longest.
 */
export function joinable(xs: Inputs, most: number): Joinable | undefined {
  const given = arraysIn(xs);
  const rows = given?.[0]?.shape[0] ?? 0;
  if (given === undefined || rows === 0 || rows > most || !given.every(isSound)) return undefined;
  const form = formOf(xs, rows);
  if (form === undefined) return undefined;
  const arrays: NDArray[] = [];
  const copied = withArrays(xs, (array) => {
    arrays.push(copyOf(array));
    return arrays.at(-1)!;
  });
  return { xs: copied, arrays, rows, form };
}

/** Joins inputs of one form along the first axis. */
export function joinedInputs(all: readonly Joinable[]): Inputs {
  const rows = all.reduce((sum, one) => sum + one.rows, 0);
  let next = 0;
  return withArrays(all[0]!.xs, ({ dtype, shape }) => {
    const place = next++;
    const pieces = all.map(({ arrays }) => toBytes(arrays[place]!.data));
    return joined(dtype, [rows, ...shape.slice(1)], pieces);
  });
}

const withArrays = (xs: Inputs, change: (array: NDArray) => NDArray): Inputs =>
  mapTree(xs, "", isNDArray, change, (part) => part as never) as Inputs;

/** All arrays in `xs`; undefined where there is anything else. */
function arraysIn(xs: unknown): NDArray[] | undefined {
  if (isReference(xs)) return undefined;
  if (isNDArray(xs)) return [xs];
  if (!Array.isArray(xs) && !isPlainObject(xs)) return undefined;
  const each = Object.values(xs).map(arraysIn);
  return each.includes(undefined) ? undefined : each.flatMap((arrays) => arrays!);
}

/** Whether it is not refused when it is sent, and may be sent as a copy. */
function isSound(array: NDArray): boolean {
  try {
    checkNDArray(array, "predict");
    return !isLent(array.data);
  } catch {
    return false;
  }
}

const copyOf = ({ dtype, shape, data }: NDArray): NDArray => ({
  dtype,
  shape: [...shape],
  data: asStored(data).slice(),
});
