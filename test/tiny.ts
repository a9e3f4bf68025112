/** The small things that tests train with: arrays, batches, models, and a learner. */
import {
  DataLoader,
  kw,
  Learner,
  metric,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  Recorder,
  sgd,
  type Callback,
  type LearnerData,
  type NDArray,
  type Worker,
} from "torchwire";
import { l1, type Loss } from "torchwire/losses";
import type { AnyRef } from "../bridge/types/core.ts";
import { sizeOf } from "../bridge/values/ndarray.ts";
import { untyped } from "./observed.ts";

/** A value that the compiler would refuse. */
export const unchecked = (value: unknown): any => value;

/** Queued operations leave in this turn. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** All 256 bytes, again and again, in an order in which no two axes look alike. */
export const bytes = (...shape: readonly number[]): NDArray => ({
  dtype: "uint8",
  shape,
  data: Uint8Array.from({ length: sizeOf(shape) }, (_, i) => (i * 37 + (i >> 8)) % 256),
});

export const floats = (...shape: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i) / 2),
});

export const float32 = (shape: readonly number[], ...data: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(data),
});

/** Row i of xs is [10i, 10i + 1], and its target is i. */
export const rows = (n: number): { xs: NDArray; ys: NDArray } => ({
  xs: {
    dtype: "float32",
    shape: [n, 2],
    data: Float32Array.from({ length: 2 * n }, (_, i) => 10 * (i >> 1) + (i & 1)),
  },
  ys: { dtype: "int64", shape: [n], data: BigInt64Array.from({ length: n }, (_, i) => BigInt(i)) },
});

/** Two samples of y = 2x, and whatever else `x` makes of them. */
export const pair = (x = 1): { xs: NDArray; ys: NDArray } => ({
  xs: float32([2, 1], x, -x),
  ys: float32([2, 1], 2 * x, -2 * x),
});

export const pairs = (count: number): { xs: NDArray; ys: NDArray }[] =>
  Array.from({ length: count }, (_, i) => pair(i + 1));

/** y = w x, w = 0 */
export function line(torch: AnyRef): AnyRef {
  const model = torch.nn.Linear(1, 1, false);
  model.weight.data.zero_();
  return model;
}

/** Both printers, unheard. */
export function printers(): Callback[] {
  const output = { write: () => undefined };
  return [new ProgressPrinter({ output }), new MetricsPrinter({ output })];
}

/**
 * FluxTraining's test learner: y = 3x, one coefficient, the mean absolute error, gradient descent, 16 batches of 8.
 * (Here the coefficient is the weight of a Linear(1, 1) without bias, and the inputs are fixed.)
 */
export interface Tiny {
  readonly callbacks?: readonly Callback[];
  readonly data?: LearnerData;
  readonly loss?: Loss;
  readonly lr?: number;
  /** The coefficient at first. Default 1. */
  readonly start?: number;
  /** Default false, as in FluxTraining's. */
  readonly defaultCallbacks?: boolean;
}

/** Samples of y = 3x; `seed` chooses them. */
export function threefold(samples: number, seed: number): { xs: NDArray; ys: NDArray } {
  const x = Float32Array.from({ length: samples }, (_, i) => ((i * 37 + seed * 11) % 101) / 2);
  const shape = [samples, 1];
  return { xs: { dtype: "float32", shape, data: x }, ys: { dtype: "float32", shape, data: x.map((one) => 3 * one) } };
}

export const tinyData = (): { training: DataLoader; validation: DataLoader } => ({
  training: new DataLoader(threefold(128, 0), { batchSize: 8 }),
  validation: new DataLoader(threefold(128, 1), { batchSize: 8 }),
});

export function tiny(worker: Worker, options: Tiny = {}): Learner<AnyRef> {
  const { callbacks = [], data = tinyData(), loss = l1(), lr = 0.001, start = 1, defaultCallbacks = false } = options;
  const model: AnyRef = untyped(worker, "torch").nn.Linear(1, 1, kw({ bias: false }));
  setCoefficient(model, start);
  return new Learner<AnyRef>(model, loss, { data, optimizer: sgd({ lr }), callbacks, defaultCallbacks });
}

export const setCoefficient = (model: AnyRef, value: number): void => void model.weight.data.fill_(value);

export const coefficient = async (model: AnyRef): Promise<number> => (await model.weight.item()) as number;

/** Metrics with a score that has these values in epochs 1, 2, … of both phases. Call `of` with the learner. */
export function scored(values: readonly number[]): { callbacks: Callback[]; of: (learner: Learner) => void } {
  let learner: Learner;
  const score = metric("score", {
    update: () => ({ n: 1 }),
    compute: () => values[(learner.state.history["training"]?.epochs ?? 1) - 1] ?? 0,
  });
  return { callbacks: [new Recorder(), new Metrics(score)], of: (one) => void (learner = one) };
}
