/** Precision, recall and F1, from three counts: found rightly, found, and present. */
import type { Kinds } from "../options/keywords.ts";
import { choice, number, wholeFrom } from "../options/kinds.ts";
import type { TopKOptions } from "./classes.ts";
import { metric, type CountingMetric } from "./metric.ts";
import { check, classKinds, common, helper, reading, sumKinds } from "./options.ts";
import type { SumArray } from "./sums.ts";

export interface FoundOptions extends TopKOptions {
  /**
   * "binary" (default): the positive one of two classes, or all yes-or-no outputs together. "macro": the mean over the
   * classes, or labels, that occur in outputs or targets. "weighted": their mean, weighted by how often each is in the
   * targets. "micro": one value from the counts of all together.
   */
  readonly average?: "binary" | "macro" | "micro" | "weighted";
  /** The positive one of two classes. Default: 1. */
  readonly positive?: 0 | 1;
  /** The value where the divisor is 0, as for the precision of a class that is never found. Default: 0. */
  readonly zeroDivision?: number;
}

const kinds: Kinds<FoundOptions> = {
  ...sumKinds,
  ...classKinds,
  average: choice("binary", "macro", "micro", "weighted"),
  threshold: number,
  positive: wholeFrom(0),
  zeroDivision: number,
};

/** How often one class was found rightly, was found, and was present. */
interface Counts {
  readonly right: number;
  readonly found: number;
  readonly there: number;
}

/** A ratio as numerator and denominator. */
type Ratio = (counts: Counts) => readonly [number, number];

/**
 * The fraction of found samples that were right: TP / (TP + FP).
 *
 * Outputs [N, C, …] are scores of classes and targets [N, …] their indices. Or both have the same shape (outputs may
 * have one more axis of length 1), and each output is a yes or a no: one for each label along axis 1, or all together.
 */
export const precision = (options: FoundOptions = {}): CountingMetric =>
  retrieval("precision", ({ right, found }) => [right, found], options);

/** The fraction of present samples that were found: TP / (TP + FN). Shapes are as for `precision`. */
export const recall = (options: FoundOptions = {}): CountingMetric =>
  retrieval("recall", ({ right, there }) => [right, there], options);

/**
 * The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN). Shapes are as for `precision`. Averages are over
 * each class's F1.
 */
export const f1 = (options: FoundOptions = {}): CountingMetric =>
  retrieval("f1", ({ right, found, there }) => [2 * right, found + there], options);

function retrieval(what: string, ratio: Ratio, options: FoundOptions): CountingMetric {
  const { name = what } = check(what, kinds, options);
  const isBinary = (options.average ?? "binary") === "binary";
  return metric(name, {
    update: (yhat, ys, _, loss) => ({
      counts: helper(yhat, "retrieved")(yhat, ys, isBinary, reading(loss, options)),
    }),
    compute: ({ counts }: { counts: SumArray }) => averaged(rowsOf(counts), ratio, options),
    ...common(options),
  });
}

function averaged(classes: readonly Counts[], ratio: Ratio, options: FoundOptions): number {
  const { average = "binary", positive = 1, zeroDivision = 0 } = options;
  const valueOf = (counts: Counts): number => {
    const [above, below] = ratio(counts);
    return below === 0 ? zeroDivision : above / below;
  };
  if (average === "binary") return valueOf(classes.length === 1 ? classes[0]! : classes[positive]!);
  if (average === "micro") return valueOf(classes.reduce(together));
  const weighed = classes
    .filter(({ found, there }) => found > 0 || there > 0)
    .map((one) => [valueOf(one), average === "macro" ? 1 : one.there] as const);
  const weights = weighed.reduce((sum, [, weight]) => sum + weight, 0);
  return weights === 0 ? zeroDivision : weighed.reduce((sum, [value, weight]) => sum + value * weight, 0) / weights;
}

const together = (a: Counts, b: Counts): Counts => ({
  right: a.right + b.right,
  found: a.found + b.found,
  there: a.there + b.there,
});

/** Splits an array [3, C] into the counts of each class. */
function rowsOf({ shape, data }: SumArray): Counts[] {
  const classes = shape[1]!;
  const at = (row: number, i: number): number => data[row * classes + i]!;
  return Array.from({ length: classes }, (_, i) => ({ right: at(0, i), found: at(1, i), there: at(2, i) }));
}
