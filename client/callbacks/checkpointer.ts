import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { DeepReadonly, State } from "../callback/access.ts";
import type { Checkpoint } from "../training/state.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import { AveragedWeights } from "./averaged-weights.ts";
import { bestFirst, checkpointName, keptOf, splitMonitor } from "../stopping/checkpoints.ts";
import { misuse } from "../stopping/criterion.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { text, wholeFrom } from "../stopping/options.ts";
import { stores } from "../weights/stores.ts";
import type { Modules } from "../weights/modules.ts";

export interface CheckpointerOptions {
  /** How many of the best files stay, beside the latest one, which always does. Default: all of them. */
  readonly keep?: number;
  /** What makes one better: a metric of the training, or of another phase by its name, "validation.accuracy". Default "loss". */
  readonly monitor?: string;
  /** Whether it is to become small or large. Default: "min" for a loss; for anything else it must be said. */
  readonly mode?: Direction;
  /** Training epochs from one file to the next. Default 1. */
  readonly every?: number;
  /** Whose disk the folder is on. In the worker, which may be on another machine, the weights do not travel. Default "client". */
  readonly on?: "client" | "worker";
}

const KINDS: Kinds<CheckpointerOptions> = {
  keep: wholeFrom(0),
  monitor: text,
  mode: oneOf("min", "max"),
  every: wholeFrom(1),
  on: oneOf("client", "worker"),
};

type Seen = DeepReadonly<Pick<State, "history" | "metricsEpoch">>;

/**
 * Writes the model's weights to a safetensors file after each training epoch, `checkpoint_epoch_007_loss_0.1234.safetensors`, and when a fit ends with
 * steps that no file has yet. Weights and buffers only: not the state of the optimizer.
 *
 * Training goes on meanwhile: the weights are copied in the worker, and that copy is written. The next file, and the end of the fit, wait for it. Under
 * its name a file is there as a whole or not at all. What is there is in `learner.state.checkpoints`; files of others are never removed.
 *
 * Throws MISUSE for options that make no sense. A fit rejects with NOT_SAVED where the folder cannot be written to.
 */
export class Checkpointer extends CallbackObject {
  readonly folder: string;
  readonly #mode: Direction;
  readonly #shared: { learner?: Trainer };

