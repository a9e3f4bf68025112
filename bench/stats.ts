/** Medians and their intervals. No function here assumes a distribution, or draws random numbers. */

/** The value below which the fraction `p` of `values` lies, interpolated between neighbours. NaN for no values. */
export function quantile(values: readonly number[], p: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const place = p * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (place - below);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * A confidence interval of the median: from the k-th smallest value to the k-th largest. For any distribution, the
 * chance that its median lies below the k-th smallest of n values is the chance that n tosses of a coin give fewer than
 * k heads. k is the largest for which both sides together leave `confidence`. Undefined for too few values: fewer than
 * 6 at the default of 0.95.
 */
export function medianInterval(
  values: readonly number[],
  confidence = 0.95,
): readonly [low: number, high: number] | undefined {
  const n = values.length;
  const mostOutside = (1 - confidence) / 2;
  // The chance of k or fewer values below the median, for k = 0, 1, …
  let chance = 2 ** -n;
  let cumulated = chance;
  let k = 0;
  while (cumulated <= mostOutside) {
    k++;
    chance *= (n - k + 1) / k;
    cumulated += chance;
  }
  if (k === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  return [sorted[k - 1]!, sorted[n - k]!];
}

export interface Summary {
  readonly median: number;
  /** The 95 % confidence interval of the median; null for fewer than 6 values. */
  readonly interval: readonly [low: number, high: number] | null;
  readonly p10: number;
  readonly p90: number;
}

export function summarise(values: readonly number[]): Summary {
  return {
    median: median(values),
    interval: medianInterval(values) ?? null,
    p10: quantile(values, 0.1),
    p90: quantile(values, 0.9),
  };
}
