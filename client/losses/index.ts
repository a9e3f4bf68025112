/** `torchwire/losses`: PyTorch's losses, and losses of one's own. */
import "../../bridge/platform.ts";

export * from "./table.ts";
export type { LossFactory, Reduction } from "./define.ts";
export { ownLoss, type OwnLossOptions } from "./own.ts";
export {
  loss,
  type Loss,
  type LossFunction,
  type LossInput,
  type LossSpec,
  type LossWeightFunction,
  type ModelCall,
  type OwnLoss,
  type TargetKind,
} from "./spec.ts";
