/** Rows by index, with what one does to rows: `map`, `filter`, `split`, `cacheOnDisk`. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine, quoted } from "../../bridge/errors/shown.ts";
import { traced } from "../../bridge/errors/site.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import { digest, pathOf } from "../tables/bytes.ts";
import { type CacheOptions, cachedRows, inOrder } from "../tables/disk-cache.ts";
import { after, type Features, placeOf, type RowSource } from "../tables/source.ts";
import { splitIndices, type SplitOptions } from "./dataset.ts";
import { checkImageOptions, imageOptions, type ImageOptions } from "./decode.ts";
import { onlyOptions } from "../options/keywords.ts";
import { withImage } from "./image-column.ts";

/** How images of a column are read. */
export interface DecodeImageOptions extends ImageOptions {
  /** Paths in the column begin here. Default: the folder of the file that has the rows. */
  readonly folder?: string | URL;
}

/** Rows by index: a table's, or what `map` made of them. */
export class RowDataset<Row> implements AsyncIterable<Row> {
  readonly #source: RowSource<Row>;

  constructor(source: RowSource<Row>) {
    this.#source = source;
  }

  /** The number of rows. */
  get length(): number {
    return this.#source.length;
  }

  /** The names of the columns, where every row has the same: not of JSON lines, nor after `map`. */
  get columnNames(): readonly string[] | undefined {
    return this.#source.columns;
  }

  /** The columns as Hugging Face's `datasets` described them in the file, by name. */
  get features(): Features | undefined {
    return this.#source.features;
  }

