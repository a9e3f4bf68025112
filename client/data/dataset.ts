import { TorchwireError } from "../../bridge/errors/errors.ts";
import { fromBytes, itemSize, type NDArray, sizeOf } from "../../bridge/values/ndarray.ts";
import { type AnyArray, isAnyArray, isPending, refuseArray, shapeOf, toNDArray } from "./arrays.ts";
import { isLabels } from "./numbers.ts";
import { type Cut, gather, rowsOf } from "./rows.ts";
import { permutation } from "./shuffle.ts";
import { mapTree, type Tree } from "./tree.ts";
import type { Batch, Dataset, Inputs, Sample } from "./types.ts";

/** Inputs and targets as whole arrays: row i of every array is sample i. Lists and records hold several arrays. */
export interface ArrayRows {
  readonly xs: Tree<AnyArray>;
  readonly ys: Tree<AnyArray>;
}

/** Samples by index, a list of them, or arrays whose rows are samples. */
export type Indexed<S = Sample> = Dataset<S> | readonly S[] | ArrayRows;

export interface SplitOptions {
  /** An integer from 0 to 2^53 - 1; 0 by default. */
  readonly seed?: number;
}

/**
 * The rows of arrays as samples. `toNDArray` must accept each array. Lists nest arrays by position, records by name. A
 * list of numbers, or of typed arrays of one length, is one array; a list of other arrays is several.
 *
 * `ys` that is a plain list of whole numbers holds labels: int64. All other plain numbers are float32.
 *
 * Throws BAD_DATA where something is not an array, or the arrays have different numbers of rows.
 */
export function arrayDataset(data: ArrayRows): ArrayDataset {
  return new ArrayDataset(data);
}

export class ArrayDataset implements Dataset {
  readonly length: number;
  readonly #xs: Tree<Column>;
  readonly #ys: Tree<Column>;
  readonly #late: Column[] = [];
  #loading: Promise<void> | undefined;

  constructor(data: ArrayRows) {
    let before: Column | undefined = undefined as Column | undefined;
    const column = (source: AnyArray, name: string): Column => {
      const found = new Column(source, name);
      if (before !== undefined && before.rows !== found.rows)
        throw new TorchwireError(
          "BAD_DATA",
          `${before.name} has ${before.rows} rows and ${name} has ${found.rows}; each row needs its target`,
        );
      if (found.array === undefined) this.#late.push(found);
      before = found;
      return found;
    };
    const columns = (tree: unknown, name: string): Tree<Column> => {
      let found = 0;
      const mapped = mapTree(tree, name, isAnyArray, (source, at) => (found++, column(source, at)), refuseArray);
      if (found === 0) throw new TorchwireError("BAD_DATA", `${name} holds no array`);
      return mapped;
    };
    this.#xs = columns(data.xs, "xs");
    this.#ys = columns(data.ys, "ys");
    this.length = before!.rows;
  }

  /** Resolves when every array has arrived; undefined where all have. */
  ready(): Promise<void> | undefined {
    if (this.#late.every(({ array }) => array !== undefined)) return undefined;
    this.#loading ??= Promise.all(this.#late.map((column) => column.load())).then(
      () => undefined,
      (error: unknown) => {
        this.#loading = undefined;
        throw error;
      },
    );
    return this.#loading;
  }

  /** A copy of row `index` of every array, without the axis that counts samples. */
  get(index: number): Sample | Promise<Sample> {
    checkIndex(index, this.length);
    const cut = { start: index, end: index + 1, order: undefined };
    const row = (): Batch => this.#cut(cut, ({ dtype, shape }) => blank(dtype, shape.slice(1)));
    return this.ready()?.then(row) ?? row();
  }

  /** Fills the arrays that `make` returns with the rows of `cut`. Every array must have arrived. */
  gather(cut: Cut, make: (dtype: NDArray["dtype"], shape: readonly number[]) => NDArray): Batch {
    const { start, end } = cut;
    return this.#cut(cut, ({ dtype, shape }) => make(dtype, [end - start, ...shape.slice(1)]));
  }

  split(fraction: number, options?: SplitOptions): [Subset, Subset] {
    return split(this, fraction, options);
  }

  #cut(cut: Cut, make: (array: NDArray) => NDArray): Batch {
    const part = (column: Column): NDArray => {
      const target = make(column.array!);
      gather(column.array!, cut, target);
      return target;
    };
    const parts = (tree: Tree<Column>, name: string): Inputs =>
      tree instanceof Column ? part(tree) : mapTree(tree, name, isColumn, part, refuseArray);
    return { xs: parts(this.#xs, "xs"), ys: parts(this.#ys, "ys") };
  }
}

/** Some samples of a data set, by their indices in it. */
export class Subset<S = Sample> implements Dataset<S> {
  /** Never a subset itself: the indices of a nested subset count in the data set underneath. */
  readonly data: Dataset<S>;
  readonly indices: Uint32Array;

  /** Throws MISUSE where an index is out of range. */
  constructor(data: Indexed<S>, indices: ArrayLike<number>) {
    const within = asDataset(data) as Dataset<S>;
    const { length } = within;
    for (let i = 0; i < indices.length; i++) checkIndex(indices[i]!, length);
    this.data = within instanceof Subset ? within.data : within;
    this.indices = Uint32Array.from(indices, (i) => (within instanceof Subset ? within.indices[i]! : i));
  }

