/** The folder of a run: its checkpoints, of which a half-written one is never taken for whole. */
import { hostname } from "node:os";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { notSaved, type Disk } from "./disk.ts";
import { FILES, type Begun, type Manifest } from "./manifest.ts";

/** A whole checkpoint. */
export interface Found {
  readonly name: string;
  readonly path: string;
  readonly manifest: Manifest;
}

const POINTER = "latest.json";
const BEGUN = "begun.json";
const MANIFEST = "manifest.json";
/** What begins or ends so is removed when the next program begins. */
const DRAFT = ".draft-";
const FRESH = ".tmp";
const NAME = /^step-(\d+)-(\d+)(?:-(\d+))?$/;
const CLAIM = /^incarnation-(\d+)\.json$/;

/**
 * Each program that opens the folder gets a number of its own, its incarnation, larger than all before. One that comes
 * back after its successor has begun cannot write any more.
 *
 * A checkpoint is a folder `step-<steps>-<incarnation>` with its files, whose sizes and hashes stand in its manifest. A
 * further one after the same steps has a number at its end: no name is given twice, so that none is ever replaced. All of
 * it is on the disk before the folder gets its name, and has its name before `latest.json` points to it. It loses its
 * name before any of it is removed.
 */
export class CheckpointFolder {
  readonly #disk: Disk;
  readonly #keep: number;
  /** Those that were passed over. */
  readonly #broken = new Set<string>();
  #incarnation = 0;

  constructor(disk: Disk, keep: number) {
    this.#disk = disk;
    this.#keep = keep;
  }

