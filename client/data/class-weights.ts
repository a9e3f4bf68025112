/** Weights for classes of which there are few. */
import { TorchwireError } from "../../bridge/errors/errors.ts";

type Labels = ArrayLike<number | bigint>;

/** For each sample 1 over the number of samples of its class: a loader's `sample: { weights }` then shows each class as often as any other. */
export function balancedWeights(labels: Labels): Float64Array {
  const counts = countsOf(labels);
  return Float64Array.from(labels, (label) => 1 / counts.get(Number(label))!);
}

/**
 * For each of the classes 0 … `classes` - 1 the weight n / (classes · nₖ), of n samples of which nₖ are its own (scikit-learn's "balanced"): for
 * `crossEntropy({ weight })`. Default: as many classes as there are labels, from 0 on. Throws MISUSE where a class has no sample, or a label is none.
 */
export function classWeights(labels: Labels, classes?: number): Float32Array {
  const counts = countsOf(labels);
  const found = classes ?? Math.max(...counts.keys()) + 1;
  for (const label of counts.keys())
    if (!Number.isSafeInteger(label) || label < 0 || label >= found)
      throw new TorchwireError(
        "MISUSE",
        `classWeights: the label ${label} is none of ${found} classes, 0 to ${found - 1}`,
      );
  return Float32Array.from({ length: found }, (_, label) => {
    const count = counts.get(label);
    if (count === undefined)
      throw new TorchwireError(
        "MISUSE",
        `classWeights: there is no sample of class ${label}: give it a weight by hand, or leave it out`,
      );
    return labels.length / (found * count);
  });
}

function countsOf(labels: Labels): Map<number, number> {
  if (!(labels.length > 0)) throw new TorchwireError("MISUSE", "there are no labels to count");
  const counts = new Map<number, number>();
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i]);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return counts;
}
