/** The closure of an optimizer that evaluates the loss again within its step, as L-BFGS does. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Inputs } from "../data/types.ts";
import type { Step } from "./events.ts";
import { argumentsOf, isOwn } from "./forward.ts";
import type { Trainer } from "./trainer.ts";
import type { Loss, LossSpec } from "../losses/spec.ts";
import { takesClosure } from "../optim/spec.ts";

/**
 * Returns the closure for `optimizer.step(closure)`, where the learner's optimizer takes one. Its first call returns
 * the loss that the step has, whose gradients are there. Later calls evaluate model and loss anew, in the worker, so
 * the worker must have the loss.
 */
export function closureFor(learner: Trainer, { xs, ys, loss, group }: Step): AnyRef | undefined {
  if (!takesClosure(learner.optimizer as object)) return undefined;
  if (group.size > 1)
    throw new TorchwireError(
      "MISUSE",
      "an optimizer that takes a closure evaluates one batch, and accumulate makes groups of them: give it larger batches",
    );
  const { worker, model, optimizer, output } = learner;
  if (output !== undefined)
    throw new TorchwireError("MISUSE", `${EVALUATES}, where the learner's output, a function of TypeScript, is not`);
  const [args, named] = argumentsOf(xs as Inputs);
  return worker
    .import("torchwire_worker.helpers.training")
    .closure(optimizer, model, lossInWorker(learner), args, named, ys, loss) as AnyRef;
}

const EVALUATES = "an optimizer that takes a closure evaluates the loss within the worker";

const known = new WeakMap<Trainer, AnyRef>();

function lossInWorker(learner: Trainer): AnyRef {
  let found = known.get(learner);
  if (found === undefined) known.set(learner, (found = made(learner.loss, learner)));
  return found;
}

function made(loss: Loss, { worker }: Trainer): AnyRef {
  if (isReference(loss)) return loss;
  const { createInWorker } = loss as Partial<LossSpec>;
  if (createInWorker === undefined)
    throw new TorchwireError(
      "MISUSE",
      `${EVALUATES}, where ${isOwn(loss) ? "a loss that the model computes is not" : "a function of TypeScript is not"}: give the learner ` +
        "mse() or its like, or a module in the worker",
    );
  return createInWorker.call(loss, worker, worker.device);
}
