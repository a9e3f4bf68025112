import { TorchwireError } from "../../bridge/errors/errors.ts";
import { deep } from "../../bridge/errors/site.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { toOptimizer, type OptimizerOption } from "./spec.ts";
import { adam } from "./table.ts";

/** One option for one model, or one for each of several models, by the same names. */
export type OptimizerOptions = OptimizerOption | { readonly [name: string]: OptimizerOption };

/**
 * Makes the optimizer of a model, or a record of them for several models. Default: `adam()`. Throws MISUSE where a
 * model has none.
 */
export function optimizerOf(worker: Worker, model: unknown, options: OptimizerOptions | undefined): any {
  const make = (option: OptimizerOption, one: AnyRef): AnyRef => deep(() => toOptimizer(worker, option, one));
  if (inner(model) !== undefined) return make((options ?? adam()) as OptimizerOption, model as AnyRef);
  const made = Object.entries(model as { [name: string]: AnyRef }).map(([name, one]) => {
    const own = options === undefined ? adam() : (options as { [name: string]: OptimizerOption })[name];
    if (own === undefined) throw new TorchwireError("MISUSE", `optimizer: there is none for the model "${name}"`);
    return [name, make(own, one)] as const;
  });
  return Object.fromEntries(made);
}
