/** `torchwire/callbacks`: the included callbacks (but those that log), and the types for callbacks of one's own. */
import "../../bridge/platform.ts";

export { callback, type Callback, type CallbackSpec, type KeptState, type Measured } from "../callback/callback.ts";
export type {
  Access,
  Circumstances,
  Control,
  DeepReadonly,
  HyperAccess,
  Mode,
  ObserverView,
  Parts,
  View,
} from "../callback/access.ts";
export type {
  BetweenSteps,
  EventName,
  Events,
  IncludedEvents,
  IncludedStepKeys,
  KeysAt,
  ObservedEvent,
  Step,
  StepEvent,
  StepGroup,
  StepKey,
  StepKeys,
  StepState,
  TrainEvent,
} from "../training/events.ts";
export type {
  CallbackState,
  Checkpoint,
  HyperparamHistory,
  IncludedState,
  MetricHistory,
  MetricTable,
  MetricValue,
  PhaseHistory,
  State,
  StateKey,
} from "../training/state.ts";

export { Augment, CutMix, MixUp, type AugmentOptions, type MixOptions } from "./augment.ts";
export { AveragedWeights, EMA, SWA, type EmaOptions, type SwaOptions } from "./averaged-weights.ts";
export { Checkpointer, type CheckpointerOptions } from "./checkpointer.ts";
export { CustomCallback, type CustomCallbackOptions } from "./custom-callback.ts";
export { EarlyStopping, type BestEpoch, type EarlyStoppingOptions } from "./early-stopping.ts";
export { GarbageCollect } from "./garbage-collect.ts";
export { Metrics } from "./metrics.ts";
export { MetricsPrinter } from "./metrics-printer.ts";
export { ProgressPrinter, type Output } from "./progress-printer.ts";
export { PyTorchBackend, type CompileOptions, type PyTorchBackendOptions } from "../backend/pytorch-backend.ts";
export { Recorder } from "./recorder.ts";
export { ReduceOnPlateau, type ReduceOnPlateauOptions } from "./reduce-on-plateau.ts";
export {
  SanityCheck,
  SanityCheckError,
  type Check,
  type FailedCheck,
  type SanityCheckOptions,
  type SanityView,
} from "./sanity-check.ts";
export {
  Relative,
  relative,
  type GroupSchedules,
  type Schedulable,
  type Scheduled,
  type Schedules,
} from "./scheduled.ts";
export { Scheduler, type SchedulerOptions } from "./scheduler.ts";
export { StopOnNaNLoss } from "./stop-on-nan-loss.ts";
export { throttle, type ThrottleOptions } from "./throttle.ts";
export { Traces, type Trace, type TracesOptions, type TraceView } from "./traces.ts";
