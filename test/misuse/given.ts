/** The input of each kind of misuse, and the rules that it must meet. */
import type { AnyRef, Learner, LearnerOptions, NDArray, Worker } from "torchwire";

/** The values that the snippets use. Untyped, because most of them are what the compiler refuses. */
export interface Given {
  readonly worker: Worker;
  /** Another one. */
  readonly other: Worker;
  /** One that was closed, and a learner that had it. */
  readonly closed: Worker;
  readonly closedLearner: Learner;
  readonly torch: AnyRef;
  readonly nn: AnyRef;
  /**
   * A folder: photos/{cat,dog}, with a broken dog; empty/cat; broken.safetensors; other.safetensors, of another model;
   * code.pt.
   */
  readonly folder: string;
  readonly learner: (options?: LearnerOptions & { readonly model?: AnyRef; readonly loss?: unknown }) => Learner;
  /** A Python for the environment's mishaps: `{ python, env }` for spawnWorker. */
  readonly python: (fault: "bare" | "old" | "dies" | "broken" | "unfit") => {
    readonly python?: string;
    readonly env?: Readonly<Record<string, string>>;
  };
}

/**
 * One kind: it throws, rejects, or gives the text that comes in place of an error. The line that is wrong ends with a
 * comment that is an arrow; what has none is a mishap that no line is to blame for.
 */
export type Case = (given: Given) => unknown;
export type Cases = Readonly<Record<string, Case>>;

/** Ones, float32. */
export const ones = (...shape: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1),
});

export const labels = (...data: readonly number[]): NDArray => ({
  dtype: "uint8",
  shape: [data.length],
  data: Uint8Array.from(data),
});

/** Batches of two samples with one feature. */
export const pairs = (count: number): { xs: NDArray; ys: NDArray }[] =>
  Array.from({ length: count }, () => ({ xs: ones(2, 1), ys: ones(2, 1) }));
