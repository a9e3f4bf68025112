export * from "./flux.ts";
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
