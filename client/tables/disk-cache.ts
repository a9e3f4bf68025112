/**
 * Rows kept in a folder: `rows.bin` has each row as Node serializes values, `index.bin` where each begins, and
 * `cache.json` what they were made of. The folder appears as a whole or not at all.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { deserialize, serialize } from "node:v8";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { classOf, isDate, isMap, isPlainObject, isSet, messageOf, viewKind } from "../../bridge/runtime/kinds.ts";
import { badFile, digest, PagedFile, shownPath } from "./bytes.ts";
import { Offsets } from "./offsets.ts";
import { after, isThenable, type RowSource } from "./source.ts";

export interface CacheOptions {
  /**
   * Text that changes when the rows should be made anew: it names what the functions of `map` and `filter` depend on
   * beside their own source, such as a size, or the version of a file that they read.
   */
  readonly key?: string;
  /** How many rows are made at once, where they come as promises. Default: 8. */
  readonly workers?: number;
  /** Called after rows were written. `total` is undefined where the source has no length. */
  readonly onProgress?: (done: number, total: number | undefined) => void;
  /** Ends the writing: the call rejects with the signal's reason, and leaves nothing behind. */
  readonly signal?: AbortSignal;
  /** How much of the rows stays in memory, in bytes. Default: 64 MiB. */
  readonly cacheBytes?: number;
}

/** Rows by index, or one after the other. */
export type CacheSource<Row> =
  | { readonly length: number; get(index: number): Row | Promise<Row> }
  | Iterable<Row | Promise<Row>>
  | AsyncIterable<Row>;

interface Manifest {
  readonly format: string;
  readonly fingerprint: string;
  readonly rows: number;
  readonly bytes: number;
}

const FORMAT = "torchwire rows 1";

/**
 * The rows of `folder`, if they were made of the same, else those of `source`, which it writes there first. It never
 * replaces a folder that holds anything else: MISUSE.
 */
export async function cachedRows<Row>(
  source: CacheSource<Row>,
  folder: string,
  fingerprint: string,
  options: CacheOptions = {},
): Promise<RowSource<Row>> {
  const { key = "", cacheBytes = 64 * 2 ** 20 } = options;
  const whole = digest(FORMAT, fingerprint, key);
  const there = await openCache<Row>(folder, cacheBytes);
  if (there?.fingerprint() === whole) return there;
  await write(source, folder, whole, options, there !== undefined);
  const made = await openCache<Row>(folder, cacheBytes);
  if (made === undefined)
    throw badFile(folder, "the rows that were just written are gone; another program removed them");
  return made;
}

/** The rows in a folder; undefined where there is none yet. A damaged cache has no fingerprint that anything has. */
async function openCache<Row>(folder: string, cacheBytes: number): Promise<RowSource<Row> | undefined> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return [];
    throw badFile(folder, `cacheOnDisk cannot use it: ${cause.message}`, cause);
  });
  if (names.length === 0) return undefined;
  const manifest = await manifestOf(folder);
  if (manifest === undefined)
    throw new TorchwireError(
      "MISUSE",
      `cacheOnDisk: ${shownPath(folder)} holds other files; give a folder of its own, which need not exist`,
    );
  const damaged: RowSource<Row> = { length: 0, fingerprint: () => "damaged", get: () => undefined as Row };
  const starts = await readFile(join(folder, "index.bin")).catch(() => undefined);
  if (starts?.length !== 8 * (manifest.rows + 1)) return damaged;
  const file = new PagedFile(join(folder, "rows.bin"), cacheBytes);
  try {
    await file.open();
  } catch {
    return damaged;
  }
  if (file.size !== manifest.bytes) return damaged;
  const index = new Float64Array(new Uint8Array(starts).buffer);
  return {
    length: manifest.rows,
    fingerprint: () => manifest.fingerprint,
    get: (row) =>
      after(file.read(index[row]!, index[row + 1]!), (bytes) => {
        try {
          // Arrays in a row are views of the bytes that they were read from: these must belong to this row alone.
          return deserialize(new Uint8Array(bytes)) as Row;
        } catch (cause) {
          throw badFile(
            join(folder, "rows.bin"),
            `row ${row} cannot be read (${messageOf(cause)}); was it written by a newer Node? Remove the folder`,
            cause,
          );
        }
      }),
  };
}

async function manifestOf(folder: string): Promise<Manifest | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, "cache.json"), "utf8")) as Manifest;
    return typeof manifest.format === "string" && manifest.format.startsWith("torchwire rows ") ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** Writes into a folder beside, and puts that in its place. */
