/**
 * A variational autoencoder: a loop of your own, written as a phase. It learns to draw digits.
 *
 * The encoder turns each image into a distribution over a few numbers; the decoder turns a draw from it into an image.
 * The loss is the difference between the images, plus the distance of the distribution from the standard normal one
 * (Kingma and Welling, 2013).
 *
 *     npx tsx --conditions=torchwire-source examples/vae.ts --epochs 10
 */
import { parseArgs } from "node:util";
import {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  adam,
  bceWithLogits,
  DataLoader,
  kw,
  Learner,
  metric,
  Metrics,
  py,
  spawnWorker,
  type AnyRef,
  type BatchLike,
  type Step,
} from "torchwire";
import { pictures, readDigits } from "./digits.ts";

// The step's own fields, besides xs, ys, yhat and loss. Metrics and callbacks find them there, and the compiler knows
// them.
declare module "torchwire" {
  interface StepKeys {
    /** The mean, and the logarithm of the variance, of each image's distribution: [images, LATENT]. */
    mu: AnyRef;
    logvar: AnyRef;
    /** The Kullback-Leibler divergence from the standard normal distribution, summed over the images. */
    kl: AnyRef;
  }
}

/** An image is made from this many numbers. */
const LATENT = 8;

const { values: options } = parseArgs({
  options: {
    epochs: { type: "string", default: "10" },
    samples: { type: "string", default: "20000" },
    "test-samples": { type: "string", default: "2000" },
  },
});

const worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;

const model = nn.ModuleDict({
  encoder: nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, 2 * LATENT)),
  decoder: nn.Sequential(
    nn.Linear(LATENT, 256),
    nn.ReLU(),
    nn.Linear(256, 28 * 28),
    nn.Unflatten(1, py.tuple(1, 28, 28)),
  ),
});

/** Shared by training and validation: encodes, decodes, and computes the loss of an image. */
function autoencode({ model, lossFn }: Learner, step: Step): void {
  [step.mu, step.logvar] = py.unpack(model.encoder(step.xs).chunk(2, 1), 2) as [AnyRef, AnyRef];
  const z = step.mu.add(step.logvar.div(2).exp().mul(torch.randn_like(step.mu)));
  step.yhat = model.decoder(z);
  step.kl = step.mu.pow(2).add(step.logvar.exp()).sub(step.logvar).sub(1).sum().div(2);
  step.loss = lossFn(step.yhat, step.xs).add(step.kl).div(step.size);
}

class AutoencoderTraining extends AbstractTrainingPhase {
  readonly name = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step, handle) => {
      autoencode(learner, step);
      await handle("backwardBegin");
      learner.optimizer.zero_grad();
      learner.backward(step.loss);
      await handle("backwardEnd");
      learner.update();
    });
  }
}

class AutoencoderValidation extends AbstractValidationPhase {
  readonly name = "validation";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step) => autoencode(learner, step));
  }
}

const learner = new Learner(model, bceWithLogits({ reduction: "sum" }), {
  data: {
    training: new DataLoader(await readDigits("training", Number(options.samples)), { batchSize: 64, shuffle: true }),
    validation: new DataLoader(await readDigits("test", Number(options["test-samples"])), { batchSize: 500 }),
  },
  optimizer: adam({ lr: 1e-3 }),
  callbacks: [
    new Metrics(
      metric("kl", {
        update: (_yhat, ys, step) => ({ kl: step.kl, images: ys.numel() }),
        compute: ({ kl, images }) => kl / images,
      }),
    ),
  ],
});

await learner.fit(Number(options.epochs), {
  phases: { training: new AutoencoderTraining(), validation: new AutoencoderValidation() },
});

// Draws digits that nobody wrote: the decoder's images from random numbers.
const drawn = await worker.context({ mode: "inference", eval: [model] }, () => {
  const z = torch.randn(5, LATENT, kw({ device: worker.device }));
  return py.ndarray(model.decoder(z).sigmoid());
});
console.log(`\n${pictures(drawn)}`);
await worker.close();
