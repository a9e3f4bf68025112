/** `torchwire/stopping`: criteria for `EarlyStopping`. */
import "../../bridge/platform.ts";

export {
  gl,
  invalidValue,
  never,
  numberLimit,
  numberSinceBest,
  patience,
  pq,
  threshold,
  timeLimit,
  type PqOptions,
  type TimeLimitOptions,
} from "./criteria.ts";
export { disjunction, or, warmup } from "./combined.ts";
export { criterion, type StoppingCriterion, type StoppingCriterionSpec } from "./criterion.ts";
export { stoppingTime } from "./stopping-time.ts";
