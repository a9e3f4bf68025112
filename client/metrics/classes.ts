/** Metrics of classes, and of yes and no, that are counted: how many were right, and how surprised the model was. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described, type Kinds } from "../options/keywords.ts";
import { metric, type CountingMetric } from "./metric.ts";
import {
  check,
  classKinds,
  common,
  helper,
  number,
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
 * The fraction of samples whose class is among the `k` with the largest scores; of equal scores the class with the smaller index goes first.
 *
 * Outputs [N, C, …] are scores of classes, targets [N, …] their indices, or probabilities [N, C, …], of which the largest counts. The name is "top5" for
 * k = 5. Where there are fewer classes than k, the fit fails. Yes and no have k = 1: see `accuracy`.
 */
export function topK(k: number, options: TopKOptions = {}): CountingMetric {
  if (!Number.isSafeInteger(k) || k < 1)
    throw new TorchwireError("MISUSE", `topK: k is ${described(k)}; it is to be a whole number from 1`);
  const { name = `top${k}` } = check("topK", topKinds, options);
  return metric(name, {
    update: (yhat, ys, _, loss) => ({ counts: helper(yhat, "hits")(yhat, ys, k, reading(loss, options)) }),
    compute: ({ counts }) => ratio(name, counts),
    ...common(options),
  });
}

/**
 * The fraction of targets that the outputs meet. Classes: the largest score, along axis 1, is that of the target's class; targets are indices, or
 * probabilities. Yes or no, of a sample, a pixel or a label each: the output is on the target's side of the threshold, 0 of logits and 0.5 of probabilities.
 * The loss decides which it is, or else the shapes; of a loss of numbers the fit fails. Targets that the loss ignores do not count. With options it is
 * `topK(1, { name: "accuracy", … })`.
 */
export const accuracy: CountingMetric = topK(1, { name: "accuracy" });

/**
 * e to the power of the mean of -log p of what was there, over all targets of an epoch: a model that knows nothing of C classes has C.
 *
 * Outputs [N, C, …] are scores, targets [N, …] indices, or probabilities [N, C, …]; the classes of a language model often come last: `axis: -1`. Yes or no
 * are two classes.
 */
export function perplexity(options: ClassMetricOptions = {}): CountingMetric {
  const { name = "perplexity" } = check("perplexity", kinds, options);
  return metric(name, {
    update: (yhat, ys, _, loss) => ({ lost: helper(yhat, "surprise")(yhat, ys, reading(loss, options)) }),
    compute: ({ lost }) => Math.exp(ratio(name, lost)),
    ...common(options),
  });
}

/** Of [sum, count, targets that cannot be what they were taken for]. */
function ratio(name: string, { data }: SumArray): number {
  const [sum, count, odd] = data as unknown as [number, number, number];
  if (odd > 0)
    throw new TorchwireError(
      "MISUSE",
      `${name}: ${odd} targets are neither the probabilities of classes nor yes (1) and no (0), which they were taken for by the shapes; measure numbers by ` +
        `meanAbsoluteError() or r2(), and say it where they are labels, each a yes or a no: topK(1, { name: "accuracy", task: "labels" })`,
    );
  return sum / count;
}
