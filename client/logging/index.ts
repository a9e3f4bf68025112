/** `torchwire/logging`: callbacks that log, the backends that they log to, and a folder for each run. */
import "../../bridge/platform.ts";

export type { Backends, LoggerBackend, LogRecord, RunHyperparameters } from "./backend.ts";
export { csv } from "./csv.ts";
export { jsonLines } from "./json-lines.ts";
export { tensorBoard } from "./tensor-board.ts";
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
} from "./loggables.ts";
export { LogHistograms, type LogHistogramsOptions } from "./log-histograms.ts";
export { LogHyperParams, type LogHyperParamsOptions } from "./log-hyper-params.ts";
export { LogMetrics } from "./log-metrics.ts";
export { LogTraces } from "./log-traces.ts";
export { LogVisualization, type LogVisualizationOptions } from "./log-visualization.ts";
export { RunFolder, type RunFolderOptions } from "./run-folder.ts";
