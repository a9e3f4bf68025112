/** Writes what led to a failure of a fit in the worker to a file, by which another process meets it again. */
import { access, readdir, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { PythonError } from "../../bridge/errors/python-error.ts";
import { addToMessage } from "../../bridge/errors/site.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { WorkerExitedError } from "../../bridge/start/process.ts";
import { isPlainObject, messageOf } from "../../bridge/runtime/kinds.ts";
import { writeTape } from "../../bridge/tape/file.ts";
import { recordedOf, type Recorded } from "../../bridge/tape/of.ts";
import type { Checkpoint, Entry, Mark, Tape } from "../../bridge/tape/tape.ts";
import type { Step } from "../training/events.ts";
import { LOSS_IS_NAN } from "../training/nan.ts";
import type { Ending } from "../training/report.ts";
import type { Trainer } from "../training/trainer.ts";
import type { CrashSettings } from "./options.ts";

/** The place of a checkpoint, and the ids of what it puts back, in the form of the arguments of Restoring.commit. */
export interface Moment extends Pick<Checkpoint, "objects"> {
  readonly mark: Mark;
}

/** A checkpoint in a folder. */
interface Written {
  readonly path: string;
  readonly manifest: {
    readonly steps: number;
    readonly files: { readonly [name: string]: { readonly sha256: string } };
  };
}

/** How many files stay: they are large. */
const KEEP = 3;
const NAME = /^torchwire-crash-[\dT-]+\.twr$/;
/** More steps than are in flight. */
const MOST_STEPS = 16;

/** The failure of one fit. */
interface Failure {
  readonly last: Entry;
  readonly position: number;
  readonly error: Readonly<Record<string, unknown>>;
}

export class Crash {
  readonly #learner: Trainer;
  readonly #settings: CrashSettings;
  readonly #folder: string;
  readonly #recorded: Recorded | undefined;
  readonly #steps: { readonly place: string; readonly step: Step }[] = [];

  constructor(learner: Trainer, settings: CrashSettings, folder: string) {
    this.#learner = learner;
    this.#settings = settings;
    this.#folder = folder;
    this.#recorded = recordedOf(learner.worker);
  }

  /** From here on, what is sent is kept from one checkpoint to the next. */
  begin(): void {
    this.#recorded?.tape.begin(this.#settings.memory, this.#settings.data);
  }

  /** A step begins. What it makes is known when it fails. */
  step(place: string, step: Step): void {
    this.#steps.push({ place, step });
    if (this.#steps.length > MOST_STEPS) this.#steps.shift();
  }

  /** Notes the place at which a checkpoint is taken: of `objects`, the arguments of Restoring.commit. */
  mark(objects: readonly unknown[]): Moment | undefined {
    return this.#recorded && { mark: this.#recorded.tape.mark(), objects: objects.map(idsOf) };
  }

  /** The checkpoint is written: what led to it is not needed any more. */
  keep({ mark, objects }: Moment, { path, manifest }: Written): void {
    const files = Object.entries(manifest.files).map(([name, { sha256 }]) => ({
      name,
      path: join(path, name),
      sha256,
    }));
    this.#recorded!.tape.cut(mark, { steps: manifest.steps, files, objects });
  }

  /**
   * Writes the file where the fit ended by a failure in the worker, and returns its path. A file that cannot be written
   * is told as a warning.
   */
  async write(ending: Ending, error: unknown): Promise<string | undefined> {
    if (this.#recorded === undefined) return undefined;
    const failure = failureIn(this.#recorded.tape, ending, error);
    if (failure === undefined) return undefined;
    try {
      const path = await this.#write(failure, this.#recorded);
      if (ending.status === "stopped") warn(`${ending.reason}: ${told(path)}`);
      return path;
    } catch (cause) {
      warn(`no file of what failed could be written in ${this.#folder}: ${messageOf(cause)}`);
      return undefined;
    }
  }

  /** The fit is over. */
  end(): void {
    this.#recorded?.tape.end();
  }

  async #write({ last, position, error }: Failure, recorded: Recorded): Promise<string> {
    const { tape, settings, limits, version } = recorded;
    const { worker } = this.#learner;
    const taped = tape.upTo(last);
    const { entries, isCut } = taped;
    // (The folder of an earlier fit may be gone.)
    const restore = (await areThere(taped.restore?.checkpoint.files ?? [])) ? taped.restore : undefined;
    const step = this.#stepAt(position);
    const { model, optimizer } = this.#learner;
    const { steps, objects, files = [] } = restore?.checkpoint ?? {};
    const isGone = error["kind"] === "gone";
    const isOver = ({ failure, isAnswered }: Entry): boolean => (isGone ? !isAnswered : failure !== undefined);
    const about = {
      torchwire: version,
      protocol: worker.versions["protocol"],
      time: new Date().toISOString(),
      settings: { ...settings, device: worker.device },
      limits,
      versions: worker.versions,
      place: step?.place ?? null,
      error,
      names: namesIn({ ...step?.step, model, optimizer }),
      batches: entries.length,
      failed: entries.flatMap((entry, place) => (isOver(entry) ? [place] : [])),
      restore: restore === undefined ? null : { before: restore.before, steps, objects },
      cut: isCut || restore !== taped.restore,
      data: this.#settings.data,
    };
    const time = about.time.replaceAll(/[:.]/g, "-").replace("Z", "");
    const path = join(this.#folder, `torchwire-crash-${time}.twr`);
    await writeTape(path, about, entries, files, this.#settings.data);
    const old = (await readdir(this.#folder)).filter((name) => NAME.test(name)).toSorted();
    for (const name of old.slice(0, -KEEP)) await rm(join(this.#folder, name), { force: true });
    return path;
  }

  /** The last step that had begun at this position of the log. */
  #stepAt(position: number): { readonly place: string; readonly step: Step } | undefined {
    return this.#steps.findLast(({ step }) => Math.min(...Object.values(namesIn(step))) <= position);
  }
}

/** The batch that failed, or those that the worker has died with. */
function failureIn(tape: Tape, ending: Ending, error: unknown): Failure | undefined {
  const lost = rootOf(error, isLost);
  if (lost !== undefined) {
    const { unanswered } = tape;
    const [oldest, last] = [unanswered[0], unanswered.at(-1)];
    if (oldest === undefined || last === undefined) return undefined;
    const exit = rootOf(error, (one) => one instanceof WorkerExitedError) as WorkerExitedError | undefined;
    const { signal = null, exitCode = null } = exit ?? {};
    return { last, position: oldest.last, error: { kind: "gone", message: messageOf(exit ?? lost), signal, exitCode } };
  }
  const python = rootOf(error, isRaised) as PythonError | undefined;
  const isIt = (type: string, message: string): boolean =>
    python === undefined
      ? ending.by === "StopOnNaNLoss" && type === LOSS_IS_NAN
      : type === python.pyType && message === python.pyMessage;
  const last = tape.failures.findLast(({ failure }) => isIt(failure!.type, failure!.message));
  if (last === undefined) return undefined;
  const { id, type, message, operation } = last.failure!;
  const site = python?.site ?? null;
  return { last, position: id, error: { kind: "error", id, type, message, operation, site } };
}

/** `error`, which says that there is a file. */
export function naming<T>(error: T, path: string | undefined): T {
  if (path !== undefined && error instanceof Error) addToMessage(error, `\n(${told(path)})`);
  return error;
}

function told(path: string): string {
  const shown = relative("", path);
  const quoted = /^[\w./-]+$/.test(shown) ? shown : JSON.stringify(shown);
  return `the steps that led to it are in a file, and fail again by it on any machine: npx torchwire replay --trust ${quoted}`;
}

const areThere = async (files: Checkpoint["files"]): Promise<boolean> =>
  (await Promise.allSettled(files.map(({ path }) => access(path)))).every(({ status }) => status === "fulfilled");

/** References as their ids. */
function idsOf(value: unknown): unknown {
  const reference = inner(value);
  if (reference !== undefined) return reference.id;
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, one]) => [name, idsOf(one)]));
  return isPlainObject(value)
    ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, idsOf(one)]))
    : null;
}

/** The ids of references by name, also within arrays and records: "xs.image", "model". */
function namesIn(values: object): { [name: string]: number } {
  const found: { [name: string]: number } = {};
  const visit = (value: unknown, name: string): void => {
    const reference = inner(value);
    if (reference !== undefined) {
      // (One that was asked for after the failure has none.)
      if (reference.id !== 0) found[name] = reference.id;
    } else if (Array.isArray(value)) value.forEach((item, i) => visit(item, `${name}.${i}`));
    else if (isPlainObject(value)) for (const [key, item] of Object.entries(value)) visit(item, `${name}.${key}`);
  };
  for (const [name, value] of Object.entries(values)) visit(value, name);
  return found;
}

/** The first in the chain of causes that `is` it. */
function rootOf(error: unknown, is: (one: unknown) => boolean): unknown {
  for (let one = error, depth = 0; one instanceof Error && depth < 16; one = one.cause, depth++)
    if (is(one)) return one;
  return undefined;
}

const isRaised = (one: unknown): boolean => one instanceof PythonError && one.code !== "NOT_RUN";
const isLost = (one: unknown): boolean => one instanceof TorchwireError && one.code === "WORKER_GONE";

const warn = (message: string): void => process.emitWarning(`fit: ${message}`, { type: "TorchwireWarning" });
