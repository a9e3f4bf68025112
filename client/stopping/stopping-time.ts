import { checkCriterion, type StoppingCriterion } from "./criterion.ts";

/**
 * After how many of `losses` the criterion stops, those of the training not counted; 0 where it does not. `isTraining` says of each whether it is one
 * of the training; default: none is. As if a second passed between two of them.
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
