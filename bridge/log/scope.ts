import type { Reference } from "../reference/ref.ts";

/** What a piece of code made, so that its end can free it in one operation. */
export class Scope {
  readonly #made: Reference[] = [];

  add(reference: Reference): void {
    this.#made.push(reference);
  }

  /** Takes everything that was not kept: the ids to free as [first, last, first, last, …], ascending. */
  end(): number[] {
    const ids: number[] = [];
    for (const reference of this.#made) {
      if (reference.scope !== this || reference.gone !== undefined) continue;
      reference.gone = "its scope has ended; py.keep(ref) keeps a reference beyond its scope";
      ids.push(reference.id);
    }
    this.#made.length = 0;
    return toRanges(ids);
  }
}

/** [3, 4, 5, 9] → [3, 5, 9, 9]. */
export function toRanges(ids: readonly number[]): number[] {
  const ranges: number[] = [];
  for (const id of ids) {
    if (id === 0) continue;
    if (ranges.length > 0 && ranges[ranges.length - 1] === id - 1) ranges[ranges.length - 1] = id;
    else ranges.push(id, id);
  }
  return ranges;
}

/** [3, 5, 9, 9] → [3, 4, 5, 9], of those ids that are no names within a batch. */
export function* idsIn(ranges: readonly number[]): Generator<number> {
  for (let i = 0; i < ranges.length; i += 2) {
    const [first, last] = [ranges[i]!, ranges[i + 1]!];
    if (first >= 0 && last >= 0) for (let id = first; id <= last; id++) yield id;
  }
}
