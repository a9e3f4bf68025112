/** `torchwire/model`: what is done with a model apart from training it. */
import "../../bridge/platform.ts";

export { freeze, unfreeze } from "./freeze.ts";
export {
  classify,
  outputs,
  type Candidate,
  type ClassifyOptions,
  type Outputs,
  type Prediction,
  type PredictOptions,
  type Samples,
  type Selected,
  type SelectOptions,
  type TogetherOptions,
} from "./predict.ts";
export { summary, type LayerSummary, type ModelSummary, type SummaryInput, type SummaryOptions } from "./summary.ts";
export { loadWeights, type LoadedWeights, type LoadWeightsOptions } from "../weights/load.ts";
export { saveWeights, type SaveWeightsOptions } from "../weights/save.ts";
