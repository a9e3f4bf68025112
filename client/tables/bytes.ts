/** The bytes of a file by position: in memory, or in pages that are read when they are needed. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { isURL, messageOf } from "../../bridge/runtime/kinds.ts";
import { cannotRead, openRegularFile } from "../../bridge/runtime/regular-file.ts";
import { after, isThenable } from "./source.ts";

export interface Bytes {
  /** As an error names it. */
  readonly path: string;
  readonly size: number;
  /** Changes when the file does. */
  readonly fingerprint: string;
  /** The bytes from `start` to `end - 1`. They may be shared: do not change them. */
  read(start: number, end: number): Uint8Array | Promise<Uint8Array>;
}

export const shownPath = (path: string): string => oneLine(path, 1000);

export const badFile = (path: string, what: string, cause?: unknown): TorchwireError =>
  new TorchwireError("BAD_DATA", `${shownPath(path)}: ${what}`, { cause });

/** Throws MISUSE, naming the function `what`, for what is no path. */
export function pathOf(path: string | URL, what: string): string {
  if (typeof path === "string" && path !== "") return path;
  if (isURL(path) && path.protocol === "file:") return fileURLToPath(path);
  if (isURL(path))
    throw new TorchwireError("MISUSE", `${what} reads files, and not ${oneLine(path.href)}; download it first`);
  throw new TorchwireError("MISUSE", `${what} takes a path or a file URL, not ${path === "" ? '""' : typeof path}`);
}

export function checkCacheBytes(cacheBytes: number): void {
  if (typeof cacheBytes !== "number" || !(cacheBytes >= 0))
    throw new TorchwireError("MISUSE", `cacheBytes must be a number of bytes from 0 on, not ${String(cacheBytes)}`);
}

/** The folder in which a file's relative paths begin. */
export const folderOf = (path: string): string => dirname(resolve(path));