  constructor(folder: string, options: CheckpointerOptions = {}) {
    keywordsOf("Checkpointer", KINDS, options);
    if (typeof folder !== "string" || folder === "")
      throw misuse('Checkpointer takes a folder: new Checkpointer("checkpoints")');
    const { keep = Infinity, monitor = "loss", every = 1, on = "client" } = options;
    const [monitored, metric] = splitMonitor(monitor);
    const mode = directionOf("Checkpointer", metric, options.mode);
    const place = stores[on];

    const shared: { learner?: Trainer } = {};
    let where: string | undefined;
    let saving: Promise<void> | undefined;
    let training: string | undefined;
    /** A training epoch has ended, and its file is not there yet. */
    let isDue = false;
    /** How far the training was: at the last file, at the end of the last epoch, and when `value` was measured. */
    let saved: string | undefined;
    let ended: string | undefined;
    let measured: { readonly at: string; readonly value: number | undefined; readonly weights?: string } | undefined;
    let saidUnmeasured = false;
    const counts = ({ history }: Seen): { epochs: number; steps: number } =>
      history[training ?? ""] ?? { epochs: 0, steps: 0 };
    const progress = (state: Seen): string => `${training} ${counts(state).steps}`;

    const write = async (checkpoint: Checkpoint): Promise<void> => {
      const { worker, model, state } = shared.learner!;
      const { path, epoch, steps, value, weights } = checkpoint;
      const counted = { epoch: String(epoch), steps: String(steps), monitor, value: String(value ?? null) };
      const metadata = { ...counted, ...(weights !== undefined && { weights }) };
      await place.write(worker, model as Modules, path, metadata);
      const files = [...state.checkpoints.filter((other) => other.path !== path), checkpoint];
      state.checkpoints = keptOf(files, keep, mode);
      for (const old of files) if (!state.checkpoints.includes(old)) await place.remove(worker, old.path);
    };

    /** Returns when the file before is there, and the weights for this one have been asked for. */
    const save = async (state: Seen): Promise<void> => {
      const at = progress(state);
      isDue = false;
      if (at === saved) return;
      await written();
      saved = at;
      where ??= await place.prepare(shared.learner!.worker, folder);
      const { epochs: epoch, steps } = counts(state);
      const weights = weightsIn(shared.learner!);
      const value = measured?.at === at && measured.weights === weights.weights ? measured.value : undefined;
      const step = at === ended ? undefined : steps;
      const file = checkpointName({ epoch, step, monitor, value });
      // The worker takes this sign on every system.
      const path = on === "client" ? join(where, file) : `${where}/${file}`;
      saving = write({ path, on, epoch, steps, monitor, value, ...weights, time: Date.now() });
      // Whoever waits for it next hears of it.
      saving.catch(() => undefined);
    };

    /** What it failed of is told once, and the weights have no file then. */
    const written = async (): Promise<void> => {
      const last = saving;
      saving = undefined;
      await last?.catch((error: unknown) => {
        saved = "none";
        throw error;
      });
    };

    super(
      callback({
        name: "Checkpointer",
        access: { model: "use", state: { metricsEpoch: "read", history: "read", checkpoints: "write" } },
        init: (learner) => {
          if (shared.learner !== undefined && shared.learner !== learner)
            throw misuse("a Checkpointer belongs to one learner: make another one");
          shared.learner = learner;
          learner.state.checkpoints ??= [];
        },
        on: {
          fitBegin: async ({ phase, state }) => {
            training ??= phase.name;
            saved ??= progress(state);
            // The weights may be others since.
            measured = undefined;
            where = await place.prepare(shared.learner!.worker, folder);
          },
          epochBegin: async ({ phase, state }) => {
            if (!(phase instanceof AbstractTrainingPhase)) return;
            if (isDue) {
              if (!saidUnmeasured)
                process.emitWarning(
                  `Checkpointer: there was no epoch of ${monitored} after the training epoch, and so no ${monitor}: the file is not ranked by it`,
                  { type: "TorchwireWarning" },
                );
              saidUnmeasured = true;
              await save(state);
            }
            training = phase.name;
          },
          epochEnd: async ({ phase, state, epochs }) => {
            if (phase instanceof AbstractTrainingPhase) {
              training = phase.name;
              ended = progress(state);
              isDue = counts(state).epochs % every === 0;
            }
            if (phase.name === (monitored ?? training)) {
              const value = valueOf("Checkpointer", metric, phase.name, state);
              measured = { at: progress(state), value, ...weightsIn(shared.learner!) };
              if (isDue) await save(state);
            }
            // After a lone epoch there is no "fitEnd".
            if (epochs === undefined) await written();
          },
          fitEnd: async ({ state }) => {
            await save(state);
            await written();
          },
        },
      }),
    );
    this.folder = folder;
    this.#mode = mode;
    this.#shared = shared;
  }

  /** The best file that is there; of those without a value the latest. */
  get best(): Checkpoint | undefined {
    return bestFirst(this.#known.state.checkpoints, this.#mode)[0];
  }

  /** Loads a file into the learner's model: the best one by default. The optimizer keeps its state. */
  async load(checkpoint: Checkpoint | undefined = this.best): Promise<Checkpoint> {
    const { worker, model } = this.#known;
    if (checkpoint === undefined) throw misuse("Checkpointer.load: there is no checkpoint yet");
    await stores[checkpoint.on].load(worker, model as Modules, checkpoint.path);
    return checkpoint;
  }

  get #known(): Trainer {
    const { learner } = this.#shared;
    if (learner === undefined) throw new TorchwireError("MISUSE", "this Checkpointer belongs to no learner yet");
    return learner;
  }
}

/** Which weights the model has now; nothing where there are no others. */
function weightsIn({ callbacks }: Trainer): { readonly weights?: string } {
  const averaged = callbacks.filter((one) => one instanceof AveragedWeights);
  return averaged.length === 0 ? {} : { weights: averaged.find(({ isShown }) => isShown)?.name ?? "model" };
}
