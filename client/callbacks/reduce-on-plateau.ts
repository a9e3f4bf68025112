import type { CallbackOptions, Handlers, KeptState } from "../callback/callback.ts";
import type { Hyper } from "../optim/hyper.ts";
import { flag, float, keywordsOf, oneOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractValidationPhase, ValidationAlone } from "../training/phases.ts";
import { directionOf, valueOf, type Direction } from "../stopping/monitor.ts";
import { atLeast0, text, wholeFrom } from "../options/kinds.ts";
import { phaseClass, type PhaseClass } from "../training/phase-class.ts";
import { HyperCallback } from "./hyper-callback.ts";
import type { HyperparamHistory } from "../training/state.ts";

export interface ReduceOnPlateauOptions {
  /** A metric by its name. Default "loss". */
  readonly monitor?: string;
  /** Whether small or large values are better. Default: "min" for a loss; anything else must say it. */
  readonly mode?: Direction;
  /** Multiplies the rates: from 0, and below 1. Default 0.1. */
  readonly factor?: number;
  /** Epochs without an improvement that pass before a reduction. Default 10. */
  readonly patience?: number;
  /** An improvement is more than this. Default 1e-4. */
  readonly threshold?: number;
  /** Whether `threshold` is a share of the best value, or a difference. Default "rel". */
  readonly thresholdMode?: "rel" | "abs";
  /** Epochs after a reduction that do not count. Default 0. */
  readonly cooldown?: number;
  /** No rate becomes smaller. Default 0. */
  readonly minLr?: number;
  /** A rate that would change by no more than this stays. Default 1e-8. */
  readonly eps?: number;
  /** Looks at epochs of this phase. Default AbstractValidationPhase. */
  readonly phase?: PhaseClass;
  /** Forgets the best value and the counts when a fit begins. The rates stay reduced. Default false, as in PyTorch. */
  readonly restart?: boolean;
  /** Tells several of one learner apart. Default "ReduceOnPlateau". */
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
  phase: phaseClass,
  restart: flag,
  name: text,
};

const ACCESS = {
  hyper: { lr: "write" },
  state: { metricsEpoch: "read", history: "read", hyperparams: "write" },
} as const;

/**
 * Multiplies the learning rate of every group by `factor` when a metric has not improved for more than `patience`
 * epochs: PyTorch's ReduceLROnPlateau, with its options and its arithmetic. It is no schedule, because it depends on
 * what happened. It acts at the end of an epoch, in line, and not together with a Scheduler of the rate.
 */
export class ReduceOnPlateau extends HyperCallback {
  override readonly name: string;
  override readonly access: typeof ACCESS = ACCESS;
  readonly #options: Required<Omit<ReduceOnPlateauOptions, "name">>;
  readonly #worst: number;
  #best: number;
  #bad = 0;
  #cooling = 0;
  #hyper!: Hyper;

  constructor(options: ReduceOnPlateauOptions = {}) {
    super();
    keywordsOf("ReduceOnPlateau", KINDS, options);
    const { name = "ReduceOnPlateau", monitor = "loss", phase = AbstractValidationPhase, restart = false } = options;
    const { factor = 0.1, patience = 10, cooldown = 0, minLr = 0, eps = 1e-8 } = options;
    const { threshold = 1e-4, thresholdMode = "rel" } = options;
    const mode = directionOf("ReduceOnPlateau", monitor, options.mode);
    this.name = name;
    this.#options = { monitor, phase, restart, factor, patience, cooldown, minLr, eps, threshold, thresholdMode, mode };
    this.#best = this.#worst = mode === "min" ? Infinity : -Infinity;
  }

  override get options(): CallbackOptions {
    return { ...this.#options, phase: this.#options.phase.name };
  }

  override readonly init = ({ hyper, state }: Trainer): void => {
    this.#hyper = hyper;
    state.hyperparams ??= {};
  };

  override readonly on: Handlers<typeof ACCESS> = {
    fitBegin: () => {
      if (this.#options.restart) [this.#best, this.#bad, this.#cooling] = [this.#worst, 0, 0];
    },
    epochEnd: async ({ phase, state }) => {
      const { monitor, phase: watched, patience, cooldown, factor, minLr, eps } = this.#options;
      if (!(phase instanceof watched) || phase instanceof ValidationAlone) return;
      const value = valueOf(this.name, monitor, phase.name, state);
      if (value === undefined) return;
      if (this.#isBetter(value)) [this.#best, this.#bad] = [value, 0];
      else this.#bad++;
      if (this.#cooling > 0) [this.#cooling, this.#bad] = [this.#cooling - 1, 0];
      if (this.#bad <= patience) return;
      [this.#cooling, this.#bad] = [cooldown, 0];
      const rates = await this.#hyper.scale("lr", factor, { least: minLr, eps });
      const at = trained(state.history);
      const into: HyperparamHistory = state.hyperparams;
      for (const [name, rate] of Object.entries(rates)) (into[name] ??= []).push({ at, value: rate });
    },
  };

  override readonly state: KeptState<[best: number, bad: number, cooling: number]> = {
    save: () => [this.#best, this.#bad, this.#cooling],
    load: (saved) => void ([this.#best, this.#bad, this.#cooling] = saved),
  };

  #isBetter(value: number): boolean {
    const { mode, threshold, thresholdMode } = this.#options;
    const best = this.#best;
    if (mode === "min") return value < (thresholdMode === "rel" ? best * (1 - threshold) : best - threshold);
    return value > (thresholdMode === "rel" ? best * (threshold + 1) : best + threshold);
  }
}

/** Training steps so far, of whichever phases train. */
function trained(history: { readonly [phase: string]: { readonly steps: number } }): number {
  return history["training"]?.steps ?? Math.max(0, ...Object.values(history).map(({ steps }) => steps));
}
