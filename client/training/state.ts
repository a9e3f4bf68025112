/** What the included callbacks leave for others to read, in `learner.state`. */
import type { NDArray } from "../../bridge/values/ndarray.ts";

/** Of one phase, as Recorder counts it: only what the worker has acknowledged. */
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
   * A number of steps, or of epochs, from 1. Of an epoch in which the fit ended: of the epochs before it and the part that was done, such as 2.4;
   * where the number of its batches is not known, as if it had ended.
   */
  readonly at: number;
  readonly value: number;
  /** The fit ended in this epoch. */
  readonly partial?: true;
}

export interface MetricHistory {
  [phase: string]: { [metric: string]: MetricValue[] };
}

/** The value of a metric that is an array; `at` as of a number. */
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
  /** By what it is ranked. */
  readonly monitor: string;
  /** Its value, measured on these very weights; undefined where it was measured on others, or not at all. */
  readonly value: number | undefined;
  /** Where the learner has averaged weights: whether these are the averages, "EMA" or "SWA", or the model's own, "model". As in the file's metadata. */
  readonly weights?: string;
  /** When the weights were those: milliseconds since 1970. */
  readonly time: number;
}

/** The values that were in use, by the name of the hyperparameter: `lr`, `betas.0`; where groups differ, `lr/head`. `at` counts training steps, from 1. */
export interface HyperparamHistory {
  [name: string]: MetricValue[];
}

export interface IncludedState {
  /** By the name of the phase. Written by Recorder. */
  history: { [phase: string]: PhaseHistory };
  /** Written by Metrics, after each step that is acknowledged. */
  metricsStep: MetricHistory;
  /** Written by Metrics, at the end of each epoch. */
  metricsEpoch: MetricHistory;
  /** Written by Metrics: of each phase's last epoch, the values that are arrays. */
  metricsTable: { [phase: string]: { [metric: string]: MetricTable } };
  /** The values that were in use, by hyperparameter. Written by Scheduler, and by others that set some. */
  hyperparams: HyperparamHistory;
  /** The files that are there, in the order in which they were written. Written by Checkpointer. */
  checkpoints: Checkpoint[];
  /** Of each step that was traced. Written by Traces. */
  traces: MetricHistory;
}

/** State of one's own callbacks, by augmentation: `declare module "torchwire" { interface CallbackState { best: number } }`. */
export interface CallbackState {}

export type State = IncludedState & CallbackState;
export type StateKey = keyof IncludedState | keyof CallbackState;
