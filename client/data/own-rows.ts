/** Rows that are not a file's: lists, data sets and streams of the program's own. */
import { createHash } from "node:crypto";
import { serialize } from "node:v8";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { traced } from "../../bridge/errors/site.ts";
import { digest, pathOf } from "../tables/bytes.ts";
import { type CacheOptions, cachedRows, type CacheSource } from "../tables/disk-cache.ts";
import { isThenable, type RowSource } from "../tables/source.ts";
import { RowDataset } from "./row-dataset.ts";

/** Rows of your own: a list, or anything with a `length` and a `get(index)`. */
export type OwnRows<Row> = readonly Row[] | { readonly length: number; get(index: number): Row | Promise<Row> };

/**
 * Rows of your own as a RowDataset, so that they have `map`, `filter`, `split` and `cacheOnDisk`: a list, or anything
 * with a `length` and a `get(index)`. For a generator, see `cacheOnDisk`, or give a list of what it gives.
 *
 * A cache on disk sees that a list has changed. Of your own `get` it sees the length alone: name the version of such rows
 * in its `key`. Throws MISUSE for anything else.
 */
export function rowDataset<Row>(rows: OwnRows<Row>): RowDataset<Row> {
  return new RowDataset(own(rows));
}

function own<Row>(rows: OwnRows<Row>): RowSource<Row> {
  const length: unknown = (rows as Partial<OwnRows<Row>> | null | undefined)?.length;
  const isList = Array.isArray(rows);
  if (
    typeof rows !== "object" ||
    !Number.isSafeInteger(length) ||
    Number(length) < 0 ||
    (!isList && typeof (rows as { get?: unknown }).get !== "function")
  )
    throw new TorchwireError(
      "MISUSE",
      "rows are a list, or { length, get(index) }; for a generator, write cacheOnDisk(generator, folder), or give a list of what it gives",
    );
  const get = isList
    ? (index: number): Row => rows[index] as Row
    : (index: number): Row | Promise<Row> => (rows as { get(index: number): Row | Promise<Row> }).get(index);
  return { length: Number(length), get, fingerprint: () => digest("own", length, isList ? hashOf(rows) : "") };
}

/** By the values of a list. Undefined where they are not all plain. */
function hashOf(rows: readonly unknown[]): string | undefined {
  try {
    return createHash("sha256").update(serialize(rows)).digest("hex");
  } catch {
    return undefined;
  }
}

/**
 * Writes rows of your own to a folder, and gives them from there by index: those of a list or a data set, or of a
 * generator or another iterable, which is read once and never held in memory as a whole. So a stream becomes a data set
 * that can be shuffled. All else is as with `RowDataset.cacheOnDisk`.
 *
 * A folder that already holds rows with the same `key` is used as it is, and the source is not read.
 */
export function cacheOnDisk<Row>(
  source: OwnRows<Row> | CacheSource<Row> | RowDataset<Row>,
  folder: string | URL,
  options: CacheOptions = {},
): Promise<RowDataset<Row>> {
  if (source instanceof RowDataset) return source.cacheOnDisk(folder, options);
  return traced("cacheOnDisk", async () => {
    const path = pathOf(folder, "cacheOnDisk");
    if (typeof source !== "object" || source === null || isThenable(source))
      throw new TorchwireError("MISUSE", "cacheOnDisk takes rows: a list, { length, get(index) }, or an iterable");
    const isOwn = Array.isArray(source) || "get" in source;
    const rows = isOwn ? own(source as OwnRows<Row>) : (source as CacheSource<Row>);
    return new RowDataset<Row>(
      await cachedRows(rows, path, isOwn ? (rows as RowSource<Row>).fingerprint() : digest("iterable"), options),
    );
  });
}
