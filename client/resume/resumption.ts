/** A fit that lives in a folder: it goes on from the newest checkpoint there, and writes more. */
import { AsyncLocalStorage } from "node:async_hooks";
import { py } from "../../bridge/reference/py.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Crash, Moment as Marked } from "../crash/crash.ts";
import { isPositioned } from "../data/positioned.ts";
import type { Ending, Resumed } from "../training/report.ts";
import { make } from "../weights/modules.ts";
import type { Digest, Disk } from "./disk.ts";
import type { Standing } from "./farewell.ts";
import { CheckpointFolder, type Found } from "./folder.ts";
import { openHere } from "./here.ts";
import { FILES, type Done, type Manifest, type Place } from "./manifest.ts";
import { resumeOptions, type ResumeOptions } from "./options.ts";
import { environmentOf } from "./environment.ts";
import { fromPlain, toPlain } from "./plain.ts";
import { modulesOf, programOf, refuseOther } from "./program.ts";
import {
  beginAnew,
  keptStates,
  loadPositions,
  loadStates,
  savedPositions,
  passesOf,
  refuseStateless,
  savedStates,
  trackedIn,
  type CallbackStates,
  type Resumable,
  type Sides,
} from "./states.ts";
import { openThere } from "./there.ts";

/** The counts of a loop, which a checkpoint has beside its place. */
export interface Counts {
  readonly steps: number;
  readonly epochs: ReadonlyMap<string, number>;
}

/** An interruption that may have been asked for. */
interface Asked {
  readonly reason: string | undefined;
  /** Throws where it was asked for. */
  check(): void;
}

/** Where an interruption has stopped a loop. */
interface Stopped {
  readonly isInEpoch: boolean;
  readonly isWhole: boolean;
  readonly done: Done;
}

/** All that this side knows at one moment. */
type Moment = Pick<Manifest, "steps" | "place" | "epochs" | "loaders" | "state">;

const disks = { client: openHere, worker: openThere };

/** Outside of the fit's lane and context: files are written while it goes on. */
const outside = AsyncLocalStorage.snapshot();

export class Resumption {
  readonly #learner: Resumable;
  readonly #options: ReturnType<typeof resumeOptions>;
  readonly #sides: Sides;
  readonly #counts: () => Counts;
  #program: Manifest["program"] = [];
  #environment: Manifest["environment"] = {};
  #disk!: Disk;
  #folder!: CheckpointFolder;
  #found: Found | undefined;
  #newest: Found | undefined;
  #last = { steps: 0, time: 0 };
  #writing: Promise<void> | undefined;
  #saidWhy = false;
  #passes: ReadonlyMap<string, AnyRef> = new Map();
  #boundary!: Moment;
  #crash: Crash | undefined;

  /** `sides` are the data by "training" and "validation", as they were given. */
  constructor(learner: Resumable, options: string | ResumeOptions, sides: Sides, counts: () => Counts) {
    this.#options = resumeOptions(options);
    refuseStateless(learner);
    this.#learner = learner;
    this.#sides = sides;
    this.#counts = counts;
  }

  get resumed(): Resumed | undefined {
    const found = this.#found;
    return found && { from: found.path, steps: found.manifest.steps, times: found.manifest.resumed + 1 };
  }

  /** The folder, where it is on this machine. */
  get folder(): string | undefined {
    const { on, folder } = this.#options;
    return on === "client" ? folder : undefined;
  }

