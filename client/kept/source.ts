/** Batches of samples that the worker keeps. */
import { Ahead, type Made, type Pass, type Source } from "../data/ahead.ts";
import { collated, pairOf, type PartsCollate, type Room, type Samples } from "../data/collate.ts";
import { alone, arrayOfNumbers } from "../data/collation.ts";
import { Subset } from "../data/dataset.ts";
import type { Lease } from "../data/memory.ts";
import type { Batch, Dataset, Inputs } from "../data/types.ts";
import { KeptBatch } from "./batch.ts";
import { type BatchPlan, collatedPlan, stacked } from "./plan.ts";
import { checkLayouts, type Known, type Layouts, read, standIn } from "./sample.ts";
import type { Item, KeptStore } from "./store.ts";

/** What is known of the samples of a data set, by index, whatever the worker. */
class Memory {
  readonly known: (Known | undefined)[] = [];
  readonly layouts: Layouts = new Map();
  count = 0;
}

const stacking = new WeakMap<Dataset<unknown>, Memory>();
/** Of samples whose arrays have shapes of their own. */
const loose = new WeakMap<Dataset<unknown>, Memory>();

/** Stands for a sample that need not be read. */
class There {
  readonly known: Known;

  constructor(known: Known) {
    this.known = known;
  }
}

/**
 * Reads a sample when it is needed for the first time. From then on nobody asks the data for it, as long as the worker
 * has it.
 */
export class KeptSource implements Source {
  readonly #ahead: Ahead;
  readonly #store: KeptStore;
  readonly #memory: Memory;
  readonly #dataset: Dataset<unknown>;
  readonly #samples: number;
  readonly #collate: PartsCollate<Inputs, Inputs> | undefined;

  /** `first`: the batch that is asked for first. */
  constructor(pass: Omit<Pass, "make">, first: number, store: KeptStore) {
    const { dataset, collate } = pass;
    // (The loader has checked it.)
    this.#collate = collate as PartsCollate<Inputs, Inputs> | undefined;
    const memories = collate === undefined ? stacking : loose;
    // The parts of a split are of one data set.
    const whole: Dataset<unknown> = dataset instanceof Subset ? dataset.data : dataset;
    let memory = memories.get(whole);
    if (memory === undefined) memories.set(whole, (memory = new Memory()));
    this.#dataset = dataset;
    this.#store = store;
    this.#memory = memory;
    this.#samples = dataset.length;
    const get = (index: number): unknown => {
      const known = memory.known[this.#indexOf(index)];
      return known !== undefined && store.has(known) ? new There(known) : dataset.get(index);
    };
    const reading = { length: dataset.length, get };
    const make = (samples: Samples, room: Room): Batch => this.#make(samples, room);
    this.#ahead = new Ahead({ ...pass, dataset: reading, collate: undefined, make }, first);
  }

  async batch(index: number): Promise<Made> {
    const { batch, lease } = await this.#ahead.batch(index);
    const kept = batch as KeptBatch;
    kept.place(this.#store, lease as Lease, this.#samples - Math.min(this.#memory.count, this.#samples));
    const end = (): void => {
      kept.end();
      lease.end();
    };
    return { batch, lease: { end } };
  }

  stop(): Promise<void> {
    return this.#ahead.stop();
  }

  #make({ values, indices }: Samples, { lease, numbers }: Room): KeptBatch {
    const items = values.map((value, i): Item => {
      if (value instanceof There) return value;
      return read(pairOf(value, indices[i]!), indices[i]!, this.#memory.layouts, this.#collate !== undefined);
    });
    const known = items.map((item) => item.known);
    const plan = this.#plan(known, indices, { lease, numbers });
    for (const [i, one] of known.entries()) {
      const index = this.#indexOf(indices[i]!);
      if (this.#memory.known[index] === undefined) this.#memory.count++;
      this.#memory.known[index] = one;
    }
    return new KeptBatch(known[0]!.layout, items, plan);
  }

  /** Throws BAD_DATA where the samples do not go together. */
  #plan(known: readonly Known[], indices: ArrayLike<number>, { lease, numbers }: Room): BatchPlan {
    const [{ layout }] = known as [Known];
    const collate = this.#collate;
    if (layout.isLoose) {
      const batch = collated({ values: known.map(standIn), indices }, collate, { lease, numbers });
      return collatedPlan(layout, collate ?? {}, batch, (path) => ({ ...alone(known.length), path }));
    }
    checkLayouts(known, indices);
    const array: Lease["array"] = (dtype, shape) => lease.array(dtype, shape);
    const paths = layout.kinds.filter(({ kind, part }) => part === undefined && SCALARS.has(kind));
    const columns = paths.map(({ path }, at) =>
      arrayOfNumbers(
        known.map((one) => one.numbers[at]),
        { indices, path, numbers, array },
      ),
    );
    return stacked(layout, columns, known.length);
  }

  #indexOf(index: number): number {
    return this.#dataset instanceof Subset ? this.#dataset.indices[index]! : index;
  }
}

const SCALARS = new Set(["a number", "a boolean", "a bigint"]);
