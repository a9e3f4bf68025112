import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { View } from "../callback/access.ts";
import { CallbackObject, type Callback, type Measured, type Observers } from "../callback/callback.ts";
import { backendsFor, stateWith, type Backends, type LoggerBackend } from "./backend.ts";
import { edgesOf } from "./bins.ts";
import { every, type Every, whole } from "./every.ts";
import type { LoggedHistogram } from "./loggables.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import type { Trainer } from "../training/trainer.ts";

export interface LogHistogramsOptions {
  /** Logs the first training step and every `freq`-th after it. Default 100. */
  readonly freq?: number;
  /** Default 50. */
  readonly bins?: number;
}

/** The result of python/torchwire_worker/helpers/histograms.py. */
interface Counted {
  readonly low: number;
  readonly high: number;
  readonly counts: readonly number[];
  readonly sum: number;
  readonly sum_squares: number;
  readonly not_finite: number;
}

/**
 * Logs histograms of the trainable parameters after the step, in the group `Step/Histograms/Weights`, and of their
 * gradients, in `Step/Histograms/Gradients`, by the number of the training step. The worker counts where the tensors
 * are; only the bins travel, with the step.
 */
export class LogHistograms extends CallbackObject {
  override readonly name = "LogHistograms";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly access = { model: "use", state: { history: "read" } } as const;
  override readonly state: Callback["state"];
  readonly #backends: readonly LoggerBackend[];
  readonly #isDue: Every;
  readonly #bins: number;
  #count!: AnyRef;

  constructor(backends: Backends, { freq = 100, bins = 50 }: LogHistogramsOptions = {}) {
    super();
    this.#backends = backendsFor("LogHistograms", backends, "histogram");
    this.#isDue = every("LogHistograms", freq);
    this.state = stateWith(this.#backends, this.#isDue.state);
    whole("LogHistograms", "bins", bins);
    this.#bins = bins;
  }

  override readonly init = ({ worker }: Trainer): void => {
    this.#count = py.keep(worker.import("torchwire_worker.helpers.histograms").parameters_and_gradients as AnyRef);
  };

  override readonly measure = ({ model }: View<LogHistograms["access"], "stepEnd">): Measured =>
    this.#isDue() ? { found: this.#count(model, this.#bins) } : {};

  override readonly observe: Observers<LogHistograms["access"]> = {
    stepEnd: ({ phase, state, values: { found } }) => {
      if (found === undefined) return;
      const [weights, gradients] = found as [Counts, Counts];
      const at = state.history[phase.name]!.steps;
      for (const [what, counts] of [["Weights", weights] as const, ["Gradients", gradients] as const]) {
        const values = Object.fromEntries(Object.entries(counts).map(([name, one]) => [name, histogramOf(one)]));
        for (const backend of this.#backends) backend.log({ group: ["Step", "Histograms", what], at, values });
      }
    },
  };
}

interface Counts {
  readonly [name: string]: Counted;
}

const histogramOf = ({ low, high, counts, sum, sum_squares, not_finite }: Counted): LoggedHistogram => ({
  kind: "histogram",
  edges: edgesOf(low, high, counts.length),
  counts,
  sum,
  sumSquares: sum_squares,
  notFinite: not_finite,
});
