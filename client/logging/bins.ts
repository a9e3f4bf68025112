/** Histograms: how often numbers are in which range. */

/** Of all the numbers, those that are not finite aside. */
export interface Bins {
  /** From the least to the greatest; one more than there are counts. Bin i is from edge i, inclusive, to edge i + 1; the last has both of its edges. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
  readonly sumSquares: number;
  /** How many numbers were NaN or infinite, and are in no bin. */
  readonly notFinite: number;
}

/** `count` bins of one width. */
export function histogramOf(numbers: ArrayLike<number>, count: number): Bins {
  let [low, high, sum, sumSquares, notFinite] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < numbers.length; i++) {
    const x = numbers[i]!;
    if (!Number.isFinite(x)) {
      notFinite++;
      continue;
    }
    // Not -0, which is none less than 0.
    if (x < low) low = x + 0;
    if (x > high) high = x + 0;
    sum += x;
    sumSquares += x * x;
  }
  if (low > high) return { edges: [0, 0], counts: [0], sum, sumSquares, notFinite };
  // All the same: one bin around it would have no width.
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
