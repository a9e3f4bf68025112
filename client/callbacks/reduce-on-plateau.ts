import { callback, CallbackObject } from "../callback/callback.ts";
import { flag, float, keywordsOf, oneOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractValidationPhase, ValidationAlone } from "../training/phases.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { aPhase, atLeast0, text, wholeFrom, type PhaseClass } from "../stopping/options.ts";
import { apartFrom } from "./scheduler.ts";
import type { HyperparamHistory } from "../training/state.ts";

export interface ReduceOnPlateauOptions {
  /** A metric by its name. Default "loss". */
  readonly monitor?: string;
  /** Whether it is to become small or large. Default: "min" for a loss; for anything else it must be said. */
  readonly mode?: Direction;
  /** The rates are multiplied by it: from 0, and below 1. Default 0.1. */
  readonly factor?: number;
  /** Epochs without an improvement that are let pass. Default 10. */
  readonly patience?: number;
  /** What counts as an improvement: more than this. Default 1e-4. */
  readonly threshold?: number;
  /** Whether `threshold` is a share of the best value, or a difference. Default "rel". */
  readonly thresholdMode?: "rel" | "abs";
  /** Epochs after a reduction in which nothing is counted. Default 0. */
  readonly cooldown?: number;
  /** No rate becomes smaller. Default 0. */
  readonly minLr?: number;
  /** A rate that would change by no more than this stays. Default 1e-8. */
  readonly eps?: number;
  /** Epochs of this phase are looked at. Default AbstractValidationPhase. */
  readonly phase?: PhaseClass;
  /** Begins anew with each fit: the best value, and what is counted. The rates stay reduced. Default false, as in PyTorch. */
  readonly restart?: boolean;
  /** Where a learner has several. Default "ReduceOnPlateau". */
  readonly name?: string;
}

const below1: Kind = {
  is: "a number from 0, below 1",
  send: (value) => (typeof value === "number" && value >= 0 && value < 1 ? value : undefined),
};

const KINDS: Kinds<ReduceOnPlateauOptions> = {
  monitor: text,
  mode: oneOf("min", "max"),
  factor: below1,
  patience: wholeFrom(0),
  threshold: float,
  thresholdMode: oneOf("rel", "abs"),
  cooldown: wholeFrom(0),
  minLr: atLeast0,
  eps: atLeast0,
  phase: aPhase,
  restart: flag,
  name: text,
};

/**
 * Multiplies the learning rate of every group by `factor` when a metric has not improved for more than `patience` epochs: PyTorch's ReduceLROnPlateau,
 * with its options and its arithmetic. It is no schedule, because it depends on what happened: it acts at the end of an epoch, in line, and not
 * together with a Scheduler of the rate.
 */
export class ReduceOnPlateau extends CallbackObject {
  constructor(options: ReduceOnPlateauOptions = {}) {
    keywordsOf("ReduceOnPlateau", KINDS, options);
    const {
      monitor = "loss",
      factor = 0.1,
      patience = 10,
      threshold = 1e-4,
      thresholdMode = "rel",
      cooldown = 0,
    } = options;
    const {
      minLr = 0,
      eps = 1e-8,
      phase: watched = AbstractValidationPhase,
      restart = false,
      name = "ReduceOnPlateau",
    } = options;
    const mode = directionOf("ReduceOnPlateau", monitor, options.mode);
    const isBetter = (value: number, best: number): boolean => {
      const margin = thresholdMode === "abs" ? threshold : undefined;
      if (mode === "min") return value < (margin === undefined ? best * (1 - threshold) : best - margin);
      return value > (margin === undefined ? best * (threshold + 1) : best + margin);
    };
    const worst = mode === "min" ? Infinity : -Infinity;
    let best = worst;
    let bad = 0;
    let cooling = 0;
    let learner!: Trainer;

    const record = (into: HyperparamHistory, at: number, rates: { readonly [name: string]: number }): void => {
      for (const [key, value] of Object.entries(rates)) (into[key] ??= []).push({ at, value });
    };
    super(
      callback({
        name,
        access: { hyper: { lr: "write" }, state: { metricsEpoch: "read", history: "read", hyperparams: "write" } },
        resolveConflict: apartFrom(() => this),
        init: (given) => {
          learner = given;
          given.state.hyperparams ??= {};
        },
        on: {
          fitBegin: () => {
            if (restart) [best, bad, cooling] = [worst, 0, 0];
          },
          epochEnd: async ({ phase, state }) => {
            if (!(phase instanceof watched) || phase instanceof ValidationAlone) return;
            const value = valueOf(name, monitor, phase.name, state);
            if (value === undefined) return;
            if (isBetter(value, best)) [best, bad] = [value, 0];
            else bad++;
            if (cooling > 0) [cooling, bad] = [cooling - 1, 0];
            if (bad <= patience) return;
            [cooling, bad] = [cooldown, 0];
            const rates = await learner.hyper.scale("lr", factor, { least: minLr, eps });
            record(state.hyperparams, trained(state.history), rates);
          },
        },
      }),
    );

    /** Training steps so far: of whichever phases train. */
    function trained(history: { readonly [phase: string]: { readonly steps: number } }): number {
      return history["training"]?.steps ?? Math.max(0, ...Object.values(history).map(({ steps }) => steps));
    }
  }
}
