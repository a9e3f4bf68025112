import type { Kinds } from "../options/keywords.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";
import {
  check,
  classKinds,
  commonKinds,
  helper,
  number,
  reading,
  type ClassOptions,
  type CommonOptions,
  type ThresholdOptions,
} from "./options.ts";

export interface ConfusionMatrixOptions extends CommonOptions, ClassOptions, ThresholdOptions {}

const kinds: Kinds<ConfusionMatrixOptions> = { ...commonKinds, ...classKinds, threshold: number };

/**
 * How often a sample of class i (the row) was taken for one of class j (the column): [C, C], in `learner.state.metricsTable[phase]["confusionMatrix"]`, of
 * the last epoch of the phase. It is counted in the worker, and fetched at the end of the epoch.
 *
 * Outputs [N, C, …] are scores, targets [N, …] indices of classes; or both have the same shape, and it is [2, 2], of no and yes.
 * A sample whose output is NaN is in no column.
 */
export function confusionMatrix(options: ConfusionMatrixOptions = {}): Metric {
  const { name = "confusionMatrix" } = check("confusionMatrix", kinds, options);
  return gathering(
    name,
    {
      make: (yhat, loss) => helper(yhat, "Confusion")(reading(loss, options)),
      update: (matrix, yhat, ys) => void matrix.update(yhat, ys),
      isOwn: true,
    },
    options,
  );
}
