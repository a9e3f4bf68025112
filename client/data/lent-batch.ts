/** Batches that lie in the worker, and the time for which they do. */
import type { AnyRef } from "../../bridge/types/core.ts";

/** Batches of iterators that free them, by whether somebody still needs them. */
const lent = new WeakMap<object, "by its iterator" | "by its holder">();

/**
 * Gives a batch until the next one is asked for: it is freed then, unless somebody holds it. The batches of others are
 * theirs, and may come again.
 */
export function* lending(batch: AnyRef): Generator<AnyRef, void> {
  lent.set(batch, "by its iterator");
  yield batch;
  if (lent.get(batch) === "by its iterator") batch[Symbol.dispose]();
}

/** Keeps a batch while others are asked for: it is freed by `release`. */
export function hold(batch: object): void {
  if (lent.has(batch)) lent.set(batch, "by its holder");
}

export function release(batch: object): void {
  if (lent.get(batch) !== "by its holder") return;
  lent.delete(batch);
  (batch as AnyRef)[Symbol.dispose]();
}
