import { TorchwireError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { type Collate, collated, type Room, type Samples } from "./collate.ts";
import type { NumberTypes } from "./collation.ts";
import type { Depth } from "./depth.ts";
import type { BatchMemory } from "./memory.ts";
import type { Batch, Dataset } from "./types.ts";

/** A batch and its memory. */
export interface Made {
  readonly batch: Batch;
  readonly lease: { end(): void };
}

/** The source of one pass's batches, asked for in order. */
export interface Source {
  batch(index: number): Made | Promise<Made>;
  /** Resolves when no call of `get` runs any more. */
  stop(): Promise<void>;
}

/** One pass over samples: their order, and how far ahead they are read. */
export interface Pass {
  readonly dataset: Dataset<unknown>;
  /** Undefined: the order of the data. */
  readonly order: Uint32Array | undefined;
  readonly samples: number;
  readonly batchSize: number;
  /** Calls of `get` at once. */
  readonly workers: number;
  /** How many batches are made before they are asked for. */
  readonly depth: Depth;
  readonly memory: BatchMemory;
  readonly numbers: NumberTypes;
  readonly collate: Collate | undefined;
  /** Makes a batch in another way than by `collate`. */
  readonly make?: (samples: Samples, room: Room) => Batch;
}

interface Slot {
  readonly values: unknown[];
  /** How many samples have neither come nor failed. */
  missing: number;
  failure: { readonly place: number; readonly error: unknown } | undefined;
  made: Made | undefined;
  readonly full: Promise<void>;
  readonly resolve: () => void;
}

/** Batches out of samples that are read ahead, several at once. */
export class Ahead implements Source {
  readonly #pass: Pass;
  readonly #slots = new Map<number, Slot>();
  /** Reading goes on with the sample at this place of the order. */
  #next: number;
  /** Reading stops before this place. */
  #until: number;
  /** Reading ahead may raise `#until` up to this place. */
  #goal = 0;
  #running = 0;
  #stopped = false;
  #later: NodeJS.Immediate | undefined;
  #idle: (() => void) | undefined;

  /** `first`: the batch that is asked for first. */
  constructor(pass: Pass, first: number) {
    this.#pass = pass;
    this.#next = first * pass.batchSize;
    pass.depth.begins();
    this.#until = this.#next;
  }

  async batch(index: number): Promise<Made> {
    this.#readUntil(this.#endOf(index));
    const slot = this.#slot(index);
    const { depth } = this.#pass;
    if (slot.missing > 0) depth.waits();
    this.#goal = this.#endOf(index + depth.batches);
    this.#readAhead();
    await slot.full;
    this.#slots.delete(index);
    if (slot.failure !== undefined) throw slot.failure.error;
    return slot.made!;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearImmediate(this.#later);
    this.#slots.clear();
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  /** Reads ahead one batch in each turn of the event loop: a `get` that never waits would hold up everything else. */
  #readAhead(): void {
    if (this.#until >= this.#goal) return;
    this.#later ??= setImmediate(() => {
      this.#later = undefined;
      this.#readUntil(Math.min(this.#until + this.#pass.batchSize, this.#goal));
      this.#readAhead();
    });
  }

  #readUntil(place: number): void {
    this.#until = Math.max(this.#until, place);
    this.#read();
  }

  #read(): void {
    const { dataset, order, workers } = this.#pass;
    while (!this.#stopped && this.#running < workers && this.#next < this.#until) {
      const place = this.#next++;
      let sample: unknown;
      try {
        sample = dataset.get(order === undefined ? place : order[place]!);
      } catch (error) {
        this.#failed(place, error);
        continue;
      }
      if (!isThenable(sample)) {
        this.#came(place, sample);
        continue;
      }
      this.#running++;
      Promise.resolve(sample).then(
        (value) => this.#settled(() => this.#came(place, value)),
        (error: unknown) => this.#settled(() => this.#failed(place, error)),
      );
    }
    if (this.#running === 0 && this.#until >= this.#goal) this.#pass.depth.standsStill();
  }

  #settled(note: () => void): void {
    this.#running--;
    if (!this.#stopped) {
      note();
      this.#read();
    } else if (this.#running === 0) this.#idle?.();
  }

  #came(place: number, value: unknown): void {
    const index = Math.floor(place / this.#pass.batchSize);
    const slot = this.#slot(index);
    slot.values[place - index * this.#pass.batchSize] = value;
    this.#count(slot, index);
  }

  #failed(place: number, cause: unknown): void {
    const index = Math.floor(place / this.#pass.batchSize);
    const slot = this.#slot(index);
    // The error of a batch is that of its first failed sample in the order, whichever failed first in time.
    if (slot.failure === undefined || place < slot.failure.place) {
      const sample = this.#pass.order?.[place] ?? place;
      const reason = messageOf(cause);
      const error = new TorchwireError("BAD_DATA", `sample ${sample} could not be read: ${reason}`, { cause });
      slot.failure = { place, error };
    }
    this.#count(slot, index);
  }

  #count(slot: Slot, index: number): void {
    if (--slot.missing > 0) return;
    if (slot.failure === undefined) {
      const { batchSize, order, memory, numbers, collate } = this.#pass;
      const { make = (samples, room) => collated(samples, collate, room) } = this.#pass;
      const start = index * batchSize;
      const lease = memory.lease();
      const indices = order?.subarray(start, this.#endOf(index)) ?? slot.values.map((_, i) => start + i);
      try {
        slot.made = { batch: make({ values: slot.values, indices }, { lease, numbers }), lease };
      } catch (error) {
        slot.failure = { place: start, error };
      }
    }
    slot.resolve();
  }

  #slot(index: number): Slot {
    let slot = this.#slots.get(index);
    if (slot === undefined) {
      let resolve = (): void => undefined;
      const full = new Promise<void>((done) => (resolve = done));
      const size = this.#endOf(index) - index * this.#pass.batchSize;
      slot = {
        values: Array.from({ length: size }),
        missing: size,
        failure: undefined,
        made: undefined,
        full,
        resolve,
      };
      this.#slots.set(index, slot);
    }
    return slot;
  }

  #endOf(batch: number): number {
    return Math.min((batch + 1) * this.#pass.batchSize, this.#pass.samples);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
