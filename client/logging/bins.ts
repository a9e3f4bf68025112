/** Histograms: how many numbers lie in each range. */

/** The bins of all finite numbers. */
export interface Bins {
  /**
   * From the least to the greatest, one more than counts. Bin i goes from edge i, inclusive, to edge i + 1. The last
   * bin includes both edges.
   */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
  readonly sumSquares: number;
  /** The number of NaNs and infinities, which are in no bin. */
  readonly notFinite: number;
}

/** Makes `count` bins of one width. */
export function histogramOf(numbers: ArrayLike<number>, count: number): Bins {
  let [low, high, sum, sumSquares, notFinite] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < numbers.length; i++) {
    const x = numbers[i]!;
    if (!Number.isFinite(x)) {
      notFinite++;
      continue;
    }
    // `+ 0` turns -0 into 0, since -0 is not less than 0.
    if (x < low) low = x + 0;
    if (x > high) high = x + 0;
    sum += x;
    sumSquares += x * x;
  }
  if (low > high) return { edges: [0, 0], counts: [0], sum, sumSquares, notFinite };
  // All numbers are the same: more bins would have no width.
  if (low === high) return { edges: [low, high], counts: [numbers.length - notFinite], sum, sumSquares, notFinite };
  const counts = Array.from({ length: count }, () => 0);
  for (let i = 0; i < numbers.length; i++) {
    const x = numbers[i]!;
    if (Number.isFinite(x)) counts[Math.min(count - 1, Math.floor(((x - low) / (high - low)) * count))]!++;
  }
  return { edges: edgesOf(low, high, count), counts, sum, sumSquares, notFinite };
}

export function edgesOf(low: number, high: number, count: number): number[] {
  return Array.from({ length: count + 1 }, (_, i) => (i === count ? high : low + ((high - low) * i) / count));
}
