import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { backendsFor, type Backends } from "./backend.ts";
import { edgesOf } from "./bins.ts";
import { every, whole } from "./every.ts";
import type { LoggedHistogram } from "./loggables.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

export interface LogHistogramsOptions {
  /** Every how many training steps, the first of them included. Default 100. */
  readonly freq?: number;
  /** Default 50. */
  readonly bins?: number;
}

/** As python/torchwire_worker/helpers/histograms.py has them. */
interface Counted {
  readonly low: number;
  readonly high: number;
  readonly counts: readonly number[];
  readonly sum: number;
  readonly sum_squares: number;
  readonly not_finite: number;
}

/**
 * Logs histograms of the trainable parameters after the step, in the group `Step/Histograms/Weights`, and of their gradients, in
 * `Step/Histograms/Gradients`, by the number of the training step. They are counted where the tensors are, and travel with the step: the bins, not the weights.
 */
export class LogHistograms extends CallbackObject {
  constructor(backends: Backends, { freq = 100, bins = 50 }: LogHistogramsOptions = {}) {
    const all = backendsFor("LogHistograms", backends, "histogram");
    const isDue = every("LogHistograms", freq);
    whole("LogHistograms", "bins", bins);
    let count: AnyRef | undefined;
    super(
      callback({
        name: "LogHistograms",
        phase: AbstractTrainingPhase,
        access: { model: "use", state: { history: "read" } },
        init: ({ worker }) => {
          count = py.keep(worker.import("torchwire_worker.helpers.histograms").parameters_and_gradients as AnyRef);
        },
        measure: ({ model }): { found?: AnyRef } => (isDue() ? { found: count!(model, bins) } : {}),
        observe: {
          stepEnd: ({ phase, state, values: { found } }) => {
            if (found === undefined) return;
            const [weights, gradients] = found as [Counts, Counts];
            const at = state.history[phase.name]!.steps;
            for (const [what, counted] of [
              ["Weights", weights],
              ["Gradients", gradients],
            ] as const) {
              const values = Object.fromEntries(Object.entries(counted).map(([name, one]) => [name, histogramOf(one)]));
              for (const backend of all) backend.log({ group: ["Step", "Histograms", what], at, values });
            }
          },
        },
      }),
    );
  }
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