  /**
   * Takes the folder for this program: from here on no other one writes there. Returns the newest whole checkpoint.
   * `check` sees it before, and throws where it is not this program's: a program that is refused must not keep the right
   * one from writing. `passedOver` is told of each that is broken, and why. Throws NOT_SAVED where it cannot write.
   */
  async take(
    check: (found: Found) => void,
    passedOver: (path: string, why: string) => void,
  ): Promise<Found | undefined> {
    for (;;) {
      const names = await this.#names();
      const found = await this.#newest(names, passedOver);
      if (found !== undefined) check(found);
      if (this.#incarnation === 0) await this.#claim();
      // The program that had the folder may have written another one meanwhile, and removed this one.
      if ((await this.#names())[0] === names[0]) return found;
    }
  }

  /**
   * Writes a checkpoint, and returns it: `write` puts files into the draft, whose name it gets, and returns the manifest.
   * Throws NOT_SAVED, also where another program has taken the folder since; older checkpoints then stay as they were.
   */
  async commit(steps: number, write: (draft: string) => Promise<Manifest>): Promise<Found> {
    const disk = this.#disk;
    let draft: string | undefined;
    let made: Found;
    try {
      await this.#refuseStale();
      const name = await this.#newName(steps);
      draft = DRAFT + name;
      await disk.remove(draft);
      await disk.makeFolder(draft);
      const manifest = await write(draft);
      await disk.write(`${draft}/${MANIFEST}`, `${JSON.stringify(manifest)}\n`);
      await disk.sync(draft);
      await this.#refuseStale();
      await disk.rename(draft, name);
      await disk.sync("");
      made = { name, path: disk.pathOf(name), manifest };
      await this.#replace(POINTER, { checkpoint: name });
    } catch (cause) {
      if (draft !== undefined) await disk.remove(draft).catch(() => undefined);
      throw cause instanceof TorchwireError ? cause : notSaved(disk.where, cause);
    }
    await this.#removeOld();
    return made;
  }

  /** How the run began, where a program has said it. */
  async begun(): Promise<Begun | undefined> {
    const isSaid = (await this.#disk.list()).includes(BEGUN);
    return isSaid ? (JSON.parse(await this.#disk.read(BEGUN)) as Begun) : undefined;
  }

  /** Says how the run begins. Throws NOT_SAVED. */
  async begin(begun: Begun): Promise<void> {
    try {
      await this.#replace(BEGUN, begun);
    } catch (cause) {
      throw cause instanceof TorchwireError ? cause : notSaved(this.#disk.where, cause);
    }
  }

  async #replace(name: string, value: object): Promise<void> {
    const disk = this.#disk;
    // (Another program may do the same at this moment.)
    const fresh = `${name}-${this.#incarnation}${FRESH}`;
    await disk.write(fresh, `${JSON.stringify(value)}\n`);
    await disk.rename(fresh, name);
    await disk.sync("");
  }

  /** The newest of `names` that is whole. */
  async #newest(names: readonly string[], passedOver: (path: string, why: string) => void): Promise<Found | undefined> {
    for (const name of names) {
      const path = this.#disk.pathOf(name);
      try {
        return { name, path, manifest: await this.#checked(name) };
      } catch (error) {
        // The worker is lost, say: nothing is known of the checkpoint.
        if (error instanceof TorchwireError) throw error;
        if (!this.#broken.has(name)) passedOver(path, messageOf(error));
        this.#broken.add(name);
      }
    }
    return undefined;
  }

  async #checked(name: string): Promise<Manifest> {
    const manifest = JSON.parse(await this.#disk.read(`${name}/${MANIFEST}`)) as Manifest;
    if (manifest.format !== 1) throw new Error(`its format is ${String(manifest.format)}, and this version knows 1`);
    for (const file of FILES) {
      const { bytes, sha256 } = manifest.files[file];
      const found = await this.#disk.digest(`${name}/${file}`);
      if (found.bytes !== bytes) throw new Error(`${file} has ${found.bytes} bytes, and ${bytes} were written`);
      if (found.sha256 !== sha256) throw new Error(`the bytes of ${file} are not those that were written`);
    }
    return manifest;
  }

  async #claim(): Promise<void> {
    const disk = this.#disk;
    try {
      for (let isTaken = false; !isTaken;) {
        this.#incarnation = (await this.#newestIncarnation()) + 1;
        isTaken = await disk.writeAnew(
          `incarnation-${this.#incarnation}.json`,
          `${JSON.stringify({ pid: process.pid, host: hostname(), begun: new Date().toISOString() })}\n`,
        );
      }
      for (const name of await disk.list()) if (makerOf(name) < this.#incarnation) await disk.remove(name);
    } catch (cause) {
      throw cause instanceof TorchwireError ? cause : notSaved(disk.where, cause);
    }
  }

  /** The same steps may have been written before: at an epoch's end, and again at the fit's. */
  async #newName(steps: number): Promise<string> {
    const names = await this.#disk.list();
    const plain = `step-${String(steps).padStart(8, "0")}-${this.#incarnation}`;
    if (!names.includes(plain)) return plain;
    for (let number = 2; ; number++) if (!names.includes(`${plain}-${number}`)) return `${plain}-${number}`;
  }

  /** Keeps so many checkpoints that are whole. A broken one is none. */
  async #removeOld(): Promise<void> {
    const names = await this.#names();
    const last = names.filter((name) => !this.#broken.has(name))[this.#keep - 1];
    if (last === undefined) return;
    for (const name of names.slice(names.indexOf(last) + 1)) {
      await this.#disk.remove(DRAFT + name);
      await this.#disk.rename(name, DRAFT + name);
      await this.#disk.remove(DRAFT + name);
    }
  }

  /** The newest first: of the last program, and of the most steps. */
  async #names(): Promise<string[]> {
    const found = (await this.#disk.list()).flatMap((name) => {
      const [, steps, incarnation, number = 1] = NAME.exec(name) ?? [];
      return steps === undefined ? [] : [{ name, order: [incarnation, steps, number].map(Number) }];
    });
    const difference = (a: readonly number[], b: readonly number[]): number =>
      b.map((one, i) => one - a[i]!).find((by) => by !== 0) ?? 0;
    return found.toSorted((a, b) => difference(a.order, b.order)).map(({ name }) => name);
  }

  /** Checkpoints count, too: a program may have copied them alone. */
  async #newestIncarnation(): Promise<number> {
    const numbers = (await this.#disk.list()).map((name) => Number(CLAIM.exec(name)?.[1] ?? NAME.exec(name)?.[2] ?? 0));
    return Math.max(0, ...numbers);
  }

  async #refuseStale(): Promise<void> {
    const newest = await this.#newestIncarnation();
    if (newest <= this.#incarnation) return;
    throw new TorchwireError(
      "NOT_SAVED",
      `${this.#disk.where} belongs to another program now, its number ${newest}; this one is number ${this.#incarnation}, and must not write there any more`,
    );
  }
}

/** The program that has left something unfinished; Infinity for what is finished. */
function makerOf(name: string): number {
  const draft = name.startsWith(DRAFT) ? NAME.exec(name.slice(DRAFT.length))?.[2] : undefined;
  const fresh = name.endsWith(FRESH) ? /-(\d+)$/.exec(name.slice(0, -FRESH.length))?.[1] : undefined;
  return Number(draft ?? fresh ?? Infinity);
}
