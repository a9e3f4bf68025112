import type { PhaseHistory, MetricHistory } from "./state.ts";

/** How the loop of a fit ended. */
export interface Ending {
  /**
   * "stopped": a callback, or a step, cancelled it. "interrupted": a signal or Ctrl-C ended it. "failed": the fit
   * rejects.
   */
  readonly status: "completed" | "stopped" | "interrupted" | "failed";
  /** The reason for which it was stopped or interrupted, or the error's message. */
  readonly reason: string | undefined;
  /** The callback that stopped it. */
  readonly by: string | undefined;
}

/** Where a fit went on. */
export interface Resumed {
  /** The checkpoint's folder. */
  readonly from: string;
  /** Training steps that the run had behind it. */
  readonly steps: number;
  /** How often the run has been resumed, this time included. */
  readonly times: number;
}

/** The result of a fit. */
export interface Report extends Ending {
  readonly status: "completed" | "stopped" | "interrupted";
  /** Training epochs of this fit that were completed. */
  readonly epochs: number;
  /** Training steps of this fit that the worker has acknowledged. */
  readonly steps: number;
  /** Metrics by phase and name, over all fits of this learner. Empty without Metrics among the callbacks. */
  readonly history: MetricHistory;
  /** Only of a fit with `resume` that went on from a checkpoint. */
  readonly resumed?: Resumed;
  /** The file by which `npx torchwire replay` runs the end of a fit again that a NaN has stopped. */
  readonly crash?: string;
  readonly phases: { readonly [phase: string]: PhaseHistory };
}
