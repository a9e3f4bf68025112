/** Rows of files: CSV, JSON lines, Parquet. */
import { traced } from "../../bridge/errors/site.ts";
import { onlyOptions } from "../options/keywords.ts";
import { pathOf } from "../tables/bytes.ts";
import { type ColumnTypes, type CsvOptions, type CsvRow, csvRows } from "../tables/csv.ts";
import { type JsonLinesOptions, jsonRows } from "../tables/json-lines.ts";
import { type ParquetOptions, parquetRows } from "../tables/parquet.ts";
import type { RowSource } from "../tables/source.ts";
import { RowDataset } from "./row-dataset.ts";

/**
 * The rows of a CSV file, by RFC 4180: a record for each, with a value for each column. Quoted cells may hold commas and
 * ends of lines. Empty lines are left out. A byte order mark is skipped, and a gzipped file is unpacked into memory, up
 * to 1 GiB.
 *
 * `types` says what a column holds, and gives the row its type; the other columns are looked at from end to end. A
 * column without a name, as pandas writes its index, is called `Unnamed: 0` by its position.
 *
 * The file is read once, now; then a row is read when it is asked for. In memory stay eight bytes for each row, and up to
 * `cacheBytes` of the file.
 *
 * Throws BAD_DATA, with the file and the line, for a row with more or fewer cells than the header, a cell that is not of
 * its column's type, a quote without an end, a header that has a name twice, and text that is not of the encoding.
 * Throws MISUSE for a wrong option.
 */
export function fromCsv<const T extends ColumnTypes = {}>(
  path: string | URL,
  options: CsvOptions<T> = {},
): Promise<RowDataset<CsvRow<T>>> {
  return traced("fromCsv", async () => {
    onlyOptions<CsvOptions>("fromCsv", CSV, options);
    const rows = await csvRows(pathOf(path, "fromCsv"), options);
    return new RowDataset(rows as RowSource<CsvRow<T>>);
  });
}

/**
 * The rows of a file of JSON lines: the value of each line, mostly a record. Empty lines are left out. A file that is one
 * JSON array gives its elements; it is parsed as a whole. `Row` is your word for what the rows are; nothing checks it.
 *
 * Whole numbers past 2^53 are bigints, and NaN and Infinity are numbers, as Python writes them. A gzipped file is
 * unpacked into memory, up to 1 GiB.
 *
 * The file is read once, now, for the places of its lines; a line is parsed when its row is asked for. In memory stay
 * eight bytes for each row, and up to `cacheBytes` of the file. Throws BAD_DATA where the file cannot be read; the row's
 * `get` throws it, with the line, for what is no JSON.
 */
export function fromJsonLines<Row = Record<string, unknown>>(
  path: string | URL,
  options: JsonLinesOptions = {},
): Promise<RowDataset<Row>> {
  return traced("fromJsonLines", async () => {
    onlyOptions<JsonLinesOptions>("fromJsonLines", { cacheBytes: true }, options);
    const rows = await jsonRows(pathOf(path, "fromJsonLines"), options);
    return new RowDataset(rows as RowSource<Row>);
  });
}

/**
 * The rows of a Parquet file, or of several with the same columns, one after the other. `Row` is your word for what the
 * rows are; nothing checks it.
 *
 * Whole numbers of 64 bits are numbers, or bigints where the column's statistics go past 2^53 (`types` says so for one
 * column). Dates and times are a Date, to the millisecond; decimals are numbers; bytes are a Uint8Array; lists, structs
 * and maps are lists and records; nothing is null.
 *
 * A file is read by row groups: a group is decoded when one of its rows is asked for, and stays in memory while
 * `cacheBytes` has room. Rows in an order of their own (a loader that shuffles) are quick where all groups fit; else take
 * `cacheOnDisk`. Snappy, gzip, brotli and, on newer Node, zstd are built in; other codecs need the package
 * hyparquet-compressors.
 *
 * Throws BAD_DATA, naming the file, where it is no Parquet file, is damaged, or has other columns than the first; MISUSE
 * for a column that is not there; ENVIRONMENT where a codec is missing.
 */
export function fromParquet<Row = Record<string, unknown>>(
  path: string | URL | readonly (string | URL)[],
  options: ParquetOptions = {},
): Promise<RowDataset<Row>> {
  return traced("fromParquet", async () => {
    onlyOptions<ParquetOptions>("fromParquet", { columns: true, types: true, cacheBytes: true }, options);
    const given = Array.isArray(path) ? (path as readonly (string | URL)[]) : [path as string | URL];
    const files = given.map((one) => pathOf(one, "fromParquet"));
    return new RowDataset((await parquetRows(files, options)) as RowSource<Row>);
  });
}

const CSV = { types: true, delimiter: true, header: true, missing: true, encoding: true, cacheBytes: true } as const;
