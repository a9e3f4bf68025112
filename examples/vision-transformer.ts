/**
 * A small vision transformer of timm, with a rate for each of its layers, as such models are fine-tuned (Bao et al.,
 * 2021): the head learns at the full rate, and each layer below at three quarters of the one above. Weights decay;
 * biases and norms do not. Which parameter belongs to which layer, timm itself says.
 *
 *     npx torchwire add timm
 *     npx tsx --conditions=torchwire-source examples/vision-transformer.ts [training images, 6000 by default] [epochs, 5]
 */
import { accuracy, adamW, crossEntropy, DataLoader, image, kw, Learner, Metrics, mnist, oneCycle } from "torchwire";
import { Scheduler, spawnWorker } from "torchwire";
import { relative } from "torchwire/callbacks";
import { readDigits } from "./digits.ts";

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const epochs = Number(process.argv[3] ?? 5);
const test = await readDigits("test", 2000);

await using worker = await spawnWorker({ seed: 0 });
const { create_model } = worker.import("timm");
const { param_groups_layer_decay } = worker.import("timm.optim");
const model = create_model("test_vit", kw({ num_classes: 10, in_chans: 1, img_size: 28, patch_size: 7 }));

const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(training, { batchSize: 64, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 500 }),
  },
  input: image(mnist),
  optimizer: adamW({
    lr: 2e-3,
    groups: (m) => param_groups_layer_decay(m, kw({ weight_decay: 0.05, layer_decay: 0.75 })),
  }),
  // Each rate rises to its own height, and falls.
  callbacks: [new Metrics(accuracy), new Scheduler({ lr: relative(oneCycle("run", 1)) })],
});
await learner.fit(epochs);
