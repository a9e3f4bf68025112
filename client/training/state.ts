/** The state that the included callbacks write for others to read, in `learner.state`. */
import type { NDArray } from "../../bridge/values/ndarray.ts";

/** The counts of one phase, by Recorder. They have only what the worker has acknowledged. */
export interface PhaseHistory {
  /** Epochs that have ended. */
  epochs: number;
  /** Steps of all epochs. */
  steps: number;
  /** Steps of the epoch under way, or of the last one. */
  stepsEpoch: number;
  /** Samples of all epochs. */
  samples: number;
}

/** One value of a metric. */
export interface MetricValue {
  /**
   * The number of steps or of epochs, from 1. An epoch in which the fit ended counts by the part that was done, such as
   * 2.4. It counts as a whole one where the number of its batches is not known.
   */
  readonly at: number;
  readonly value: number;
  /** The fit ended in this epoch. */
  readonly partial?: true;
}

export interface MetricHistory {
  [phase: string]: { [metric: string]: MetricValue[] };
}

/** The value of a metric that is an array. `at` is that of a `MetricValue`. */
export interface MetricTable {
  readonly at: number;
  readonly value: NDArray;
  readonly partial?: true;
}

/** One file. */
export interface Checkpoint {
  /** Absolute, on the machine of `on`. */
  readonly path: string;
  readonly on: "client" | "worker";
  /** Training epochs that were completed by then. */
  readonly epoch: number;
  /** Training steps by then, over all epochs. */
  readonly steps: number;
  /** The metric that ranks it. */
  readonly monitor: string;
  /** The metric's value, measured on these very weights; undefined where it was measured on others, or not at all. */
  readonly value: number | undefined;
  /**
   * Only where the learner has averaged weights: "EMA" or "SWA" where these are the averages, "model" where they are
   * the model's own. The file's metadata has it, too.
   */
  readonly weights?: string;
  /** The time at which the model had the weights, in milliseconds since 1970. */
  readonly time: number;
}

/**
 * The values that were in use, by hyperparameter: `lr`, `betas.0`, or `lr/head` where groups differ. `at` counts
 * training steps, from 1.
 */
export interface HyperparamHistory {
  [name: string]: MetricValue[];
}

export interface IncludedState {
  /** Counts by the name of the phase. Written by Recorder. */
  history: { [phase: string]: PhaseHistory };
  /** Written by Metrics, after each step that is acknowledged. */
  metricsStep: MetricHistory;
  /** Written by Metrics, at the end of each epoch. */
  metricsEpoch: MetricHistory;
  /** The values that are arrays, of each phase's last epoch. Written by Metrics. */
  metricsTable: { [phase: string]: { [metric: string]: MetricTable } };
  /** The values that were in use, by hyperparameter. Written by Scheduler, and by others that set some. */
  hyperparams: HyperparamHistory;
  /** The files, in the order in which they were written. Written by Checkpointer. */
  checkpoints: Checkpoint[];
  /** The values of each step that was traced. Written by Traces. */
  traces: MetricHistory;
}

/**
 * State of your own callbacks, by augmentation:
 * `declare module "torchwire" { interface CallbackState { best: number } }`.
 */
export interface CallbackState {}

export type State = IncludedState & CallbackState;
export type StateKey = keyof IncludedState | keyof CallbackState;