  get length(): number {
    return this.indices.length;
  }

  get(index: number): S | Promise<S> {
    checkIndex(index, this.length);
    return this.data.get(this.indices[index]!);
  }

  split(fraction: number, options?: SplitOptions): [Subset<S>, Subset<S>] {
    return split<S>(this, fraction, options);
  }
}

/**
 * Splits `data` into two parts that share no sample: `fraction` of the samples, drawn by `seed`, and the rest. Each
 * part keeps the order of the data. The split depends on the number of samples, the fraction and the seed alone.
 *
 * Throws MISUSE unless `fraction` lies between 0 and 1, exclusive.
 */
export function split<S = Sample>(
  data: Indexed<S>,
  fraction: number,
  options: SplitOptions = {},
): [Subset<S>, Subset<S>] {
  const whole = asDataset(data) as Dataset<S>;
  const [first, second] = splitIndices(whole.length, fraction, options);
  return [new Subset(whole, first), new Subset(whole, second)];
}

/** The first round(fraction · length) indices of `permutation(length, seed)`, and the rest, each in ascending order. */
export function splitIndices(
  length: number,
  fraction: number,
  { seed = 0 }: SplitOptions = {},
): [first: Uint32Array, second: Uint32Array] {
  if (!(fraction > 0 && fraction < 1))
    throw new TorchwireError(
      "MISUSE",
      `split: the fraction must be between 0 and 1, e.g. 0.8, not ${String(fraction)}`,
    );
  const order = permutation(length, seed);
  const cut = Math.round(fraction * length);
  return [order.slice(0, cut).toSorted(), order.slice(cut).toSorted()];
}

/**
 * The samples of `data` at `indices`, in that order. An index may come twice. Throws MISUSE where one is out of range.
 */
export function subset<S = Sample>(data: Indexed<S>, indices: ArrayLike<number>): Subset<S> {
  return new Subset(data, indices);
}

/** The first `n` samples of `data`, or all where it has fewer. Throws MISUSE unless `n` is a whole number. */
export function take<S = Sample>(data: Indexed<S>, n: number): Subset<S> {
  if (!Number.isSafeInteger(n) || n < 0)
    throw new TorchwireError("MISUSE", `take: n must be a whole number, not ${String(n)}`);
  const whole = asDataset(data) as Dataset<S>;
  return new Subset(
    whole,
    Uint32Array.from({ length: Math.min(n, whole.length) }, (_, i) => i),
  );
}

/** Throws MISUSE where `data` has neither samples by index nor arrays. */
export function asDataset(data: Indexed<any>): Dataset<any> {
  if (isSamples(data)) return { length: data.length, get: (index) => data[index] };
  const { get, length, xs, ys } = (data ?? {}) as Partial<Dataset & ArrayRows>;
  if (typeof get === "function") {
    if (Number.isSafeInteger(length) && length! >= 0) return data as Dataset;
    throw new TorchwireError(
      "MISUSE",
      `the length of a data set must be a whole number, not ${String(length)}; data is a list of samples, { length, get(index) } or { xs, ys }`,
    );
  }
  if (xs !== undefined && ys !== undefined) return new ArrayDataset({ xs, ys });
  if (isIterable(data))
    throw new TorchwireError(
      "MISUSE",
      "the data can be iterated, but has no samples by index, which shuffling and buckets need: give a list of them, or { length, get(index) }",
    );
  throw new TorchwireError(
    "MISUSE",
    "data must be a list of samples, { length, get(index) }, or { xs, ys } with arrays whose rows are samples",
  );
}

const isSamples = (data: Indexed<any>): data is readonly any[] => Array.isArray(data);

/** One array, or the source that it will be made from. */
class Column {
  readonly name: string;
  readonly rows: number;
  array: NDArray | undefined;
  readonly #source: AnyArray;

  constructor(source: AnyArray, name: string) {
    this.name = name;
    this.#source = source;
    if (isPending(source)) {
      const [rows] = shapeOf(source);
      if (rows === undefined)
        throw new TorchwireError("BAD_DATA", `${name} is a single number, without rows to cut into batches`);
      this.rows = rows;
      return;
    }
    const labels = name === "ys" && isLabels(source);
    this.array = toNDArray(source, labels ? { name, dtype: "int64" } : { name });
    this.rows = rowsOf(this.array, name);
  }

  async load(): Promise<void> {
    if (this.array !== undefined) return;
    const array = await toNDArray(this.#source, { name: this.name });
    // So far only the claimed shape was known.
    if (rowsOf(array, this.name) !== this.rows)
      throw new TorchwireError("BAD_DATA", `${this.name} changed its shape while its elements were waited for`);
    this.array = array;
  }
}

const isIterable = (data: unknown): boolean =>
  typeof data === "object" && data !== null && (Symbol.iterator in data || Symbol.asyncIterator in data);

const isColumn = (value: unknown): value is Column => value instanceof Column;

const blank = (dtype: NDArray["dtype"], shape: readonly number[]): NDArray =>
  fromBytes(dtype, shape, new Uint8Array(sizeOf(shape) * itemSize(dtype)));

function checkIndex(index: number, length: number): void {
  if (Number.isSafeInteger(index) && index >= 0 && index < length) return;
  throw new TorchwireError("MISUSE", `there is no sample ${String(index)}: the data set has ${length}, counted from 0`);
}
