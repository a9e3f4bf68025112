import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { flag, keywordsOf, oneOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase, AbstractValidationPhase } from "../training/phases.ts";
import { patience } from "../stopping/criteria.ts";
import { checkCriterion, type StoppingCriterion } from "../stopping/criterion.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { aPhase, atLeast0, text, type PhaseClass } from "../stopping/options.ts";
import { make } from "../weights/modules.ts";
import { Checkpointer } from "./checkpointer.ts";

export interface EarlyStoppingOptions {
  /** A metric by its name, of both phases. Default "loss". */
  readonly monitor?: string;
  /** Whether it is to become small or large. Default: "min" for a loss; for anything else it must be said. Criteria see the negative of what is to become large. */
  readonly mode?: Direction;
  /** An improvement on the best value by no more than this is none: the criterion sees the best value again. Default 0. */
  readonly minDelta?: number;
  /** When the fit ends, the model gets back the weights (and buffers) of the best epoch, a copy of which is kept in the worker. Default false. */
  readonly restoreBest?: boolean;
  /** Epochs of this phase give the losses. Default AbstractValidationPhase. */
  readonly testPhase?: PhaseClass;
  /** Epochs of this phase give the training losses, which few criteria look at. Default AbstractTrainingPhase. */
  readonly trainPhase?: PhaseClass;
  /** Where a learner has several. Default "EarlyStopping". */
  readonly name?: string;
}

const KINDS: Kinds<EarlyStoppingOptions> = {
  monitor: text,
  mode: oneOf("min", "max"),
  minDelta: atLeast0,
  restoreBest: flag,
  testPhase: aPhase,
  trainPhase: aPhase,
  name: text,
};

/** The value that was best in this fit, and the training epochs that the learner had behind it then. */
export interface BestEpoch {
  readonly epoch: number;
  readonly value: number;
}

/**
 * Stops the fit when a criterion says so, at the end of an epoch: `new EarlyStopping(stopping.numberSinceBest(5))`. A number `n` is `patience(n)`: n
 * rises of the loss in a row.
 *
 * The report's `status` is then "stopped", its `by` "EarlyStopping". Everything else that a callback does at the end of the epoch is done before. Each
 * fit begins anew, with nothing remembered. Throws MISUSE for options that make no sense.
 */
export class EarlyStopping extends CallbackObject {
  readonly criterion: StoppingCriterion;
  readonly #watching: { best: BestEpoch | undefined };

  constructor(criterion: StoppingCriterion | number, options: EarlyStoppingOptions = {}) {
    keywordsOf("EarlyStopping", KINDS, options);
    const { monitor = "loss", minDelta = 0, restoreBest = false, name = "EarlyStopping" } = options;
    const { testPhase = AbstractValidationPhase, trainPhase = AbstractTrainingPhase } = options;
    const sign = directionOf("EarlyStopping", monitor, options.mode) === "min" ? 1 : -1;
    const own = typeof criterion === "number" ? patience(criterion) : checkCriterion(criterion, "EarlyStopping");

    const watching: { best: BestEpoch | undefined } = { best: undefined };
    let state: unknown;
    let least: number | undefined;
    let training: string | undefined;
    let trained = 0;
    let tested = 0;
    let learner!: Trainer;
    let kept: AnyRef | undefined;
    let keptOf: unknown;
    const forget = (): void => {
      kept?.[Symbol.dispose]();
      kept = undefined;
    };
    /** What the criterion is to see of a loss. */
    const seen = (loss: number, epoch: number): number => {
      if (least !== undefined && !(loss < least - minDelta)) return loss < least ? least : loss;
      if (Number.isNaN(loss)) return loss;
      least = loss;
      watching.best = { epoch, value: sign * loss };
      if (restoreBest) {
        // First the old copy goes: there are never two.
        forget();
        kept = make(learner.worker, "checkpoint", "Kept", learner.model);
        keptOf = learner.model;
      }
      return loss;
    };

    super(
      callback({
        name,
        access: {
          ...(restoreBest ? { model: "write" } : {}),
          state: { metricsEpoch: "read", history: "read" },
          control: "write",
        },
        runAfter: [Checkpointer, "Metrics", "ProgressPrinter", "MetricsPrinter", ...LOGGERS],
        // What it puts back is for after the fit: it comes last.
        resolveConflict: (other) => (other instanceof EarlyStopping ? undefined : "after"),
        init: (given) => {
          learner = given;
        },
        on: {
          fitBegin: () => {
            state = least = watching.best = undefined;
            trained = tested = 0;
            forget();
          },
          epochEnd: ({ phase, state: of, control, epochs }) => {
            // A lone epoch, `validate` for one, is part of no fit that could be stopped.
            if (epochs === undefined) return;
            const isTest = phase instanceof testPhase;
            const isTraining = phase instanceof trainPhase;
            if (phase instanceof AbstractTrainingPhase) {
              training = phase.name;
              trained++;
            }
            if (!isTest && !isTraining) return;
            const value = valueOf(name, monitor, phase.name, of);
            if (value === undefined) return;
            const now = performance.now();
            if (isTest) {
              tested++;
              state = own.update(seen(sign * value, of.history[training ?? ""]?.epochs ?? 0), state, now);
            } else state = own.updateTraining(sign * value, state, now);
            if (own.done(state)) control.cancel("fit", own.message(state).trim());
          },
          fitEnd: ({ ending }) => {
            if (kept !== undefined && keptOf === learner.model && ending?.status !== "failed")
              learner.worker.scope(() => void kept!.restore());
            forget();
            if (trained > 1 && tested === 0 && ending?.status === "completed")
              process.emitWarning(
                `${name} had nothing to go by: there was no epoch of ${testPhase.name} with a step in it. Give the learner validation data, ` +
                  "or watch the training: testPhase: AbstractTrainingPhase",
                { type: "TorchwireWarning" },
              );
          },
        },
      }),
    );
    this.criterion = own;
    this.#watching = watching;
  }

  /** Of the last fit, or of the one under way. */
  get best(): BestEpoch | undefined {
    return this.#watching.best;
  }

  override toString(): string {
    return `EarlyStopping(${this.criterion.name})`;
  }
}

/** What writes down an epoch, by name: it is written before the fit may end. */
const LOGGERS = ["RunFolder", "LogMetrics", "LogTraces", "LogHyperParams", "LogHistograms", "LogVisualization"];
