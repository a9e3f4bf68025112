/** The samples that one worker keeps, as this side knows them: which are there, and in which row of which shelf. */
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { type NDArray, sizeOf, toBytes } from "../../bridge/values/ndarray.ts";
import { keptCounts, type KeptCounts, type Worker } from "../../bridge/worker.ts";
import type { Lease } from "../data/memory.ts";
import type { KeepOptions } from "./options.ts";
import type { Way } from "./plan.ts";
import type { Known, Layout } from "./sample.ts";

/** A sample of a batch, with its arrays where they were read. */
export interface Item {
  readonly known: Known;
  readonly arrays?: readonly NDArray[];
}

interface Shelf {
  readonly number: number;
  rows: number;
}

const stores = new WeakMap<Worker, Map<string, KeptStore>>();
const HASH_BYTES = 32;

/**
 * What is added is added by a lane of its own: it is there even where the fit that needed it has failed, and a cut link
 * neither loses it nor sends it twice. A worker that has taken the place of another begins with nothing.
 */
export class KeptStore {
  readonly #worker: Worker;
  readonly #options: KeepOptions;
  readonly #counts: KeptCounts;
  readonly #shelves = new Map<string, Shelf>();
  readonly #rows = new Map<string, number>();
  /** Hashes of what the worker's cache has. */
  #cached: Set<string> | undefined;
  #asking: Promise<void> | undefined;
  #store: AnyRef | undefined;
  #gather: AnyRef | undefined;
  /** They keep what was sent on the tape of the session, from which a failed step can be run again. */
  readonly #sent: AnyRef[] = [];
  #failure: { readonly error: unknown } | undefined;

