/** Data sets in the layout of Hugging Face's hub, in a folder on this disk. */
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine, quoted } from "../../bridge/errors/shown.ts";
import { traced } from "../../bridge/errors/site.ts";
import { onlyOptions } from "../options/keywords.ts";
import { pathOf } from "../tables/bytes.ts";
import { concatenated } from "../tables/concatenated.ts";
import { csvRows } from "../tables/csv.ts";
import { jsonRows } from "../tables/json-lines.ts";
import { parquetRows } from "../tables/parquet.ts";
import type { RowSource } from "../tables/source.ts";
import { type DataFile, dataFiles, splitName } from "./hub-files.ts";
import { shownPath } from "./image-files.ts";
import { RowDataset } from "./row-dataset.ts";

export interface LoadDatasetOptions {
  /** Gives the rows of this split alone, such as "train". */
  readonly split?: string | undefined;
  /** The configuration, where the data set has several: a folder within. */
  readonly name?: string;
  /** The columns to read of Parquet. Default: all. */
  readonly columns?: readonly string[];
  /** How much of each split stays in memory, in bytes. Default: that of `fromParquet`; of other files, of `fromCsv`. */
  readonly cacheBytes?: number;
}

/**
 * A data set as it lies in a repository of Hugging Face's hub, in a folder on this disk: a record with the rows of each
 * split, or with `split` the rows of that one. No network is used. `Row` is your word for what the rows are; nothing
 * checks it.
 *
 * **Files** are Parquet, or else JSON lines (.jsonl, .ndjson, .json), or else CSV (.csv, .tsv); where there are several
 * kinds, the others are left alone. They lie in the folder itself, in `data`, or in folders that are called by a split.
 *
 * **Splits** are told by names: `train-00000-of-00002.parquet` is of "train", whatever stands there; else one of the words
 * train, validation, valid, val, dev, test, eval in the name of the file or its folder. (valid, val and dev are
 * "validation", eval is "test".) Where no name says a split, all is "train". The shards of a split follow each other,
 * sorted by name. The README's own rules, if it has any, are not read.
 *
 * Throws BAD_DATA for a folder without such files, for a shard that is missing, and for a folder of `save_to_disk`
 * (Arrow), with the Python that makes Parquet of it; MISUSE for a split or a configuration that is not there.
 */
export function loadDataset<Row = Record<string, unknown>>(
  folder: string | URL,
  options: LoadDatasetOptions & { readonly split: string },
): Promise<RowDataset<Row>>;
export function loadDataset<Row = Record<string, unknown>>(
  folder: string | URL,
  options?: LoadDatasetOptions & { readonly split?: undefined },
): Promise<Record<string, RowDataset<Row>>>;
export function loadDataset<Row = Record<string, unknown>>(
  folder: string | URL,
  options: LoadDatasetOptions = {},
): Promise<RowDataset<Row> | Record<string, RowDataset<Row>>> {
  return traced("loadDataset", async () => {
    onlyOptions<LoadDatasetOptions>("loadDataset", OPTIONS, options);
    const root = pathOf(folder, "loadDataset");
    const files = await dataFiles(root, options.name);
    const splits = [...new Set(files.map(({ split }) => split))];
    const read = async (split: string): Promise<RowDataset<Row>> => {
      const rows = await rowsOf(
        files.filter((file) => file.split === split),
        root,
        options,
      );
      return new RowDataset(rows as RowSource<Row>);
    };
    if (options.split !== undefined) {
      const asked = splits.find((split) => split === options.split) ?? splitName(options.split);
      if (asked === undefined || !splits.includes(asked))
        throw new TorchwireError(
          "MISUSE",
          `${shownPath(root)} has no split ${quoted(options.split)}; it has ${splits.map((split) => oneLine(split)).join(", ")}`,
        );
      return read(asked);
    }
    const found: [string, RowDataset<Row>][] = [];
    for (const split of splits) found.push([split, await read(split)]);
    return Object.fromEntries(found);
  });
}

const OPTIONS = { split: true, name: true, columns: true, cacheBytes: true } as const;

async function rowsOf(
  files: readonly DataFile[],
  root: string,
  { columns, cacheBytes }: LoadDatasetOptions,
): Promise<RowSource<unknown>> {
  const cache = cacheBytes === undefined ? {} : { cacheBytes };
  const paths = files.map(({ path }) => join(root, path));
  const [{ kind }] = files as [DataFile];
  if (kind === "parquet") return parquetRows(paths, columns === undefined ? cache : { columns, ...cache });
  const parts: RowSource<unknown>[] = [];
  for (const path of paths) parts.push(await (kind === "csv" ? csvRows(path, cache) : jsonRows(path, cache)));
  return concatenated(parts);
}
