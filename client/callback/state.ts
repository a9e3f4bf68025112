/** What the included callbacks leave for others to read, in `learner.state`. */
import type { Checkpoint } from "../callbacks/checkpointer.ts";
import type { NDArray } from "../../bridge/ndarray.ts";
import type { HyperparamHistory } from "../callbacks/scheduler.ts";

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
