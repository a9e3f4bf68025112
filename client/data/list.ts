/** Arrays of different shapes as one part of a batch: a list in Python. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { type DType, itemSize, type NDArray, sizeOf, toBytes } from "../../bridge/values/ndarray.ts";
import {
  alone,
  arrayAt,
  arrayOfNumbers,
  type Collation,
  differ,
  isNumber,
  noValues,
  sideBySide,
  told,
} from "./collation.ts";
import { mapTree, type Tree } from "./tree.ts";

/**
 * The arrays at one place of each sample, one after the other in an array of one dimension, so that they are one frame
 * on the wire. Each begins at a multiple of 64 bytes, as a tensor of its own would: the last bit of a product of
 * matrices can depend on that. `helpers/ragged.py` takes them apart.
 */
export class Packed {
  readonly flat: NDArray | AnyRef;
  readonly dtype: DType;
  readonly shapes: readonly (readonly number[])[];

  /** `flat` may be in the worker already: then `dtype` is that of it. */
  constructor(flat: NDArray | AnyRef, shapes: readonly (readonly number[])[], dtype: DType = (flat as NDArray).dtype) {
    this.flat = flat;
    this.dtype = dtype;
    this.shapes = shapes;
  }

  /** Views of the arrays. Throws MISUSE where these are in the worker. */
  get arrays(): NDArray[] {
    if (isReference(this.flat))
      throw new TorchwireError(
        "MISUSE",
        "the worker keeps the arrays of this list: iterate the loader itself, and not loader.on(worker), to have them here",
      );
    const { dtype, data } = this.flat;
    const starts = startsOf(dtype, this.shapes);
    const numbers = dtype === "complex64" ? 2 : 1;
    return this.shapes.map((shape, i) => ({
      dtype,
      shape,
      data: data.subarray(starts[i]! * numbers, (starts[i]! + sizeOf(shape)) * numbers),
    }));
  }
}

export const isPacked = (value: unknown): value is Packed => value instanceof Packed;

const ALIGNMENT = 64;

/**
 * One part of a batch that is a list in Python, with an array for each sample, or a record or a list of arrays:
 * `list[Tensor]`, `list[dict[str, Tensor]]`. `list` makes one. Its `length` counts samples.
 */
export class ArrayList {
  readonly length: number;
  /** The structure of one sample, with the arrays of all samples at each place. */
  readonly parts: Tree<Packed>;

  constructor(length: number, parts: Tree<Packed>) {
    this.length = length;
    this.parts = parts;
  }

  /** The samples from `start` to before `end`. */
  slice(start: number, end: number): ArrayList {
    return list(this.items.slice(start, end));
  }

  /** What each sample has here: views, as short-lived as the batch. */
  get items(): Tree<NDArray>[] {
    const arrays = new Map<Packed, readonly NDArray[]>();
    mapTree(this.parts, "", isPacked, (packed) => arrays.set(packed, packed.arrays), noPart);
    return Array.from({ length: this.length }, (_, i) =>
      mapTree(this.parts, "", isPacked, (packed) => arrays.get(packed)![i]!, noPart),
    );
  }
}

/**
 * Keeps one part of each sample as it is, in a list: samples may differ in the length of every axis. A record of arrays
 * in each sample becomes a list of records, as torchvision's detectors take their targets. It is one frame on the wire
 * for each array of a sample, whatever the number of samples.
 *
 * Throws BAD_DATA, naming two samples, where dtypes, numbers of axes or structures differ, and where there are no
 * values.
 */
export function list(values: readonly unknown[], how: Collation = alone(values.length)): ArrayList {
  if (values.length === 0) noValues("list", how);
  let arrays = 0;
  const parts = sideBySide(values, how, (those, where) => (arrays++, packed(those, where)));
  if (arrays === 0)
    throw new TorchwireError(
      "BAD_DATA",
      `list: ${how.path} of sample ${how.indices[0]} has no array; without elements, give { dtype: "float32", shape: [0, 4], data: new Float32Array(0) }`,
    );
  return new ArrayList(values.length, parts);
}

function packed(values: readonly unknown[], how: Collation): Packed {
  const arrays = isNumber(values[0])
    ? rowsOf(arrayOfNumbers(values, { ...how, array: alone(0).array }))
    : values.map((_, i) => arrayAt(values, i, how));
  const [first] = arrays as [NDArray];
  for (const [i, other] of arrays.entries())
    if (other.dtype !== first.dtype || other.shape.length !== first.shape.length)
      differ(how, i, told(first), told(other), `; the arrays of a list have one dtype and one number of axes`);
  const shapes = arrays.map(({ shape }) => [...shape]);
  const starts = startsOf(first.dtype, shapes);
  const flat = how.array(first.dtype, [starts.at(-1)!]);
  const bytes = toBytes(flat.data);
  const size = itemSize(first.dtype);
  for (const [i, { data }] of arrays.entries()) {
    const end = starts[i]! * size + data.byteLength;
    bytes.set(toBytes(data), starts[i]! * size);
    // The memory is not cleared, and a bool is 0 or 1.
    bytes.fill(0, end, starts[i + 1]! * size);
  }
  return new Packed(flat, shapes);
}

/** Where each array begins, in elements, and where the last one ends. */
export function startsOf(dtype: DType, shapes: readonly (readonly number[])[]): number[] {
  const step = ALIGNMENT / itemSize(dtype);
  const starts = [0];
  let end = 0;
  for (const [i, shape] of shapes.entries()) {
    end = starts[i]! + sizeOf(shape);
    starts.push(i === shapes.length - 1 ? end : Math.ceil(end / step) * step);
  }
  return starts;
}

const rowsOf = ({ dtype, data }: NDArray): NDArray[] =>
  Array.from({ length: data.length }, (_, i) => ({ dtype, shape: [], data: data.subarray(i, i + 1) }));

function noPart(value: unknown, path: string): never {
  throw new TypeError(`${path} is ${String(value)}`);
}
