import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { View } from "../callback/access.ts";
import type { Checkpoint } from "../training/state.ts";
import { CallbackObject, type Handlers, type KeptState } from "../callback/callback.ts";
import { watches, type PythonForm } from "../callback/python-form.ts";
import { keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import { AveragedWeights } from "./averaged-weights.ts";
import { bestFirst, checkpointName, keptOf, splitMonitor } from "../stopping/checkpoints.ts";
import { misuse } from "../stopping/criterion.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { text, wholeFrom } from "../options/kinds.ts";
import { stores } from "../weights/stores.ts";
import type { Modules } from "../weights/modules.ts";

export interface CheckpointerOptions {
  /** How many of the best files stay. The latest one always stays. Default: all of them. */
  readonly keep?: number;
  /**
   * Ranks the files: a metric of the training, or of another phase by its name, "validation.accuracy". Default "loss".
   */
  readonly monitor?: string;
  /** Whether small or large values are better. Default: "min" for a loss; anything else must say it. */
  readonly mode?: Direction;
  /** Training epochs from one file to the next. Default 1. */
  readonly every?: number;
  /**
   * The machine whose disk has the folder. With "worker", which may be another machine, the weights do not travel.
   * Default "client".
   */
  readonly on?: "client" | "worker";
}

const KINDS: Kinds<CheckpointerOptions> = {
  keep: wholeFrom(0),
  monitor: text,
  mode: oneOf("min", "max"),
  every: wholeFrom(1),
  on: oneOf("client", "worker"),
};

const ACCESS = { model: "use", state: { metricsEpoch: "read", history: "read", checkpoints: "write" } } as const;

/** The parts of the learner that its handlers see. */
type Seen = Pick<View<typeof ACCESS, "fitEnd">, "model" | "state">;

/** A value of the monitored metric, and the training and the weights that it was measured at. */
interface Measurement {
  readonly at: string;
  readonly value: number | undefined;
  readonly weights?: string;
}

/**
 * Writes the model's weights to a safetensors file after each training epoch,
 * `checkpoint_epoch_007_loss_0.1234.safetensors`, and when a fit ends with steps that no file has yet. It writes
 * weights and buffers only, not the state of the optimizer.
 *
 * Training goes on meanwhile: the worker copies the weights, and writes the copy. The next file, and the end of the
 * fit, wait for it. A file has its name only as a whole. `learner.state.checkpoints` lists the files.
 * Files of others are never removed.
 *
 * Throws MISUSE for options that make no sense. A fit rejects with NOT_SAVED where the folder cannot be written to.
 */
export class Checkpointer extends CallbackObject {
  override readonly name = "Checkpointer";
  override readonly access: typeof ACCESS = ACCESS;
  readonly folder: string;
  readonly #options: Required<Omit<CheckpointerOptions, "monitor">>;
  readonly #monitor: string;
  /** The phase that the monitored metric is of, if `monitor` names one, and the metric's name. */
  readonly #monitored: readonly [phase: string | undefined, metric: string];
  #learner: Trainer | undefined;
  /** The folder's absolute path. */
  #where: string | undefined;
  #saving: Promise<void> | undefined;
  /** The file that is being written, or was written last. */
  #last: Checkpoint | undefined;
  /** The name of the training phase. */
  #training: string | undefined;
  /** Whether a training epoch has ended and its file is not there yet. */
  #isDue = false;
  /** How far the training was at the last file, and at the end of the last epoch. */
  #saved: string | undefined;
  #ended: string | undefined;
  #measured: Measurement | undefined;
  #saidUnmeasured = false;

  constructor(folder: string, options: CheckpointerOptions = {}) {
    super();
    keywordsOf("Checkpointer", KINDS, options);
    if (typeof folder !== "string" || folder === "")
      throw misuse('Checkpointer takes a folder: new Checkpointer("checkpoints")');
    const { keep = Infinity, monitor = "loss", every = 1, on = "client" } = options;
    this.folder = folder;
    this.#monitor = monitor;
    this.#monitored = splitMonitor(monitor);
    this.#options = { keep, every, on, mode: directionOf("Checkpointer", this.#monitored[1], options.mode) };
  }

  /** The best of the files. Among files without a value it is the latest. */
  get best(): Checkpoint | undefined {
    return bestFirst(this.#known.state.checkpoints, this.#options.mode)[0];
  }

  /** Loads a file into the learner's model: the best one by default. The optimizer keeps its state. */
  async load(checkpoint: Checkpoint | undefined = this.best): Promise<Checkpoint> {
    const { worker, model } = this.#known;
    if (checkpoint === undefined) throw misuse("Checkpointer.load: there is no checkpoint yet");
    await stores[checkpoint.on].load(worker, model as Modules, checkpoint.path);
    return checkpoint;
  }

  override readonly init = (learner: Trainer): void => {
    if (this.#learner !== undefined && this.#learner !== learner)
      throw misuse("a Checkpointer belongs to one learner: make another one");
    this.#learner = learner;
    learner.state.checkpoints ??= [];
  };

  readonly pythonForm: () => PythonForm = watches;
  override readonly on: Handlers<typeof ACCESS> = {
    fitBegin: async ({ phase, state }) => {
      this.#training ??= phase.name;
      this.#saved ??= this.#progress(state);
      // The weights may have changed since the last fit.
      this.#measured = undefined;
      this.#where = await this.#prepare();
    },
    epochBegin: async (view) => {
      if (!(view.phase instanceof AbstractTrainingPhase)) return;
      if (this.#isDue) {
        this.#warnUnmeasured();
        await this.#save(view);
      }
      this.#training = view.phase.name;
    },
    epochEnd: async (view) => {
      const { phase, state, epochs } = view;
      if (phase instanceof AbstractTrainingPhase) {
        this.#training = phase.name;
        this.#ended = this.#progress(state);
        this.#isDue = this.#counts(state).epochs % this.#options.every === 0;
      }
      const [monitored = this.#training, metric] = this.#monitored;
      if (phase.name === monitored) {
        const value = valueOf("Checkpointer", metric, phase.name, state);
        this.#measured = { at: this.#progress(state), value, ...weightsIn(this.#known) };
        if (this.#isDue) await this.#save(view);
      }
      // A lone epoch has no "fitEnd".
      if (epochs === undefined) await this.#written();
    },
    fitEnd: async (view) => {
      await this.#save(view);
      await this.#written();
    },
  };

  override readonly state: KeptState = {
    save: () => ({
      last: this.#last,
      training: this.#training,
      isDue: this.#isDue,
      saved: this.#saved,
      ended: this.#ended,
      measured: this.#measured,
    }),
    load: async ({ last, training, isDue, saved, ended, measured }) => {
      this.#training = training;
      this.#isDue = isDue;
      this.#saved = saved;
      this.#ended = ended;
      this.#measured = measured;
      const { state } = this.#known;
      state.checkpoints = state.checkpoints.map((one) => this.#here(one));
      // It was being written then, and is whole now.
      this.#last = last && this.#here(last);
      if (this.#last !== undefined) await this.#note(state, this.#last);
    },
    written: async () => this.#saving,
  };

  get #known(): Trainer {
    if (this.#learner === undefined) throw new TorchwireError("MISUSE", "this Checkpointer belongs to no learner yet");
    return this.#learner;
  }

  #counts({ history }: Seen["state"]): { readonly epochs: number; readonly steps: number } {
    return history[this.#training ?? ""] ?? { epochs: 0, steps: 0 };
  }

  #progress(state: Seen["state"]): string {
    return `${this.#training} ${this.#counts(state).steps}`;
  }

  #prepare(): Promise<string> {
    return stores[this.#options.on].prepare(this.#known.worker, this.folder);
  }

  /** Returns when the last file is written, and the weights for this one have been asked for. */
  async #save({ model, state }: Seen): Promise<void> {
    const at = this.#progress(state);
    this.#isDue = false;
    if (at === this.#saved) return;
    await this.#written();
    this.#saved = at;
    this.#where ??= await this.#prepare();
    const { on } = this.#options;
    const monitor = this.#monitor;
    const { epochs: epoch, steps } = this.#counts(state);
    const weights = weightsIn(this.#known);
    const measured = this.#measured;
    const value = measured?.at === at && measured.weights === weights.weights ? measured.value : undefined;
    const step = at === this.#ended ? undefined : steps;
    const file = checkpointName({ epoch, step, monitor, value });
    const path = this.#pathOf(file);
    const checkpoint = { path, on, epoch, steps, monitor, value, ...weights, time: Date.now() };
    this.#last = checkpoint;
    this.#saving = this.#write({ model, state }, checkpoint);
    // The next `#written` throws what it fails of.
    this.#saving.catch(() => undefined);
  }

  async #write({ model, state }: Seen, checkpoint: Checkpoint): Promise<void> {
    const { worker } = this.#known;
    const { on } = this.#options;
    const { path, epoch, steps, value, weights, monitor } = checkpoint;
    const counted = { epoch: String(epoch), steps: String(steps), monitor, value: String(value ?? null) };
    const metadata = { ...counted, ...(weights !== undefined && { weights }) };
    await stores[on].write(worker, model as Modules, path, metadata);
    await this.#note(state, checkpoint);
  }

  /** Lists a file that is written, and removes those that do not stay. */
  async #note(state: Seen["state"], checkpoint: Checkpoint): Promise<void> {
    const { keep, mode, on } = this.#options;
    const files = [...state.checkpoints.filter((other) => other.path !== checkpoint.path), checkpoint];
    state.checkpoints = keptOf(files, keep, mode);
    for (const old of files)
      if (!state.checkpoints.includes(old)) await stores[on].remove(this.#known.worker, old.path);
  }

  /** The file, where the folder is now: the run may have moved. */
  #here(checkpoint: Checkpoint): Checkpoint {
    const name = checkpoint.path.split(/[/\\]/).at(-1)!;
    return { ...checkpoint, path: this.#pathOf(name) };
  }

  /** The worker takes this sign on every system. */
  #pathOf(file: string): string {
    return this.#options.on === "client" ? join(this.#where!, file) : `${this.#where}/${file}`;
  }

  /** Waits for the file that is being written. It throws once what that fails of; the weights have no file then. */
  async #written(): Promise<void> {
    const last = this.#saving;
    this.#saving = undefined;
    await last?.catch((error: unknown) => {
      this.#saved = "none";
      throw error;
    });
  }

  #warnUnmeasured(): void {
    const [phase] = this.#monitored;
    if (!this.#saidUnmeasured)
      process.emitWarning(
        `Checkpointer: there was no epoch of ${phase} after the training epoch, and so no ${this.#monitor}: the file is not ranked by it`,
        { type: "TorchwireWarning" },
      );
    this.#saidUnmeasured = true;
  }
}

/** Names the weights that the model has now. The result is empty where there are no averaged ones. */
function weightsIn({ callbacks }: Trainer): { readonly weights?: string } {
  const averaged = callbacks.filter((one) => one instanceof AveragedWeights);
  return averaged.length === 0 ? {} : { weights: averaged.find(({ isShown }) => isShown)?.name ?? "model" };
}
