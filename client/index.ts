/** `torchwire`: what most programs use. Every other name, and these again, stand at the entry of their own room. */
// First: where nothing of this can work, it says so before anything else is loaded.
import "../bridge/platform.ts";

export {
  connectWorker,
  ensurePython,
  EnvironmentError,
  kw,
  py,
  PythonError,
  spawnWorker,
  TorchwireError,
  Worker,
  WorkerExitedError,
  type AnyRef,
  type ConnectOptions,
  type NDArray,
  type Network,
  type PythonModules,
  type Ref,
  type RestartOptions,
  type SpawnOptions,
  type WithWorkerOptions,
  type WorkerRun,
  withWorker,
} from "../bridge/index.ts";

export {
  Learner,
  type FitOptions,
  type LearnerData,
  type LearnerOptions,
  type PythonScript,
  type ToPythonOptions,
} from "./learner.ts";
export { CallbackError, StepError } from "./loop/failures.ts";
export { CancelEpoch, CancelFitting, CancelStep } from "./training/cancel.ts";
export {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  Phase,
  TrainingPhase,
  ValidationPhase,
} from "./training/phases.ts";
export { forward } from "./training/forward.ts";
export type { CrashOptions } from "./crash/options.ts";
export type { ResumeOptions } from "./resume/options.ts";
export type { Ending, Report, Resumed } from "./training/report.ts";
export type { Backend, Trainer } from "./training/trainer.ts";

export {
  callback,
  Checkpointer,
  EarlyStopping,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  PyTorchBackend,
  Recorder,
  Scheduler,
  StopOnNaNLoss,
  type Access,
  type Callback,
  type CallbackState,
  type EventName,
  type Events,
  type Step,
  type StepKeys,
  type TrainEvent,
} from "./callbacks/index.ts";
export { DataLoader, imageFolder, split, type BatchLike, type Data, type Dataset } from "./data/index.ts";
export { image, imagenet, mnist } from "./formats/index.ts";
export { bceWithLogits, crossEntropy, mse } from "./losses/index.ts";
export { accuracy, metric } from "./metrics/index.ts";
export { freeze, loadWeights, saveWeights, unfreeze } from "./model/index.ts";
export { adam, adamW, sgd } from "./optim/index.ts";
export {
  fineTune,
  fitOneCycle,
  type FineTuneOptions,
  type FitOneCycleOptions,
  type Rates,
} from "./recipes/fine-tune.ts";
export { lrFind, type LrFindOptions, type LrFound, type LrSuggestion } from "./recipes/lr-finder.ts";
export { oneCycle } from "./schedules/index.ts";
