/**
 * A generative adversarial network: two models, two optimizers, and one step that trains both (Goodfellow et al.,
 * 2014).
 *
 * The generator makes images from random numbers. The discriminator learns to tell them from digits; the generator
 * learns to make images that the discriminator takes for digits.
 *
 *     npx tsx --conditions=torchwire-source examples/gan.ts --epochs 20
 */
import { parseArgs } from "node:util";
import {
  AbstractTrainingPhase,
  adam,
  bceWithLogits,
  DataLoader,
  image,
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

// The step's own fields; `loss` is the discriminator's.
declare module "torchwire" {
  interface StepKeys {
    fake: AnyRef;
    generatorLoss: AnyRef;
  }
}

/** An image is made from this many random numbers. */
const LATENT = 64;

const { values: options } = parseArgs({
  options: {
    epochs: { type: "string", default: "20" },
    samples: { type: "string", default: "20000" },
  },
});

const worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;

const generator = nn.Sequential(
  nn.Linear(LATENT, 128),
  nn.LeakyReLU(0.2),
  nn.Linear(128, 256),
  nn.BatchNorm1d(256),
  nn.LeakyReLU(0.2),
  nn.Linear(256, 28 * 28),
  nn.Tanh(),
  nn.Unflatten(1, py.tuple(1, 28, 28)),
);
const discriminator = nn.Sequential(
  nn.Flatten(),
  nn.Linear(28 * 28, 256),
  nn.LeakyReLU(0.2),
  nn.Dropout(0.3),
  nn.Linear(256, 1),
);

const noise = (images: number) => torch.randn(images, LATENT, kw({ device: worker.device }));

/** Trains both models for one round. */
class AdversarialTraining extends AbstractTrainingPhase {
  readonly name = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    const { generator, discriminator } = learner.model;
    const { optimizer, lossFn } = learner;
    return learner.runStep(this, batch, async (step, handle) => {
      step.fake = generator(noise(step.size!));

      const real = discriminator(step.xs);
      // Detached, so that the discriminator's gradients do not reach the generator.
      const fake = discriminator(step.fake.detach());
      step.loss = lossFn(real, torch.ones_like(real)).add(lossFn(fake, torch.zeros_like(fake)));
      await handle("backwardBegin");
      optimizer.discriminator.zero_grad();
      step.loss.backward();
      await handle("backwardEnd");
      optimizer.discriminator.step();

      const fooled = discriminator(step.fake);
      step.generatorLoss = lossFn(fooled, torch.ones_like(fooled));
      optimizer.generator.zero_grad();
      step.generatorLoss.backward();
      optimizer.generator.step();
    });
  }
}

const adversary = adam({ lr: 2e-4, betas: [0.5, 0.999] });
const learner = new Learner({ generator, discriminator }, bceWithLogits(), {
  data: {
    training: new DataLoader(await readDigits("training", Number(options.samples)), {
      batchSize: 64,
      shuffle: true,
      dropLast: true,
    }),
  },
  // The images go from -1 to 1, as the output of the generator's tanh does.
  input: image({ mean: 0.5, std: 0.5 }),
  optimizer: { generator: adversary, discriminator: adversary },
  callbacks: [
    new Metrics(
      metric("generator", {
        update: (_yhat, ys, step) => ({ loss: step.generatorLoss.mul(ys.numel()), images: ys.numel() }),
        compute: ({ loss, images }) => loss / images,
      }),
    ),
  ],
});

/** Five images of the generator, from 0 to 1. */
const draw = () =>
  worker.context({ mode: "inference", eval: [generator], rng: "fork" }, () =>
    py.ndarray(generator(noise(5)).add(1).div(2)),
  );

console.log(`before:\n${pictures(await draw())}\n`);
await learner.fit(Number(options.epochs), { phases: { training: new AdversarialTraining() } });
console.log(`\nafter:\n${pictures(await draw())}`);
await worker.close();
