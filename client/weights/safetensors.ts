/**
 * Files in the safetensors format: read in pieces, written in one pass. No function here holds a whole file in memory.
 */
import { randomUUID, type Hash } from "node:crypto";
import { open, type FileHandle, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { cannotRead, openRegularFile } from "../../bridge/runtime/regular-file.ts";
import {
  buildHeader,
  type Header,
  mostHeaderBytes,
  parseHeader,
  prefixBytes,
  type TensorInfo,
  type TensorPlace,
} from "./header.ts";

/** An open safetensors file. Its header has been read and checked, its tensors have not. */
export class SafetensorsFile implements AsyncDisposable {
  readonly path: string;
  /** In the order of the file. */
  readonly tensors: readonly TensorPlace[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly #handle: FileHandle;
  readonly #dataStart: number;

  constructor(path: string, handle: FileHandle, { tensors, metadata }: Header, dataStart: number) {
    this.path = path;
    this.tensors = tensors;
    this.metadata = metadata;
    this.#handle = handle;
    this.#dataStart = dataStart;
  }

  /**
   * The bytes of `tensors`, one after the other, in pieces of at most `pieceBytes` (default: 4 MiB). A piece is valid
   * until the next one is asked for. Throws BAD_DATA where the file has become shorter.
   */
  pieces(
    tensors: readonly TensorPlace[],
    pieceBytes: number = 4 * 2 ** 20,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
    const ranges: [number, number][] = [];
    for (const { begin, end } of tensors) {
      const last = ranges.at(-1);
      if (last?.[1] === begin) last[1] = end;
      else ranges.push([begin, end]);
    }
    const absolute = ranges.map(([begin, end]) => [begin + this.#dataStart, end + this.#dataStart] as const);
    return readRanges(this.#handle, absolute, pieceBytes, this.path);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The bytes of `ranges`, each [begin, end), in pieces. All pieces share one buffer. */
export async function* readRanges(
  handle: FileHandle,
  ranges: readonly (readonly [begin: number, end: number])[],
  pieceBytes: number,
  file: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const total = ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const buffer = new Uint8Array(Math.min(pieceBytes, total));
  let filled = 0;
  for (const [begin, end] of ranges) {
    for (let at = begin; at < end;) {
      const { bytesRead } = await handle.read(buffer, filled, Math.min(buffer.length - filled, end - at), at);
      if (bytesRead === 0) throw new TorchwireError("BAD_DATA", `${file}: it ended at byte ${at} while it was read`);
      at += bytesRead;
      filled += bytesRead;
      if (filled < buffer.length) continue;
      yield buffer;
      filled = 0;
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

/**
 * Opens a safetensors file. It reads and checks the header, of at most 100 MB; see parseHeader for the rules.
 *
 * Throws BAD_DATA, naming the file, where it cannot be read or breaks the format.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await openToRead(path);
  try {
    const { size } = await handle.stat();
    const prefix = Buffer.alloc(prefixBytes);
    const { bytesRead } = await handle.read(prefix, 0, prefixBytes, 0);
    if (bytesRead < prefixBytes)
      throw bad(
        path,
        `not a safetensors file: it has ${size} bytes, and the length of its header takes ${prefixBytes}`,
      );
    const claimed = prefix.readBigUInt64LE();
    // Check this before allocating that much.
    if (claimed > BigInt(mostHeaderBytes))
      throw bad(
        path,
        `not a safetensors file: its header would have ${claimed} bytes, ${mostHeaderBytes} are possible`,
      );
    const length = Number(claimed);
    if (prefixBytes + length > size)
      throw bad(path, `it is cut short: its header has ${length} bytes, and ${size - prefixBytes} follow its length`);
    let json = new Uint8Array(0);
    for await (const whole of readRanges(handle, [[prefixBytes, prefixBytes + length]], length, path)) json = whole;
    return new SafetensorsFile(
      path,
      handle,
      parseHeader(json, size - prefixBytes - length, path),
      prefixBytes + length,
    );
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Throws BAD_DATA where `path` does not exist, or is not a file. */
export async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await openRegularFile(path);
  } catch (cause) {
    throw new TorchwireError("BAD_DATA", cannotRead("", path, cause), { cause });
  }
}

/**
 * Writes a safetensors file, and returns its size in bytes. `chunks` are the bytes of `tensors`, one after the other,
 * cut anywhere. `hash` gets all bytes of the file.
 *
 * They go to a temporary file in the same folder, which replaces `path` once it is on the disk as a whole. Any earlier
 * failure leaves the old file as it was. (If this process is killed, the temporary file stays behind.)
 *
 * Throws NOT_SAVED where the file cannot be written, MISUSE where the chunks and the tensors differ in size, and
 * whatever `chunks` throws.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorInfo[],
  chunks: AsyncIterable<Uint8Array>,
  metadata: Readonly<Record<string, string>> = {},
  hash?: Hash,
): Promise<number> {
  const { bytes, dataBytes } = buildHeader(tensors, metadata);
  // Write through a link, so that it stays a link.
  const target = await realpath(path).catch(() => path);
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID().slice(0, 8)}.tmp`);
  const handle = await writing(path, open(temporary, "wx"));
  try {
    try {
      hash?.update(bytes);
      await writing(path, handle.writeFile(bytes));
      let written = 0;
      for await (const chunk of chunks) {
        const isWritten = writing(path, handle.writeFile(chunk));
        hash?.update(chunk);
        await isWritten;
        written += chunk.length;
      }
      if (written !== dataBytes)
        throw new TorchwireError("MISUSE", `${path}: its tensors take ${dataBytes} bytes, the chunks had ${written}`);
      await writing(path, handle.sync());
    } finally {
      await writing(path, handle.close());
    }
    await writing(path, rename(temporary, target));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(target));
  return bytes.length + dataBytes;
}

/** Makes the new name survive a power cut, where the system can. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

async function writing<T>(path: string, step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (cause) {
    const { code, message: reason } = cause as NodeJS.ErrnoException;
    const advice = code === "ENOENT" || code === "ENOTDIR" ? "; its folder must be there first" : "";
    const message = `cannot write ${path}: ${reason}; an older file there stays as it was${advice}`;
    throw new TorchwireError("NOT_SAVED", message, { cause });
  }
}

const bad = (file: string, what: string): TorchwireError => new TorchwireError("BAD_DATA", `${file}: ${what}`);
