/** The closure of an optimizer that evaluates the loss again within its step, as L-BFGS does. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { mapTree } from "../data/tree.ts";
import type { Inputs } from "../data/types.ts";
import { ungiven } from "../losses/weight.ts";
import type { LossSpec } from "../losses/spec.ts";
import { takesClosure } from "../optim/spec.ts";
import type { Step } from "./events.ts";
import { argumentsOf } from "./forward.ts";
import type { Trainer } from "./trainer.ts";

/**
 * Returns the closure for `optimizer.step(closure)`, where the learner's optimizer takes one. Its first call returns
 * the loss that the step has, whose gradients are there. Later calls evaluate model and loss anew: in the worker alone,
 * where it has the loss and the model's output is all that the loss needs; else by a call of the program.
 */
export function closureFor(learner: Trainer, { xs, ys, loss, group }: Step): AnyRef | undefined {
  if (!takesClosure(learner.optimizer as object)) return undefined;
  if (group.size > 1)
    throw new TorchwireError(
      "MISUSE",
      "an optimizer that takes a closure evaluates one batch, and accumulate makes groups of them: give it larger batches",
    );
  const { worker, model, optimizer, output } = learner;
  const helpers = worker.import("torchwire_worker.helpers.training");
  const lossFn = output === undefined ? lossInWorker(learner) : undefined;
  if (lossFn === undefined) return helpers.closure_of(optimizer, ...evaluation(learner, xs, ys), loss) as AnyRef;
  const [args, named] = argumentsOf(xs as Inputs);
  return helpers.closure(optimizer, model, lossFn, args, named, ys, loss) as AnyRef;
}

/**
 * A function that Python calls to have the loss, and its arguments. The step's own references have been freed when it
 * is called, so Python holds what they refer to.
 */
function evaluation(learner: Trainer, xs: unknown, ys: unknown): [(...given: unknown[]) => AnyRef, unknown[]] {
  const places = new Map<unknown, number>();
  const each = (side: unknown, change: (part: unknown) => unknown): unknown =>
    mapTree(side, "", isPart, change, (part) => part as never);
  for (const side of [xs, ys])
    each(side, (part) => isReference(part) && !places.has(part) && places.set(part, places.size));
  return [
    function evaluateLoss(...given) {
      const again = (side: unknown): any => each(side, (part) => (places.has(part) ? given[places.get(part)!] : part));
      const targets: unknown = again(ys);
      return ungiven(() => learner.lossFn(learner.forward(again(xs) as Inputs, targets) as AnyRef, targets));
    },
    [...places.keys()],
  ];
}

const isPart = (part: unknown): part is unknown => isReference(part) || !(Array.isArray(part) || isPlainObject(part));

const known = new WeakMap<Trainer, { readonly lossFn: AnyRef | undefined }>();

/** The loss as a function in Python, where the worker has it. */
function lossInWorker(learner: Trainer): AnyRef | undefined {
  let found = known.get(learner);
  if (found === undefined) known.set(learner, (found = { lossFn: made(learner) }));
  return found.lossFn;
}

function made({ loss, worker }: Trainer): AnyRef | undefined {
  if (isReference(loss)) return loss;
  return (loss as Partial<LossSpec>).createInWorker?.(worker, worker.device);
}
