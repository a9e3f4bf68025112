/** Metrics of what cannot be summed up: an object in the worker gathers it over an epoch, and its value is fetched at the end. */
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Measured } from "../callback/callback.ts";
import type { Loss } from "../losses/spec.ts";
import { statefulMetric, type Metric, type MetricResult, type Tally } from "./metric.ts";
import type { CommonOptions } from "./options.ts";
import { float64 } from "./sums.ts";

interface Gathering {
  /** What gathers, anew for each epoch; asked for in its first step. */
  readonly make: (yhat: AnyRef, loss: Loss | undefined) => AnyRef;
  /** What a step does with it. */
  readonly update: (object: AnyRef, yhat: AnyRef, ys: AnyRef) => Measured | void;
  /** The object is nobody's but the metric's, and freed when its value is there. */
  readonly isOwn: boolean;
}

export const gathering = (name: string, { make, update, isOwn }: Gathering, { phase }: CommonOptions): Metric =>
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
          return resultOf(await value);
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

/** Tensors without axes are numbers, also in a record. */
function resultOf(value: unknown): MetricResult {
  if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
  if (isNDArray(value)) return value.shape.length === 0 ? float64(value).data[0]! : float64(value);
  if (typeof value !== "object" || value === null) return value === null ? undefined : (value as number);
  const entries = Object.entries(value).map(([key, item]) => [key, resultOf(item)] as const);
  return Object.fromEntries(entries) as MetricResult;
}
