/** `torchwire/data`: data sets, loaders and arrays. */
import "../../bridge/platform.ts";

export {
  toNDArray,
  type AnyArray,
  type FlowTensor,
  type LateTensor,
  type OnnxTensor,
  type Pixels,
  type ReadyArray,
  type ToNDArrayOptions,
} from "./arrays.ts";
export { batches, type BatchOptions } from "./batches.ts";
export type { Lengths } from "./buckets.ts";
export type { Collate, CollateFunction, Collating, Collator, PartCollate, PartsCollate } from "./collate.ts";
export type { Collation } from "./collation.ts";
export { balancedWeights, classWeights } from "./class-weights.ts";
export {
  arrayDataset,
  ArrayDataset,
  split,
  Subset,
  subset,
  take,
  type ArrayRows,
  type SplitOptions,
} from "./dataset.ts";
export type { ImageOptions, ImageSource } from "./decode.ts";
export { fromWorker, type FromWorkerOptions } from "./from-worker.ts";
export { readIdx } from "./idx.ts";
export {
  imageFolder,
  type ImageFolder,
  type ImageFolderOptions,
  type ImageSample,
  type SkippedImage,
} from "./images.ts";
export { ArrayList, list } from "./list.ts";
export { DataLoader, type Collated, type DataLoaderOptions, type Position } from "./loader.ts";
export type { MemoryCounts } from "./memory.ts";
export { pad, type MaskOptions, type Pad, type PadOptions } from "./pad.ts";
export type { Rows } from "./rows.ts";
export { stack, type Stacked } from "./stack.ts";
export type { Batch, BatchLike, Data, Dataset, Inputs, Sample, SampleValue, Values } from "./types.ts";
