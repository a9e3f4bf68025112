/** The loss of a model that computes it itself, in its forward. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { inner } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { pickedBy, type Picked } from "../data/picked.ts";
import { described, keywordsOf, type Kind, type Kinds } from "../options/keywords.ts";
import type { LossSpec, LossWeightFunction, ModelCall } from "./spec.ts";
import { weighed } from "./weight.ts";

export interface OwnLossOptions {
  /**
   * The parameter of the model's forward that takes the targets; false where none does. Default: `labels` or `targets`,
   * whichever there is. Then targets in a record are arguments by their own names.
   */
  readonly targets?: string | false;
  /**
   * Finds the loss in the model's output, where it is at no usual place: `(y) => y[1]`. Of a record or an array of
   * losses it is the sum, and each of them is a part in the history.
   */
  readonly loss?: (output: any) => Picked;
  /**
   * The divisor of the loss: a batch weighs this much in the mean over an epoch. It gets what the learner's `output`
   * gives, and the targets. Default: the `labels` that are not -100, where they are whole numbers, and for causal
   * language models without the first of each row; else the samples.
   */
  readonly weight?: LossWeightFunction;
}

const aName: Kind = {
  is: "the name of a parameter, or false",
  send: (value) => (value === false || (typeof value === "string" && value !== "") ? value : undefined),
};
const aFunction: Kind = {
  is: "a function",
  send: (value) => (typeof value === "function" && inner(value) === undefined ? value : undefined),
};
const KINDS: Kinds<OwnLossOptions> = { targets: aName, loss: aFunction, weight: aFunction };

/**
 * The loss that the model itself computes, in its forward, from targets that are given to it as an argument:
 *
 *     new Learner(AutoModelForSequenceClassification.from_config(config), ownLoss(), { output: (y) => y.logits })
 *
 * The forward gives the loss alone, or something with a `loss`, as Hugging Face's models do, or a tuple that begins
 * with it; or a dict of losses alone, whose sum is the loss, as torchvision's detectors do. Each number beside the loss,
 * and each loss of a dict, is in the history under its name.
 *
 * A model that gives a loss in training mode alone, as a detector does, has no loss in validation. Metrics see what it
 * gives there.
 *
 * Throws MISUSE for an option of a wrong kind.
 */
export function ownLoss(options: OwnLossOptions = {}): LossSpec {
  keywordsOf("ownLoss", KINDS, options);
  const { targets, loss: find, weight } = options;
  return {
    name: "ownLoss",
    targets: "classes",
    create: () => (yhat, ys) => {
      const computed = computedWith.get(yhat);
      if (computed === undefined)
        throw new TorchwireError(
          "MISUSE",
          "ownLoss: the model computes its loss where its outputs are computed, and these outputs are others: take " +
            "those of learner.forward(step.xs, step.ys), as they are",
        );
      if (weight !== undefined) computed.weigh(checked(weight(yhat as AnyRef, ys as AnyRef)));
      return weighed(computed.loss as AnyRef, { weigher: computed, yhat: null, ys: null });
    },
    forward({ worker, model, args, named, ys, output }: ModelCall): unknown {
      const { compute } = worker.import("torchwire_worker.helpers.own_loss");
      const computed = compute(model, args, named, ys, targets ?? null) as AnyRef;
      const given = computed.outputs as AnyRef;
      if (find !== undefined) computed.take(pickedBy("ownLoss: loss", find, given));
      const yhat = output(given);
      computedWith.set(yhat as object, computed);
      return yhat;
    },
  };
}

/** What the worker computed together with these outputs. */
const computedWith = new WeakMap<object, AnyRef>();

function checked(said: unknown): unknown {
  if (typeof said !== "number" && inner(said) === undefined)
    throw new TorchwireError(
      "MISUSE",
      `ownLoss: weight gave ${described(said)}; it must give a number or a reference to one, at once`,
    );
  return said;
}
