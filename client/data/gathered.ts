/** Batches of arrays whose rows are samples. */
import type { Made, Source } from "./ahead.ts";
import type { ArrayDataset } from "./dataset.ts";
import type { BatchMemory } from "./memory.ts";

/** Cuts batches out of arrays when they are asked for. It waits only for arrays that have not arrived yet. */
export class Gathered implements Source {
  readonly #arrays: ArrayDataset;
  readonly #order: Uint32Array | undefined;
  readonly #samples: number;
  readonly #batchSize: number;
  readonly #memory: BatchMemory;

  constructor(
    arrays: ArrayDataset,
    { order, samples, batchSize }: { order: Uint32Array | undefined; samples: number; batchSize: number },
    memory: BatchMemory,
  ) {
    this.#arrays = arrays;
    this.#order = order;
    this.#samples = samples;
    this.#batchSize = batchSize;
    this.#memory = memory;
  }

  batch(index: number): Made | Promise<Made> {
    return this.#arrays.ready()?.then(() => this.#make(index)) ?? this.#make(index);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  #make(index: number): Made {
    const start = index * this.#batchSize;
    const end = Math.min(start + this.#batchSize, this.#samples);
    const lease = this.#memory.lease();
    const cut = { start, end, order: this.#order };
    return { batch: this.#arrays.gather(cut, (dtype, shape) => lease.array(dtype, shape)), lease };
  }
}
