/** A batch whose samples the worker has. */
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Lease } from "../data/memory.ts";
import type { Batch, Inputs } from "../data/types.ts";
import type { BatchPlan } from "./plan.ts";
import type { Layout } from "./sample.ts";
import type { Item, KeptStore } from "./store.ts";

/**
 * `xs` and `ys` have references where the data has arrays. Reading them is what makes these, in the scope that is open:
 * a step's end frees them, and the message of the step has all.
 */
export class KeptBatch implements Batch {
  readonly size: number;
  readonly #layout: Layout;
  #items: readonly Item[];
  readonly #plan: BatchPlan;
  #there: { readonly store: KeptStore; readonly rows: Int32Array } | undefined;
  #made: ReturnType<KeptStore["gather"]> | undefined;

  constructor(layout: Layout, items: readonly Item[], plan: BatchPlan) {
    this.size = items.length;
    this.#layout = layout;
    this.#items = items;
    this.#plan = plan;
  }

  /** Sends what `store` lacks. */
  place(store: KeptStore, lease: Lease, room: number): void {
    if (this.#layout.parts.length > 0)
      this.#there = { store, rows: store.rowsOf(this.#layout, this.#items, lease, room) };
    // The samples are not needed here any more.
    this.#items = [];
  }

  get xs(): Inputs {
    return this.#plan.xs(this.#parts());
  }

  get ys(): Inputs {
    return this.#plan.ys(this.#parts());
  }

  /** Frees what was made outside of a scope. */
  end(): void {
    if (this.#made !== undefined) for (const one of [this.#made.all, ...this.#made.parts]) one[Symbol.dispose]();
    this.#made = undefined;
  }

  #parts(): readonly AnyRef[] {
    if (this.#there === undefined) return [];
    if (this.#made === undefined || inner(this.#made.all)!.gone !== undefined) {
      const { store, rows } = this.#there;
      this.#made = store.gather(this.#layout, rows, this.#plan.ways);
    }
    return this.#made.parts;
  }
}
