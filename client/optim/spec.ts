/** Optimisers as values, and how they are made in a worker. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef, is, PyObject } from "../../bridge/types/core.ts";
import type { OptimizerLike } from "../../bridge/types/optim.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";

/** An optimiser to be made: `adamW({ lr: 1e-3 })`. */
export interface OptimizerSpec {
  /** The class in torch.optim. */
  readonly name: string;
  /** True where its step evaluates the loss again, by a closure (L-BFGS). Default: false. */
  readonly closure?: boolean;
  /** Makes it for the parameters of `model`, without waiting. */
  create(worker: Worker, model: PyObject): AnyRef;
}

/**
 * Makes an optimiser for the model, at once: `(m) => torch.optim.Adagrad(m.parameters())`. It is a function, not a
 * class of Python.
 */
export type OptimizerFunction = ((model: AnyRef) => OptimizerLike & PyObject) & { readonly [is]?: never };

/** A learner takes a spec, an optimiser in the worker, or a function that makes one for the model. */
export type OptimizerOption = OptimizerSpec | OptimizerLike | OptimizerFunction;

/**
 * Makes the optimiser for `option`. The caller keeps the reference. A reference is taken as it is.
 *
 * Throws MISUSE where a function returns anything but a reference, such as a Promise.
 */
export function toOptimizer(worker: Worker, option: OptimizerOption, model: AnyRef): AnyRef {
  if (isReference(option)) return option;
  if (typeof option === "function") {
    const made: unknown = option(model);
    if (!isReference(made))
      throw new TorchwireError(
        "MISUSE",
        `the function that makes the optimizer gave ${described(made)}; it must return a reference, at once: ` +
          "(model) => torch.optim.SGD(model.parameters())",
      );
    return made;
  }
  if (typeof (option as OptimizerSpec | null | undefined)?.create !== "function")
    throw new TorchwireError(
      "MISUSE",
      `the optimizer is ${described(option)}; it must be adamW({ … }) or its like, an optimizer in the worker, or a function`,
    );
  const spec = option as OptimizerSpec;
  const made = spec.create(worker, model);
  if (spec.closure === true) withClosure.add(made);
  return made;
}

const withClosure = new WeakSet<object>();

/** Whether the step of this optimiser takes a closure: one that a spec says so of. */
export function takesClosure(optimizer: object): boolean {
  return withClosure.has(optimizer);
}
