import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import { addCaller, captureSite, type CallSite } from "../../bridge/errors/site.ts";
import type { Worker } from "../../bridge/worker.ts";
import { type KeepOptions, keepOptions } from "../kept/options.ts";
import { checkKeepable } from "../kept/plan.ts";
import { KeptSource } from "../kept/source.ts";
import { KeptStore } from "../kept/store.ts";
import { onlyOptions } from "../options/keywords.ts";
import { Ahead, type Source } from "./ahead.ts";
import { Passes, whole, type Position } from "./position.ts";
import { numBatches } from "./batches.ts";
import { bucketed, byLength, lengthsOf } from "./buckets.ts";
import { checkCollate, type Collate, type CollateFunction, type PartsCollate } from "./collate.ts";
import { Depth } from "./depth.ts";
import { ArrayDataset, asDataset, type Indexed, Subset } from "./dataset.ts";
import { Gathered } from "./gathered.ts";
import type { Collated, DataLoaderOptions, LoaderPlan } from "./loader-options.ts";
import { BatchMemory, type MemoryCounts } from "./memory.ts";
import { permutation, weightedSample } from "./shuffle.ts";
import type { NumberTypes } from "./collation.ts";
import type { Batch, Dataset, Inputs, Sample } from "./types.ts";
export type { Collated, DataLoaderOptions, LoaderPlan } from "./loader-options.ts";

/**
 * Batches of a data set, a list of samples, or arrays whose rows are samples. Each iteration is one pass, and begins the next epoch.
 *
 * **A batch** is `{ xs, ys }`. It has the structure of a sample: one array, several by position, or several by name,
 * each with a new first axis. The samples of one batch must have the same shapes and dtypes, unless `collate` keeps
 * them in a list or pads them. Plain numbers from `get` are labels (int64) where they are whole, else float32. The first
 * batch settles which; a later fraction among labels is an error.
 *
 * **Its memory is lent.** A batch goes to the worker without a copy. Once the worker has it and the loop has asked for
 * the next batch, its memory serves a later batch: the old arrays are then empty, and using them is a MISUSE error. A
 * batch is safe in the body of its loop; copy it there to keep it for longer. (Arrays below 4 KiB, and those that were
 * never sent, are not used again. `batches` gives copies.)
 *
 * **Errors** leave the loop at the batch that they belong to, after all batches before it: BAD_DATA with the index
 * where `get` fails, or where samples do not go together. Leaving a loop waits for the running calls of `get`; nothing
 * runs afterwards.
 *
 * **Two iterations at once** are two passes, through two epochs.
 */
