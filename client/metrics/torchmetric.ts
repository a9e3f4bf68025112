import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Measured } from "../callback/callback.ts";
import { described, type Kind, type Kinds } from "../options/keywords.ts";
import { yesOrNo } from "../options/kinds.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";
import { check, commonKinds, workerWith, type CommonOptions } from "./options.ts";

export interface TorchmetricOptions extends Omit<CommonOptions, "name"> {
  /** Measures each step as well, by `forward`. With most objects that is twice the work. Default: false. */
  readonly steps?: boolean;
  /**
   * Which values are kept, where `compute` gives a dict: those under these keys, each as `name/key`, or the one under
   * this key, as `name` alone. Default: all.
   */
  readonly keys?: string | readonly string[];
}

const someKeys: Kind = {
  is: "a key, or an array of keys",
  send: (value) =>
    typeof value === "string" || (Array.isArray(value) && value.every((one) => typeof one === "string"))
      ? value
      : undefined,
};
const kinds: Kinds<TorchmetricOptions> = { phase: commonKinds.phase, steps: yesOrNo, keys: someKeys };

/**
 * A metric by an object in the worker, with the methods of the package torchmetrics: `reset()` when an epoch begins,
 * `update(yhat, ys)` at each step, and `compute()` at the end of the epoch, whose value is then fetched. The object
 * goes to the device of the outputs, and keeps its state until the next epoch. Checkpoints in the middle of an epoch
 * need an object of torchmetrics, or one with `state_dict` and `load_state_dict`.
 *
 *     torchmetric("kappa", worker.import("torchmetrics").CohenKappa(kw({ task: "multiclass", num_classes: 10 })))
 *     torchmetric("mAP", worker.import("torchmetrics.detection").MeanAveragePrecision(), {
 *       keys: ["map", "map_50"],
 *       phase: ValidationPhase,
 *     })
 *
 * Throws MISUSE where `metric` is no reference, and at the end of an epoch where `compute` gives no such key.
 */
export function torchmetric(name: string, metric: object, options: TorchmetricOptions = {}): Metric {
  if (inner(metric) === undefined)
    throw new TorchwireError(
      "MISUSE",
      `torchmetric: ${described(metric)} is not a reference to an object in the worker`,
    );
  const { steps = false, keys } = check("torchmetric", kinds, options);
  const object = metric as any;
  /** Whether a checkpoint can hold what it has gathered. The first step tells. */
  let hasState: boolean | undefined;
  const asked = (yhat: AnyRef): Measured =>
    hasState === undefined
      ? { hasState: workerWith(yhat).import("torchwire_worker.helpers.tracked").has_state(object) }
      : {};
  return gathering(
    name,
    {
      make: () => object,
      update(_, yhat, ys) {
        if (steps) return { value: object(yhat, ys), ...asked(yhat) };
        object.update(yhat, ys);
        return asked(yhat);
      },
      heard: (values) => void (hasState ??= values.hasState),
      lasting: {
        save: () => hasState,
        load: (saved) => void (hasState = saved),
        objects: () => (hasState === true ? { metric: object } : {}),
        waits: () => (hasState === true ? undefined : `${described(metric)} has no state_dict and load_state_dict`),
      },
      ...(keys !== undefined && { pick: (value) => pickedFrom(name, value, keys) }),
    },
    options,
  );
}

function pickedFrom(name: string, value: unknown, keys: string | readonly string[]): unknown {
  const known: Readonly<Record<string, unknown>> = isPlainObject(value) && !isNDArray(value) ? value : {};
  const at = (key: string): unknown => {
    if (Object.hasOwn(known, key)) return known[key];
    const has = Object.keys(known).join(", ");
    throw new TorchwireError(
      "MISUSE",
      `metric ${name}: compute gives no "${key}"; it gives ${has === "" ? "one value, which has no keys" : has}`,
    );
  };
  return typeof keys === "string" ? at(keys) : Object.fromEntries(keys.map((key) => [key, at(key)]));
}
