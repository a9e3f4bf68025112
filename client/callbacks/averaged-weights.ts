/** Averages of the weights that are trained: exponential (EMA), or of the last epochs (SWA). */
import { TorchwireError } from "../../bridge/errors.ts";
import { py } from "../../bridge/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { isReference, toBatch } from "../data/batch.ts";
import type { Data, Inputs } from "../data/types.ts";
import type { Learner } from "../learner.ts";
import { AbstractTrainingPhase, forward } from "../phases.ts";
import { PyTorchBackend } from "./pytorch-backend.ts";

interface Averaging {
  readonly name: string;
  /** Of an exponential average; undefined is a mean. */
  readonly decay: number | undefined;
  readonly buffers: boolean;
  /** Validation epochs are those of the average. */
  readonly validate: boolean;
  /** Whether it is shown the weights after an update, or at the end of an epoch. */
  readonly shown: "updates" | "epochs";
  /** The first epoch whose weights count, from 1. */
  readonly start: number;
}

/** What `EMA` and `SWA` have in common: torch.optim.swa_utils.AveragedModel, in the worker. It changes nothing of the training. */
export abstract class AveragedWeights extends CallbackObject {
  #learner: Learner | undefined;
  #averaged: AnyRef | undefined;

  protected constructor({ name, decay, buffers, validate, shown, start }: Averaging) {
    if (!Number.isSafeInteger(start) || start < 1)
      throw new TorchwireError("MISUSE", `${name}: start must be the number of an epoch, from 1, not ${String(start)}`);
    // The literal is made before `this` is there.
    const self: { current?: AveragedWeights } = {};
    const show = (epoch: number): void => {
      if (epoch >= start) self.current!.#show();
    };
    const back = (): void => {
      if (validate) self.current!.#showAverages(false);
    };
    super(
      callback({
        name,
        access: { model: "use", step: "use" },
        init: (learner) => self.current!.#init(learner, decay, buffers),
        on: {
          ...(shown === "updates"
            ? {
                stepEnd: ({ phase, epoch }) => {
                  const { step } = self.current!.#known;
                  if (phase instanceof AbstractTrainingPhase && step!.group.isLast) show(epoch);
                },
              }
            : {}),
          ...(validate
            ? {
                epochBegin: ({ phase }) => {
                  if (!(phase instanceof AbstractTrainingPhase)) self.current!.#showAverages(true);
                },
                // Whichever way it ends.
                epochCancelled: back,
                fitEnd: back,
              }
            : {}),
          epochEnd: ({ phase, epoch }) => {
            back();
            if (shown === "epochs" && phase instanceof AbstractTrainingPhase) show(epoch);
          },
        },
      }),
    );
    self.current = this;
  }

  /** The averaged model, to predict with, to save: `saveWeights(ema.model, path)`. */
  get model(): AnyRef {
    return this.#average.module as AnyRef;
  }

  /**
   * Computes the running statistics of batch normalisation anew, over `data` (default: the learner's training data): the average was never run, so that they are
   * those of no model. Needs no gradients, and changes nothing else.
   */
  async updateBatchNorm(data: Data | undefined = this.#known.data.training as Data | undefined): Promise<void> {
    const { worker } = this.#known;
    if (data === undefined || isReference(data) || !(Symbol.asyncIterator in data || Symbol.iterator in data))
      throw new TorchwireError(
        "MISUSE",
        `${this.name}: updateBatchNorm needs data: a DataLoader, or an array of batches`,
      );
    const backend = this.#known.getCallback(PyTorchBackend)!;
    const recomputing = py.keep(this.#helpers.Recomputing(this.#average.module));
    try {
      for await (const batch of data)
        await worker.scope(
          async () => void forward(recomputing.see as AnyRef, backend.inputs(toBatch(batch).xs) as Inputs),
        );
    } finally {
      recomputing.end();
    }
  }

  get #known(): Learner {
    if (this.#learner === undefined) throw new TorchwireError("MISUSE", `this ${this.name} belongs to no learner yet`);
    return this.#learner;
  }

  get #average(): AnyRef {
    return (this.#known, this.#averaged!);
  }

  get #helpers(): AnyRef {
    return this.#known.worker.import("torchwire_worker.helpers.averaging");
  }

  #init(learner: Learner, decay: number | undefined, buffers: boolean): void {
    if (!isReference(learner.model))
      throw new TorchwireError(
        "MISUSE",
        `${this.name}: the learner has several models, of which it cannot tell which to average`,
      );
    this.#learner = learner;
    const given = decay === undefined ? null : py.float(decay);
    this.#averaged = py.keep(this.#helpers.averaged(learner.model as AnyRef, given, buffers) as AnyRef);
  }

  #show(): void {
    this.#average.update_parameters(this.#known.model as AnyRef);
  }

  /** Puts the averages into the learner's own model, or its own weights back. */
  #showAverages(averages: boolean): void {
    this.#helpers.show(this.#known.model as AnyRef, this.#average, averages);
  }
}

export interface EmaOptions {
  /** How much of the average each update keeps. Default 0.999. */
  readonly decay?: number;
  /** Averages buffers too, the running statistics of batch normalisation for one; else they are copied as they are. Default false. */
  readonly buffers?: boolean;
  /** Validation epochs are those of the averages. Default true. */
  readonly validate?: boolean;
}

/**
 * The exponential moving average of the weights, shown them after each update of the optimizer: the first time it takes them as they are, then
 * `decay · average + (1 - decay) · weights`, PyTorch's get_ema_multi_avg_fn.
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
  /** As of EMA. Default false. */
  readonly buffers?: boolean;
  /** As of EMA, once there is a mean. Default false: batch normalisation has to be updated first, see `updateBatchNorm`. */
  readonly validate?: boolean;
}

/** Stochastic weight averaging: the mean of the weights at the ends of epochs, from `start` on. Use it with a constant or cyclic learning rate. */
export class SWA extends AveragedWeights {
  constructor({ start, buffers = false, validate = false }: SwaOptions) {
    super({ name: "SWA", decay: undefined, buffers, validate, shown: "epochs", start });
  }
}
