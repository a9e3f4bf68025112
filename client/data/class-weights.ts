/** Weights for rare classes. */
import { TorchwireError } from "../../bridge/errors/errors.ts";

type Labels = ArrayLike<number | bigint>;

/**
 * For each sample, 1 over the number of samples of its class. A loader's `sample: { weights }` then shows each class
 * equally often.
 */
export function balancedWeights(labels: Labels): Float64Array {
  const counts = countsOf(labels);
  return Float64Array.from(labels, (label) => 1 / counts.get(Number(label))!);
}

/**
 * The weight n / (classes · nₖ) for each class k from 0 to `classes` - 1, where nₖ of the n samples belong to k
 * (scikit-learn's "balanced"). Give it to `crossEntropy({ weight })`. By default the highest label is the last class.
 * Throws MISUSE where a class has no sample, or a label is not a class.
 */
export function classWeights(labels: Labels, classes?: number): Float32Array {
  const counts = countsOf(labels);
  const found = classes ?? Math.max(...counts.keys()) + 1;
  for (const label of counts.keys())
    if (!Number.isSafeInteger(label) || label < 0 || label >= found)
      throw new TorchwireError(
        "MISUSE",
        `classWeights: the label ${label} is not one of the ${found} classes, 0 to ${found - 1}`,
      );
  return Float32Array.from({ length: found }, (_, label) => {
    const count = counts.get(label);
    if (count === undefined)
      throw new TorchwireError(
        "MISUSE",
        `classWeights: class ${label} has no sample; give it a weight by hand, or leave it out`,
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
