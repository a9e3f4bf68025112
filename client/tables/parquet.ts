/** Rows of Parquet files. hyparquet decodes them; this finds row groups, keeps some in memory, and gives rows. */
import type { AsyncBuffer, FileMetaData, RowGroup } from "hyparquet";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine, quoted } from "../../bridge/errors/shown.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { badFile, type Bytes, checkCacheBytes, digest, folderOf, PagedFile, shownPath } from "./bytes.ts";
import { type Codecs, codecsFor } from "./parquet-codecs.ts";
import { GroupCache } from "./parquet-groups.ts";
import { rowValue, type Whole } from "./parquet-values.ts";
import { after, type Features, type RowSource } from "./source.ts";

export interface ParquetOptions {
  /** The columns to read. Default: all. Others are not decoded. */
  readonly columns?: readonly string[];
  /**
   * How whole numbers of 64 bits are given, by column. Default: bigints where the file's statistics say that the column
   * goes past 2^53, else numbers.
   */
  readonly types?: Readonly<Record<string, "number" | "bigint">>;
  /** How much of the rows stays in memory, in decoded bytes: at least one row group. Default: 256 MiB. */
  readonly cacheBytes?: number;
}

type ParquetRow = Record<string, unknown>;

/** One file, opened. */
interface Opened {
  readonly bytes: Bytes;
  readonly metadata: FileMetaData;
  readonly codecs: Codecs;
}

interface Group {
  readonly file: Opened;
  /** The first row, counted in the file and over all files. */
  readonly inFile: number;
  readonly start: number;
  readonly rows: number;
  /** About as much as it takes in memory, over all columns. */
  readonly bytes: number;
}

type Decoded = ReadonlyMap<string, ArrayLike<unknown>>;

/** Reads the files' metadata. The files must have the same columns; their rows follow each other. */
export async function parquetRows(
  paths: readonly string[],
  options: ParquetOptions = {},
): Promise<RowSource<ParquetRow>> {
  checkCacheBytes(options.cacheBytes ?? 0);
  const files: Opened[] = [];
  for (const path of paths) files.push(await opened(path));
  const [first, ...others] = files;
  if (first === undefined) throw new TorchwireError("MISUSE", "no Parquet file is given");
  const columns = columnsOf(first);
  for (const other of others) {
    const names = columnsOf(other);
    if (names.length !== columns.length || names.some((name) => !columns.includes(name)))
      throw badFile(
        other.bytes.path,
        `its columns are ${names.map((name) => oneLine(name)).join(", ")}, and ${shownPath(first.bytes.path)} has ${columns.map((name) => oneLine(name)).join(", ")}; read such files apart`,
      );
  }
  for (const name of [...(options.columns ?? []), ...Object.keys(options.types ?? {})])
    if (!columns.includes(name))
      throw new TorchwireError(
        "MISUSE",
        `${shownPath(first.bytes.path)} has no column ${quoted(name)}; it has ${columns.map((one) => oneLine(one)).join(", ")}`,
      );
  return new ParquetRows(files, options.columns ?? columns, options);
}

class ParquetRows implements RowSource<ParquetRow> {
  readonly length: number;
  readonly columns: readonly string[];
  readonly features: Features | undefined;
  readonly folder: string;
  readonly #files: readonly Opened[];
  readonly #groups: readonly Group[];
  readonly #options: ParquetOptions;
  readonly #whole: ReadonlyMap<string, Whole>;
  readonly #cache: GroupCache<Group, Decoded>;

  constructor(files: readonly Opened[], columns: readonly string[], options: ParquetOptions) {
    this.#files = files;
    this.#options = options;
    this.columns = columns;
    this.folder = folderOf(files[0]!.bytes.path);
    this.#groups = groupsOf(files);
    this.length = files.reduce((rows, { metadata }) => rows + Number(metadata.num_rows), 0);
    this.features = featuresOf(files[0]!.metadata, columns);
    this.#whole = new Map(columns.map((name) => [name, options.types?.[name] ?? wholeOf(files, name)]));
    this.#cache = new GroupCache((group) => decoded(group, columns), options.cacheBytes ?? 256 * 2 ** 20);
  }

