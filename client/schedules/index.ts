/** `torchwire/schedules`: values that change from step to step. */
import "../../bridge/platform.ts";

export { anneal, oneCycle, type OneCycleOptions, type Shape } from "./anneal.ts";
export {
  composed,
  interpolator,
  loop,
  sequence,
  shifted,
  stateful,
  warmUp,
  type Stage,
  type Stateful,
} from "./compose.ts";
export {
  cosAnneal,
  sin,
  sinDecay2,
  sinExp,
  triangle,
  triangleDecay2,
  triangleExp,
  type CosAnnealOptions,
} from "./cyclic.ts";
export { constant, exp, inv, poly, shortened, step } from "./decay.ts";
export { plot, type PlotOptions } from "./plot.ts";
export {
  constantLR,
  cosineAnnealingLR,
  cosineAnnealingWarmRestarts,
  cyclicLR,
  exponentialLR,
  linearLR,
  multiStepLR,
  oneCycleLR,
  oneCycleMomentum,
  polynomialLR,
  stepLR,
  type CyclicLROptions,
  type OneCycleLROptions,
} from "./pytorch.ts";
export type { Duration, RunLength, Schedule } from "./schedule.ts";
