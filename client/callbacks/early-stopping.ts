import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { Access } from "../callback/access.ts";
import {
  type CallbackOptions,
  CallbackObject,
  type Callback,
  type Handlers,
  type KeptState,
  type Resolution,
} from "../callback/callback.ts";
import { flag, keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase, AbstractValidationPhase } from "../training/phases.ts";
import { patience } from "../stopping/criteria.ts";
import { checkCriterion, type StoppingCriterion } from "../stopping/criterion.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { atLeast0, text } from "../options/kinds.ts";
import { phaseClass, type PhaseClass } from "../training/phase-class.ts";
import { make } from "../weights/modules.ts";
import { Checkpointer } from "./checkpointer.ts";

export interface EarlyStoppingOptions {
  /** A metric by its name, of both phases. Default "loss". */
  readonly monitor?: string;
  /**
   * Whether small or large values are better. Default: "min" for a loss; anything else must say it. Criteria see the
   * negative of a "max" metric.
   */
  readonly mode?: Direction;
  /**
   * A value improves on the best one only by more than this; otherwise the criterion sees the best value again. Default
   * 0.
   */
  readonly minDelta?: number;
  /**
   * When the fit ends, the model gets back the weights and buffers of the best epoch. The worker keeps a copy of them.
   * Default false.
   */
  readonly restoreBest?: boolean;
  /** Epochs of this phase give the losses. Default AbstractValidationPhase. */
  readonly testPhase?: PhaseClass;
  /** Epochs of this phase give the training losses. Few criteria use them. Default AbstractTrainingPhase. */
  readonly trainPhase?: PhaseClass;
  /** Tells several of one learner apart. Default "EarlyStopping". */
  readonly name?: string;
}

const KINDS: Kinds<EarlyStoppingOptions> = {
  monitor: text,
  mode: oneOf("min", "max"),
  minDelta: atLeast0,
  restoreBest: flag,
  testPhase: phaseClass,
  trainPhase: phaseClass,
  name: text,
};

/** The best value of a fit, and the number of training epochs that the learner had done by then. */
export interface BestEpoch {
  readonly epoch: number;
  readonly value: number;
}

const WATCHES = { state: { metricsEpoch: "read", history: "read" }, control: "write" } as const;
const RESTORES = { model: "write", state: { metricsEpoch: "read", history: "read" }, control: "write" } as const;

/**
 * They write an epoch down, so they must run before the fit may end. Names, because this room does not know all of
 * them.
 */
const LOGGERS = ["RunFolder", "LogMetrics", "LogTraces", "LogHyperParams", "LogHistograms", "LogVisualization"];

/**
 * Stops the fit when a criterion says so, at the end of an epoch: `new EarlyStopping(stopping.numberSinceBest(5))`. A
 * number `n` is `patience(n)`: n rises of the loss in a row.
 *
 * The report's `status` is then "stopped", its `by` "EarlyStopping". All other callbacks finish the epoch first. Each
 * fit begins anew, with nothing remembered. Throws MISUSE for options that make no sense.
 */
export class EarlyStopping extends CallbackObject {
  override readonly name: string;
  override readonly access: Access;
  override readonly runAfter: Callback["runAfter"] = [
    Checkpointer,
    "Metrics",
    "ProgressPrinter",
    "MetricsPrinter",
    ...LOGGERS,
  ];
  readonly criterion: StoppingCriterion;
  readonly #options: Required<Omit<EarlyStoppingOptions, "name" | "mode">>;
  /** Criteria see the monitored value times this, so that less is better. */
  readonly #sign: 1 | -1;
  #worker!: Worker;
  #learner!: Trainer;
  /** The criteria's clock goes on where it was when the fit is resumed. */
  #ahead = 0;
  #best: BestEpoch | undefined;
  #state: unknown;
  #least: number | undefined;
  /** The name of the training phase. */
  #training: string | undefined;
  #trained = 0;
  #tested = 0;
  /** A copy of the best weights, and the model that they are of. */
  #kept: { readonly copy: AnyRef; readonly model: unknown } | undefined;

  constructor(criterion: StoppingCriterion | number, options: EarlyStoppingOptions = {}) {
    super();
    keywordsOf("EarlyStopping", KINDS, options);
    const { monitor = "loss", mode, minDelta = 0, restoreBest = false, name = "EarlyStopping" } = options;
    const { testPhase = AbstractValidationPhase, trainPhase = AbstractTrainingPhase } = options;
    this.name = name;
    this.access = restoreBest ? RESTORES : WATCHES;
    this.criterion = typeof criterion === "number" ? patience(criterion) : checkCriterion(criterion, "EarlyStopping");
    this.#options = { monitor, minDelta, restoreBest, testPhase, trainPhase };
    this.#sign = directionOf("EarlyStopping", monitor, mode) === "min" ? 1 : -1;
  }

