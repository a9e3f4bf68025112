/** Random changes of training batches, on the device where the model is. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { kw } from "../../bridge/reference/kw.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { type CallbackOptions, CallbackObject, type Callback, type Handlers } from "../callback/callback.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

const BATCHES = { step: { xs: "write", ys: "write" } } as const;

export interface AugmentOptions {
  /**
   * "masks": `ys` are masks [N, H, W] or [N, 1, H, W]; their pixels move together with those of their images. Default: targets stay as
   * they are.
   */
  readonly targets?: "masks";
}

/**
 * Changes each sample of training batches by a transform of torchvision.transforms.v2, which is made once:
 *
 *     new Augment((v2) => v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(28, kw({ padding: 2 }))]))
 *
 * It runs in the worker, on what the model would get ([C, H, W], float32), and draws from PyTorch's generator: the
 * worker's `seed` decides. Transforms of colours expect pixels from 0 to 1. For them leave the format's normalisation
 * out, and put `v2.Normalize(mean, std)` before the model, in an nn.Sequential.
 */
export class Augment extends CallbackObject {
  override readonly name = "Augment";
  override readonly access: typeof BATCHES = BATCHES;
  /** It draws from PyTorch's generator, whose state a checkpoint has. */
  override readonly state = "none";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly runAfter: Callback["runAfter"] = ["PyTorchBackend"];
  readonly #make: (v2: AnyRef) => AnyRef;
  readonly #targets: "masks" | undefined;
  #transform!: AnyRef;
  #helpers!: AnyRef;

  constructor(make: (v2: AnyRef) => AnyRef, { targets }: AugmentOptions = {}) {
    super();
    if (typeof make !== "function" || isReference(make))
      throw new TorchwireError(
        "MISUSE",
        `Augment takes a function of torchvision.transforms.v2, not ${described(make)}: new Augment((v2) => v2.RandomHorizontalFlip())`,
      );
    if (targets !== undefined && targets !== "masks")
      throw new TorchwireError("MISUSE", `Augment: targets is ${described(targets)}; it must be "masks", or left out`);
    this.#make = make;
    this.#targets = targets;
  }

  override readonly init = ({ worker }: Trainer): void => {
    const transform = this.#make(worker.import("torchvision.transforms.v2"));
    if (!isReference(transform))
      throw new TorchwireError(
        "MISUSE",
        `Augment: the function gave ${described(transform)}; it must return a transform, at once`,
      );
    const helpers = worker.import("torchwire_worker.helpers.augment");
    this.#transform = py.keep(transform);
    this.#helpers = py.keep(helpers);
  };

  override readonly on: Handlers<typeof BATCHES> = {
    stepBegin: ({ step }) => {
      if (this.#targets === undefined) {
        step.xs = this.#helpers.each(this.#transform, step.xs);
        return;
      }
      const both = this.#helpers.each_with_masks(this.#transform, step.xs, step.ys) as AnyRef;
      [step.xs, step.ys] = [py.at(both, 0), py.at(both, 1)];
    },
  };
}

export interface MixOptions {
  /** The parameter of the Beta distribution from which the share of the other image is drawn. PyTorch's default: 1. */
  readonly alpha?: number;
  /** The number of classes: targets become probabilities of each. */
  readonly classes: number;
}

/** The base of MixUp and CutMix. */
class Mix extends CallbackObject {
  override readonly name: "MixUp" | "CutMix";
  override readonly access: typeof BATCHES = BATCHES;
  /** It draws from PyTorch's generator, whose state a checkpoint has. */
  override readonly state = "none";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly runAfter: Callback["runAfter"] = ["PyTorchBackend", "Augment"];
  readonly #options: Required<MixOptions>;
  #mix!: AnyRef;

  constructor(name: "MixUp" | "CutMix", { alpha = 1, classes }: MixOptions) {
    super();
    if (!Number.isSafeInteger(classes) || classes < 1)
      throw new TorchwireError("MISUSE", `${name}: classes must be a whole number from 1, not ${described(classes)}`);
    if (!(alpha > 0)) throw new TorchwireError("MISUSE", `${name}: alpha must be above 0, not ${described(alpha)}`);
    this.name = name;
    this.#options = { alpha, classes };
  }

  override get options(): CallbackOptions {
    return this.#options;
  }

  override readonly init = ({ worker }: Trainer): void => {
    const { alpha, classes } = this.#options;
    const v2 = worker.import("torchvision.transforms.v2");
    this.#mix = py.keep(v2[this.name](kw({ num_classes: classes, alpha: py.float(alpha) })));
  };

  override readonly on: Handlers<typeof BATCHES> = {
    stepBegin: ({ step }) => {
      const both = this.#mix(step.xs, step.ys);
      [step.xs, step.ys] = [py.at(both, 0), py.at(both, 1)];
    },
  };
}

/**
 * Blends each image of a training batch with the one before it, and their labels likewise: torchvision's v2.MixUp.
 * Targets become float probabilities [N, classes], which `crossEntropy` takes; metrics that compare classes should be
 * for validation alone.
 */
export class MixUp extends Mix {
  constructor(options: MixOptions) {
    super("MixUp", options);
  }
}

/**
 * Pastes a box of the image before into each one, and blends the labels by its area: torchvision's v2.CutMix. Targets
 * are those of MixUp.
 */
export class CutMix extends Mix {
  constructor(options: MixOptions) {
    super("CutMix", options);
  }
}
