/** The data of a fit as arrays in files, and how a script makes its batches of them. */
import { join } from "node:path";
import { fromBytes, isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import { aside } from "../data/aside.ts";
import { EncodedImages } from "../data/encoded.ts";
import { mapInputs, namesOf, toBatch } from "../data/batch.ts";
import { iterableAgain } from "../data/iterable.ts";
import { DataLoader } from "../data/loader.ts";
import type { Tree } from "../data/tree.ts";
import type { BatchLike, Data, Dataset, Inputs } from "../data/types.ts";
import { hasNpy, NpyFile } from "./npy.ts";

/** What the script is told of one side of the data. */
export interface Exported {
  /** Of the first batch: each array with its dtype and shape. */
  readonly like: { readonly xs: Tree<NDArray>; readonly ys: Tree<NDArray> } | undefined;
  /** Training batches in an epoch; undefined where epochs differ. */
  readonly batches: number | undefined;
  /** As Python gets it. */
  readonly told: { readonly [key: string]: unknown };
}

/** Why data cannot be exported. */
class NoForm extends Error {}

/** The rows of one pass in the order of the data go in batches of so many. */
const AT_ONCE = 256;

/**
 * Writes the arrays of `data` into `folder`, as `training_xs.npy`. The data is not touched: a loader keeps its
 * position. Data that has no form in Python is told with its reason.
 */
export async function exported(
  side: "training" | "validation",
  data: Data | PyObject,
  epochs: number,
  folder: string,
): Promise<Exported> {
  const files = new Files(side, folder);
  try {
    if (isReference(data)) throw new NoForm("it is an object in the worker, and how it was made is not known");
    return await (data instanceof DataLoader && !data.plan.isCollated
      ? ofLoader(data, epochs, files)
      : asGiven(iterableAgain(data, side), epochs, files));
  } catch (error) {
    if (!(error instanceof NoForm)) throw error;
    return { like: undefined, batches: undefined, told: { gap: error.message } };
  } finally {
    await files.close();
  }
}

async function ofLoader(loader: DataLoader, epochs: number, files: Files): Promise<Exported> {
  const { dataset, count, dropLast, order, seed, epoch, isMidway, orderOf } = loader.plan;
  if (isMidway) throw new NoForm("its loader stands within an epoch: give it a position at the beginning of one");
  const all = new DataLoader(dataset as Dataset, { batchSize: Math.max(1, Math.min(AT_ONCE, dataset.length)) });
  for await (const batch of all) await files.add(batch);
  if (order === "drawn") {
    const drawn = Array.from({ length: epochs }, (_, i) => orderOf(epoch + i)!);
    await files.orders(drawn);
  }
  const { batchSize, length, samples } = loader;
  return {
    like: files.like,
    batches: length,
    told: {
      ...(await files.end()),
      order,
      length: count,
      samples,
      batch_size: batchSize,
      drop_last: dropLast,
      seed: BigInt(seed),
      epoch,
    },
  };
}

/** Batches as the program gives them: those of a loader in each epoch, and any other data's once. */
async function asGiven(data: Data, epochs: number, files: Files): Promise<Exported> {
  const passes = data instanceof DataLoader ? epochs : 1;
  const again = aside(data);
  const sizes: number[][] = [];
  for (let i = 0; i < passes; i++) {
    const pass: number[] = [];
    for await (const batch of again) pass.push(await files.add(batch));
    sizes.push(pass);
  }
  const lengths = new Set(sizes.map(({ length }) => length));
  return {
    like: files.like,
    batches: lengths.size === 1 ? sizes[0]!.length : undefined,
    told: { ...(await files.end()), order: "as given", sizes, batch_size: 1, length: 0, drop_last: false },
  };
}

/** The files of one side, a file for each array of its batches. */
class Files {
  like: Exported["like"];
  readonly #side: string;
  readonly #folder: string;
  readonly #files = new Map<string, NpyFile>();
  /** By the paths of parts. */
  readonly #stems = new Map<string, string>();
  #tree: { readonly xs: Tree<string>; readonly ys: Tree<string> } | undefined;

  constructor(side: string, folder: string) {
    this.#side = side;
    this.#folder = folder;
  }

  /** Adds the rows of a batch, and returns how many they are. */
  async add(given: BatchLike): Promise<number> {
    const batch = toBatch(given);
    const all = [...arraysOf(batch.xs, "xs"), ...arraysOf(batch.ys, "ys")];
    const like = (side: Inputs, name: string): Tree<NDArray> =>
      mapInputs(side, name, (value) => likeOf(value as NDArray)) as Tree<NDArray>;
    const stems = (side: Inputs, name: string): Tree<string> =>
      mapInputs(side, name, (_, path) => this.#stem(path)) as Tree<string>;
    this.like ??= { xs: like(batch.xs, "xs"), ys: like(batch.ys, "ys") };
    this.#tree ??= { xs: stems(batch.xs, "xs"), ys: stems(batch.ys, "ys") };
    if (
      this.#files.size > 0 &&
      (all.length !== this.#files.size || all.some(([path]) => !this.#files.has(this.#stem(path))))
    )
      throw new NoForm("its batches do not all have the same parts");
    const rows = all[0]?.[1].shape[0] ?? 0;
    for (const [path, array] of all) {
      const stem = this.#stem(path);
      const file = this.#files.get(stem) ?? (await NpyFile.create(join(this.#folder, `${stem}.npy`), array));
      this.#files.set(stem, file);
      if (!file.isLike(array) || array.shape[0] !== rows)
        throw new NoForm(`its batches do not all have the same shape and dtype (${path})`);
      await file.add(array);
    }
    return rows;
  }

  /** Writes the order of the samples in each epoch. */
  async orders(orders: readonly Uint32Array[]): Promise<void> {
    const rows = orders.map((order) => BigInt64Array.from(order, BigInt));
    const of = (row: BigInt64Array): NDArray => ({ dtype: "int64", shape: [1, row.length], data: row });
    const file = await NpyFile.create(
      join(this.#folder, `${this.#side}_order.npy`),
      of(rows[0] ?? BigInt64Array.from([])),
    );
    try {
      for (const row of rows) await file.add(of(row));
    } finally {
      await file.end();
    }
    this.#names.push(`${this.#side}_order.npy`);
  }

  readonly #names: string[] = [];

  get names(): readonly string[] {
    return this.#names;
  }

  async end(): Promise<{ xs: Tree<string>; ys: Tree<string>; files: readonly string[] }> {
    for (const [stem, file] of this.#files) {
      await file.end();
      this.#names.push(`${stem}.npy`);
    }
    this.#files.clear();
    if (this.#tree === undefined) throw new NoForm("it has no batches");
    return { ...this.#tree, files: this.#names };
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
  }

  /** The name of the file of a part, without its ending. */
  #stem(path: string): string {
    let found = this.#stems.get(path);
    if (found === undefined) {
      const plain = `${this.#side}_${path.replaceAll(/\W+/g, "_").replace(/_$/, "")}`;
      const taken = new Set(this.#stems.values());
      found = plain;
      for (let i = 2; taken.has(found); i++) found = `${plain}_${i}`;
      this.#stems.set(path, found);
    }
    return found;
  }
}

/** The arrays of one side of a batch, each by its path. */
function arraysOf(side: Inputs, name: string): [path: string, array: NDArray][] {
  return namesOf(side, name).map(([path, array]) => {
    if (!isNDArray(array))
      throw new NoForm(
        `${path} is ${isReference(array) ? "an object in the worker" : array instanceof EncodedImages ? "image files that the worker decodes" : "a list of arrays of several shapes"}`,
      );
    if (!hasNpy(array.dtype)) throw new NoForm(`${path} is ${array.dtype}, which NumPy's files cannot hold`);
    return [path, array];
  });
}

/** An array of no samples, for its dtype and shape. */
const likeOf = ({ dtype, shape }: NDArray): NDArray => fromBytes(dtype, [0, ...shape.slice(1)], new Uint8Array());
