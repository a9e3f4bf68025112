/** `torchwire/metrics`: metrics, counted in the worker with the step, and metrics of one's own. */
import "../../bridge/platform.ts";

export { accuracy, perplexity, topK, type ClassMetricOptions, type TopKOptions } from "./classes.ts";
export { auc, type AucOptions } from "./auc.ts";
export { confusionMatrix, type ConfusionMatrixOptions } from "./confusion-matrix.ts";
export { epochSeconds } from "./epoch-seconds.ts";
export { MeanLoss, SmoothLoss } from "./loss.ts";
export {
  metric,
  Metric,
  statefulMetric,
  type CountingMetric,
  type DoneStep,
  type MeanBy,
  type MetricOptions,
  type MetricParts,
  type MetricResult,
  type Tally,
} from "./metric.ts";
export type { ClassOptions, CommonOptions, SumOptions, Task, ThresholdOptions } from "./options.ts";
export { meanAbsoluteError, meanSquaredError, r2, rootMeanSquaredError } from "./regression.ts";
export { f1, precision, recall, type FoundOptions } from "./retrieval.ts";
export type { SumArray } from "./sums.ts";
export { torchmetric, type TorchmetricOptions } from "./torchmetric.ts";
