/** Averages of the weights that are trained: exponential (EMA), or of the last epochs (SWA). */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import { type CallbackOptions, CallbackObject, type Handlers, type KeptState } from "../callback/callback.ts";
import { type PythonForm } from "../callback/python-form.ts";
import { aside } from "../data/aside.ts";
import { onWorker } from "../data/on-worker.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { toBatch } from "../data/batch.ts";
import type { BatchLike, Data, Inputs } from "../data/types.ts";
import type { Trainer } from "../training/trainer.ts";
import { isOwn, outputsOf } from "../training/forward.ts";
import { AbstractTrainingPhase, type Phase } from "../training/phases.ts";

interface Averaging {
  readonly name: string;
  /** The decay of an exponential average; undefined for a mean. */
  readonly decay: number | undefined;
  readonly buffers: boolean;
  /** Whether validation epochs run with the average. */
  readonly validate: boolean;
  /** When the average takes the weights in: after each update, or at the end of each epoch. */
  readonly shown: "updates" | "epochs";
  /** The first epoch whose weights count, from 1. */
  readonly start: number;
}

/**
 * The base of `EMA` and `SWA`: torch.optim.swa_utils.AveragedModel, in the worker. It changes nothing of the training.
 *
 * With `validate` the model itself has the averages during a validation epoch, from before its first handler until
 * after its last one. So every callback, in whatever order, sees and keeps the weights that the epoch's values were
 * measured on. Meanwhile the worker needs room for another copy of the weights.
 *
 * The average is of updates. When the weights change in another way (`learner.load`, EarlyStopping's `restoreBest`, by
 * hand between two epochs), validation is of the model itself until the next update, which begins a new average. A new
 * `learner.model` gets an average of its own.
 */
export abstract class AveragedWeights extends CallbackObject {
  override readonly name: string;
  override readonly access = { model: "use", step: "use" } as const;
  override readonly on: Handlers<AveragedWeights["access"]>;
  readonly validate: boolean;
  readonly #averaging: Averaging;
  #learner: Trainer | undefined;
  /** The average, and the model that it is of. */
  #current: { readonly model: unknown; readonly average: AnyRef } | undefined;
  #isShown = false;

  protected constructor(averaging: Averaging) {
    super();
    const { name, validate, shown, start } = averaging;
    if (!Number.isSafeInteger(start) || start < 1)
      throw new TorchwireError("MISUSE", `${name}: start must be the number of an epoch, from 1, not ${String(start)}`);
    this.name = name;
    this.validate = validate;
    this.#averaging = averaging;
    const isMeant = (phase: Phase, epoch: number): boolean => phase instanceof AbstractTrainingPhase && epoch >= start;
    this.on =
      shown === "epochs"
        ? {
            epochEnd: ({ phase, epoch }) => {
              if (isMeant(phase, epoch)) this.#average.update();
            },
          }
        : {
            stepEnd: ({ phase, epoch, step }) => {
              if (step.group.isLast && isMeant(phase, epoch)) this.#average.update();
            },
          };
  }

  /** The averaged model, to predict with and to save: `saveWeights(ema.model, path)`. The next update changes it. */
  get model(): AnyRef {
    return this.#average.module as AnyRef;
  }

  /** Whether the learner's model has the averages now. */
  get isShown(): boolean {
    return this.#isShown;
  }

