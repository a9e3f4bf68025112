/** Values of several samples, side by side: what collators are made of. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { classOf, isPlainObject, viewKind } from "../../bridge/runtime/kinds.ts";
import { checkNDArray } from "../../bridge/values/check.ts";
import { type DType, fromBytes, isNDArray, itemSize, type NDArray, sizeOf } from "../../bridge/values/ndarray.ts";
import { toNDArray } from "./arrays.ts";
import { isEncoded } from "./encoded-image.ts";
import { memberOf, type Tree } from "./tree.ts";

/** The dtype of plain numbers by their place in a sample. The first batch settles it, so that it never changes. */
export type NumberTypes = Map<string, DType>;

/** One part of a batch that is being made: the samples that it is made of, and the memory for it. */
export interface Collation {
  /** The index of each sample in the data. Errors name it. */
  readonly indices: ArrayLike<number>;
  /** The place of the part, `xs.tokens`. Errors name it. */
  readonly path: string;
  readonly numbers: NumberTypes;
  /**
   * An array whose memory the loader lends and uses again. The caller must fill it from end to end: its memory is not
   * cleared.
   */
  readonly array: (dtype: DType, shape: readonly number[]) => NDArray;
  /** Puts another part beside this one, where this one has a name. */
  readonly beside?: (name: string, part: Tree<NDArray>) => void;
}

/** A part that no loader makes: its memory is its own. */
export function alone(samples: number): Collation {
  return {
    indices: Array.from({ length: samples }, (_, i) => i),
    path: "the part",
    numbers: new Map(),
    array: (dtype, shape) => fromBytes(dtype, shape, new Uint8Array(sizeOf(shape) * itemSize(dtype))),
  };
}

/**
 * Goes through the values of samples, which must be of one kind, down to arrays and plain numbers. `leaf` makes one
 * part of those at one place in each sample. Throws BAD_DATA, naming samples that do not go together.
 */
export function sideBySide<T, H extends Pick<Collation, "indices" | "path"> = Collation>(
  values: readonly unknown[],
  how: H,
  leaf: (values: readonly unknown[], how: H) => T,
): Tree<T> {
  checkKinds(values, how);
  const [first] = values;
  if (isLeaf(first)) return leaf(values, how);
  const member = (name: string | number, path: string): Tree<T> =>
    sideBySide(membersOf(values, name), { ...how, path }, leaf);
  if (Array.isArray(first) && !isNumbers(first)) return first.map((_, i) => member(i, `${how.path}[${i}]`));
  if (isPlainObject(first))
    return Object.fromEntries(Object.keys(first).map((name) => [name, member(name, memberOf(how.path, name))]));
  throw new TorchwireError(
    "BAD_DATA",
    `${how.path} of sample ${how.indices[0]} is ${kindOf(first)}; samples are made of NDArrays, typed arrays and numbers: for plain lists, toNDArray(list)`,
  );
}

/** The member `name` of each value. The values must be of one kind, and have it. */
export const membersOf = (values: readonly unknown[], name: string | number): unknown[] =>
  values.map((value) => (value as Record<string, unknown>)[name]);

/** Throws BAD_DATA where the values are not of one kind. */
export function checkKinds(values: readonly unknown[], { path, indices }: Pick<Collation, "path" | "indices">): void {
  const kind = kindOf(values[0]);
  for (let i = 1; i < values.length; i++) {
    const other = kindOf(values[i]);
    if (other !== kind) differ({ path, indices }, i, kind, other);
  }
}

/** The array at place `i` of the values, which are arrays or typed arrays. Throws where it is not a whole one. */
export function arrayAt(
  values: readonly unknown[],
  i: number,
  { path, indices }: Pick<Collation, "path" | "indices">,
): NDArray {
  const value = values[i] as NDArray | NDArray["data"];
  const name = `${path} of sample ${indices[i]}`;
  if (ArrayBuffer.isView(value)) return toNDArray(value, { name });
  checkNDArray(value, name);
  return value;
}

/** One array of plain numbers: int64 where they are labels, else float32; bool for booleans. */
export function arrayOfNumbers(values: readonly unknown[], { path, indices, numbers, array }: Collation): NDArray {
  if (typeof values[0] !== "number") return toNDArray(values as boolean[], { name: path });
  const fraction = values.findIndex((value) => !Number.isSafeInteger(value));
  const dtype = numbers.get(path) ?? (fraction < 0 ? "int64" : "float32");
  numbers.set(path, dtype);
  if (dtype === "int64" && fraction >= 0)
    throw new TorchwireError(
      "BAD_DATA",
      `${path} of sample ${indices[fraction]} is ${String(values[fraction])}, and all before it were whole numbers (labels, int64); if they are not labels, let get give { dtype: "float32", shape: [], data: Float32Array.of(y) }`,
    );
  const batch = array(dtype, [values.length]);
  for (let i = 0; i < values.length; i++)
    batch.data[i] = (dtype === "int64" ? BigInt(values[i] as number) : (values[i] as number)) as never;
  return batch;
}

/** Throws BAD_DATA: a collator, `what`, was given no values. */
export function noValues(what: string, { path }: Collation): never {
  throw new TorchwireError("BAD_DATA", `${what}: there are no values for ${path}; a batch has at least one sample`);
}

/** Throws BAD_DATA: sample `i` of the batch does not go with its first. */
export function differ(
  { path, indices }: Pick<Collation, "path" | "indices">,
  i: number,
  first: string,
  other: string,
  advice = "",
): never {
  throw new TorchwireError(
    "BAD_DATA",
    `samples ${indices[0]} and ${indices[i]} do not go into one batch: ${path} is ${first} in the one and ${other} in the other${advice}`,
  );
}

export const isNumber = (value: unknown): value is number | boolean | bigint =>
  typeof value === "number" || typeof value === "boolean" || typeof value === "bigint";

const isLeaf = (value: unknown): boolean =>
  isNumber(value) || isNDArray(value) || ArrayBuffer.isView(value) || isEncoded(value);

/** A list of numbers is a vector that should be an array; it is not a list of inputs. */
const isNumbers = (list: readonly unknown[]): boolean => list.length > 0 && list.every(isNumber);

/** The kind of a value in words. Values of one kind can be put together. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (isNDArray(value)) return "an array";
  if (isEncoded(value)) return "an image that the worker decodes";
  if (ArrayBuffer.isView(value)) return `a ${viewKind(value)}`;
  if (Array.isArray(value)) {
    if (value.length === 0) return "an empty list, which has neither dtype nor axes";
    return isNumbers(value) ? "a list of numbers" : `a list of ${value.length} parts`;
  }
  if (isPlainObject(value)) return `a record of ${Object.keys(value).toSorted().join(", ") || "nothing"}`;
  return typeof value === "object" ? `a ${classOf(value)}` : `a ${typeof value}`;
}

/** An array's dtype and shape in words: `float32 [2, 3]`. */
export const told = ({ dtype, shape }: Pick<NDArray, "dtype" | "shape">): string => `${dtype} [${shape.join(", ")}]`;

/** The advice for arrays of different shapes. */
export const RAGGED = "; collate that part by list, which keeps arrays of different shapes, or by pad({ value: 0 })";
