/** What the included callbacks leave for others to read, in `learner.state`. */

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

/** One value of a metric: `at` is a number of steps, or of epochs, from 1. */
export interface MetricValue {
  readonly at: number;
  readonly value: number;
}

export interface MetricHistory {
  [phase: string]: { [metric: string]: MetricValue[] };
}

export interface IncludedState {
  /** By the name of the phase. Written by Recorder. */
  history: { [phase: string]: PhaseHistory };
  /** Written by Metrics, after each step that is acknowledged. */
  metricsStep: MetricHistory;
  /** Written by Metrics, at the end of each epoch. */
  metricsEpoch: MetricHistory;
}
