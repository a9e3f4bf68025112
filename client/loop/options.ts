/** The options of a learner, and of a fit. */
import type { Callback } from "../callback/callback.ts";
import type { CrashOptions } from "../crash/options.ts";
import type { Format } from "../formats/index.ts";
import type { OptimizerOptions } from "../optim/of-model.ts";
import type { ResumeOptions } from "../resume/options.ts";
import type { Phase } from "../training/phases.ts";
import type { LearnerData, OutputFunction } from "../training/trainer.ts";

export interface LearnerOptions {
  readonly data?: LearnerData;
  /**
   * How the inputs lie in JavaScript's memory. By default uint8 images are `image()`, and everything else is `same`.
   * Floats with four axes have no default.
   */
  readonly input?: Format;
  /** How the targets lie in memory. Default `same`. */
  readonly target?: Format;
  /**
   * Picks what losses and metrics see out of the model's output, or computes it there: `(yhat) => yhat.logits`. It
   * returns a reference, or an array or a record of some, at once. Predictions give this, too, unless they `select`.
   */
  readonly output?: OutputFunction;
  /** Default `adam()`. With several models, one for each, by the same names. */
  readonly optimizer?: OptimizerOptions;
  /** Callbacks beside the default ones. One of a default one's class takes its place. */
  readonly callbacks?: readonly Callback[];
  /**
   * The default callbacks: PyTorchBackend, ProgressPrinter, MetricsPrinter, StopOnNaNLoss, Recorder and Metrics. With
   * false there is PyTorchBackend alone. Default true.
   */
  readonly defaultCallbacks?: boolean;
  /**
   * Steps in flight. By default so many as make some 25 ms of work, from 3 to 32, issued in bursts: observers see a step
   * at most so much later. The default is 3 where a callback may cancel when a step is observed. It is 1 where a callback
   * waits in line (see `explain`).
   */
  readonly window?: number;
}

/** The names of all options of a learner. */
export const learnerOptions: Readonly<Record<keyof LearnerOptions, true>> = {
  data: true,
  input: true,
  target: true,
  output: true,
  optimizer: true,
  callbacks: true,
  defaultCallbacks: true,
  window: true,
};

export interface FitOptions {
  /** Takes the place of the learner's own data. */
  readonly data?: LearnerData;
  /** Take the place of TrainingPhase and ValidationPhase. */
  readonly phases?: { readonly training?: Phase; readonly validation?: Phase };
  /**
   * A folder in which the fit lives: it writes checkpoints there, and where one is there it goes on from it, with the
   * same bits. `n` then counts from the run's beginning. SIGINT, SIGTERM and SIGHUP end it with a checkpoint. See
   * `ResumeOptions`.
   */
  readonly resume?: string | ResumeOptions;
  /**
   * Writes `torchwire-crash-<time>.twr` where an operation of the fit fails, where StopOnNaNLoss ends it, or where the
   * worker is lost: `npx torchwire replay` runs it again up to that operation. It is in the folder of `resume`, else in
   * the current one. It holds batches and weights: see `CrashOptions`. Default: true with `resume` in a folder on this machine, else false.
   */
  readonly crash?: boolean | CrashOptions;
  /** Ends the fit between two steps, or two groups of accumulated batches. The fit waits for the steps in flight, and the report says "interrupted". */
  readonly signal?: AbortSignal;
}

/** The names of all options of a fit. */
export const fitOptions: Readonly<Record<keyof FitOptions, true>> = {
  data: true,
  phases: true,
  resume: true,
  crash: true,
  signal: true,
};
