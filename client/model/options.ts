/** The options and the results of predictions. */
import type { NDArray } from "../../bridge/values/ndarray.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import type { Picked } from "../data/picked.ts";
import type { Format } from "../formats/index.ts";
import type { Loss } from "../losses/spec.ts";
import type { Task } from "../metrics/options.ts";
import type { Outputs } from "./joined.ts";
import type { TogetherOptions } from "./together.ts";

export interface PredictOptions {
  /** Samples in a batch, where the samples are one array. Default 64. */
  readonly batchSize?: number;
  /** How the inputs lie in memory, as in a learner. */
  readonly input?: Format;
  /** Default: the worker's device. */
  readonly device?: string;
  /**
   * True: arrays of requests that wait at the same time run as one batch of at most `batchSize` samples, where they and
   * all else that is asked are alike: model, shapes, `input`, `select` and the rest. A request that nothing waits for
   * runs at once; the others run when the worker has answered. A batch has the model as it is when it runs. Default
   * false: each runs by itself, at its place in the program, and its bits depend on nobody else.
   *
   * Rows of a larger batch may differ in their last bits, and more in a model whose samples see each other. What cannot
   * be joined or taken apart runs by itself, and so does what fails.
   */
  readonly together?: boolean | TogetherOptions;
  /** Rejects with its reason when it aborts. Batches that have not been sent are left out. */
  readonly signal?: AbortSignal;
  /**
   * Picks what to return out of the model's output, or computes it there: `(y) => y.logits`. It returns a reference, or
   * an array or a record of some, which the result has the form of. Default: a learner's `output`, or all that the
   * model gives.
   */
  readonly select?: (yhat: any) => Picked;
}

/** Options whose `select` has the type that the result follows from. */
export type SelectOptions<S extends Picked> = PredictOptions & { readonly select: (yhat: any) => S };

/** The result of a prediction whose `select` returns `S`: an array of numbers for each reference. */
export type Selected<S> = 0 extends 1 & S
  ? NDArray
  : Picked extends S
    ? Outputs
    : S extends PyObject
      ? NDArray
      : { readonly [K in keyof S]: Selected<S[K]> };

export interface ClassifyOptions extends PredictOptions {
  /** Names of the classes, by index; for a yes or no those of no and yes. Default: the indices themselves. */
  readonly classes?: readonly string[];
  /** How many of the likeliest classes `top` has. Default 1. */
  readonly topK?: number;
  /**
   * The loss that the model was trained with: it tells logits from probabilities, and classes from labels. Default: a
   * learner's own.
   */
  readonly loss?: Loss;
  /**
   * "classes": each sample has one. "labels": each output is a yes or a no by itself. Default: as the loss or the shape
   * says.
   */
  readonly task?: Task;
}

/** One class that a sample may have. */
export interface Candidate {
  readonly label: string;
  readonly index: number;
  /** The probability, from 0 to 1. The probabilities of classes add up to 1; those of labels are independent. */
  readonly probability: number;
  /** The model's output itself. A single logit z gives 0 for no and z for yes. */
  readonly score: number;
}

/** The likeliest class of one sample, and the `topK` likeliest, that one first. */
export interface Prediction extends Candidate {
  readonly top: readonly Candidate[];
  /** The scores of all classes, by index; in double precision where the model computes in it. */
  readonly scores: Float32Array | Float64Array;
  readonly probabilities: Float32Array | Float64Array;
}
