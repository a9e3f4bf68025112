import { TorchwireError } from "../../bridge/errors/errors.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { described, type Kinds } from "../options/keywords.ts";
import { yesOrNo } from "../options/kinds.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";
import { check, commonKinds, helper, type CommonOptions } from "./options.ts";

export interface TorchmetricOptions extends Omit<CommonOptions, "name"> {
  /** Measures each step as well, by `forward`. With most objects that is twice the work. Default: false. */
  readonly steps?: boolean;
}

const kinds: Kinds<TorchmetricOptions> = { phase: commonKinds.phase, steps: yesOrNo };

/**
 * A metric by an object in the worker, with the methods of the package torchmetrics: `reset()` when an epoch begins,
 * `update(yhat, ys)` at each step, and `compute()` at the end of the epoch, whose value is then fetched. The object
 * goes to the device of the outputs, and keeps its state until the next epoch.
 *
 *     torchmetric("kappa", worker.import("torchmetrics").CohenKappa(kw({ task: "multiclass", num_classes: 10 })))
 */
export function torchmetric(name: string, metric: object, options: TorchmetricOptions = {}): Metric {
  if (inner(metric) === undefined)
    throw new TorchwireError(
      "MISUSE",
      `torchmetric: ${described(metric)} is not a reference to an object in the worker`,
    );
  const { steps = false } = check("torchmetric", kinds, options);
  const object = metric as any;
  return gathering(
    name,
    {
      make(yhat) {
        helper(yhat, "begin")(object, yhat);
        return object;
      },
      update: (_, yhat, ys) => (steps ? { value: object(yhat, ys) } : void object.update(yhat, ys)),
      isOwn: false,
    },
    options,
  );
}
