/** Metrics: what to count in the worker, batch by batch, and what number to make of the sums. */
import { TorchwireError } from "../bridge/errors.ts";
import type { AnyRef } from "../bridge/types/core.ts";
import type { Measured } from "./callback/callback.ts";
import type { Step } from "./events.ts";
import type { Phase } from "./phases.ts";

export interface MetricParts {
  /**
   * Of one batch: references to numbers or tensors, or numbers, that can be added up over batches: counts and sums, not means. `yhat` carries
   * no gradient; what else a phase of one's own has left is in `step`. Not async.
   */
  readonly update: (yhat: AnyRef, ys: any, step: Readonly<Step>) => Measured;
  /** The value, of the sums over the batches of an epoch, or of one batch. A tensor with axes is `{ shape, data }` here. */
  readonly compute: (sums: any) => number;
  /** Only in phases of this class. Default: in all. */
  readonly phase?: abstract new (...args: any[]) => Phase;
}

export interface Metric {
  readonly name: string;
  readonly update: MetricParts["update"];
  readonly compute: MetricParts["compute"];
  readonly isFor: (phase: Phase) => boolean;
}

/**
 *     metric("recall", {
 *       update: (yhat, ys) => ({ found: yhat.argmax(1).mul(ys).sum(), all: ys.sum() }),
 *       compute: ({ found, all }) => found / all,
 *     })
 */
export function metric(name: string, { update, compute, phase }: MetricParts): Metric {
  if (typeof name !== "string" || name === "") throw new TorchwireError("MISUSE", "a metric needs a name");
  return { name, update, compute, isFor: (one) => phase === undefined || one instanceof phase };
}

/** The fraction of samples whose largest score, along axis 1, is that of their class: the targets are indices of classes. */
export const accuracy: Metric = metric("accuracy", {
  update: (yhat, ys) => ({ right: yhat.argmax(1).eq(ys).sum(), all: ys.numel() }),
  compute: ({ right, all }) => right / all,
});