  get standing(): Standing {
    return { steps: this.#counts().steps, folder: this.#disk.where, newest: this.#newest };
  }

  /** The checkpoint that the fit goes on from. */
  get saved(): Manifest | undefined {
    return this.#found?.manifest;
  }

  /**
   * Looks for a checkpoint, before any callback knows of the fit. Throws BAD_DATA for one of another program, and
   * NOT_SAVED where the folder cannot be written to. `crash` is told of checkpoints.
   */
  async begin(crash?: Crash): Promise<void> {
    this.#crash = this.folder === undefined ? undefined : crash;
    const { worker } = this.#learner;
    const { folder, keep, on } = this.#options;
    this.#disk = await disks[on](worker, folder);
    this.#folder = new CheckpointFolder(this.#disk, keep);
    this.#passes = passesOf(worker, this.#sides);
    this.#program = await programOf(this.#learner, this.#sides);
    this.#environment = await environmentOf(worker);
    this.#found = await this.#folder.take(
      (found) => this.#check(found),
      (path, why) => warn(`${path} is passed over: ${why}`),
    );
    this.#last = { steps: this.#found?.manifest.steps ?? 0, time: performance.now() };
    this.#newest = this.#found;
  }

  /** Refuses a checkpoint of another program, and tells of another environment. */
  #check({ path, manifest }: Found): void {
    refuseOther(this.#program, manifest.program, path);
    const differs = Object.keys({ ...manifest.environment, ...this.#environment }).filter(
      (what) => manifest.environment[what] !== this.#environment[what],
    );
    if (differs.length > 0)
      warn(
        `${path} goes on, but not bit for bit, because ${differs.map((what) => `${what} was ${manifest.environment[what]} and is ${this.#environment[what]}`).join("; ")}`,
      );
  }

  /** Puts everything back, in the caller's lane: of the checkpoint, or else of the run's beginning. */
  async restore(): Promise<void> {
    if (this.#found !== undefined) return this.#restore(this.#found);
    await beginAnew(this.#learner, this.#folder, this.#program, this.#sides);
  }

  /** Random numbers come last. */
  async #restore(found: Found): Promise<void> {
    const { name, manifest } = found;
    const learner = this.#learner;
    const { worker, state, optimizer } = learner;
    const saved = fromPlain(manifest.state as never) as { learner: object; callbacks: CallbackStates };
    Object.assign(state, saved.learner);
    await loadStates(learner, saved.callbacks);
    loadPositions(this.#sides, manifest.loaders);
    const restoring = await this.#disk.restoring(`${name}/${FILES[0]}`, `${name}/${FILES[1]}`);
    const objects = [modulesOf(learner), optimizer, trackedIn(learner, this.#passes)];
    try {
      await worker.scope(() => py.settle(restoring.commit(...objects) as AnyRef));
    } finally {
      restoring[Symbol.dispose]();
    }
    const marked = this.#crash?.mark(objects);
    if (marked !== undefined) this.#crash!.keep(marked, found);
  }

  /** The fit stands between two epochs, and nothing is in flight. An interruption ends it here, with a checkpoint. */
  async boundary(place: Place, interruption?: Asked): Promise<void> {
    this.#boundary = this.#moment(place);
    if (interruption?.reason !== undefined) await this.#saveAnew(this.#boundary);
    else if (this.#isDue(this.#boundary.steps)) await this.#save(this.#boundary);
    interruption?.check();
  }

  /** Returns what to do between two groups of batches of a training epoch, once nothing is in flight. */
  between(inFlight: number, { done }: { readonly done: Done }): (() => Promise<void>) | undefined {
    if (!this.#isDue(this.#counts().steps + inFlight) || this.#waits()) return undefined;
    return async () => {
      // The steps that were in flight may tell more.
      if (!this.#waits()) await this.#save(this.#moment({ ...this.#boundary.place, ...done }));
    };
  }

  /**
   * The fit was interrupted, and no callback has been told. An epoch of validation is run again from its beginning.
   * Nothing is saved where callbacks were in the middle of an epoch's beginning or end, or a handler was given up in a
   * step: the bits would be others.
   */
  async interrupted({ isInEpoch, isWhole, done }: Stopped): Promise<void> {
    if (!isInEpoch) return;
    const { side } = this.#boundary.place;
    if (side === "validation") await this.#saveAnew(this.#boundary);
    else if (isWhole && done.batch > 0 && !this.#waits())
      await this.#saveAnew(this.#moment({ ...this.#boundary.place, ...done }));
  }

  /** The fit is over, and all callbacks know. */
  async ended(ending: Ending): Promise<void> {
    await this.#save(this.#moment(this.#boundary.place), ending);
  }

  /** Saves what the newest checkpoint has not. */
  async #saveAnew(moment: Moment): Promise<void> {
    await this.#writing;
    if (JSON.stringify(moment.place) !== JSON.stringify(this.#newest?.manifest.place)) await this.#save(moment);
  }

  /** Waits for the last file. */
  async written(): Promise<void> {
    await this.#writing;
  }

  #isDue(steps: number): boolean {
    const { steps: before, time } = this.#last;
    if (steps === before) return false;
    const { pace } = this.#options;
    return "steps" in pace ? steps - before >= pace.steps : performance.now() - time >= pace.milliseconds;
  }

  /** Whether a checkpoint must wait for the end of the epoch. The first time it is told why. */
  #waits(): boolean {
    const data = this.#sides["training"];
    const why =
      isPositioned(data) || Array.isArray(data)
        ? keptStates(this.#learner)
            .map(([, kept]) => kept.waits?.())
            .find((one) => one !== undefined)
        : "the training data has no position, as that of DataLoader and fromWorker has";
    if (why !== undefined && !this.#saidWhy) warn(`checkpoints are written at the ends of epochs only: ${why}`);
    this.#saidWhy ||= why !== undefined;
    return why !== undefined;
  }

  #moment(place: Place): Moment {
    const state = {
      learner: { ...this.#learner.state },
      callbacks: savedStates(this.#learner),
    };
    const { steps, epochs } = this.#counts();
    return {
      place,
      steps,
      epochs: Object.fromEntries(epochs),
      loaders: savedPositions(this.#sides, place),
      state: toPlain(state, "the state of the fit"),
    };
  }

  /**
   * Takes a checkpoint at this place of the log, and writes it while the fit goes on. It waits for the one before. A
   * checkpoint that cannot be written is told as a warning: the fit goes on.
   */
  async #save(moment: Moment, ending?: Ending): Promise<void> {
    await this.#writing;
    const { worker, optimizer } = this.#learner;
    this.#last = { steps: moment.steps, time: performance.now() };
    const objects = [modulesOf(this.#learner), optimizer, trackedIn(this.#learner, this.#passes)];
    const marked = this.#crash?.mark(objects);
    const point = make(worker, "resuming", "Point", ...objects);
    this.#writing = outside(() => worker.lane(() => this.#write(point, moment, ending, marked))).catch(
      (error: unknown) => warn(messageOf(error)),
    );
  }

  async #write(point: AnyRef, moment: Moment, ending: Ending | undefined, marked?: Marked): Promise<void> {
    const { worker } = this.#learner;
    try {
      this.#newest = await this.#folder.commit(moment.steps, async (draft) => {
        const parts = worker.scope(() => [py.keep(point.model as AnyRef), py.keep(point.rest as AnyRef)]);
        const files: { [name: string]: Digest } = {};
        for (const [i, name] of FILES.entries()) {
          files[name] = await this.#disk.writeTensors(`${draft}/${name}`, parts[i]!);
          parts[i]![Symbol.dispose]();
        }
        for (const [, kept] of keptStates(this.#learner)) await kept.written?.();
        return {
          format: 1,
          ...moment,
          ending,
          resumed: this.resumed?.times ?? 0,
          program: this.#program,
          environment: this.#environment,
          files: files as Manifest["files"],
        };
      });
      if (marked !== undefined) this.#crash!.keep(marked, this.#newest);
    } finally {
      point[Symbol.dispose]();
    }
  }
}

const warn = (message: string): void => process.emitWarning(`fit: resume: ${message}`, { type: "TorchwireWarning" });
