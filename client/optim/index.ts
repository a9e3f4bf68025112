export * from "./aliases.ts";
export * from "./table.ts";
export { chain, clipNorm, clipValue, expDecay, invDecay, weightDecay, type ChainPart } from "./chain.ts";
export type { Grouped, OptimizerFactory, ParameterGroup } from "./define.ts";
export type { OptimizerFunction, OptimizerOption, OptimizerSpec } from "./spec.ts";
