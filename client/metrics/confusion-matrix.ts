import { py } from "../../bridge/py.ts";
import type { Kinds } from "../keywords.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";
import { check, classKinds, commonKinds, helper, number, type ClassOptions, type CommonOptions } from "./options.ts";

export interface ConfusionMatrixOptions extends CommonOptions, ClassOptions {
  /** A yes-or-no output above it is a yes. Default 0, as outputs are logits; for probabilities 0.5. */
  readonly threshold?: number;
}

const kinds: Kinds<ConfusionMatrixOptions> = { ...commonKinds, ...classKinds, threshold: number };

/**
 * How often a sample of class i (the row) was taken for one of class j (the column): [C, C], in `learner.state.metricsTable[phase]["confusionMatrix"]`, of
 * the last epoch of the phase. It is counted in the worker, and fetched at the end of the epoch.
 *
 * Outputs [N, C, …] are scores, targets [N, …] indices of classes; or both have the same shape, and it is [2, 2], of no and yes.
 */
export function confusionMatrix(options: ConfusionMatrixOptions = {}): Metric {
  const {
    name = "confusionMatrix",
    axis = 1,
    ignoreIndex = -100,
    threshold = 0,
  } = check("confusionMatrix", kinds, options);
  return gathering(
    name,
    {
      make: (yhat) => helper(yhat, "Confusion")(axis, ignoreIndex, py.float(threshold)),
      update: (matrix, yhat, ys) => void matrix.update(yhat, ys),
      isOwn: true,
    },
    options,
  );
}
