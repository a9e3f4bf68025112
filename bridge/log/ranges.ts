/** Ids as ranges: [first, last, first, last, …]. */

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

/** [3, 5, 9, 9] → [3, 4, 5, 9], without the names that count within a batch, which are negative. */
export function* idsIn(ranges: readonly number[]): Generator<number> {
  for (let i = 0; i < ranges.length; i += 2) {
    const [first, last] = [ranges[i]!, ranges[i + 1]!];
    if (first >= 0 && last >= 0) for (let id = first; id <= last; id++) yield id;
  }
}
