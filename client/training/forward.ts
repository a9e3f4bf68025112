/** How a learner calls its model. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { kw } from "../../bridge/reference/kw.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { pickedBy } from "../data/picked.ts";
import type { Inputs } from "../data/types.ts";
import type { Loss, LossSpec } from "../losses/spec.ts";
import type { Trainer } from "./trainer.ts";

/** Calls `model(x)`, `model(a, b)` with an array, or `model(name=a, …)` with a record. */
export function forward(model: AnyRef, xs: Inputs): AnyRef {
  checkIsOne(model);
  if (Array.isArray(xs)) return model(...(xs as unknown[]));
  return typeof xs === "function" ? model(xs) : model(kw(xs));
}

/**
 * The outputs of the learner's model, as losses and metrics see them. A model that computes its own loss gets the
 * targets, too.
 */
export function outputsOf(
  { worker, model, loss, output }: Pick<Trainer, "worker" | "model" | "loss" | "output">,
  xs: Inputs,
  ys: unknown,
): any {
  const pick = (given: AnyRef): unknown => (output === undefined ? given : pickedBy("output", output, given));
  if (!isOwn(loss)) return pick(forward(model, xs));
  checkIsOne(model);
  const [args, named] = argumentsOf(xs);
  return loss.forward({ worker, model, args, named, ys, output: pick });
}

/** Whether the model computes the loss in its forward. */
export const isOwn = (loss: Loss): loss is LossSpec & Required<Pick<LossSpec, "forward">> =>
  // A reference is a function, and seems to have every method.
  typeof loss === "object" && (loss as LossSpec | null)?.forward !== undefined;

/** The arguments that `forward` calls the model with. */
export function argumentsOf(xs: Inputs): [args: unknown, named: unknown] {
  if (Array.isArray(xs)) return [xs, {}];
  return typeof xs === "function" ? [[xs], {}] : [[], xs];
}

function checkIsOne(model: unknown): void {
  if (typeof model !== "function")
    throw new TorchwireError(
      "MISUSE",
      "the learner has several models: write a phase that says how they work together, and fit with { phases: … }",
    );
}