  /**
   * Row `index`, made anew at each call; a promise where the file must be read. Throws MISUSE for an index out of range,
   * and BAD_DATA, with the file and the line, where the row cannot be read.
   */
  get(index: number): Row | Promise<Row> {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.length)
      throw new TorchwireError("MISUSE", `there is no row ${String(index)}: there are ${this.length}, counted from 0`);
    return this.#source.get(index);
  }

  /** All rows in order. What is in memory stays bounded, however large the file. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    yield* inOrder(this.#source, 4);
  }

  /** All rows as a list. */
  async toArray(): Promise<Row[]> {
    const rows: Row[] = [];
    for await (const row of this) rows.push(row);
    return rows;
  }

  /**
   * The same rows, each changed by `fn` when it is asked for, and each time anew. `fn` may be async, and gets the row's
   * index. The names of columns and features are gone: they said what the old rows were.
   *
   * A DataLoader takes rows that are samples: `rows.map(({ image, label }) => ({ xs: image, ys: label }))`.
   */
  map<Other>(fn: (row: Row, index: number) => Other | Promise<Other>): RowDataset<Other> {
    if (typeof fn !== "function") throw new TorchwireError("MISUSE", `map takes a function, not ${typeof fn}`);
    const source = this.#source;
    return new RowDataset<Other>({
      length: source.length,
      fingerprint: () => digest("map", source.fingerprint(), String(fn)),
      folder: source.folder,
      get: (index) => after(source.get(index), (row) => fn(row, index)),
      place: (index) => placeOf(source, index),
    });
  }

  /**
   * The rows for which `fn` gives true, or a promise of it. It reads every row once, now; four bytes for each row that
   * is kept stay in memory. Throws what `fn` throws.
   */
  filter<Kept extends Row>(fn: (row: Row, index: number) => row is Kept): Promise<RowDataset<Kept>>;
  filter(fn: (row: Row, index: number) => boolean | Promise<boolean>): Promise<RowDataset<Row>>;
  filter(fn: (row: Row, index: number) => boolean | Promise<boolean>): Promise<RowDataset<Row>> {
    return traced("filter", async () => {
      if (typeof fn !== "function") throw new TorchwireError("MISUSE", `filter takes a function, not ${typeof fn}`);
      const source = this.#source;
      const asked = {
        length: source.length,
        get: (index: number) => after(source.get(index), (row) => fn(row, index)),
      };
      const kept: number[] = [];
      let index = 0;
      for await (const keep of inOrder<boolean>(asked, 8)) {
        if (typeof keep !== "boolean")
          throw new TorchwireError(
            "MISUSE",
            `filter: the function gave ${keep === undefined ? "nothing" : `a ${typeof keep}`} for row ${index}; it must give true or false`,
          );
        if (keep) kept.push(index);
        index++;
      }
      return this.#chosen(Uint32Array.from(kept), "filter");
    });
  }

  /** The rows at `indices`, in that order. An index may come twice. Throws MISUSE where one is out of range. */
  select(indices: ArrayLike<number>): RowDataset<Row> {
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      if (!Number.isSafeInteger(index) || index < 0 || index >= this.length)
        throw new TorchwireError(
          "MISUSE",
          `select: there is no row ${String(index)}; there are ${this.length}, counted from 0`,
        );
    }
    return this.#chosen(Uint32Array.from(indices), "select");
  }

  /** The first `n` rows, or all where there are fewer. Throws MISUSE unless `n` is a whole number. */
  take(n: number): RowDataset<Row> {
    if (!Number.isSafeInteger(n) || n < 0)
      throw new TorchwireError("MISUSE", `take: n must be a whole number, not ${String(n)}`);
    return this.#chosen(
      Uint32Array.from({ length: Math.min(n, this.length) }, (_, i) => i),
      "take",
    );
  }

  /**
   * Two parts that share no row: round(fraction · length) rows drawn by `seed` (default: 0), and the rest, each in the
   * order of the rows. Throws MISUSE unless the fraction lies between 0 and 1, exclusive.
   */
  split(fraction: number, options?: SplitOptions): [first: RowDataset<Row>, second: RowDataset<Row>] {
    const [first, second] = splitIndices(this.length, fraction, options);
    return [this.#chosen(first, "split"), this.#chosen(second, "split")];
  }

  /**
   * The values of one column, in order. Of Parquet it reads that column alone. Throws BAD_DATA where a row has no such
   * column.
   */
  column<Name extends keyof Row & string>(name: Name): Promise<Row[Name][]> {
    return traced("column", async () => {
      const { columns } = this.#source;
      if (columns !== undefined && !columns.includes(name))
        throw new TorchwireError(
          "MISUSE",
          `there is no column ${quoted(name)}; there are ${columns.map((one) => oneLine(one)).join(", ")}`,
        );
      const source = columns === undefined ? this.#source : (this.#source.only?.([name]) ?? this.#source);
      const values: Row[Name][] = [];
      for await (const row of inOrder<unknown>(source, 4)) {
        if (!isPlainObject(row) || !Object.hasOwn(row, name))
          throw new TorchwireError("BAD_DATA", `row ${values.length} has no ${quoted(name)}`);
        values.push(row[name] as Row[Name]);
      }
      return values;
    });
  }

  /**
   * The different values of one column, in the order in which they come: `(await rows.unique("species")).toSorted()`
   * are the classes.
   */
  async unique<Name extends keyof Row & string>(name: Name): Promise<Row[Name][]> {
    return [...new Set(await this.column(name))];
  }

  /**
   * The names of the classes whose indices stand in a column, as Hugging Face's `datasets` wrote them into the file.
   * Throws MISUSE where it wrote none for this column.
   */
  classNames(column: keyof Row & string): readonly string[] {
    const { names } = this.features?.[column] ?? {};
    if (Array.isArray(names) && names.every((name) => typeof name === "string")) return names;
    throw new TorchwireError(
      "MISUSE",
      `the file has no names of classes for the column ${quoted(column)}; unique(${quoted(column)}) gives its values`,
    );
  }

  /**
   * The same rows with the images of one column decoded: uint8 [height, width, 3] in sRGB, as `imageFolder` has them. A
   * value may be the bytes of an image file, a path, or `{ bytes, path }`, which is how Hugging Face's `datasets` keeps
   * an image. Needs the package sharp.
   *
   * `get` throws BAD_DATA, with the row's place, where an image is missing or cannot be read; ENVIRONMENT where sharp is
   * missing. `decodeImage` throws MISUSE for a wrong option.
   */
  decodeImage<Name extends keyof Row & string>(
    column: Name,
    options: DecodeImageOptions = {},
  ): RowDataset<{ [Each in keyof Row]: Each extends Name ? NDArray : Row[Each] }> {
    onlyOptions<DecodeImageOptions>("decodeImage", { ...imageOptions, folder: true }, options);
    const source = this.#source;
    if (source.columns?.includes(column) === false)
      throw new TorchwireError(
        "MISUSE",
        `decodeImage: there is no column ${quoted(column)}; there are ${source.columns.map((one) => oneLine(one)).join(", ")}`,
      );
    const { folder = source.folder ?? "." } = options;
    const root = pathOf(folder, "decodeImage");
    return new RowDataset<any>(withImage(source, column, root, checkImageOptions(options)));
  }

  /**
   * Writes the rows to `folder`, made and ready, and gives them from there: quickly, at random, and with bounded memory.
   * It is for what is slow to make again in each epoch: decoded images, rows of Parquet that are read out of order.
   *
   * A folder that already holds these rows is used as it is, in this program or the next. They are made anew when a file
   * that they come from, a function of `map` or `filter`, or `key` has changed. The text of a function does not tell what
   * it takes from outside: name that in `key`.
   *
   * Rows hold plain records and lists, arrays, text, numbers, bigints, dates and null. Throws BAD_DATA for anything else,
   * MISUSE for a folder with other files in it, and what making a row throws; then nothing is left behind.
   */
  cacheOnDisk(folder: string | URL, options: CacheOptions = {}): Promise<RowDataset<Row>> {
    const { features, columns, folder: root } = this.#source;
    return traced("cacheOnDisk", async () => {
      const path = pathOf(folder, "cacheOnDisk");
      const rows = await cachedRows(this.#source, path, this.#source.fingerprint(), options);
      return new RowDataset<Row>({ ...rows, features, columns, folder: root });
    });
  }

  #chosen(indices: Uint32Array, how: string): RowDataset<Row> {
    return new RowDataset(chosen(this.#source, indices, how));
  }
}

/** Some rows of a source. */
function chosen<Row>(source: RowSource<Row>, indices: Uint32Array, how: string): RowSource<Row> {
  return {
    length: indices.length,
    columns: source.columns,
    features: source.features,
    folder: source.folder,
    fingerprint: () => digest(how, source.fingerprint(), Buffer.from(indices.buffer).toString("base64")),
    get: (index) => source.get(indices[index]!),
    place: (index) => placeOf(source, indices[index]!),
    ...(source.only !== undefined && { only: (columns) => chosen(source.only!(columns), indices, how) }),
  };
}
