/** Random changes of training batches, on the device where the model is. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { isReference } from "../data/batch.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

export interface AugmentOptions {
  /** "masks": `ys` are masks [N, H, W], and go with their images wherever pixels are moved. Default: they stay as they are. */
  readonly targets?: "masks";
}

/**
 * Changes each sample of training batches by a transform of torchvision.transforms.v2, made once:
 *
 *     new Augment((v2) => v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(28, kw({ padding: 2 }))]))
 *
 * It runs in the worker, on what the model would get ([C, H, W], float32), and draws from PyTorch's generator: the worker's `seed` decides. Transforms of colours
 * expect pixels from 0 to 1: leave the format's normalisation out then, and put `v2.Normalize(mean, std)` before the model, in an nn.Sequential.
 */
export class Augment extends CallbackObject {
  constructor(make: (v2: AnyRef) => AnyRef, { targets }: AugmentOptions = {}) {
    if (typeof make !== "function" || isReference(make))
      throw new TorchwireError(
        "MISUSE",
        `Augment takes a function of torchvision.transforms.v2, not ${described(make)}: new Augment((v2) => v2.RandomHorizontalFlip())`,
      );
    if (targets !== undefined && targets !== "masks")
      throw new TorchwireError("MISUSE", `Augment: targets is ${described(targets)}; it is to be "masks", or left out`);
    let made: { transform: AnyRef; helpers: AnyRef } | undefined;
    super(
      callback({
        name: "Augment",
        access: { step: { xs: "write", ys: "write" } },
        phase: AbstractTrainingPhase,
        runAfter: ["PyTorchBackend"],
        init: ({ worker }) => {
          const transform = make(worker.import("torchvision.transforms.v2"));
          if (!isReference(transform))
            throw new TorchwireError(
              "MISUSE",
              `Augment: the function gave ${described(transform)}; it is to give a transform, at once`,
            );
          const helpers = worker.import("torchwire_worker.helpers.augment");
          made = { transform: py.keep(transform), helpers: py.keep(helpers) };
        },
        on: {
          stepBegin: ({ step }) => {
            const { transform, helpers } = made!;
            if (targets === undefined) {
              step.xs = helpers.each(transform, step.xs);
              return;
            }
            const both = helpers.each_with_masks(transform, step.xs, step.ys) as AnyRef;
            [step.xs, step.ys] = [py.at(both, 0), py.at(both, 1)];
          },
        },
      }),
    );
  }
}

export interface MixOptions {
  /** Of the Beta distribution from which the share of the other image is drawn. PyTorch's default: 1. */
  readonly alpha?: number;
  /** How many there are: targets become probabilities of each. */
  readonly classes: number;
}

/** The base of MixUp and CutMix. */
class Mix extends CallbackObject {
  constructor(name: "MixUp" | "CutMix", { alpha = 1, classes }: MixOptions) {
    if (!Number.isSafeInteger(classes) || classes < 1)
      throw new TorchwireError("MISUSE", `${name}: classes must be a whole number from 1, not ${described(classes)}`);
    if (!(alpha > 0)) throw new TorchwireError("MISUSE", `${name}: alpha must be above 0, not ${described(alpha)}`);
    let mix: AnyRef | undefined;
    super(
      callback({
        name,
        access: { step: { xs: "write", ys: "write" } },
        phase: AbstractTrainingPhase,
        runAfter: ["PyTorchBackend", "Augment"],
        init: ({ worker }: Trainer) => {
          const v2 = worker.import("torchvision.transforms.v2");
          mix = py.keep(v2[name](kw({ num_classes: classes, alpha: py.float(alpha) })));
        },
        on: {
          stepBegin: ({ step }) => {
            const both = mix!(step.xs, step.ys);
            [step.xs, step.ys] = [py.at(both, 0), py.at(both, 1)];
          },
        },
      }),
    );
  }
}

/**
 * Blends each image of a training batch with the one before it, and their labels likewise: torchvision's v2.MixUp. Targets become float probabilities
 * [N, classes], which `crossEntropy` takes; metrics that compare classes should be for validation alone.
 */
export class MixUp extends Mix {
  constructor(options: MixOptions) {
    super("MixUp", options);
  }
}

/** Pastes a box of the image before into each one, and blends the labels by its area: torchvision's v2.CutMix. Targets as of MixUp. */
export class CutMix extends Mix {
  constructor(options: MixOptions) {
    super("CutMix", options);
  }
}
