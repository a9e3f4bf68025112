import { check, classKinds, commonKinds, reading, type ClassOptions, type CommonOptions } from "./options.ts";
import type { Kinds } from "../options/keywords.ts";
import { choice, wholeFrom, yesOrNo } from "../options/kinds.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";

export interface AucOptions extends CommonOptions, ClassOptions {
  /** The mean over classes, or labels: "macro" (default), or "weighted" by the number of samples of each. */
  readonly average?: "macro" | "weighted";
  /**
   * True where outputs are logits, to be turned into probabilities. Default: true unless the loss takes probabilities,
   * as `bce` does.
   */
  readonly logits?: boolean;
  /**
   * Counts probabilities in this many bins of equal width instead of keeping every score. Default: every score is kept,
   * and the value is exact. With bins the value is off by at most Σ p(i) n(i) / (2 P N), where bin i holds p(i) of the
   * P positive and n(i) of the N negative samples of a class.
   */
  readonly bins?: number;
}

const kinds: Kinds<AucOptions> = {
  ...commonKinds,
  ...classKinds,
  average: choice("macro", "weighted"),
  logits: yesOrNo,
  bins: wholeFrom(2),
};

/**
 * The area under the ROC curve: the share of pairs in which a positive sample has a larger score than a negative one.
 * Equal scores count half.
 *
 * Outputs and targets of the same shape are yes or no (outputs may have one more axis of length 1): one area, or one
 * for each label along axis 1. Outputs [N, C, …] with targets [N, …] are classes: one area for each class against the
 * rest, by its probability. A class that has no sample, or all samples, is left out. The value is NaN where no class is
 * left.
 *
 * All scores of an epoch stay on the device, with their targets: 5 bytes each for float32, and 9 where there are
 * classes. One number is fetched at the end of the epoch; steps have no value. With `bins` it takes 16 bytes for each
 * bin and class.
 */
export function auc(options: AucOptions = {}): Metric {
  const { name = "auc", average = "macro", logits = null, bins = null } = check("auc", kinds, options);
  return gathering(
    name,
    {
      make: (helpers, loss) => helpers.Roc(average, logits, bins, reading(loss, options)),
      update: (roc, yhat, ys) => void roc.update(yhat, ys),
    },
    options,
  );
}
