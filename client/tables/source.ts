/** What the rows of a file are to the rest: rows by index, and what is known of them without reading one. */

/** Rows by index, 0 to `length - 1`. Each call gives a fresh row, so that the program may change it. */
export interface RowSource<Row> {
  readonly length: number;
  get(index: number): Row | Promise<Row>;
  /** Changes when the rows may have changed. A cache on disk is made anew by it. */
  fingerprint(): string;
  /** The names of the columns, where every row has the same. */
  readonly columns?: readonly string[] | undefined;
  /** The features that Hugging Face's `datasets` wrote beside the rows, by column. */
  readonly features?: Features | undefined;
  /** Paths in the rows begin here. */
  readonly folder?: string | undefined;
  /** Where a row stands, for errors: `penguins.csv:12`. */
  place?(index: number): string | Promise<string>;
  /** The same rows with these columns alone, where that saves reading the others. */
  only?(columns: readonly string[]): RowSource<Readonly<Record<string, unknown>>>;
}

/** A column as Hugging Face's `datasets` describes it: `{ _type: "ClassLabel", names: ["cat", "dog"] }`. */
export interface Feature {
  /** `Value`, `ClassLabel`, `Image`, `Sequence` … */
  readonly _type?: string;
  /** Of a `Value`: `int64`, `string` … */
  readonly dtype?: string;
  /** Of a `ClassLabel`: the name of each class. */
  readonly names?: readonly string[];
  readonly [detail: string]: unknown;
}

export type Features = Readonly<Record<string, Feature>>;

export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** `next(value)`, now where the value is here, else when it comes. Rows in memory cost no turn of the event loop. */
export function after<T, U>(value: T | PromiseLike<T>, next: (value: T) => U | PromiseLike<U>): U | Promise<U> {
  return isThenable(value) ? later(value, next) : (next(value) as U | Promise<U>);
}

/** Where a row stands, for errors. */
export const placeOf = (source: RowSource<unknown>, index: number): string | Promise<string> =>
  source.place?.(index) ?? `row ${index}`;

const later = async <T, U>(value: PromiseLike<T>, next: (value: T) => U | PromiseLike<U>): Promise<U> =>
  next(await value);
