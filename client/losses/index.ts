export * from "./flux.ts";
export * from "./table.ts";
export type { LossFactory, Reduction } from "./define.ts";
export type { Loss, LossFunction, LossInput, LossSpec, TargetKind } from "./spec.ts";
