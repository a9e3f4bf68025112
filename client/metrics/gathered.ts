/**
 * Metrics that are not sums: an object in the worker gathers them over an epoch, and its value is fetched at the end.
 */
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { KeptState, Measured } from "../callback/callback.ts";
import type { Loss } from "../losses/spec.ts";
import { statefulMetric, type Metric, type MetricResult, type Tally } from "./metric.ts";
import { workerWith, type CommonOptions } from "./options.ts";
import { float64 } from "./sums.ts";

interface Gathering {
  /** Returns the object that gathers, at the first step of each epoch, and where an epoch goes on. */
  readonly make: (helpers: AnyRef, loss: Loss | undefined) => AnyRef;
  /** Gives the object one step's outputs and targets. */
  readonly update: (object: AnyRef, yhat: AnyRef, ys: AnyRef) => Measured | void;
  /**
   * The state of an object of the user's, which lasts from epoch to epoch, and is reset in between. Undefined where
   * each epoch has an object of the metric's own, which is freed once its value has been fetched.
   */
  readonly lasting?: KeptState;
  /** Gets the values of `update`. */
  readonly heard?: (values: any) => void;
  /** Picks the parts of its value that are kept. Default: all. */
  readonly pick?: (value: unknown) => unknown;
}

export const gathering = (
  name: string,
  { make, update, lasting, heard, pick }: Gathering,
  { phase }: CommonOptions,
): Metric =>
  statefulMetric(name, {
    start() {
      let object: AnyRef | undefined;
      /** The object came from a checkpoint, and may be on another device than the outputs. */
      let isBack = false;
      const isOwn = lasting === undefined;
      const tally: Tally = {
        update(yhat, ys, _, loss) {
          if (object === undefined || isBack) {
            const helpers = helpersOf(workerWith(yhat));
            object ??= py.keep(make(helpers, loss));
            if (isBack) helpers.place(object, yhat);
            else if (!isOwn) helpers.begin(object, yhat);
            isBack = false;
          }
          return update(object, yhat, ys as AnyRef) ?? {};
        },
        add(values) {
          heard?.(values);
          return numberOr((values as { readonly value?: unknown }).value);
        },
        async compute() {
          const value = py.js(object!.compute());
          if (isOwn) object![Symbol.dispose]();
          return resultOf(pick === undefined ? await value : pick(await value));
        },
        state: {
          save: () => object !== undefined,
          load(isBegun, { worker, loss }) {
            if (!isBegun) return;
            object = worker.scope(() => py.keep(make(helpersOf(worker), loss)));
            isBack = true;
          },
          objects: () => (object === undefined || !isOwn ? {} : { gathered: object }),
        },
      };
      return tally;
    },
    ...(phase && { phase }),
    ...(lasting && { state: lasting }),
  });

const helpersOf = (worker: Worker): AnyRef => worker.import("torchwire_worker.helpers.gathering");

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
