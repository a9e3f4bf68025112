/** Rows of a CSV file. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { quoted, oneLine } from "../../bridge/errors/shown.ts";
import { badFile, type Bytes, digest, folderOf, openBytes, shownPath } from "./bytes.ts";
import { type ColumnType, columnTypes, type CsvValue, pandasMissing, TypeFinder, valueOf } from "./csv-cells.ts";
import { cellsOf, isDelimiter, records } from "./csv-scan.ts";
import { lineAt } from "./lines.ts";
import { Offsets } from "./offsets.ts";
import { after, type RowSource } from "./source.ts";

/** Types of columns by name. */
export type ColumnTypes = Readonly<Record<string, ColumnType>>;

/** What a column of a declared type holds. */
export interface CsvTypes {
  number: number;
  bigint: bigint | null;
  boolean: boolean | null;
  string: string;
  date: Date | null;
}

/** A row: a value for each column, those of `types` with their type. */
export type CsvRow<T extends ColumnTypes = {}> = Record<string, CsvValue> & { [Name in keyof T]: CsvTypes[T[Name]] };

export interface CsvOptions<T extends ColumnTypes = ColumnTypes> {
  /**
   * Types of columns, by name. A cell that is not of its column's type is an error that names the line. Other columns
   * get their type by all their cells: numbers; bigints where whole numbers go past 2^53; true and false; else text. A
   * number with a leading zero, such as 007, is text.
   *
   * - `"number"`: NaN where it is missing.
   * - `"bigint"`, `"boolean"`: null where it is missing.
   * - `"date"`: a Date of an ISO 8601 date or time, in UTC where no zone is given; null where it is missing.
   * - `"string"`: the cell as it stands, also where it is empty or says NA.
   */
  readonly types?: T;
  /** What parts cells: one character. Default: "," or, where the file's name ends with .tsv or .tab, "\t". */
  readonly delimiter?: string;
  /** The columns' names, for a file without a header. By default the first line has them. */
  readonly header?: readonly string[];
  /** Cells that hold no value. Default: those of pandas, such as "", NA, NaN, null and None. */
  readonly missing?: readonly string[];
  /** "utf-8" (default), or another name that TextDecoder knows for one byte a character, such as "latin1". */
  readonly encoding?: string;
  /** How much of the file stays in memory, in bytes. Default: 64 MiB. */
  readonly cacheBytes?: number;
}

interface Column {
  readonly name: string;
  readonly asked: ColumnType | undefined;
  readonly finder: TypeFinder;
  type: ColumnType;
}

interface Dialect {
  readonly delimiter: string;
  readonly missing: ReadonlySet<string>;
  readonly decoder: InstanceType<typeof TextDecoder>;
}

/** Reads the whole file once, for the places of its rows and the types of its columns, and keeps neither. */
export async function csvRows(path: string, options: CsvOptions = {}): Promise<RowSource<Record<string, CsvValue>>> {
  const dialect = dialectOf(path, options);
  const bytes = await openBytes(path, options.cacheBytes ?? 64 * 2 ** 20);
  const offsets = new Offsets();
  let columns = options.header === undefined ? undefined : columnsOf(path, options.header, options);
  let end = 0;
  for await (const record of records(bytes, dialect.delimiter)) {
    const place = `${path}:${record.line}`;
    const cells = cellsIn(record.bytes, dialect, place);
    if (columns === undefined) {
      checkDelimiter(path, cells, options);
      columns = columnsOf(path, cells, options);
      continue;
    }
    see(cells, columns, dialect, place);
    offsets.push(record.start);
    end = record.start + record.bytes.length;
  }
  if (columns === undefined) throw badFile(path, "it is empty: the first line must have the names of the columns");
  for (const column of columns) column.type = column.asked ?? column.finder.type;
  return new CsvRows(bytes, { offsets, end, columns, dialect, options });
}

class CsvRows implements RowSource<Record<string, CsvValue>> {
  readonly length: number;
  readonly columns: readonly string[];
  readonly folder: string;
  readonly #options: CsvOptions;
  readonly #bytes: Bytes;
  readonly #offsets: Offsets;
  readonly #end: number;
  readonly #columns: readonly Column[];
  readonly #dialect: Dialect;

  constructor(
    bytes: Bytes,
    parts: { offsets: Offsets; end: number; columns: readonly Column[]; dialect: Dialect; options: CsvOptions },
  ) {
    const { offsets, end, columns, dialect, options } = parts;
    this.length = offsets.length;
    this.columns = columns.map(({ name }) => name);
    this.folder = folderOf(bytes.path);
    this.#options = options;
    this.#bytes = bytes;
    this.#offsets = offsets;
    this.#end = end;
    this.#columns = columns;
    this.#dialect = dialect;
  }

