/** `torchwire/optim`: PyTorch's optimizers, chains, and hyperparameters. */
import "../../bridge/platform.ts";

export * from "./table.ts";
export { chain, clipNorm, clipValue, expDecay, invDecay, weightDecay, type ChainPart } from "./chain.ts";
export type { Grouped, OptimizerFactory, ParameterGroup } from "./define.ts";
export {
  Hyper,
  hyperparameter,
  Hyperparameter,
  type HyperparameterOptions,
  type HyperTarget,
  type HyperValue,
  type HyperValues,
} from "./hyper.ts";
export type { OptimizerFunction, OptimizerOption, OptimizerSpec } from "./spec.ts";
