/** A batch whose samples the worker has. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { Lease } from "../data/memory.ts";
import { mapTree, type Tree } from "../data/tree.ts";
import type { Batch, Inputs } from "../data/types.ts";
import { isLeaf, type Layout, type Leaf } from "./sample.ts";
import type { Item, KeptStore } from "./store.ts";

/**
 * `xs` and `ys` have references where the data has arrays. Reading them is what makes these, in the scope that is open:
 * a step's end frees them, and the message of the step has all.
 */
export class KeptBatch implements Batch {
  readonly size: number;
  readonly #layout: Layout;
  #items: readonly Item[];
  readonly #numbers: readonly NDArray[];
  #there: { readonly store: KeptStore; readonly rows: Int32Array } | undefined;
  #made: ReturnType<KeptStore["gather"]> | undefined;

  /** `numbers`: those of all samples, at each place that has plain numbers. */
  constructor(layout: Layout, items: readonly Item[], numbers: readonly NDArray[]) {
    this.size = items.length;
    this.#layout = layout;
    this.#items = items;
    this.#numbers = numbers;
  }

  /** Sends what `store` lacks. */
  place(store: KeptStore, lease: Lease, room: number): void {
    if (this.#layout.parts.length > 0)
      this.#there = { store, rows: store.rowsOf(this.#layout, this.#items, lease, room) };
    // The samples are not needed here any more.
    this.#items = [];
  }

  get xs(): Inputs {
    return this.#side(this.#layout.xs);
  }

  get ys(): Inputs {
    return this.#side(this.#layout.ys);
  }

  /** Frees what was made outside of a scope. */
  end(): void {
    if (this.#made !== undefined) for (const one of [this.#made.all, ...this.#made.parts]) one[Symbol.dispose]();
    this.#made = undefined;
  }

  #side(tree: Tree<Leaf>): Inputs {
    const parts = this.#parts();
    const leaf = ({ kind, at }: Leaf): AnyRef | NDArray => (kind === "part" ? parts[at]! : this.#numbers[at]!);
    return mapTree(tree, "", isLeaf, leaf, notThere) as Inputs;
  }

  #parts(): readonly AnyRef[] {
    if (this.#there === undefined) return [];
    if (this.#made === undefined || inner(this.#made.all)!.gone !== undefined) {
      const { store, rows } = this.#there;
      this.#made = store.gather(this.#layout, rows);
    }
    return this.#made.parts;
  }
}

function notThere(_: unknown, path: string): never {
  throw new TorchwireError("MISUSE", `a kept batch has nothing at ${path}`);
}
