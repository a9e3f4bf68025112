import { TorchwireError } from "../../bridge/errors/errors.ts";
import { lookAfter } from "../../bridge/reference/refused.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { workerOf, type Worker } from "../../bridge/worker.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { described } from "../options/keywords.ts";

/** The model of a learner, or each of a record of several. */
export function modulesOf(model: unknown): readonly AnyRef[] {
  return (isReference(model) ? [model] : Object.values(model ?? {})) as AnyRef[];
}

/** The worker that has the model, or all of the models. Throws MISUSE where there is none. */
export function workerOfModel(model: unknown): Worker {
  const worker = workerOf(modulesOf(model)[0]);
  if (worker === undefined) {
    lookAfter(model);
    throw new TorchwireError(
      "MISUSE",
      "new Learner(model, …): model is not a reference to a module, nor a record of some",
    );
  }
  for (const [name, one] of isReference(model) ? [] : Object.entries(model as object))
    if (workerOf(one) !== worker)
      throw new TorchwireError(
        "MISUSE",
        `new Learner(model, …): the model "${name}" is ${described(one)}, and no reference to a module of this worker`,
      );
  return worker;
}
