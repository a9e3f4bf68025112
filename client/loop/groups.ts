import type { Interruption } from "./interruption.ts";
import { hold } from "../data/lent-batch.ts";
import type { BatchLike, Data } from "../data/types.ts";

/**
 * Gives `data` in groups of `size` batches. A group comes as a whole, because its first batch must know how many there
 * are. An interruption ends it, but not while it `goesOn`.
 */
export async function* groupsOf(
  data: Data,
  size: number,
  interruption: Interruption,
  goesOn: () => boolean,
): AsyncGenerator<BatchLike[]> {
  let group: BatchLike[] = [];
  for await (const batch of interruption.guard(data, goesOn)) {
    hold(batch);
    group.push(batch);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
