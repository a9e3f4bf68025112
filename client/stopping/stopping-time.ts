import { checkCriterion, type StoppingCriterion } from "./criterion.ts";

/**
 * After how many of `losses` the criterion stops, training losses not counted; 0 where it does not stop. `isTraining`
 * marks the training losses; by default there are none. One second passes between two losses.
 */
export function stoppingTime(
  criterion: StoppingCriterion,
  losses: readonly number[],
  isTraining: readonly boolean[] = [],
): number {
  checkCriterion(criterion, "stoppingTime");
  let state: unknown;
  let seen = 0;
  for (const [i, loss] of losses.entries()) {
    const now = i * 1000;
    if (isTraining[i]) state = criterion.updateTraining(loss, state, now);
    else {
      state = criterion.update(loss, state, now);
      seen++;
    }
    if (criterion.done(state)) return seen;
  }
  return 0;
}
