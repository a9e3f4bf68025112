import { randomUUID } from "node:crypto";
import { readdirSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join, resolve } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { KeptState } from "../callback/callback.ts";
import type { Ending } from "../training/report.ts";
import { valuesOf, type RunHyperparameters, type LoggerBackend, type LogRecord } from "./backend.ts";
import { madeFolder } from "./folder.ts";
import type { Loggable } from "./loggables.ts";
import { RecordFile } from "./record-file.ts";
import { event, fileVersion, purge, sessionEnd, sessionStart, summaryValue } from "./tf-events.ts";
import { tfRecord } from "./tf-record.ts";

/**
 * Writes TensorBoard's event files in `folder`, a new file each time it is opened. `tensorboard --logdir` takes that
 * folder, or the one above it to compare runs. A tag is the record's group and name, joined by "/". Numbers are float32
 * there.
 */
export const tensorBoard = (folder: string): LoggerBackend => new TensorBoard(folder);

let opened = 0;

/** What this program has written in a folder, by whichever backend. */
interface Written {
  /** The largest step; -1 where there is none. */
  furthest: number;
  /** The next file begins with the purge. It must be one file alone, and the first: readers go file by file. */
  purges: boolean;
}
const folders = new Map<string, Written>();

interface Kept {
  readonly run: string;
  readonly furthest: number;
  /** The lengths of the files, by name. */
  readonly files: { readonly [name: string]: number };
}

/**
 * A fit that is resumed cuts its files back, removes those that were begun after the checkpoint, and goes on in a new
 * one. That one begins with TensorBoard's own purge, for a reader that has seen more already. The purge alone would not
 * do: it knows one axis, and epochs and the steps of a validation have numbers of their own.
 */
class TensorBoard implements LoggerBackend {
  readonly name = "tensorBoard";
  readonly keeps = ["value", "text", "image", "audio", "histogram"] as const;
  readonly #folder: string;
  /** Ends the names of its files, also in the programs that resume. */
  #run = randomUUID().slice(0, 8);
  #file: RecordFile | undefined;
  readonly #written: Written;
  /** The run's settings, until there is more to write: a log that goes on has them. */
  #begun: RunHyperparameters | undefined;

  constructor(folder: string) {
    this.#folder = madeFolder("tensorBoard", folder);
    const path = resolve(folder);
    this.#written = folders.get(path) ?? { furthest: -1, purges: false };
    folders.set(path, this.#written);
  }

  log(record: LogRecord): void {
    const { group, at } = record;
    // A part of an epoch counts as that epoch.
    const step = Math.ceil(at);
    if (!Number.isSafeInteger(step) || step < 0)
      throw new TorchwireError(
        "MISUSE",
        `tensorBoard: the index of ${group.join("/")} is ${at}; it must be a number from 0`,
      );
    const values = valuesOf(this, record).map(([name, value]) =>
      summaryValue([...group, name].join("/"), value as Exclude<Loggable, { kind: "file" }>),
    );
    this.#write(now(), step, values);
  }

  begin(hyperparameters: RunHyperparameters): void {
    this.#begun = hyperparameters;
  }

  end(ending: Ending): void {
    const time = now();
    this.#write(time, 0, [sessionEnd(time, ending)]);
  }

  close(): void {
    this.#writeBegun();
    this.#file?.close();
    this.#file = undefined;
  }

  readonly state: KeptState<Kept> = {
    save: () => {
      this.#writeBegun();
      const open = this.#file && { [basename(this.#file.path)]: this.#file.state.save() };
      const files = this.#names().map((name) => [name, statSync(join(this.#folder, name)).size] as const);
      return { run: this.#run, furthest: this.#written.furthest, files: { ...Object.fromEntries(files), ...open } };
    },
    load: ({ run, furthest, files }) => {
      this.#begun = undefined;
      this.close();
      this.#run = run;
      Object.assign(this.#written, { furthest, purges: true });
      for (const name of this.#names())
        if (files[name] === undefined) rmSync(join(this.#folder, name), { force: true });
      for (const [name, bytes] of Object.entries(files)) {
        const file = new RecordFile(join(this.#folder, name), { isText: false });
        void file.state.load(bytes);
        file.close();
      }
    },
  };

  #names(): string[] {
    return readdirSync(this.#folder).filter((name) => name.endsWith(`.${this.#run}`));
  }

  #writeBegun(): void {
    if (this.#begun === undefined) return;
    const time = now();
    const started = sessionStart(time, this.#begun);
    this.#begun = undefined;
    this.#write(time, 0, [started]);
  }

  #write(time: number, step: number, values: readonly Uint8Array[]): void {
    if (values.length === 0) return;
    this.#writeBegun();
    if (this.#file === undefined || this.#file.isBroken) {
      // TensorBoard recognises its files by "tfevents", and reads those of a folder in the order of their names.
      const seconds = String(Math.floor(time)).padStart(10, "0");
      const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${String(opened++).padStart(6, "0")}.${this.#run}`;
      this.#file = new RecordFile(join(this.#folder, name), { isText: false });
    }
    const { furthest, purges } = this.#written;
    const head = [fileVersion(time), ...(purges ? [purge(time, furthest + 1)] : [])];
    this.#file.write(tfRecord(event(time, step, values)), Buffer.concat(head.map(tfRecord)));
    Object.assign(this.#written, { furthest: Math.max(furthest, step), purges: false });
  }
}

/** The time in seconds. */
const now = (): number => Date.now() / 1000;