  get(index: number): Record<string, CsvValue> | Promise<Record<string, CsvValue>> {
    const start = this.#offsets.at(index);
    const end = index + 1 < this.length ? this.#offsets.at(index + 1) : this.#end;
    return after(this.#bytes.read(start, end), (bytes) => this.#row(bytes));
  }

  fingerprint(): string {
    return digest("csv", this.#bytes.fingerprint, { ...this.#options, cacheBytes: 0 });
  }

  async place(index: number): Promise<string> {
    return `${this.#bytes.path}:${await lineAt(this.#bytes, this.#offsets.at(index))}`;
  }

  #row(bytes: Uint8Array): Record<string, CsvValue> {
    const cells = cellsIn(withoutEnd(bytes), this.#dialect, this.#bytes.path);
    return Object.fromEntries(
      this.#columns.map(({ name, asked, type }, i) => {
        const cell = cells[i]!;
        if (asked !== "string" && this.#dialect.missing.has(cell)) return [name, type === "number" ? NaN : null];
        return [name, valueOf(cell, type)!];
      }),
    );
  }
}

/** Without the ends of its line and of the empty lines after it. */
function withoutEnd(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && (bytes[end - 1] === 10 || bytes[end - 1] === 13)) end--;
  return bytes.subarray(0, end);
}

function cellsIn(bytes: Uint8Array, { delimiter, decoder }: Dialect, place: string): string[] {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw badFile(place, `it is not ${decoder.encoding}; say which encoding it is, e.g. encoding: "latin1"`, cause);
  }
  const cells = cellsOf(text, delimiter);
  if (typeof cells === "string") throw badFile(place, cells);
  return cells;
}

/** Lets each column see its cell. Throws BAD_DATA where there is no cell for each column, or one is not of its type. */
function see(
  cells: readonly string[],
  columns: readonly Column[],
  { missing, delimiter }: Dialect,
  place: string,
): void {
  if (cells.length !== columns.length)
    throw badFile(
      place,
      `a row of ${cells.length} ${cells.length === 1 ? "cell" : "cells"}, where the file has ${columns.length} columns: ${shownNames(columns.map(({ name }) => name))}` +
        (cells.length > columns.length ? `; a cell that holds ${JSON.stringify(delimiter)} stands in quotes` : ""),
    );
  for (let i = 0; i < cells.length; i++) {
    const { name, asked, finder } = columns[i]!;
    const cell = cells[i]!;
    if (asked === "string" || missing.has(cell)) continue;
    if (asked === undefined) finder.see(cell);
    else if (valueOf(cell, asked) === undefined)
      throw badFile(
        place,
        `${oneLine(name)} is ${quoted(cell)}, which is no ${asked}; types: { ${oneLine(name)}: "string" } takes it as text, missing: […] as no value`,
      );
  }
}

function columnsOf(path: string, header: readonly string[], { types = {} }: CsvOptions): Column[] {
  // pandas writes the index of its rows as a column without a name, and reads it so.
  const names = header.map((name, i) => (name === "" ? `Unnamed: ${i}` : name));
  const twice = names.filter((name, i) => names.indexOf(name) !== i);
  if (twice.length > 0)
    throw badFile(
      path,
      `its header has ${quoted(twice[0]!)} twice; write another name there, since a row has one value for each name`,
    );
  for (const [name, type] of Object.entries(types)) {
    if (!columnTypes.includes(type))
      throw new TorchwireError(
        "MISUSE",
        `types: ${oneLine(name)} is ${JSON.stringify(type)}; known are ${columnTypes.join(", ")}`,
      );
    if (!names.includes(name))
      throw new TorchwireError(
        "MISUSE",
        `types: ${shownPath(path)} has no column ${quoted(name)}; it has ${shownNames(names)}`,
      );
  }
  return names.map((name) => ({
    name,
    asked: Object.hasOwn(types, name) ? types[name] : undefined,
    finder: new TypeFinder(),
    type: "string",
  }));
}

/** A file that is parted by other signs looks like a table of one column. */
function checkDelimiter(path: string, header: readonly string[], { delimiter }: CsvOptions): void {
  const [only] = header;
  const other = [";", "\t", "|", ","].find((sign) => only!.includes(sign));
  if (delimiter === undefined && header.length === 1 && other !== undefined)
    throw badFile(
      path,
      `its header is one column, ${quoted(only!)}; is it parted by ${JSON.stringify(other)}? Give delimiter: ${JSON.stringify(other)}, or another sign to keep one column`,
    );
}

function dialectOf(path: string, options: CsvOptions): Dialect {
  const { delimiter = /\.(?:tsv|tab)(?:\.gz)?$/i.test(path) ? "\t" : ",", missing = pandasMissing } = options;
  const { encoding = "utf-8" } = options;
  if (!isDelimiter(delimiter))
    throw new TorchwireError(
      "MISUSE",
      `delimiter is ${JSON.stringify(delimiter)}; it must be one ASCII character, and neither a quote nor the end of a line`,
    );
  let decoder: Dialect["decoder"];
  try {
    decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
  } catch (cause) {
    throw new TorchwireError("MISUSE", `encoding: there is none of the name ${JSON.stringify(encoding)}`, { cause });
  }
  if (decoder.encoding.startsWith("utf-16"))
    throw new TorchwireError("MISUSE", "encoding: text in UTF-16 has no bytes to find lines by; save it as UTF-8");
  return { delimiter, missing: new Set(missing), decoder };
}

const shownNames = (names: readonly string[]): string =>
  names.length > 12
    ? `${names
        .slice(0, 12)
        .map((name) => oneLine(name, 40))
        .join(", ")} and ${names.length - 12} more`
    : names.map((name) => oneLine(name, 40)).join(", ");
