import { TorchwireError } from "../../bridge/errors/errors.ts";
import { classOf, isPlainObject, viewKind } from "../../bridge/runtime/kinds.ts";
import { checkNDArray } from "../../bridge/values/check.ts";
import { type DType, isNDArray, type NDArray, toBytes } from "../../bridge/values/ndarray.ts";
import { toNDArray } from "./arrays.ts";
import type { Lease } from "./memory.ts";
import { memberOf, type Tree } from "./tree.ts";
import type { Batch, Inputs } from "./types.ts";

/** Samples of a data set, with the index of each. */
export interface Samples {
  readonly values: readonly unknown[];
  readonly indices: ArrayLike<number>;
}

/** The dtype of plain numbers by their place in a sample. The first batch settles it, so that it never changes. */
export type NumberTypes = Map<string, DType>;

/**
 * Stacks `samples` into one batch, part by part, along a new first axis. Throws BAD_DATA, naming samples that do not go
 * together.
 */
export function stack({ values, indices }: Samples, lease: Lease, numbers: NumberTypes): Batch {
  const pairs = values.map((sample, i) => pairOf(sample, indices[i]!));
  const part = (which: 0 | 1, name: string): Inputs => {
    const column = { values: pairs.map((pair) => pair[which]), indices };
    return stacked(column, name, lease, numbers) as Inputs;
  };
  return { xs: part(0, "xs"), ys: part(1, "ys") };
}

function pairOf(sample: unknown, index: number): readonly [unknown, unknown] {
  if (Array.isArray(sample) && sample.length === 2) return sample as unknown as [unknown, unknown];
  if (typeof sample === "object" && sample !== null && "xs" in sample && "ys" in sample) return [sample.xs, sample.ys];
  throw new TorchwireError("BAD_DATA", `sample ${index} is ${kindOf(sample)}; a sample is { xs, ys } or [xs, ys]`);
}

function stacked(samples: Samples, path: string, lease: Lease, numbers: NumberTypes): Tree<NDArray> {
  const { values, indices } = samples;
  const [first] = values;
  const kind = kindOf(first);
  for (let i = 1; i < values.length; i++) {
    const other = kindOf(values[i]);
    if (other !== kind) differ(path, indices, i, kind, other);
  }
  const member = (name: string | number, at: string): Tree<NDArray> => {
    const parts = values.map((value) => (value as Record<string, unknown>)[name]);
    return stacked({ values: parts, indices }, at, lease, numbers);
  };
  if (isNumber(first)) return stackedNumbers(samples, path, lease, numbers);
  if (isNDArray(first) || ArrayBuffer.isView(first)) return stackedArrays(samples, path, lease);
  if (Array.isArray(first) && !isNumbers(first)) return first.map((_, i) => member(i, `${path}[${i}]`));
  if (isPlainObject(first))
    return Object.fromEntries(Object.keys(first).map((name) => [name, member(name, memberOf(path, name))]));
  throw new TorchwireError(
    "BAD_DATA",
    `${path} of sample ${indices[0]} is ${kind}; samples are made of NDArrays, typed arrays and numbers: for plain lists, toNDArray(list)`,
  );
}

function stackedArrays({ values, indices }: Samples, path: string, lease: Lease): NDArray {
  const at = (i: number): NDArray => {
    const value = values[i] as NDArray | NDArray["data"];
    const name = `${path} of sample ${indices[i]}`;
    if (ArrayBuffer.isView(value)) return toNDArray(value, { name });
    checkNDArray(value, name);
    return value;
  };
  const { dtype, shape, data } = at(0);
  const batch = lease.array(dtype, [values.length, ...shape]);
  const bytes = toBytes(batch.data);
  const length = data.byteLength;
  bytes.set(toBytes(data));
  for (let i = 1; i < values.length; i++) {
    const other = at(i);
    if (
      other.dtype !== dtype ||
      other.shape.length !== shape.length ||
      other.shape.some((n, axis) => n !== shape[axis])
    )
      differ(path, indices, i, `${dtype} [${shape.join(", ")}]`, `${other.dtype} [${other.shape.join(", ")}]`);
    bytes.set(toBytes(other.data), i * length);
  }
  return batch;
}

function stackedNumbers({ values, indices }: Samples, path: string, lease: Lease, numbers: NumberTypes): NDArray {
  if (typeof values[0] !== "number") return toNDArray(values as boolean[], { name: path });
  const fraction = values.findIndex((value) => !Number.isSafeInteger(value));
  const dtype = numbers.get(path) ?? (fraction < 0 ? "int64" : "float32");
  numbers.set(path, dtype);
  if (dtype === "int64" && fraction >= 0)
    throw new TorchwireError(
      "BAD_DATA",
      `${path} of sample ${indices[fraction]} is ${String(values[fraction])}, and all before it were whole numbers (labels, int64); if they are not labels, let get give { dtype: "float32", shape: [], data: Float32Array.of(y) }`,
    );
  const batch = lease.array(dtype, [values.length]);
  for (let i = 0; i < values.length; i++)
    batch.data[i] = (dtype === "int64" ? BigInt(values[i] as number) : (values[i] as number)) as never;
  return batch;
}

function differ(path: string, indices: ArrayLike<number>, i: number, first: string, other: string): never {
  throw new TorchwireError(
    "BAD_DATA",
    `samples ${indices[0]} and ${indices[i]} do not go into one batch: ${path} is ${first} in the one and ${other} in the other`,
  );
}

const isNumber = (value: unknown): value is number | boolean | bigint =>
  typeof value === "number" || typeof value === "boolean" || typeof value === "bigint";

/** A list of numbers is a vector that should be an array; it is not a list of inputs. */
const isNumbers = (list: readonly unknown[]): boolean => list.length > 0 && list.every(isNumber);

/** The kind of a value in words. Values of one kind can be stacked. */
function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (isNDArray(value)) return "an array";
  if (ArrayBuffer.isView(value)) return `a ${viewKind(value)}`;
  if (Array.isArray(value)) return isNumbers(value) ? "a list of numbers" : `a list of ${value.length} parts`;
  if (isPlainObject(value)) return `a record of ${Object.keys(value).toSorted().join(", ") || "nothing"}`;
  return typeof value === "object" ? `a ${classOf(value)}` : `a ${typeof value}`;
}
