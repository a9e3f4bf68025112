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
  type Indexed,
  type SplitOptions,
} from "./dataset.ts";
export type { ImageOptions, ImageSource } from "./decode.ts";
export type { EncodedImages } from "./encoded.ts";
export type { EncodedImage } from "./encoded-image.ts";
export { fromCsv, fromJsonLines, fromParquet } from "./from-files.ts";
export { fromWorker, type FromWorkerOptions } from "./from-worker.ts";
export { readIdx } from "./idx.ts";
export {
  imageFolder,
  readImages,
  type ImageFolder,
  type ImageFolderOptions,
  type ImageSample,
  type SkippedImage,
} from "./images.ts";
export { ArrayList, list } from "./list.ts";
export { loadDataset, type LoadDatasetOptions } from "./load-dataset.ts";
export type { KeepOptions } from "../kept/options.ts";
export { DataLoader, type Collated, type DataLoaderOptions } from "./loader.ts";
export type { Position } from "./position.ts";
export type { MemoryCounts } from "./memory.ts";
export { cacheOnDisk, rowDataset, type OwnRows } from "./own-rows.ts";
export { pad, type MaskOptions, type Pad, type PadOptions } from "./pad.ts";
export { RowDataset, type DecodeImageOptions } from "./row-dataset.ts";
export type { Rows } from "./rows.ts";
export { stack, type Stacked } from "./stack.ts";
export type { Batch, BatchLike, Data, Dataset, Inputs, Sample, SampleValue, Values } from "./types.ts";
export type { ColumnTypes, CsvOptions, CsvRow, CsvTypes } from "../tables/csv.ts";
export type { ColumnType, CsvValue } from "../tables/csv-cells.ts";
export type { CacheOptions, CacheSource } from "../tables/disk-cache.ts";
export type { JsonLinesOptions } from "../tables/json-lines.ts";
export type { ParquetOptions } from "../tables/parquet.ts";
export type { Feature, Features } from "../tables/source.ts";
