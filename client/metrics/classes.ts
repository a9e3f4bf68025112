/** Counting metrics of classes, and of yes and no: accuracy and perplexity. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described, type Kinds } from "../options/keywords.ts";
import { number } from "../options/kinds.ts";
import { metric, type CountingMetric } from "./metric.ts";
import {
  check,
  classKinds,
  common,
  helper,
  reading,
  sumKinds,
  type ClassOptions,
  type SumOptions,
  type ThresholdOptions,
} from "./options.ts";
import type { SumArray } from "./sums.ts";

export interface ClassMetricOptions extends SumOptions, ClassOptions {}
export interface TopKOptions extends ClassMetricOptions, ThresholdOptions {}

const kinds: Kinds<ClassMetricOptions> = { ...sumKinds, ...classKinds };
const topKinds: Kinds<TopKOptions> = { ...kinds, threshold: number };

/**
 * The fraction of samples whose class is among the `k` with the largest scores. Among equal scores the smaller index
 * comes first.
 *
 * Outputs [N, C, …] are scores of classes. Targets are their indices [N, …], or probabilities [N, C, …], of which the
 * largest counts. The name is "top5" for k = 5. The fit fails where there are fewer classes than k. Yes and no have
 * k = 1: see `accuracy`.
 */
export function topK(k: number, options: TopKOptions = {}): CountingMetric {
  if (!Number.isSafeInteger(k) || k < 1)
    throw new TorchwireError("MISUSE", `topK: k is ${described(k)}; it must be a whole number from 1`);
  const { name = `top${k}` } = check("topK", topKinds, options);
  return metric(name, {
    update: (yhat, ys, _, loss) => ({ counts: helper(yhat, "hits")(yhat, ys, k, reading(loss, options)) }),
    compute: ({ counts }) => ratio(name, counts),
    ...common(options),
  });
}

/**
 * The fraction of targets that the outputs meet. For classes, the largest score along axis 1 must be that of the
 * target's class; targets are indices, or probabilities. For a yes or no (for each sample, pixel or label), the output
 * must be on the target's side of the threshold: 0 for logits, 0.5 for probabilities. The loss decides which of the two
 * it is, else the shapes. The fit fails where the loss is one of numbers. Targets that the loss ignores do not count.
 * For options use `topK(1, { name: "accuracy", … })`.
 */
export const accuracy: CountingMetric = topK(1, { name: "accuracy" });

/**
 * The exponential of the mean of -log p over all targets of an epoch, where p is the probability that the model gave
 * the target. A model that knows nothing about C classes has C.
 *
 * Outputs [N, C, …] are scores. Targets are indices [N, …], or probabilities [N, C, …]. The classes of a language model
 * often come last: `axis: -1`. Yes and no are two classes.
 */
export function perplexity(options: ClassMetricOptions = {}): CountingMetric {
  const { name = "perplexity" } = check("perplexity", kinds, options);
  return metric(name, {
    update: (yhat, ys, _, loss) => ({ lost: helper(yhat, "surprise")(yhat, ys, reading(loss, options)) }),
    compute: ({ lost }) => Math.exp(ratio(name, lost)),
    ...common(options),
  });
}

/** `data` holds [sum, count, number of targets that do not fit the kind that the shapes suggest]. */
function ratio(name: string, { data }: SumArray): number {
  const [sum = 0, count = 0, odd = 0] = data;
  if (odd > 0)
    throw new TorchwireError(
      "MISUSE",
      `${name}: by their shapes the targets are probabilities of classes, or yes (1) and no (0), but ${odd} of them are neither; measure numbers with ` +
        `meanAbsoluteError() or r2(), and where each is a label, a yes or a no, say so: topK(1, { name: "accuracy", task: "labels" })`,
    );
  return sum / count;
}
