import type { Interruption } from "./interruption.ts";
import type { BatchLike, Data } from "../data/types.ts";

/** `data`, `size` batches at a time: only then is it known how many the last group has. */
export async function* groupsOf(data: Data, size: number, interruption: Interruption): AsyncGenerator<BatchLike[]> {
  let group: BatchLike[] = [];
  for await (const batch of interruption.guard(data)) {
    group.push(batch);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
