/** Stopping criteria as values. A criterion keeps no state: its caller passes the state in and gets it back. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";

/**
 * `S` is the state, undefined before the first loss. One criterion may serve in several places, since it keeps none.
 */
export interface StoppingCriterion<S = any> {
  /** The name with its parameters: "Patience(5)". Criteria with one name count as the same. */
  readonly name: string;
  /** Takes a loss that was measured on other data than the training's. `now` is in milliseconds of any clock. */
  /** After a loss that was measured on other data than is trained on. `now` is in milliseconds, of any clock. */
  update(loss: number, state: S | undefined, now: number): S | undefined;
  /** Takes a training loss. */
  updateTraining(loss: number, state: S | undefined, now: number): S | undefined;
  done(state: S | undefined): boolean;
  /** The reason, once the criterion is done. */
  message(state: S | undefined): string;
}

export interface StoppingCriterionSpec<S> {
  readonly name: string;
  readonly update: (loss: number, state: S | undefined, now: number) => S | undefined;
  /** Default: training losses do not count. */
  readonly updateTraining?: (loss: number, state: S | undefined, now: number) => S | undefined;
  /** Called after each update, and only with a state. */
  readonly done: (state: S) => boolean;
  /** Default: "Stop triggered by {name} stopping criterion. " */
  readonly message?: (state: S | undefined) => string;
}

/**
 * Makes a criterion of your own:
 *
 *     criterion<number>({
 *       name: "TwiceBelow(0.1)",
 *       update: (loss, times = 0) => (loss < 0.1 ? times + 1 : 0),
 *       done: (times) => times === 2,
 *     })
 *
 * Throws MISUSE where a part is missing.
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
    // The space at the end separates the messages of several criteria.
    message: spec.message ?? (() => `Stop triggered by ${name} stopping criterion. `),
  });
}

const METHODS = ["update", "updateTraining", "done", "message"] as const;

/** Throws MISUSE, naming `where`, unless `value` is a stopping criterion. */
export function checkCriterion(value: unknown, where: string): StoppingCriterion {
  const one = value as Partial<StoppingCriterion> | null | undefined;
  if (typeof one === "object" && one !== null && METHODS.every((method) => typeof one[method] === "function"))
    return one as StoppingCriterion;
  throw misuse(
    `${where}: ${described(value)} is not a stopping criterion; make one with stopping.patience(5) and the like`,
  );
}

export const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
