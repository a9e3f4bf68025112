/**
 * A learner queues operations where it can await nothing: when it is made, and when it gets another model or callback.
 */
import { PythonError } from "../../bridge/errors/python-error.ts";
import { deep, traced } from "../../bridge/errors/site.ts";
import { py } from "../../bridge/reference/py.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import type { Trainer } from "../training/trainer.ts";
import { rootOf } from "./failures.ts";

/** The outcome of something that was queued; undefined where it is known that it worked. */
type Outcome = () => Promise<void> | undefined;

/** Keeps the outcomes, so that a failure rejects the first call that needs what failed, and nothing else. */
export class Preparations {
  readonly #learner: Trainer;
  readonly #outcomes: Outcome[] = [];
  #optimizer: Outcome = () => undefined;

  constructor(learner: Trainer) {
    this.#learner = learner;
  }

  prepare<T>(make: () => T): T {
    const [value, outcome] = this.#learner.worker.apart(() => deep(make));
    this.#outcomes.push(outcome);
    return value;
  }

  /** Prepares an optimizer, which predictions do without. It takes the place of the one before. */
  prepareOptimizer<T>(make: () => T): T {
    const [value, outcome] = this.#learner.worker.apart(make);
    this.#optimizer = outcome;
    return value;
  }

  /**
   * Rejects with what failed; for training also with a failure of the optimizer. Undefined where there is nothing to
   * wait for.
   */
  ready(what: string, forTraining: boolean): Promise<void> | undefined {
    const outcomes = [...this.#outcomes, ...(forTraining ? [this.#optimizer] : [])].flatMap(
      (outcome) => outcome() ?? [],
    );
    if (outcomes.length === 0) {
      this.#outcomes.length = 0;
      return undefined;
    }
    return traced(what, async () => {
      // Waits for all, so that no rejection is left unhandled, and throws the first.
      for (const outcome of await Promise.allSettled(outcomes))
        if (outcome.status === "rejected") throw await failureBefore(this.#learner, outcome.reason);
    });
  }
}

/**
 * Finds the error that made `error` happen. A model or an optimizer that failed when it was made has no value: a step
 * that uses it fails, too, and the error of the making is the one to tell.
 */
export async function failureBefore({ modules, optimizer }: Trainer, error: unknown): Promise<unknown> {
  const root = rootOf(error instanceof PythonError ? error : (error as { cause?: unknown } | undefined)?.cause);
  if (!(root instanceof PythonError)) return error;
  try {
    for (const made of [...modules, ...(isReference(optimizer) ? [optimizer] : Object.values<PyObject>(optimizer))])
      await py.settle(made);
  } catch (earlier) {
    const before = rootOf(earlier);
    // The step met the error itself, or a reference without a value where the error had not come back yet.
    if (before === root || root.pyType === "torchwire_worker.objects.NoValue") return before;
  }
  return error;
}
