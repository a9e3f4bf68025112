/** Options of a DataLoader, and what it tells of itself. */
import type { KeepOptions } from "../kept/options.ts";
import type { Lengths } from "./buckets.ts";
import type { Dataset } from "./types.ts";

export interface DataLoaderOptions {
  /** Samples in a batch. */
  readonly batchSize: number;
  /**
   * A new order in each epoch: `permutation(samples, seed, epoch)`. False, the default, keeps the order of the data.
   */
  readonly shuffle?: boolean | { readonly seed: number };
  /**
   * Draws the samples of each epoch with replacement, in proportion to these weights, one weight for each sample. With
   * `balancedWeights(labels)` each class comes equally often. `count` samples make an epoch, by default as many as the
   * data has.
   */
  readonly sample?: { readonly weights: ArrayLike<number>; readonly count?: number };
  /**
   * The seed of `shuffle` or `sample`: an integer from 0 to 2^53 - 1, 0 by default. The same as `shuffle: { seed }`.
   */
  readonly seed?: number;
  /** Leaves out a last batch with fewer than `batchSize` samples. Default: false. */
  readonly dropLast?: boolean;
  /**
   * Makes batches of samples of similar length, so that little is padded: the length of each sample, or a function that
   * gives it for an index, at once. Each sample still comes once in an epoch. With `shuffle`, samples are shuffled,
   * pools of up to 50 batches are sorted, and the batches are shuffled. Without it, the shortest come first.
   */
  readonly bucketBy?: Lengths;
  /**
   * How many batches are made before they are asked for. Default: 2, and up to 16 for a loop that issues its steps in
   * bursts, and would wait. Arrays need none, since their batches are quick to make.
   */
  readonly prefetch?: number;
  /** How many calls of the data set's `get` run at once, for files and networks. Default: 4. */
  readonly workers?: number;
  /**
   * Keeps the samples in the worker of a learner, in its memory up to a budget, then on its disk. Each is read and sent
   * when it is needed for the first time, and once: from then on a batch is its indices. **Sample i must always be the
   * same**: it is not read again, so that a `get` that draws random numbers would be frozen. The batches are the same
   * bytes as without. "worker" is `{}`.
   *
   * In a loop by hand, iterate `loader.on(worker)`; iterating the loader itself gives arrays, and keeps nothing.
   * Default: each batch travels.
   */
  readonly keep?: "worker" | KeepOptions;
}

/** A `DataLoader` that says how samples become batches. */
export interface Collated<C> {
  /**
   * `{ xs, ys }` with a collator for either, or for the parts of a record by name: `stack`, the default, `list`,
   * `pad({ value, mask })`, or a function of your own. Or one function of the samples, as `get` gave them, that returns
   * the batch.
   */
  readonly collate: C;
}

/** How a loader makes its batches, for whoever does the same elsewhere. */
export interface LoaderPlan {
  readonly dataset: Dataset<unknown>;
  /** It has a `collate` of its own. */
  readonly isCollated: boolean;
  /** Samples in one pass. */
  readonly count: number;
  readonly dropLast: boolean;
  /** "rows": that of the data. "permutation": `permutation(samples, seed, epoch)`. */
  readonly order: "rows" | "permutation" | "drawn";
  readonly seed: number;
  /** The next pass. */
  readonly epoch: number;
  /** The next pass begins within its epoch. */
  readonly isMidway: boolean;
  /** The samples of a pass, by index; undefined where they come in the order of the data. */
  readonly orderOf: (epoch: number) => Uint32Array | undefined;
}