  /** The best epoch of the last fit, or of the one under way. */
  get best(): BestEpoch | undefined {
    return this.#best;
  }

  override toString(): string {
    return `EarlyStopping(${this.criterion.name})`;
  }

  /** It restores the weights after the fit, so it runs last. */
  override readonly resolveConflict = (other: Callback): Resolution | undefined =>
    other instanceof EarlyStopping ? undefined : "after";

  override readonly init = (learner: Trainer): void => {
    this.#learner = learner;
    this.#worker = learner.worker;
  };

  override readonly on: Handlers<typeof RESTORES> = {
    fitBegin: () => {
      this.#state = this.#least = this.#best = undefined;
      this.#trained = this.#tested = 0;
      this.#forget();
    },
    epochEnd: (view) => {
      const { phase, state, control, epochs } = view;
      // A lone epoch, of `validate` for one, is part of no fit.
      if (epochs === undefined) return;
      const { monitor, testPhase, trainPhase, restoreBest } = this.#options;
      const isTest = phase instanceof testPhase;
      const isTraining = phase instanceof trainPhase;
      if (phase instanceof AbstractTrainingPhase) {
        this.#training = phase.name;
        this.#trained++;
      }
      if (!isTest && !isTraining) return;
      const value = valueOf(this.name, monitor, phase.name, state);
      if (value === undefined) return;
      const now = this.#now();
      if (isTest) {
        this.#tested++;
        const epoch = state.history[this.#training ?? ""]?.epochs ?? 0;
        const loss = this.#seen(this.#sign * value, epoch, restoreBest ? view.model : undefined);
        this.#state = this.criterion.update(loss, this.#state, now);
      } else this.#state = this.criterion.updateTraining(this.#sign * value, this.#state, now);
      if (this.criterion.done(this.#state)) control.cancel("fit", this.criterion.message(this.#state).trim());
    },
    fitEnd: (view) => {
      const { status } = view.ending ?? {};
      const kept = this.#kept;
      if (kept !== undefined && kept.model === view.model && status !== "failed")
        this.#worker.scope(() => void kept.copy.restore());
      this.#forget();
      if (this.#trained > 1 && this.#tested === 0 && status === "completed")
        process.emitWarning(
          `${this.name} had nothing to go by: there was no epoch of ${this.#options.testPhase.name} with a step in it. ` +
            "Give the learner validation data, or watch the training: testPhase: AbstractTrainingPhase",
          { type: "TorchwireWarning" },
        );
    },
  };

  override get options(): CallbackOptions {
    const { testPhase, trainPhase, ...others } = this.#options;
    const { name: criterion } = this.criterion;
    return { criterion, ...others, testPhase: testPhase.name, trainPhase: trainPhase.name, sign: this.#sign };
  }

  override readonly state: KeptState = {
    save: () => ({
      best: this.#best,
      criterion: this.#state,
      least: this.#least,
      training: this.#training,
      trained: this.#trained,
      tested: this.#tested,
      isKept: this.#kept !== undefined,
      now: this.#now(),
    }),
    load: ({ best, criterion, least, training, trained, tested, isKept, now }) => {
      this.#best = best;
      this.#state = criterion;
      this.#ahead = (now as number) - performance.now();
      this.#least = least;
      this.#training = training;
      [this.#trained, this.#tested] = [trained, tested];
      this.#forget();
      const { model } = this.#learner;
      if (isKept) this.#kept = { copy: make(this.#worker, "checkpoint", "Kept", model), model };
    },
    objects: () => (this.#kept === undefined ? {} : { best: this.#kept.copy }),
  };

  /** Returns what the criterion sees of a loss. Notes the best one, and keeps the weights of `model` then. */
  #seen(loss: number, epoch: number, model: AnyRef | undefined): number {
    const least = this.#least;
    if (least !== undefined && !(loss < least - this.#options.minDelta)) return loss < least ? least : loss;
    if (Number.isNaN(loss)) return loss;
    this.#least = loss;
    this.#best = { epoch, value: this.#sign * loss };
    if (model !== undefined) {
      // There are never two copies: forget the old one first.
      this.#forget();
      this.#kept = { copy: make(this.#worker, "checkpoint", "Kept", model), model };
    }
    return loss;
  }

  #now(): number {
    return performance.now() + this.#ahead;
  }

  #forget(): void {
    this.#kept?.copy[Symbol.dispose]();
    this.#kept = undefined;
  }
}
