import { TorchwireError } from "../../bridge/errors/errors.ts";
import { digest } from "./bytes.ts";
import { placeOf, type RowSource } from "./source.ts";

/** The rows of several sources, one after the other. Throws BAD_DATA where their columns differ. */
export function concatenated<Row>(sources: readonly RowSource<Row>[]): RowSource<Row> {
  const [first] = sources as [RowSource<Row>];
  if (sources.length === 1) return first;
  const names = first.columns?.toSorted().join();
  if (sources.some(({ columns }) => columns?.toSorted().join() !== names))
    throw new TorchwireError("BAD_DATA", "the files of one split have different columns; read them apart");
  const ends: number[] = [];
  for (const { length } of sources) ends.push((ends.at(-1) ?? 0) + length);
  const at = (index: number): [source: RowSource<Row>, index: number] => {
    const which = ends.findIndex((end) => index < end);
    return [sources[which]!, index - (ends[which - 1] ?? 0)];
  };
  return {
    length: ends.at(-1)!,
    columns: first.columns,
    folder: first.folder,
    fingerprint: () =>
      digest(
        "concatenated",
        sources.map((source) => source.fingerprint()),
      ),
    get: (index) => {
      const [source, within] = at(index);
      return source.get(within);
    },
    place: (index) => placeOf(...at(index)),
  };
}
