/** When to stop, as a value: what is remembered of the losses so far is given to it and comes back from it. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";

/**
 * `S` is what it remembers, undefined before the first loss. Nothing of it is kept in the criterion, which may therefore be used in several places.
 */
export interface StoppingCriterion<S = any> {
  /** With its parameters: "Patience(5)". Two of one name are taken for the same. */
  readonly name: string;
  /** After a loss that was measured on other data than is trained on. `now` is in milliseconds, of any clock. */
  update(loss: number, state: S | undefined, now: number): S | undefined;
  /** After a loss of the training. */
  updateTraining(loss: number, state: S | undefined, now: number): S | undefined;
  done(state: S | undefined): boolean;
  /** Why, once it is done. */
  message(state: S | undefined): string;
}

export interface StoppingCriterionSpec<S> {
  readonly name: string;
  readonly update: (loss: number, state: S | undefined, now: number) => S | undefined;
  /** Default: training losses are not looked at. */
  readonly updateTraining?: (loss: number, state: S | undefined, now: number) => S | undefined;
  /** Asked after each update, and only where there is a state. */
  readonly done: (state: S) => boolean;
  /** Default: "Stop triggered by {name} stopping criterion. " */
  readonly message?: (state: S | undefined) => string;
}

/**
 * A criterion of one's own:
 *
 *     criterion<number>({ name: "TwiceBelow(0.1)", update: (loss, times = 0) => (loss < 0.1 ? times + 1 : 0), done: (times) => times === 2 })
 *
 * Throws MISUSE where something of it is missing.
 */
export function criterion<S>(spec: StoppingCriterionSpec<S>): StoppingCriterion<S> {
  const { name, update, done } = spec;
  if (typeof name !== "string" || name === "") throw misuse("a stopping criterion needs a name");
  if (typeof update !== "function" || typeof done !== "function")
    throw misuse(`stopping criterion ${name}: update and done must be functions`);
  return Object.freeze({
    name,
    update,
    updateTraining: spec.updateTraining ?? ((_loss: number, state: S | undefined) => state),
    done: (state: S | undefined) => state !== undefined && done(state),
    // The space is for the next one's, where several are done at once.
    message: spec.message ?? (() => `Stop triggered by ${name} stopping criterion. `),
  });
}

const METHODS = ["update", "updateTraining", "done", "message"] as const;

/** Throws MISUSE unless `value` is one, saying so of `where`. */
export function checkCriterion(value: unknown, where: string): StoppingCriterion {
  const one = value as Partial<StoppingCriterion> | null | undefined;
  if (typeof one === "object" && one !== null && METHODS.every((method) => typeof one[method] === "function"))
    return one as StoppingCriterion;
  throw misuse(
    `${where}: ${described(value)} is no stopping criterion; one is made by stopping.patience(5) and the like`,
  );
}

export const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
