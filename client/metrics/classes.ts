/** Metrics of classes that are counted: how many were right, and how surprised the model was. */
import { TorchwireError } from "../../bridge/errors.ts";
import { described, type Kinds } from "../keywords.ts";
import { metric, type Metric } from "./metric.ts";
import { check, classKinds, common, helper, sumKinds, type ClassOptions, type SumOptions } from "./options.ts";

export interface ClassMetricOptions extends SumOptions, ClassOptions {}

const kinds: Kinds<ClassMetricOptions> = { ...sumKinds, ...classKinds };

/**
 * The fraction of samples whose class is among the `k` with the largest scores; of equal scores the class with the smaller index goes first.
 *
 * Outputs [N, C, …] are scores of classes, targets [N, …] their indices, or probabilities [N, C, …], of which the largest counts. The name is "top5" for
 * k = 5. Where there are fewer classes than k, the fit fails.
 */
export function topK(k: number, options: ClassMetricOptions = {}): Metric {
  if (!Number.isSafeInteger(k) || k < 1)
    throw new TorchwireError("MISUSE", `topK: k is ${described(k)}; it is to be a whole number from 1`);
  const { name = `top${k}`, axis = 1, ignoreIndex = -100 } = check("topK", kinds, options);
  return metric(name, {
    update: (yhat, ys) => ({ counts: helper(yhat, "hits")(yhat, ys, k, axis, ignoreIndex) }),
    compute: ({ counts }) => counts.data[0] / counts.data[1],
    ...common(options),
  });
}

/**
 * The fraction of samples whose largest score, along axis 1, is that of their class: the targets are indices of classes, or probabilities. Those of index -100
 * do not count. With options it is `topK(1, { name: "accuracy", … })`.
 */
export const accuracy: Metric = topK(1, { name: "accuracy" });

/**
 * e to the power of the mean of -log p of the classes that were there, over all targets of an epoch: a model that knows nothing of C classes has C.
 *
 * Outputs [N, C, …] are logits, targets [N, …] indices; the classes of a language model often come last: `axis: -1`.
 */
export function perplexity(options: ClassMetricOptions = {}): Metric {
  const { name = "perplexity", axis = 1, ignoreIndex = -100 } = check("perplexity", kinds, options);
  return metric(name, {
    update: (yhat, ys) => ({ lost: helper(yhat, "surprise")(yhat, ys, axis, ignoreIndex) }),
    compute: ({ lost }) => Math.exp(lost.data[0] / lost.data[1]),
    ...common(options),
  });
}
