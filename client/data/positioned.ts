import { WorkerBatches } from "./from-worker.ts";
import { DataLoader } from "./loader.ts";

/** Data that can go on in the middle of a pass. */
export type Positioned = DataLoader<any, any> | WorkerBatches;

export const isPositioned = (data: unknown): data is Positioned =>
  data instanceof DataLoader || data instanceof WorkerBatches;
