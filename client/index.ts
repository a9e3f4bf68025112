// First: where nothing of this can work, it says so before anything else is loaded.
import "../bridge/platform.ts";

export { spawnWorker, type SpawnOptions } from "../bridge/start/spawn.ts";
export type { SshTarget } from "../bridge/ssh/far.ts";
export { connectWorker, type ConnectOptions } from "../bridge/start/connect.ts";
export type { LinkChange, LinkState } from "../bridge/link/link.ts";
export { ensurePython, type EnsureOptions } from "../bridge/environment/ensure.ts";
export { Worker, type WorkerStats, type TensorOptions, type NestedNumbers } from "../bridge/worker.ts";
export type { ContextOptions } from "../bridge/log/context.ts";
export { EnvironmentError, TorchwireError, type ErrorCode } from "../bridge/errors/errors.ts";
export { kw } from "../bridge/reference/kw.ts";
export type * from "../bridge/types/core.ts";
export type { Module, Network } from "../bridge/types/module.ts";
export type { Linear } from "../bridge/types/nn.ts";
export type { Optimizer } from "../bridge/types/optim.ts";
export type { Parameter, Tensor } from "../bridge/types/tensor.ts";
export type { ResNet } from "../bridge/types/torchvision.ts";
export type * from "../bridge/types/modules.ts";
export { bfloat16, float16, type HalfFloat } from "../bridge/values/half.ts";
export { fromBytes, type DType, type NDArray, type TypedArray } from "../bridge/values/ndarray.ts";
export type { Limits } from "../bridge/wire/limits.ts";
export type { Liveness, LivenessState } from "../bridge/session/control.ts";
export { WorkerExitedError } from "../bridge/start/process.ts";
export { lend } from "../bridge/values/lend.ts";
export { py } from "../bridge/reference/py.ts";
export { PythonError, type PythonFrame } from "../bridge/errors/python-error.ts";

