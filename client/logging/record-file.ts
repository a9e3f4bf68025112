/** A file that grows by whole records. */
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { TorchwireError } from "../../bridge/errors.ts";

/** The longest that what was written may stay in the memory of this machine alone. */
const SYNC_MS = 1000;

/**
 * Each record is in the file when `write` returns, in one piece, and on the disk about a second later: whoever reads finds whole records, whenever this
 * process or its machine stops. The file is made with the first record.
 */
export class RecordFile {
  readonly path: string;
  readonly #isText: boolean;
  #fd: number | undefined;
  #sync: NodeJS.Timeout | undefined;

  /** `isText`: a record is a line. What a machine that stopped has left of a last line is then cut off. */
  constructor(path: string, { isText }: { readonly isText: boolean }) {
    this.path = path;
    this.#isText = isText;
  }

  /** `first` comes before the first record of a file that is empty. */
  write(record: string | Uint8Array, first?: string): void {
    try {
      const isNew = this.#fd === undefined;
      const fd = (this.#fd ??= this.#open());
      const heading = isNew && first !== undefined && fstatSync(fd).size === 0 ? first : "";
      const bytes = typeof record === "string" ? Buffer.from(heading + record) : record;
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      this.#sync ??= setTimeout(() => this.#flush(fd), SYNC_MS).unref();
    } catch (cause) {
      throw new TorchwireError("NOT_SAVED", `${this.path} cannot be written: ${(cause as Error).message}`, { cause });
    }
  }

  close(): void {
    clearTimeout(this.#sync);
    this.#sync = undefined;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    const fd = openSync(this.path, this.#isText ? "a+" : "a");
    if (this.#isText) ftruncateSync(fd, endOfLines(fd));
    return fd;
  }

  #flush(fd: number): void {
    this.#sync = undefined;
    // It may have been closed meanwhile; and there are file systems that cannot.
    if (fd === this.#fd) fdatasync(fd, () => undefined);
  }
}

/** Where the last whole line ends. */
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