export const digest = (...parts: readonly unknown[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("hex");

/** A gzipped file is unpacked into memory, up to this many bytes: nothing inside of it can be found by its position. */
const MOST_UNPACKED = 2 ** 30;

/**
 * Opens a file. It keeps up to `cacheBytes` of it in memory. Throws BAD_DATA where it cannot be read, and for a gzipped
 * file that is too large to unpack.
 */
export async function openBytes(path: string, cacheBytes: number): Promise<Bytes> {
  const file = new PagedFile(path, cacheBytes);
  await file.open();
  const [first, second] = await file.read(0, Math.min(2, file.size));
  return first === 0x1f && second === 0x8b ? unpacked(file) : file;
}

/** The pages of `bytes`, in order, each with the position of its first byte. */
export async function* pagesOf(bytes: Bytes): AsyncGenerator<{ start: number; page: Uint8Array }, void, undefined> {
  for (let start = 0; start < bytes.size; start += PAGE)
    yield { start, page: await bytes.read(start, Math.min(start + PAGE, bytes.size)) };
}

const PAGE = 1 << 16;
/** After this many milliseconds without a read, the file is closed. It is opened again when it is needed. */
const IDLE = 1000;

/** A file that is read by pages. The pages that were used last stay in memory. */
export class PagedFile implements Bytes {
  readonly path: string;
  readonly #absolute: string;
  readonly #most: number;
  readonly #pages = new Map<number, Uint8Array | Promise<Uint8Array>>();
  #state: { readonly size: number; readonly changed: number } | undefined;
  #handle: Promise<FileHandle> | undefined;
  #readers = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor(path: string, cacheBytes: number) {
    this.path = path;
    // The program may change its working directory.
    this.#absolute = resolve(path);
    checkCacheBytes(cacheBytes);
    this.#most = Math.max(1, Math.floor(cacheBytes / PAGE));
  }

  get size(): number {
    return this.#state!.size;
  }

  get fingerprint(): string {
    return digest(this.#absolute, this.#state!.size, this.#state!.changed);
  }

  /** Must be called before all else. Throws BAD_DATA where the file cannot be read. */
  async open(): Promise<void> {
    await this.#opened(() => Promise.resolve());
  }

  read(start: number, end: number): Uint8Array | Promise<Uint8Array> {
    const first = Math.floor(start / PAGE);
    const last = Math.max(first, Math.ceil(end / PAGE) - 1);
    if (first === last)
      return after(this.#page(first), (page) => page.subarray(start - first * PAGE, end - first * PAGE));
    // Long reads go past the pages, which many short ones share.
    if (last - first >= 16) return this.#load(start, end);
    const pages = Array.from({ length: last - first + 1 }, (_, i) => this.#page(first + i));
    const join = (parts: readonly Uint8Array[]): Uint8Array =>
      Buffer.concat(parts).subarray(start - first * PAGE, end - first * PAGE);
    return pages.some(isThenable) ? allOf(pages).then(join) : join(pages as Uint8Array[]);
  }

  #page(number: number): Uint8Array | Promise<Uint8Array> {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = this.#load(number * PAGE, Math.min((number + 1) * PAGE, this.size)).then(
        (bytes) => {
          if (this.#pages.has(number)) this.#pages.set(number, bytes);
          return bytes;
        },
        (error: unknown) => {
          this.#pages.delete(number);
          throw error;
        },
      );
    } else this.#pages.delete(number);
    // The page that was used last stands last.
    this.#pages.set(number, page);
    if (this.#pages.size > this.#most) this.#pages.delete(this.#pages.keys().next().value!);
    return page;
  }

  #load(start: number, end: number): Promise<Uint8Array> {
    return this.#opened(async (handle) => {
      const bytes = new Uint8Array(end - start);
      for (let filled = 0; filled < bytes.length;) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
        if (bytesRead === 0) throw badFile(this.path, CHANGED);
        filled += bytesRead;
      }
      return bytes;
    });
  }

  /** Runs `work` on the open file. Throws BAD_DATA where the file is not the one that was opened first. */
  async #opened<T>(work: (handle: FileHandle) => Promise<T>): Promise<T> {
    clearTimeout(this.#idle);
    this.#readers++;
    try {
      this.#handle ??= this.#opening();
      return await work(await this.#handle);
    } catch (cause) {
      if (cause instanceof TorchwireError) throw cause;
      throw new TorchwireError("BAD_DATA", cannotRead("the file ", shownPath(this.path), cause), { cause });
    } finally {
      if (--this.#readers === 0) this.#idle = setTimeout(() => this.#close(), IDLE).unref();
    }
  }

  async #opening(): Promise<FileHandle> {
    let handle: FileHandle | undefined;
    try {
      handle = await openRegularFile(this.#absolute);
      const { size, mtimeMs: changed } = await handle.stat();
      this.#state ??= { size, changed };
      if (this.#state.size !== size || this.#state.changed !== changed) throw badFile(this.path, CHANGED);
      return handle;
    } catch (error) {
      this.#handle = undefined;
      await handle?.close();
      throw error;
    }
  }

  #close(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    // Nothing was written, so nothing is lost where closing fails.
    void handle?.then((open) => open.close()).catch(() => undefined);
  }
}

const allOf = (pages: readonly (Uint8Array | Promise<Uint8Array>)[]): Promise<Uint8Array[]> =>
  Promise.all(pages.map(async (page) => page));

const CHANGED = "it has changed since it was opened; open it again";

async function unpacked(file: PagedFile): Promise<Bytes> {
  const pages = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const { page } of pagesOf(file)) yield page;
  };
  // `pipeline` needs a callback. Errors reach the loop that reads the stream.
  const unzip = pipeline(Readable.from(pages()), createGunzip({ chunkSize: 1 << 18 }), () => undefined);
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of unzip as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > MOST_UNPACKED)
        throw new Error(`it is gzipped, and more than ${MOST_UNPACKED} bytes unpacked; unpack it first (gunzip)`);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof TorchwireError) throw cause;
    throw badFile(file.path, messageOf(cause), cause);
  }
  const all = Buffer.concat(chunks);
  return { path: file.path, size, fingerprint: file.fingerprint, read: (start, end) => all.subarray(start, end) };
}
