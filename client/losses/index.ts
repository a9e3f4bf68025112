/** `torchwire/losses`: PyTorch's losses, and losses of one's own. */
import "../../bridge/platform.ts";

export * from "./table.ts";
export type { LossFactory, Reduction } from "./define.ts";
export {
  loss,
  type Loss,
  type LossFunction,
  type LossInput,
  type LossSpec,
  type LossWeightFunction,
  type OwnLoss,
  type TargetKind,
} from "./spec.ts";