  /** The store of these options in this worker. */
  static of(worker: Worker, options: KeepOptions): KeptStore {
    const name = JSON.stringify([options.memory, options.cache, options.cacheBytes]);
    let those = stores.get(worker);
    if (those === undefined) stores.set(worker, (those = new Map()));
    let store = those.get(name);
    // One that could not add something lacks rows.
    if (store === undefined || store.#failure !== undefined) those.set(name, (store = new KeptStore(worker, options)));
    return store;
  }

  private constructor(worker: Worker, options: KeepOptions) {
    this.#worker = worker;
    this.#options = options;
    this.#counts = keptCounts(worker);
  }

  /** Asks once what the cache has, where there is one. */
  ready(): Promise<void> | undefined {
    if (this.#options.cache === undefined || this.#cached !== undefined) return undefined;
    const ask = async (): Promise<void> => {
      const { dtype: _, data } = await this.#worker.lane(() =>
        this.#worker.scope(() => py.ndarray(this.#own.hashes() as AnyRef)),
      );
      const text = Buffer.from(toBytes(data)).toString("latin1");
      this.#cached = new Set(
        Array.from({ length: text.length / HASH_BYTES }, (_, i) => text.slice(i * HASH_BYTES, (i + 1) * HASH_BYTES)),
      );
    };
    return (this.#asking ??= ask().catch((error: unknown) => {
      this.#failure = { error };
      throw error;
    }));
  }

  /** Whether the worker has it: then nobody has to read it. */
  has({ hash }: Known): boolean {
    return hash === "" || this.#rows.has(hash) || this.#cached?.has(hash) === true;
  }

  /**
   * The rows of a batch. Sends what is not there yet, in memory of `lease`. So many more samples of the data, `room`, may
   * follow.
   */
  rowsOf(layout: Layout, items: readonly Item[], lease: Lease, room: number): Int32Array {
    if (this.#failure !== undefined) throw this.#failure.error;
    const isNew = new Map<string, Item>();
    for (const item of items) if (!this.#rows.has(item.known.hash)) isNew.set(item.known.hash, item);
    if (isNew.size > 0) this.#take(layout, [...isNew.values()], lease, Math.max(room, isNew.size));
    this.#counts.hits += items.length - isNew.size;
    return Int32Array.from(items, ({ known }) => this.#rows.get(known.hash)!);
  }

  /** These rows, and each of their parts as one array: references to tensors that are new. */
  gather(
    { parts, shelf }: Layout,
    rows: Int32Array,
    ways: readonly Way[] | undefined,
  ): { readonly all: AnyRef; readonly parts: readonly AnyRef[] } {
    const { number } = this.#shelves.get(shelf)!;
    const indices: NDArray = { dtype: "int32", shape: [rows.length], data: rows };
    const all = ways === undefined ? this.#gather!(number, indices) : this.#gather!(number, indices, ways);
    return { all, parts: parts.map((_, i) => py.at(all, i)) };
  }

  #take(layout: Layout, items: readonly Item[], lease: Lease, room: number): void {
    const shelf = this.#shelfOf(layout);
    const take = (those: readonly Item[], send: (hashes: NDArray) => AnyRef): void => {
      if (those.length === 0) return;
      const hashes = Buffer.from(those.map(({ known }) => known.hash).join(""), "latin1");
      this.#apart(() => send({ dtype: "uint8", shape: [those.length, HASH_BYTES], data: Uint8Array.from(hashes) }));
      for (const { known } of those) this.#rows.set(known.hash, shelf.rows++);
    };
    const isCached = ({ known }: Item): boolean => this.#cached?.has(known.hash) === true;
    const cached = items.filter(isCached);
    take(cached, (hashes) => this.#own.recall(shelf.number, shelf.rows, room, hashes) as AnyRef);
    this.#counts.cached += cached.length;
    const sent = items.filter((item) => !isCached(item));
    const arrays = sent.length === 0 ? [] : layout.parts.map((_, i) => this.#joined(layout, i, sent, lease));
    take(sent, (hashes) => {
      if (!layout.isLoose) return this.#own.add(shelf.number, shelf.rows, room, hashes, ...arrays) as AnyRef;
      const shapes = sent.map(({ known }) => known.shapes);
      return this.#own.add_loose(shelf.number, shelf.rows, hashes, shapes, ...arrays) as AnyRef;
    });
    this.#counts.samples += sent.length;
  }

  /** One part of the samples, one behind the other. */
  #joined({ parts, isLoose }: Layout, i: number, items: readonly Item[], lease: Lease): NDArray {
    const { dtype, shape } = parts[i]!;
    const elements = items.reduce((sum, { known }) => sum + (isLoose ? sizeOf(known.shapes[i]!) : 0), 0);
    const whole = lease.array(dtype, isLoose ? [elements] : [items.length, ...shape]);
    const bytes = toBytes(whole.data);
    let at = 0;
    for (const { arrays } of items) {
      const piece = toBytes(arrays![i]!.data);
      bytes.set(piece, at);
      at += piece.length;
    }
    this.#counts.bytes += bytes.length;
    return whole;
  }

  #shelfOf({ shelf: name, parts, isLoose }: Layout): Shelf {
    let shelf = this.#shelves.get(name);
    if (shelf === undefined) {
      this.#shelves.set(name, (shelf = { number: this.#shelves.size, rows: 0 }));
      const dtypes = parts.map(({ dtype }) => dtype);
      const make = (): unknown =>
        isLoose
          ? this.#own.loose_shelf(name, dtypes)
          : this.#own.shelf(
              name,
              parts.map(({ dtype, shape }) => [dtype, shape]),
            );
      this.#apart(() => make() as AnyRef);
    }
    return shelf;
  }

  get #own(): AnyRef {
    if (this.#store === undefined) {
      const { memory = null, cache = null, cacheBytes = null } = this.#options;
      this.#apart(() => {
        const { Store } = this.#worker.import("torchwire_worker.helpers.kept");
        return (this.#store = Store(memory, cache, cacheBytes) as AnyRef);
      });
      this.#apart(() => (this.#gather = py.get(this.#store!, "gather")));
    }
    return this.#store!;
  }

  /** Makes something that stays, whatever becomes of the lane that is here. */
  #apart(make: () => AnyRef): void {
    const [made, outcome] = this.#worker.apart(() => this.#worker.scope(() => py.keep(make())));
    this.#sent.push(made);
    outcome()?.catch((error: unknown) => (this.#failure ??= { error }));
  }
}
