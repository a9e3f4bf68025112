/** Metrics of numbers, over all elements of an epoch, in double precision. */
import { metric, type CountingMetric } from "./metric.ts";
import { check, common, helper, sumKinds, type SumOptions } from "./options.ts";
import type { SumArray } from "./sums.ts";

/** The mean of |ŷ - y|. Outputs and targets have the same shape. The name is "mae". */
export const meanAbsoluteError = (options: SumOptions = {}): CountingMetric =>
  errors("mae", 1, (mean) => mean, options);

/** The mean of (ŷ - y)². Outputs and targets have the same shape. The name is "mse". */
export const meanSquaredError = (options: SumOptions = {}): CountingMetric => errors("mse", 2, (mean) => mean, options);

/** The root of the mean of (ŷ - y)². Outputs and targets have the same shape. The name is "rmse". */
export const rootMeanSquaredError = (options: SumOptions = {}): CountingMetric => errors("rmse", 2, Math.sqrt, options);

function errors(what: string, power: 1 | 2, of: (mean: number) => number, options: SumOptions): CountingMetric {
  const { name = what } = check(what, sumKinds, options);
  return metric(name, {
    update: (yhat, ys) => ({ errors: helper(yhat, "errors")(yhat, ys, power) }),
    compute: ({ errors }) => of(errors.data[0] / errors.data[1]),
    ...common(options),
  });
}

/**
 * The coefficient of determination, 1 - Σ(y - ŷ)² / Σ(y - mean(y))². Outputs and targets have the same shape [N, …];
 * the value is the mean over the outputs.
 *
 * Where the targets do not vary, it is 1 if the outputs meet them, else 0. With fewer than two samples it is NaN.
 * Batches are merged about their means, so that targets far from zero lose no digits.
 */
export function r2(options: SumOptions = {}): CountingMetric {
  const { name = "r2" } = check("r2", sumKinds, options);
  return metric(name, {
    update: (yhat, ys) => ({ residuals: helper(yhat, "residuals")(yhat, ys) }),
    merge: (one: Residuals, other: Residuals) => ({ residuals: merged(one.residuals, other.residuals) }),
    compute: ({ residuals }: Residuals) => determination(residuals),
    ...common(options),
  });
}

/** [4, D]: the number of samples, their mean, the sum of squared distances to it, and of those to the outputs. */
interface Residuals {
  readonly residuals: SumArray;
}

/** Merges as Chan, Golub and LeVeque (1979) do. */
function merged(one: SumArray, other: SumArray): SumArray {
  const outputs = one.shape[1]!;
  const [a, b] = [one.data, other.data];
  const data = new Float64Array(4 * outputs);
  for (let i = 0; i < outputs; i++) {
    const [n, m] = [a[i]!, b[i]!];
    const [mean, spread, missed] = [i + outputs, i + 2 * outputs, i + 3 * outputs];
    const apart = b[mean]! - a[mean]!;
    data[i] = n + m;
    data[mean] = a[mean]! + (apart * m) / (n + m);
    data[spread] = a[spread]! + b[spread]! + (apart * apart * n * m) / (n + m);
    data[missed] = a[missed]! + b[missed]!;
  }
  return { ...one, data };
}

function determination({ shape, data }: SumArray): number {
  const outputs = shape[1]!;
  let sum = 0;
  for (let i = 0; i < outputs; i++) {
    const [n, spread, missed] = [data[i]!, data[i + 2 * outputs]!, data[i + 3 * outputs]!];
    if (n < 2) return Number.NaN;
    sum += spread > 0 ? 1 - missed / spread : missed === 0 ? 1 : 0;
  }
  return sum / outputs;
}
