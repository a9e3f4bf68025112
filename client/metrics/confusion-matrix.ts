import type { Kinds } from "../options/keywords.ts";
import { number } from "../options/kinds.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";
import {
  check,
  classKinds,
  commonKinds,
  reading,
  type ClassOptions,
  type CommonOptions,
  type ThresholdOptions,
} from "./options.ts";

export interface ConfusionMatrixOptions extends CommonOptions, ClassOptions, ThresholdOptions {}

const kinds: Kinds<ConfusionMatrixOptions> = { ...commonKinds, ...classKinds, threshold: number };

/**
 * Counts how often a sample of class i (row) was taken for class j (column): [C, C], for the last epoch of the phase,
 * in `learner.state.metricsTable[phase]["confusionMatrix"]`. The worker counts; the matrix is fetched at the end of the
 * epoch.
 *
 * Outputs [N, C, …] are scores and targets [N, …] indices of classes. Or both have the same shape; the matrix of no and
 * yes is then [2, 2]. A sample whose output is NaN is in no column.
 */
export function confusionMatrix(options: ConfusionMatrixOptions = {}): Metric {
  const { name = "confusionMatrix" } = check("confusionMatrix", kinds, options);
  return gathering(
    name,
    {
      make: (helpers, loss) => helpers.Confusion(reading(loss, options)),
      update: (matrix, yhat, ys) => void matrix.update(yhat, ys),
    },
    options,
  );
}