export { Learner, type FitOptions, type LearnerData, type LearnerOptions } from "./learner.ts";
export type { Backend, Trainer } from "./training/trainer.ts";
export { type Ending, type Report } from "./training/report.ts";
export {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  forward,
  Phase,
  TrainingPhase,
  ValidationPhase,
} from "./training/phases.ts";
export { CancelEpoch, CancelFitting, CancelStep } from "./training/cancel.ts";
export { CallbackError, StepError } from "./loop/failures.ts";
export type * from "./training/events.ts";
export type * from "./callback/access.ts";
export type * from "./training/state.ts";
export { callback, type Callback, type CallbackSpec, type Measured } from "./callback/callback.ts";
export { Augment, CutMix, MixUp, type AugmentOptions, type MixOptions } from "./callbacks/augment.ts";
export { AveragedWeights, EMA, SWA, type EmaOptions, type SwaOptions } from "./callbacks/averaged-weights.ts";
export { CustomCallback, type CustomCallbackOptions } from "./callbacks/custom-callback.ts";
export { Metrics } from "./callbacks/metrics.ts";
export { MetricsPrinter } from "./callbacks/metrics-printer.ts";
export { ProgressPrinter, type Output } from "./callbacks/progress-printer.ts";
export { PyTorchBackend, type CompileOptions, type PyTorchBackendOptions } from "./callbacks/pytorch-backend.ts";
export { Recorder } from "./callbacks/recorder.ts";
export { StopOnNaNLoss } from "./callbacks/stop-on-nan-loss.ts";
export {
  accuracy,
  auc,
  confusionMatrix,
  epochSeconds,
  f1,
  meanAbsoluteError,
  MeanLoss,
  meanSquaredError,
  metric,
  Metric,
  perplexity,
  precision,
  r2,
  recall,
  rootMeanSquaredError,
  SmoothLoss,
  statefulMetric,
  topK,
  torchmetric,
  type AucOptions,
  type ClassMetricOptions,
  type ClassOptions,
  type CommonOptions,
  type ConfusionMatrixOptions,
  type CountingMetric,
  type DoneStep,
  type FoundOptions,
  type MeanBy,
  type MetricOptions,
  type MetricParts,
  type MetricResult,
  type SumArray,
  type SumOptions,
  type Tally,
  type Task,
  type ThresholdOptions,
  type TopKOptions,
  type TorchmetricOptions,
} from "./metrics/index.ts";
export * from "./optim/index.ts";
export * from "./losses/index.ts";
export {
  batch,
  cifar10,
  format,
  image,
  imagenet,
  mnist,
  same,
  sequence,
  video,
  type AxesFormat,
  type Format,
  type FormatContext,
  type FunctionFormat,
  type Normalization,
  type PixelOptions,
  type SequenceOptions,
} from "./formats/index.ts";
export {
  classify,
  outputs,
  type Candidate,
  type ClassifyOptions,
  type Outputs,
  type Prediction,
  type PredictOptions,
  type Samples,
} from "./model/predict.ts";
export {
  Hyper,
  hyperparameter,
  Hyperparameter,
  type HyperparameterOptions,
  type HyperTarget,
  type HyperValue,
  type HyperValues,
} from "./optim/hyper.ts";
export {
  Relative,
  relative,
  Scheduler,
  type GroupSchedules,
  type Schedulable,
  type Scheduled,
  type SchedulerOptions,
  type Schedules,
} from "./callbacks/scheduler.ts";
export { ReduceOnPlateau, type ReduceOnPlateauOptions } from "./callbacks/reduce-on-plateau.ts";
export * as schedules from "./schedules/index.ts";
export { oneCycle, plot, type Duration, type RunLength, type Schedule } from "./schedules/index.ts";
export { lrFind, type LrFindOptions, type LrFound, type LrSuggestion } from "./recipes/lr-finder.ts";
export {
  fineTune,
  fitOneCycle,
  type FineTuneOptions,
  type FitOneCycleOptions,
  type Rates,
} from "./recipes/fine-tune.ts";
export { loadWeights, type LoadedWeights, type LoadWeightsOptions } from "./weights/load.ts";
export { saveWeights, type SaveWeightsOptions } from "./weights/save.ts";
export { summary, type LayerSummary, type ModelSummary, type SummaryOptions } from "./model/summary.ts";
export { freeze, unfreeze } from "./model/freeze.ts";
export {
  toNDArray,
  type AnyArray,
  type FlowTensor,
  type LateTensor,
  type OnnxTensor,
  type Pixels,
  type ReadyArray,
  type ToNDArrayOptions,
} from "./data/arrays.ts";
export { fromWorker, type FromWorkerOptions } from "./data/from-worker.ts";
export { batches, type BatchOptions } from "./data/batches.ts";
export type { Rows } from "./data/rows.ts";
export type { MemoryCounts } from "./data/memory.ts";
export {
  arrayDataset,
  ArrayDataset,
  split,
  Subset,
  subset,
  take,
  type ArrayRows,
  type SplitOptions,
} from "./data/dataset.ts";
export type { ImageOptions, ImageSource } from "./data/decode.ts";
export {
  imageFolder,
  type ImageFolder,
  type ImageFolderOptions,
  type ImageSample,
  type SkippedImage,
} from "./data/images.ts";
export { DataLoader, type DataLoaderOptions, type Position } from "./data/loader.ts";
export { balancedWeights, classWeights } from "./data/class-weights.ts";
export { readIdx } from "./data/idx.ts";
export type { Batch, BatchLike, Data, Dataset, Inputs, Sample, Values } from "./data/types.ts";
export * as stopping from "./stopping/index.ts";
export type { StoppingCriterion, StoppingCriterionSpec } from "./stopping/index.ts";
export { EarlyStopping, type BestEpoch, type EarlyStoppingOptions } from "./callbacks/early-stopping.ts";
export { Checkpointer, type CheckpointerOptions } from "./callbacks/checkpointer.ts";
export {
  SanityCheck,
  SanityCheckError,
  type Check,
  type FailedCheck,
  type SanityCheckOptions,
  type SanityView,
} from "./callbacks/sanity-check.ts";
export { Traces, type Trace, type TracesOptions, type TraceView } from "./callbacks/traces.ts";
export { throttle, type ThrottleOptions } from "./callbacks/throttle.ts";
export { GarbageCollect } from "./callbacks/garbage-collect.ts";
export { type Backends, type RunHyperparameters, type LoggerBackend, type LogRecord } from "./logging/backend.ts";
export {
  Loggables,
  type HistogramOptions,
  type Loggable,
  type LoggedAudio,
  type LoggedFile,
  type LoggedHistogram,
  type LoggedImage,
  type LoggedImageOptions,
  type LoggedText,
  type LoggedValue,
} from "./logging/loggables.ts";
export { csv } from "./logging/csv.ts";
export { jsonLines } from "./logging/json-lines.ts";
export { tensorBoard } from "./logging/tensor-board.ts";
export { RunFolder, type RunFolderOptions } from "./logging/run-folder.ts";
export { LogHistograms, type LogHistogramsOptions } from "./callbacks/log-histograms.ts";
export { LogHyperParams, type LogHyperParamsOptions } from "./callbacks/log-hyper-params.ts";
export { LogMetrics } from "./callbacks/log-metrics.ts";
export { LogTraces } from "./callbacks/log-traces.ts";
export { LogVisualization, type LogVisualizationOptions } from "./callbacks/log-visualization.ts";