export class DataLoader<X extends Inputs = NDArray, Y extends Inputs = NDArray, S = Sample> implements AsyncIterable<{
  readonly xs: X;
  readonly ys: Y;
}> {
  readonly batchSize: number;
  readonly #dataset: Dataset<unknown>;
  readonly #options: DataLoaderOptions & Partial<Collated<Collate>>;
  readonly #shuffle: boolean;
  readonly #weights: ArrayLike<number> | undefined;
  readonly #lengths: Float64Array | undefined;
  /** Samples in one pass. */
  readonly #count: number;
  readonly #dropLast: boolean;
  readonly #depth: Depth;
  readonly #workers: number;
  readonly #keep: KeepOptions | undefined;
  readonly #memory = new BatchMemory();
  readonly #numbers: NumberTypes = new Map();
  #passes: Passes;

  /** Throws MISUSE for an option out of range, and BAD_DATA where arrays do not fit each other. */
  constructor(data: Indexed, options: DataLoaderOptions & Partial<Collated<PartsCollate<X, Y>>>);
  constructor(data: Indexed<S>, options: DataLoaderOptions & Collated<CollateFunction<X, Y, S>>);
  constructor(data: Indexed<any>, options: DataLoaderOptions & Partial<Collated<Collate>>) {
    const { batchSize, shuffle = false, dropLast = false, prefetch, workers = 4 } = options;
    onlyOptions<DataLoaderOptions & Partial<Collated<Collate>>>("DataLoader", OPTIONS, options);
    this.#dataset = asDataset(data);
    this.#options = options;
    checkCollate(options.collate);
    numBatches(0, batchSize);
    this.batchSize = batchSize;
    this.#shuffle = shuffle !== false;
    const { weights, count = this.samples } = options.sample ?? {};
    if (weights !== undefined && this.#shuffle)
      throw new TorchwireError(
        "MISUSE",
        "shuffle and sample are both given: random draws have no order to shuffle; leave out shuffle",
      );
    if (weights !== undefined && weights.length !== this.samples)
      throw new TorchwireError(
        "MISUSE",
        `sample: there are ${weights.length} weights for ${this.samples} samples; each sample needs one`,
      );
    this.#weights = weights;
    this.#count = whole("sample.count", count, 1 - Number(weights === undefined));
    this.#dropLast = dropLast;
    this.#depth = new Depth(prefetch === undefined ? undefined : whole("prefetch", prefetch, 0));
    this.#workers = whole("workers", workers, 1);
    this.#keep = keepOptions(options.keep);
    if (this.#keep !== undefined && options.collate !== undefined) checkKeepable(options.collate);
    const asked = typeof shuffle === "object" ? shuffle.seed : undefined;
    if (asked !== undefined && options.seed !== undefined && asked !== options.seed)
      throw new TorchwireError("MISUSE", `two seeds: shuffle has ${asked}, seed is ${options.seed}; give one`);
    this.#passes = new Passes(asked ?? options.seed ?? 0);
    this.#lengths = options.bucketBy === undefined ? undefined : lengthsOf(options.bucketBy, this.samples);
    // Throw now where nothing can be drawn from these weights.
    if (weights !== undefined) weightedSample(weights, 0, 0);
  }

  /** The number of batches in one pass. */
  get length(): number {
    return numBatches(this.#count, this.batchSize, this.#dropLast);
  }

  /** The number of samples in the data, with those that `dropLast` leaves out. */
  get samples(): number {
    return this.#dataset.length;
  }

  /**
   * The memory that batches took. If `reused` stays 0 in a long loop, its batches are not sent, or nothing awaits their
   * answers.
   */
  get memory(): MemoryCounts {
    return this.#memory.counts;
  }

  /**
   * The next batch of the pass that began last, as plain JSON. It counts the batches that were given out, whether or
   * not the worker has them. After the last batch it is that epoch with `batch === length`; once the loop has ended, it
   * is the start of the next epoch.
   *
   * Assign a position, and the next iteration starts there, even in the middle of an epoch; with `batch === length` it
   * gives no batches. A loop that was left early keeps its position, for you to save and assign; without that, the next
   * iteration starts the epoch after it. A position fits any loader with the same data and options. Throws MISUSE where
   * it does not fit this one.
   */
  get position(): Position {
    return this.#passes.position;
  }

  set position(position: Position) {
    this.#passes.goTo(position, this.length);
  }

  /** Another loader of the same data, with the same options, at the same position. */
  clone(): DataLoader<X, Y, S> {
    const copy = new DataLoader<X, Y, S>(this.#dataset as Dataset, this.#options as DataLoaderOptions);
    copy.#passes = this.#passes.clone();
    return copy;
  }

  /** How it makes the batches of its next passes. */
  get plan(): LoaderPlan {
    const { epoch, batch, seed } = this.#passes.next;
    const isPlain = this.#weights === undefined && this.#lengths === undefined;
    return {
      dataset: this.#dataset,
      isCollated: this.#options.collate !== undefined,
      count: this.#count,
      dropLast: this.#dropLast,
      order: !isPlain ? "drawn" : this.#shuffle ? "permutation" : "rows",
      seed,
      epoch,
      isMidway: batch > 0,
      orderOf: (at) => this.#order(seed, at),
    };
  }

  /** One pass. It begins with the first call of `next`. */
  [Symbol.asyncIterator](): AsyncGenerator<{ readonly xs: X; readonly ys: Y }, void, undefined> {
    return this.#pass(captureSite()) as AsyncGenerator<{ readonly xs: X; readonly ys: Y }, void, undefined>;
  }

  /**
   * The same passes, for `worker`: with `keep`, batches of what it keeps, which have references where there would be
   * arrays. A learner iterates them. In a loop by hand, read `xs` and `ys` within the scope of the step, whose end frees
   * them; those that are read outside are freed when the next batch is asked for.
   */
  on(worker: Worker): AsyncIterable<Batch> & { readonly length: number } {
    const { length } = this;
    const keep = this.#keep;
    const iterator = (): AsyncGenerator<Batch, void, undefined> =>
      this.#pass(captureSite(), keep && (() => KeptStore.of(worker, keep)));
    return { length, [Symbol.asyncIterator]: iterator };
  }

  async *#pass(site: CallSite, kept?: () => KeptStore): AsyncGenerator<Batch, void, undefined> {
    const pass = this.#passes.begin();
    const { length } = this;
    let source: Source | undefined;
    try {
      const store = kept?.();
      await store?.ready();
      source = this.#source(pass, store);
      while (pass.batch < length) {
        const made = source.batch(pass.batch);
        const { batch, lease } = made instanceof Promise ? await made : made;
        pass.batch++;
        yield batch;
        lease.end();
      }
    } catch (error) {
      addCaller(error, "DataLoader", site);
      throw error;
    } finally {
      await source?.stop();
    }
    this.#passes.end(pass);
  }

  #order(seed: number, epoch: number): Uint32Array | undefined {
    const drawn = this.#drawn(seed, epoch);
    if (this.#lengths === undefined) return drawn;
    return drawn === undefined
      ? byLength(this.#lengths)
      : bucketed(drawn, this.#lengths, { batchSize: this.batchSize, seed, epoch });
  }

  #drawn(seed: number, epoch: number): Uint32Array | undefined {
    if (this.#weights !== undefined) return weightedSample(this.#weights, this.#count, seed, epoch);
    return this.#shuffle ? permutation(this.samples, seed, epoch) : undefined;
  }

  #source({ epoch, batch, seed }: Position, store: KeptStore | undefined): Source {
    const { batchSize } = this;
    const samples = this.#count;
    const order = this.#order(seed, epoch);
    const dataset = this.#dataset;
    const arrays = dataset instanceof Subset ? dataset.data : dataset;
    const { collate } = this.#options;
    if (arrays instanceof ArrayDataset && collate === undefined && store === undefined) {
      const rows = dataset instanceof Subset ? chosen(dataset.indices, order) : order;
      return new Gathered(arrays, { order: rows, samples, batchSize }, this.#memory);
    }
    const reading = {
      dataset,
      order,
      samples: Math.min(this.length * batchSize, samples),
      batchSize,
      workers: this.#workers,
      depth: this.#depth,
      memory: this.#memory,
      numbers: this.#numbers,
      collate,
    };
    return store === undefined ? new Ahead(reading, batch) : new KeptSource(reading, batch, store);
  }
}

const OPTIONS = {
  batchSize: true,
  shuffle: true,
  seed: true,
  sample: true,
  dropLast: true,
  collate: true,
  bucketBy: true,
  prefetch: true,
  workers: true,
  keep: true,
} as const;

const chosen = (indices: Uint32Array, order: Uint32Array | undefined): Uint32Array =>
  order === undefined ? indices : order.map((place) => indices[place]!);