  /**
   * Computes the running statistics of batch normalisation anew, over `data` (default: the learner's training data).
   * The average itself has never run, so until then it has the statistics of no model. Needs no gradients, and changes
   * nothing else: a loader keeps its position, and random numbers come from a fork.
   */
  async updateBatchNorm(data: Data | PyObject | undefined = this.#known.data.training): Promise<void> {
    const { worker } = this.#known;
    if (
      data === undefined ||
      !(isReference(data) || Symbol.asyncIterator in (data as object) || Symbol.iterator in (data as object))
    )
      throw new TorchwireError(
        "MISUSE",
        `${this.name}: updateBatchNorm needs data: a DataLoader, or an array of batches`,
      );
    const { backend, loss } = this.#known;
    const { model } = this;
    const see = (batch: BatchLike): void => {
      const { xs, ys } = toBatch(batch);
      outputsOf(
        { worker, model, loss, output: undefined },
        backend.inputs(xs) as Inputs,
        isOwn(loss) ? backend.targets(ys) : undefined,
      );
    };
    await worker.context({ mode: "no_grad", rng: "fork" }, async () => {
      const recomputing = worker.scope(() => py.keep(this.#helpers.Recomputing(model)));
      let whole = false;
      try {
        for await (const batch of onWorker(aside(data), worker)) await worker.scope(async () => see(batch));
        whole = true;
      } finally {
        // A failure has closed the lane: use another one.
        await worker.lane(() => worker.scope(() => py.js(recomputing.end(whole))));
        recomputing[Symbol.dispose]();
      }
    });
  }

  get #known(): Trainer {
    if (this.#learner === undefined) throw new TorchwireError("MISUSE", `this ${this.name} belongs to no learner yet`);
    return this.#learner;
  }

  get #helpers(): AnyRef {
    return this.#known.worker.import("torchwire_worker.helpers.averaging");
  }

  /** The average of the model that the learner has now: another model gets another average. */
  get #average(): AnyRef {
    const { model, worker } = this.#known;
    if (this.#current?.model !== model) {
      const { decay, buffers } = this.#averaging;
      const given = decay === undefined ? null : py.float(decay);
      const average = worker.scope(() => py.keep(this.#helpers.Average(model, given, buffers) as AnyRef));
      this.#current?.average[Symbol.dispose]();
      this.#current = { model, average };
    }
    return this.#current!.average;
  }

  override get options(): CallbackOptions {
    return { ...this.#averaging };
  }

  readonly pythonForm: () => PythonForm = () => ({ kind: "average", ...this.#averaging, average: this.#average });

  override readonly init = (learner: Trainer): void => {
    if (!isReference(learner.model))
      throw new TorchwireError(
        "MISUSE",
        `${this.name}: the learner has several models, of which it cannot tell which to average`,
      );
    const { name } = this;
    const other = learner.callbacks.find((one) => one instanceof AveragedWeights && one.validate && one.name !== name);
    if (this.validate && other !== undefined)
      throw new TorchwireError(
        "MISUSE",
        `${other.name} and ${name} are both to be validated, and an epoch can be that of one alone: give one of them validate: false`,
      );
    this.#learner = learner;
    void this.#average;
  };

  override readonly state: KeptState = {
    save: () => null,
    load: () => undefined,
    objects: () => ({ average: this.#average }),
  };

  override readonly around = async (phase: Phase, epoch: () => Promise<void>): Promise<void> => {
    const { worker } = this.#known;
    const average = this.#average;
    const shows = this.validate && !(phase instanceof AbstractTrainingPhase);
    this.#isShown = ((await worker.scope(() => py.js(average.begin(shows)))) as boolean) && shows;
    const [outcome] = await Promise.allSettled([epoch()]);
    this.#isShown = false;
    // A failure has closed the lane: use another one. Throw the first of several errors.
    const end = worker.lane(() => worker.scope(() => py.js(average.end())));
    if (outcome.status === "fulfilled") return void (await end);
    await end.catch(() => undefined);
    throw outcome.reason;
  };
}

export interface EmaOptions {
  /** How much of the average each update keeps. Default 0.999. */
  readonly decay?: number;
  /**
   * Averages buffers too, such as the running statistics of batch normalisation. Otherwise they are copied as they are.
   * Default false.
   */
  readonly buffers?: boolean;
  /** Validation epochs run with the averages. Default true. */
  readonly validate?: boolean;
}

/**
 * The exponential moving average of the weights. It takes them in after each update of the optimizer: the first time as
 * they are, then as `decay · average + (1 - decay) · weights`, PyTorch's get_ema_multi_avg_fn.
 */
export class EMA extends AveragedWeights {
  constructor({ decay = 0.999, buffers = false, validate = true }: EmaOptions = {}) {
    if (!(decay >= 0 && decay <= 1))
      throw new TorchwireError("MISUSE", `EMA: decay must be from 0 to 1, not ${String(decay)}`);
    super({ name: "EMA", decay, buffers, validate, shown: "updates", start: 1 });
  }
}

export interface SwaOptions {
  /** The first epoch whose weights are in the mean, counted from 1 over all fits. */
  readonly start: number;
  /** Averages buffers too, as in EMA. Default false. */
  readonly buffers?: boolean;
  /**
   * Validation epochs run with the mean, once there is one. Default false, because batch normalisation must be updated
   * first: see `updateBatchNorm`.
   */
  readonly validate?: boolean;
}

/**
 * Stochastic weight averaging: the mean of the weights at the ends of epochs, from `start` on. Use it with a constant
 * or cyclic learning rate.
 */
export class SWA extends AveragedWeights {
  constructor({ start, buffers = false, validate = false }: SwaOptions) {
    super({ name: "SWA", decay: undefined, buffers, validate, shown: "epochs", start });
  }
}
