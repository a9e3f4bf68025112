/** Which samples stand in a batch. */
import { DataLoader } from "./loader.ts";
import type { Data } from "./types.ts";

/**
 * Of the pass over `data` that begins next: gives the samples of a batch by their indices in the loader's data.
 * Undefined where the data is no `DataLoader`.
 */
export function samplesOf(data: Data): ((batch: number) => readonly number[]) | undefined {
  if (!(data instanceof DataLoader)) return undefined;
  const { batchSize } = data;
  const { orderOf, epoch, count } = data.plan;
  return (batch) => {
    const start = batch * batchSize;
    const length = Math.max(0, Math.min(batchSize, count - start));
    const order = orderOf(epoch);
    return Array.from({ length }, (_, i) => order?.[start + i] ?? start + i);
  };
}
