/** A file that grows by whole records. */
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { KeptState } from "../callback/callback.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";

/** Data may stay in this machine's memory alone for at most this long. */
const SYNC_MS = 1000;

/**
 * Each record is in the file, in one piece, when `write` returns, and on the disk about a second later. Readers
 * therefore find whole records, even if this process or its machine stops, or the disk is full. The first record makes
 * the file.
 */
export class RecordFile {
  readonly path: string;
  readonly #isText: boolean;
  #fd: number | undefined;
  #isBroken = false;
  #saidShort = false;
  #sync: NodeJS.Timeout | undefined;

  /** `isText`: a record is a line. Half a last line, left by a machine that stopped, is then cut off. */
  constructor(path: string, { isText }: { readonly isText: boolean }) {
    this.path = path;
    this.#isText = isText;
  }

  /** The file ends in half a record, which could not be removed. Nothing may follow it. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /**
   * Writes a record. In an empty file `first` comes before it. Throws NOT_SAVED, and the file then ends with the record
   * before.
   */
  write(record: string | Uint8Array, first?: string | Uint8Array): void {
    try {
      const fd = (this.#fd ??= this.#open());
      const { size } = fstatSync(fd);
      const parts = size === 0 && first !== undefined ? [first, record] : [record];
      const bytes = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
      try {
        for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      } catch (error) {
        this.#takeBack(fd, size);
        throw error;
      }
      this.#sync ??= setTimeout(() => this.#flush(fd), SYNC_MS).unref();
    } catch (cause) {
      throw new TorchwireError("NOT_SAVED", `${this.path} cannot be written: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Its length, all of which is on the disk by now. A file that is shorter than that, or gone, is told as a warning.
   */
  readonly state: KeptState<number> = {
    save: () => {
      if (this.#fd === undefined) return existsSync(this.path) ? statSync(this.path).size : 0;
      fdatasyncSync(this.#fd);
      return fstatSync(this.#fd).size;
    },
    load: (bytes) => {
      if (!existsSync(this.path)) return bytes === 0 ? undefined : this.#tellShort("is gone", bytes);
      const fd = (this.#fd ??= this.#open());
      const { size } = fstatSync(fd);
      if (size < bytes) this.#tellShort(`has ${size} bytes`, bytes);
      else ftruncateSync(fd, bytes);
    },
  };

  /** A log that was lost must not hold up the training. */
  #tellShort(what: string, bytes: number): void {
    if (!this.#saidShort)
      process.emitWarning(
        `${this.path} ${what}, and ${bytes} had been written at the checkpoint: the fit goes on, and what was lost is missing there`,
        { type: "TorchwireWarning" },
      );
    this.#saidShort = true;
  }

  close(): void {
    clearTimeout(this.#sync);
    this.#sync = undefined;
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) closeSync(fd);
  }

  #takeBack(fd: number, size: number): void {
    try {
      ftruncateSync(fd, size);
    } catch {
      // A text file is cut to its last whole line when it is opened again.
      this.#isBroken = !this.#isText;
      this.close();
    }
  }

  #open(): number {
    const fd = openSync(this.path, this.#isText ? "a+" : "a");
    if (this.#isText) ftruncateSync(fd, endOfLines(fd));
    return fd;
  }

  #flush(fd: number): void {
    this.#sync = undefined;
    // The file may be closed by now, and some file systems cannot sync.
    if (fd === this.#fd) fdatasync(fd, () => undefined);
  }
}

/** The end of the last whole line. */
function endOfLines(fd: number): number {
  const piece = Buffer.alloc(4096);
  for (let end = fstatSync(fd).size; end > 0;) {
    const start = Math.max(0, end - piece.length);
    const length = readSync(fd, piece, 0, end - start, start);
    const newline = piece.subarray(0, length).lastIndexOf("\n");
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}