async function write<Row>(
  source: CacheSource<Row>,
  folder: string,
  fingerprint: string,
  options: CacheOptions,
  replace: boolean,
): Promise<void> {
  const beside = `${resolve(folder)}.${process.pid}-${randomBytes(4).toString("hex")}`;
  await mkdir(dirname(beside), { recursive: true });
  await mkdir(beside);
  try {
    const { starts, bytes } = await writeRows(source, join(beside, "rows.bin"), options);
    await writeFile(join(beside, "index.bin"), new Uint8Array(starts.toArray().buffer));
    const manifest: Manifest = { format: FORMAT, fingerprint, rows: starts.length - 1, bytes };
    await writeFile(join(beside, "cache.json"), `${JSON.stringify(manifest)}\n`);
    if (replace) await rm(folder, { recursive: true, force: true });
    // Not every system renames to an empty folder.
    else await rmdir(folder).catch(() => undefined);
    await rename(beside, folder).catch(async (error: unknown) => {
      // Another program may have been quicker. Its rows are as good, if they were made of the same.
      if ((await manifestOf(folder))?.fingerprint !== fingerprint) throw error;
      await rm(beside, { recursive: true, force: true });
    });
  } catch (error) {
    await rm(beside, { recursive: true, force: true });
    throw error;
  }
}

async function writeRows<Row>(
  source: CacheSource<Row>,
  path: string,
  options: CacheOptions,
): Promise<{ starts: Offsets; bytes: number }> {
  const { workers = 8, onProgress, signal } = options;
  if (!Number.isSafeInteger(workers) || workers < 1)
    throw new TorchwireError("MISUSE", `workers must be an integer from 1 on, not ${String(workers)}`);
  const total = "length" in source ? (source as { length: number }).length : undefined;
  const starts = new Offsets();
  starts.push(0);
  let bytes = 0;
  let pending: Uint8Array[] = [];
  let held = 0;
  const file = await open(path, "wx");
  try {
    for await (const row of inOrder(source, workers)) {
      signal?.throwIfAborted();
      const record = packed(row, starts.length - 1);
      pending.push(record);
      held += record.length;
      bytes += record.length;
      starts.push(bytes);
      if (held < 1 << 20) continue;
      await file.writeFile(Buffer.concat(pending));
      [pending, held] = [[], 0];
      onProgress?.(starts.length - 1, total);
    }
    signal?.throwIfAborted();
    await file.writeFile(Buffer.concat(pending));
    onProgress?.(starts.length - 1, total);
  } finally {
    await file.close();
  }
  return { starts, bytes };
}

const isIndexed = <Row>(
  source: CacheSource<Row>,
): source is { readonly length: number; get(index: number): Row | Promise<Row> } =>
  "get" in source && "length" in source;

/** The rows in order, some of them asked for ahead. */
export async function* inOrder<Row>(source: CacheSource<Row>, workers: number): AsyncGenerator<Row, void, undefined> {
  if (!isIndexed(source)) {
    for await (const row of source) yield row;
    return;
  }
  const ahead: (Row | Promise<Row>)[] = [];
  let next = 0;
  for (let row = 0; row < source.length; row++) {
    while (next < source.length && ahead.length < workers) {
      const asked = ask(source, next++);
      // It is awaited in its turn; until then, a failure is no unhandled rejection.
      if (isThenable(asked)) asked.then(undefined, () => undefined);
      ahead.push(asked);
    }
    const first = ahead.shift()!;
    // Rows that are here at once would hold up everything else.
    if (row % 256 === 255) await new Promise((go) => setImmediate(go));
    yield isThenable(first) ? await first : first;
  }
}

/** A row that cannot be made fails in its turn, after those before it. */
function ask<Row>(source: { get(index: number): Row | Promise<Row> }, index: number): Row | Promise<Row> {
  try {
    return source.get(index);
  } catch (error) {
    return Promise.reject(error);
  }
}

function packed(row: unknown, index: number): Uint8Array {
  checkKept(row, `row ${index}`, 0);
  try {
    return serialize(row);
  } catch (cause) {
    throw new TorchwireError("BAD_DATA", `row ${index} cannot be kept on disk: ${messageOf(cause)}`, { cause });
  }
}

/** Serializing drops classes and would give other rows back than were put in. */
function checkKept(value: unknown, path: string, depth: number): void {
  if (typeof value === "function" || typeof value === "symbol") refuse(path, `a ${typeof value}`);
  if (typeof value !== "object" || value === null || isDate(value)) return;
  if (depth > 64) refuse(path, "nested more than 64 deep, or contains itself");
  if (ArrayBuffer.isView(value)) {
    if (viewKind(value) === "DataView") refuse(path, "a DataView");
  } else if (Array.isArray(value)) for (const [i, part] of value.entries()) checkKept(part, `${path}[${i}]`, depth + 1);
  else if (isMap(value) || isSet(value)) for (const part of value) checkKept(part, path, depth + 1);
  else if (isPlainObject(value))
    for (const [name, part] of Object.entries(value)) checkKept(part, `${path}.${name}`, depth + 1);
  else refuse(path, `a ${classOf(value)}`);
}

function refuse(path: string, what: string): never {
  throw new TorchwireError(
    "BAD_DATA",
    `${path} is ${what}, which cannot be kept on disk: rows have plain records and lists, typed arrays, text, numbers, dates`,
  );
}
