/**
 * Metrics that are not sums: an object in the worker gathers them over an epoch, and its value is fetched at the end.
 */
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Measured } from "../callback/callback.ts";
import type { Loss } from "../losses/spec.ts";
import { statefulMetric, type Metric, type MetricResult, type Tally } from "./metric.ts";
import type { CommonOptions } from "./options.ts";
import { float64 } from "./sums.ts";

interface Gathering {
  /** Makes the object that gathers, in the first step of each epoch. */
  readonly make: (yhat: AnyRef, loss: Loss | undefined) => AnyRef;
  /** Gives the object one step's outputs and targets. */
  readonly update: (object: AnyRef, yhat: AnyRef, ys: AnyRef) => Measured | void;
  /** True where the object belongs to the metric alone, and is freed once its value has been fetched. */
  readonly isOwn: boolean;
  /** Picks the parts of its value that are kept. Default: all. */
  readonly pick?: (value: unknown) => unknown;
}

export const gathering = (name: string, { make, update, isOwn, pick }: Gathering, { phase }: CommonOptions): Metric =>
  statefulMetric(name, {
    start() {
      let object: AnyRef | undefined;
      const tally: Tally = {
        update(yhat, ys, _, loss) {
          object ??= py.keep(make(yhat, loss));
          return update(object, yhat, ys as AnyRef) ?? {};
        },
        add: ({ value }) => numberOr(value),
        async compute() {
          const value = py.js(object!.compute());
          if (isOwn) object![Symbol.dispose]();
          return resultOf(pick === undefined ? await value : pick(await value));
        },
      };
      return tally;
    },
    ...(phase && { phase }),
  });

const numberOr = (value: unknown): number | undefined => {
  const result = resultOf(value);
  return typeof result === "number" ? result : undefined;
};

/** Turns tensors without axes into numbers, also within a record. */
function resultOf(value: unknown): MetricResult {
  if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
  if (isNDArray(value)) return value.shape.length === 0 ? float64(value).data[0]! : float64(value);
  if (typeof value !== "object" || value === null) return value === null ? undefined : (value as number);
  const entries = Object.entries(value).map(([key, item]) => [key, resultOf(item)] as const);
  return Object.fromEntries(entries) as MetricResult;
}
