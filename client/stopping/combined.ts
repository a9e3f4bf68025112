/** Criteria made of other criteria. */
import { wholeFrom } from "../options/kinds.ts";
import { checkValue } from "./criteria.ts";
import { checkCriterion, criterion, misuse, type StoppingCriterion } from "./criterion.ts";

/**
 * Hides the first `n` losses from `inner`, training losses included: `Warmup`. `n` is a whole number from 1; default:
 * 1.
 */
export function warmup<S>(
  inner: StoppingCriterion<S>,
  n = 1,
): StoppingCriterion<{ seen: number; inner: S | undefined }> {
  checkCriterion(inner, "warmup");
  checkValue("warmup", "n", wholeFrom(1), n);
  type State = { seen: number; inner: S | undefined };
  const skipping =
    (update: StoppingCriterion<S>["update"]) =>
    (loss: number, before: State | undefined, now: number): State => {
      const seen = (before?.seen ?? 0) + 1;
      return { seen, inner: seen <= n ? undefined : update(loss, before?.inner, now) };
    };
  return criterion<State>({
    name: `Warmup(${inner.name}, ${n})`,
    update: skipping((...of) => inner.update(...of)),
    updateTraining: skipping((...of) => inner.updateTraining(...of)),
    done: (state) => inner.done(state.inner),
    message: (state) => inner.message(state?.inner),
  });
}

const parts = new WeakMap<StoppingCriterion, readonly StoppingCriterion[]>();

/**
 * Stops when any of `criteria` stops: `Disjunction`, `a + b`. Nested disjunctions are flattened, and the first of
 * several criteria with one name is used. The message joins those of all criteria that are done.
 */
export function or(...criteria: readonly StoppingCriterion[]): StoppingCriterion<readonly unknown[]> {
  if (criteria.length === 0) throw misuse("or takes criteria: or(patience(5), invalidValue())");
  const flat = criteria.flatMap((one) => parts.get(checkCriterion(one, "or")) ?? [one]);
  const all = flat.filter(({ name }, i) => flat.findIndex((other) => other.name === name) === i);
  type State = readonly unknown[];
  const made = criterion<State>({
    name: `Disjunction(${all.map(({ name }) => name).join(", ")})`,
    update: (loss, state, now) => all.map((one, i) => one.update(loss, state?.[i], now)),
    updateTraining: (loss, state, now) => all.map((one, i) => one.updateTraining(loss, state?.[i], now)),
    done: (state) => all.some((one, i) => one.done(state[i])),
    message: (state) => all.map((one, i) => (one.done(state?.[i]) ? one.message(state?.[i]) : "")).join(""),
  });
  parts.set(made, all);
  return made;
}

/** EarlyStopping.jl's name for `or`. */
export const disjunction: typeof or = or;
