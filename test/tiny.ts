/**
 * FluxTraining's test learner: y = 3x, one coefficient, the mean absolute error, gradient descent, 16 batches of 8.
 * (Here the coefficient is the weight of a Linear(1, 1) without bias, and the inputs are fixed.)
 */
import {
  DataLoader,
  kw,
  Learner,
  metric,
  Metrics,
  Recorder,
  sgd,
  type Callback,
  type LearnerData,
  type NDArray,
  type Worker,
} from "torchwire";
import { l1, type Loss } from "torchwire/losses";
import type { AnyRef } from "../bridge/types/core.ts";
import { untyped } from "./observed.ts";

export interface Tiny {
  readonly callbacks?: readonly Callback[];
  readonly data?: LearnerData;
  readonly loss?: Loss;
  readonly lr?: number;
  /** The first value of the coefficient. Default: 1. */
  readonly start?: number;
  /** Default: false, as in FluxTraining's. */
  readonly defaultCallbacks?: boolean;
}

/** Data of `samples` pairs; `seed` chooses them. */
export function pairs(samples: number, seed: number): { xs: NDArray; ys: NDArray } {
  const x = Float32Array.from({ length: samples }, (_, i) => ((i * 37 + seed * 11) % 101) / 2);
  const shape = [samples, 1];
  return { xs: { dtype: "float32", shape, data: x }, ys: { dtype: "float32", shape, data: x.map((one) => 3 * one) } };
}

export const tinyData = (): { training: DataLoader; validation: DataLoader } => ({
  training: new DataLoader(pairs(128, 0), { batchSize: 8 }),
  validation: new DataLoader(pairs(128, 1), { batchSize: 8 }),
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
