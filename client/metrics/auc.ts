import {
  choice,
  check,
  classKinds,
  commonKinds,
  helper,
  reading,
  whole,
  yesOrNo,
  type ClassOptions,
  type CommonOptions,
} from "./options.ts";
import type { Kinds } from "../options/keywords.ts";
import { gathering } from "./gathered.ts";
import type { Metric } from "./metric.ts";

export interface AucOptions extends CommonOptions, ClassOptions {
  /** The mean over classes, or labels: "macro" (the default), or "weighted" by how many samples of each there are. */
  readonly average?: "macro" | "weighted";
  /** Outputs are logits, of which the probabilities are taken. Default: true unless the loss takes probabilities, as `bce` does. */
  readonly logits?: boolean;
  /**
   * Counts probabilities in so many bins of equal width instead of keeping every score. Of a class with p(i) positive and n(i) negative samples in
   * bin i, P and N in all, the value is off by Σ p(i) n(i) / (2 P N) at most. Default: every score is kept, and the value is exact.
   */
  readonly bins?: number;
}

const kinds: Kinds<AucOptions> = {
  ...commonKinds,
  ...classKinds,
  average: choice("macro", "weighted"),
  logits: yesOrNo,
  bins: whole(2),
};

/**
 * The area under the ROC curve: how often a positive sample has a larger score than a negative one, where equal scores count half.
 *
 * Outputs and targets of the same shape (or outputs with one axis of length 1 more) are yes-or-no: one area, or one for each label along axis 1. Outputs
 * [N, C, …] with targets [N, …] are classes, each taken against the rest by its probability. A class without samples, or with nothing else, is left out; where
 * none is left the value is NaN.
 *
 * All scores of an epoch are kept on the device, 5 bytes for each of float32 with its target and 9 for each of a class, and one number is fetched
 * at its end; steps have no value. With `bins` it is 16 bytes for each bin and class.
 */
export function auc(options: AucOptions = {}): Metric {
  const { name = "auc", average = "macro", logits = null, bins = null } = check("auc", kinds, options);
  return gathering(
    name,
    {
      make: (yhat, loss) => helper(yhat, "Roc")(average, logits, bins, reading(loss, options)),
      update: (roc, yhat, ys) => void roc.update(yhat, ys),
      isOwn: true,
    },
    options,
  );
}
