/** The callbacks that a learner has without being told. */
import type { Callback } from "../callback/callback.ts";
import { Metrics } from "./metrics.ts";
import { MetricsPrinter } from "./metrics-printer.ts";
import { ProgressPrinter } from "./progress-printer.ts";
import { PyTorchBackend } from "../backend/pytorch-backend.ts";
import { Recorder } from "./recorder.ts";
import { StopOnNaNLoss } from "./stop-on-nan-loss.ts";

const defaults: readonly (new () => Callback)[] = [
  ProgressPrinter,
  MetricsPrinter,
  StopOnNaNLoss,
  Recorder,
  Metrics,
  PyTorchBackend,
];

/**
 * `given`, and each default callback of whose class none is given. Without `all` only the backend is added, because a
 * learner must have one.
 */
export function withDefaults(given: readonly Callback[], all: boolean): Callback[] {
  const missing = (all ? defaults : [PyTorchBackend]).filter((kind) => !given.some((one) => one instanceof kind));
  return [...given, ...missing.map((kind) => new kind())];
}
