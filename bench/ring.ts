/** A ring of shared memory, and a bare link that names its slots: what bytes could cost on one machine. */
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { BareLink } from "./bare.ts";
import type { Streamed } from "./stream.ts";

const PLACE = "/dev/shm";
/** More than are in flight. */
const SLOTS = 6;

export class Ring {
  readonly pid: number;
  readonly #link: BareLink;
  readonly #folder: string;
  readonly #file: number;
  readonly #size: number;
  #next = 0;

  private constructor(link: BareLink, folder: string, file: number, size: number) {
    this.pid = link.pid;
    this.#link = link;
    this.#folder = folder;
    this.#file = file;
    this.#size = size;
  }

  /** For messages of up to `size` bytes. Undefined where the system has no such memory as a file. */
  static async open(python: string, size: number): Promise<Ring | undefined> {
    if (!existsSync(PLACE)) return undefined;
    const folder = mkdtempSync(join(PLACE, "torchwire-bench-"));
    const path = join(folder, "ring");
    const file = openSync(path, "w+", 0o600);
    ftruncateSync(file, SLOTS * size);
    const link = await BareLink.open(python, "ring");
    await link.ask(Buffer.from(path));
    return new Ring(link, folder, file, size);
  }

  stream(seconds: number, window: number, bytes: Uint8Array): Promise<Streamed> {
    return this.#link.stream(seconds, window, () => {
      const at = (this.#next++ % SLOTS) * this.#size;
      // Node maps no memory: this is a copy by the kernel.
      writeSync(this.#file, bytes, 0, bytes.length, at);
      const where = Buffer.alloc(16);
      where.writeBigUInt64LE(BigInt(at));
      where.writeBigUInt64LE(BigInt(bytes.length), 8);
      return where;
    });
  }

  async close(): Promise<void> {
    await this.#link.close();
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true });
  }
}
