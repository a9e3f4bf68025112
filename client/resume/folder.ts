/** The folder of a run: its checkpoints, of which a half-written one is never taken for whole. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, constants, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { syncFolder } from "../weights/safetensors.ts";
import type { Begun, Manifest } from "./manifest.ts";

/** A whole checkpoint. */
export interface Found {
  readonly path: string;
  readonly manifest: Manifest;
}

const POINTER = "latest.json";
const BEGUN = "begun.json";
const MANIFEST = "manifest.json";
const DRAFT = ".draft-";
const NAME = /^step-(\d+)-(\d+)(?:-(\d+))?$/;

/**
 * Each program that opens the folder gets a number of its own, its incarnation, larger than all before. One that comes
 * back after its successor has begun cannot write any more.
 *
 * A checkpoint is a folder `step-<steps>-<incarnation>` with its files, whose sizes and hashes stand in its manifest. A
 * further one after the same steps has a number at its end: no name is given twice, so that none is ever replaced. All of
 * it is on the disk before the folder gets its name, and has its name before `latest.json` points to it.
 */
export class CheckpointFolder {
  readonly path: string;
  readonly #keep: number;
  #incarnation = 0;

  constructor(folder: string, keep: number) {
    this.path = resolve(folder);
    this.#keep = keep;
  }

  /** Makes the folder where it is missing. Throws NOT_SAVED where it cannot be written to. */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true });
      await access(this.path, constants.W_OK);
    } catch (cause) {
      throw notSaved(this.path, cause);
    }
  }

  /** Takes the folder for this program: from here on no other one writes there. Throws NOT_SAVED. */
  async claim(): Promise<void> {
    try {
      for (let isTaken = false; !isTaken;) {
        this.#incarnation = (await this.#newestIncarnation()) + 1;
        isTaken = await madeAnew(
          join(this.path, `incarnation-${this.#incarnation}.json`),
          `${JSON.stringify({ pid: process.pid, host: hostname(), begun: new Date().toISOString() })}\n`,
        );
      }
      for (const name of await readdir(this.path))
        if (name.startsWith(DRAFT)) await rm(join(this.path, name), { recursive: true, force: true });
    } catch (cause) {
      throw notSaved(this.path, cause);
    }
  }

  /** The newest whole checkpoint. `passedOver` is told of each that is broken, and why. */
  async newest(passedOver: (path: string, why: string) => void): Promise<Found | undefined> {
    for (const name of await this.#names()) {
      const path = join(this.path, name);
      try {
        return { path, manifest: await checked(path) };
      } catch (error) {
        passedOver(path, messageOf(error));
      }
    }
    return undefined;
  }

  /**
   * Writes a checkpoint: `write` puts files into the folder that it gets, and returns the manifest. Throws NOT_SAVED,
   * also where another program has taken the folder since; older checkpoints then stay as they were.
   */
  async commit(steps: number, write: (draft: string) => Promise<Manifest>): Promise<void> {
    let draft: string | undefined;
    try {
      await this.#refuseStale();
      const name = await this.#newName(steps);
      draft = join(this.path, DRAFT + name);
      await rm(draft, { recursive: true, force: true });
      await mkdir(draft);
      const manifest = await write(draft);
      await writeSynced(join(draft, MANIFEST), `${JSON.stringify(manifest)}\n`);
      await syncFolder(draft);
      await this.#refuseStale();
      await rename(draft, join(this.path, name));
      await syncFolder(this.path);
      await this.#replace(POINTER, { checkpoint: name });
    } catch (cause) {
      if (draft !== undefined) await rm(draft, { recursive: true, force: true }).catch(() => undefined);
      throw cause instanceof TorchwireError ? cause : notSaved(this.path, cause);
    }
    await this.#removeOld();
  }

  /** How the run began, where a program has said it. */
  async begun(): Promise<Begun | undefined> {
    const text = await readFile(join(this.path, BEGUN), "utf8").catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as Begun);
  }

  /** Says how the run begins. Throws NOT_SAVED. */
  async begin(begun: Begun): Promise<void> {
    try {
      await this.#replace(BEGUN, begun);
    } catch (cause) {
      throw notSaved(this.path, cause);
    }
  }

  async #replace(name: string, value: object): Promise<void> {
    const path = join(this.path, name);
    await writeSynced(`${path}.tmp`, `${JSON.stringify(value)}\n`);
    await rename(`${path}.tmp`, path);
    await syncFolder(this.path);
  }

  /** The same steps may have been written before: at an epoch's end, and again at the fit's. */
  async #newName(steps: number): Promise<string> {
    const names = await readdir(this.path);
    const plain = `step-${String(steps).padStart(8, "0")}-${this.#incarnation}`;
    if (!names.includes(plain)) return plain;
    for (let number = 2; ; number++) if (!names.includes(`${plain}-${number}`)) return `${plain}-${number}`;
  }

  async #removeOld(): Promise<void> {
    const names = await this.#names();
    for (const name of names.slice(this.#keep)) await rm(join(this.path, name), { recursive: true, force: true });
  }

  /** The newest first: of the last program, and of the most steps. */
  async #names(): Promise<string[]> {
    const found = (await readdir(this.path)).flatMap((name) => {
      const [, steps, incarnation, number = 1] = NAME.exec(name) ?? [];
      return steps === undefined ? [] : [{ name, order: [incarnation, steps, number].map(Number) }];
    });
    const difference = (a: readonly number[], b: readonly number[]): number =>
      b.map((one, i) => one - a[i]!).find((by) => by !== 0) ?? 0;
    return found.toSorted((a, b) => difference(a.order, b.order)).map(({ name }) => name);
  }

  async #newestIncarnation(): Promise<number> {
    const numbers = (await readdir(this.path)).map((name) => Number(/^incarnation-(\d+)\.json$/.exec(name)?.[1] ?? 0));
    return Math.max(0, ...numbers);
  }

  async #refuseStale(): Promise<void> {
    const newest = await this.#newestIncarnation();
    if (newest === this.#incarnation) return;
    throw new TorchwireError(
      "NOT_SAVED",
      `${this.path} belongs to another program now, its number ${newest}; this one is number ${this.#incarnation}, and must not write there any more`,
    );
  }
}

/** The hash of a file, as a manifest has it. */
export async function hashOf(path: string): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return { bytes: (await stat(path)).size, sha256: hash.digest("hex") };
}

async function checked(path: string): Promise<Manifest> {
  const manifest = JSON.parse(await readFile(join(path, MANIFEST), "utf8")) as Manifest;
  if (manifest.format !== 1) throw new Error(`its format is ${String(manifest.format)}, and this version knows 1`);
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const found = await hashOf(join(path, name));
    if (found.bytes !== bytes) throw new Error(`${name} has ${found.bytes} bytes, and ${bytes} were written`);
    if (found.sha256 !== sha256) throw new Error(`the bytes of ${name} are not those that were written`);
  }
  return manifest;
}

/** Writes a file that must not be there. Returns false where another program was faster. */
async function madeAnew(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

const notSaved = (path: string, cause: unknown): TorchwireError =>
  new TorchwireError("NOT_SAVED", `a checkpoint cannot be written to ${path}: ${messageOf(cause)}`, { cause });