  get(index: number): ParquetRow | Promise<ParquetRow> {
    const group = this.#groupOf(index);
    return after(this.#cache.get(group), (decoded) => {
      const at = index - group.start;
      try {
        return Object.fromEntries(
          this.columns.map((name) => [name, rowValue(decoded.get(name)![at], this.#whole.get(name)!, name)]),
        );
      } catch (cause) {
        throw badFile(this.place(index), messageOf(cause), cause);
      }
    });
  }

  fingerprint(): string {
    const files = this.#files.map(({ bytes }) => bytes.fingerprint);
    return digest("parquet", files, this.columns, this.#options.types);
  }

  place(index: number): string {
    const group = this.#groupOf(index);
    return `${group.file.bytes.path}, row ${group.inFile + index - group.start}`;
  }

  only(columns: readonly string[]): ParquetRows {
    return new ParquetRows(this.#files, columns, this.#options);
  }

  /** The group of a row: the last that begins at the row or before it. */
  #groupOf(index: number): Group {
    let [low, high] = [0, this.#groups.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#groups[middle]!.start <= index) low = middle;
      else high = middle - 1;
    }
    return this.#groups[low]!;
  }
}

async function opened(path: string): Promise<Opened> {
  // Whole column chunks are read: pages of the file would only be kept twice.
  const bytes = new PagedFile(path, 0);
  await bytes.open();
  const { parquetMetadataAsync } = await import("hyparquet");
  let metadata: FileMetaData;
  try {
    metadata = await parquetMetadataAsync(bufferOf(bytes), { geoparquet: false });
  } catch (cause) {
    if (cause instanceof TorchwireError) throw cause;
    throw badFile(path, `it is not a Parquet file, or is damaged: ${messageOf(cause)}`, cause);
  }
  const used = metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data?.codec ?? ""));
  return { bytes, metadata, codecs: await codecsFor(new Set(used.filter((codec) => codec !== ""))) };
}

const bufferOf = (bytes: Bytes): AsyncBuffer => ({
  byteLength: bytes.size,
  slice: (start, end = bytes.size) => after(bytes.read(start, end), (part) => new Uint8Array(part).buffer),
});

/** The values of each column in a group. */
async function decoded({ file, inFile, rows }: Group, columns: readonly string[]): Promise<Decoded> {
  const { parquetRead } = await import("hyparquet");
  const found = new Map<string, unknown[]>();
  const whole = new Map<string, ArrayLike<unknown>>();
  try {
    await parquetRead({
      file: bufferOf(file.bytes),
      metadata: file.metadata,
      columns: [...columns],
      rowStart: inFile,
      rowEnd: inFile + rows,
      compressors: file.codecs,
      utf8: false,
      geoparquet: false,
      onChunk: ({ columnName, columnData, rowStart, rowEnd }) => {
        // Most columns come in one piece, as a typed array.
        if (rowStart === inFile && rowEnd === inFile + rows) {
          whole.set(columnName, columnData);
          return;
        }
        let values = found.get(columnName);
        if (values === undefined) found.set(columnName, (values = Array.from({ length: rows })));
        for (let row = rowStart; row < rowEnd; row++) values[row - inFile] = columnData[row - rowStart];
      },
    });
  } catch (cause) {
    if (cause instanceof TorchwireError) throw cause;
    throw badFile(
      file.bytes.path,
      `rows ${inFile} to ${inFile + rows - 1} cannot be decoded: ${messageOf(cause)}`,
      cause,
    );
  }
  const all = new Map([...found, ...whole]);
  for (const name of columns)
    if (all.get(name)?.length !== rows)
      throw badFile(file.bytes.path, `rows ${inFile} to ${inFile + rows - 1} have no ${quoted(name)}; it is damaged`);
  return all;
}

function groupsOf(files: readonly Opened[]): Group[] {
  const groups: Group[] = [];
  let start = 0;
  for (const file of files) {
    let inFile = 0;
    for (const group of file.metadata.row_groups) {
      const rows = Number(group.num_rows);
      // An empty group has no row to be found by.
      if (rows > 0) groups.push({ file, inFile, start, rows, bytes: bytesOf(group, rows) });
      inFile += rows;
      start += rows;
    }
  }
  return groups;
}

const bytesOf = ({ total_byte_size: packed, columns }: RowGroup, rows: number): number =>
  Number(packed) + 8 * rows * columns.length;

function columnsOf({ metadata }: Opened): string[] {
  // The schema is a tree in order: its root, then each column with what is inside of it.
  const names: string[] = [];
  let next = 1;
  const skip = (): void => {
    const children = metadata.schema[next++]?.num_children ?? 0;
    for (let i = 0; i < children; i++) skip();
  };
  while (next < metadata.schema.length) {
    names.push(metadata.schema[next]!.name);
    skip();
  }
  return names;
}

/** Bigints for a column whose statistics show a whole number that a number cannot hold. */
function wholeOf(files: readonly Opened[], name: string): Whole {
  const leaves = files
    .flatMap(({ metadata }) => metadata.row_groups)
    .flatMap(({ columns }) => columns)
    .filter(({ meta_data }) => meta_data?.path_in_schema[0] === name);
  const beyond = leaves.some(({ meta_data }) =>
    [meta_data?.statistics?.max_value, meta_data?.statistics?.min_value].some(
      (value) => typeof value === "bigint" && !Number.isSafeInteger(Number(value)),
    ),
  );
  return beyond ? "bigint" : "number";
}

/** The features that `datasets` keeps in the file. What is no such record is left out. */
function featuresOf({ key_value_metadata: pairs }: FileMetaData, columns: readonly string[]): Features | undefined {
  const text = pairs?.find(({ key }) => key === "huggingface")?.value;
  if (text === undefined) return undefined;
  try {
    const { info } = JSON.parse(text) as { info?: { features?: Features } };
    const features = info?.features ?? {};
    return Object.fromEntries(Object.entries(features).filter(([name]) => columns.includes(name)));
  } catch {
    return undefined;
  }
}
