/**
 * The example of PyTorchTraining.jl, torchwire's ancestor in Julia, line for line: it fine-tunes a pretrained image
 * classifier of torchvision on images in folders. Above each line stands its counterpart in Julia.
 *
 *     npx tsx --conditions=torchwire-source examples/ancestor.ts imagenette2-320/train
 */
import { parseArgs } from "node:util";

// using FastAI, FluxTraining, PyCall, PyTorchTraining
import { adam, DataLoader, image, imageFolder, imagenet, kw, Learner, spawnWorker } from "torchwire";
import { logitCrossEntropy } from "torchwire/flux";

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "224" },
    "batch-size": { type: "string", default: "64" },
    epochs: { type: "string", default: "10" },
  },
});
const [folder = "imagenette2-320/train"] = positionals;
const [size, batchSize, epochs] = [Number(options.size), Number(options["batch-size"]), Number(options.epochs)];

// In Julia, Python ran in the same process; here it runs in another one.
await using worker = await spawnWorker({ seed: 0 });

// const torchvision = pyimport("torchvision")
const torchvision = worker.import("torchvision");
const torch = worker.import("torch");

// function loadresnet(c::Int)
function loadResNet(c: number) {
  // model = torchvision.models.resnet18(pretrained=true)
  const model = torchvision.models.resnet18(kw({ weights: "DEFAULT" }));
  // model.fc = torch.nn.Linear(model.fc.in_features, c)
  model.fc = torch.nn.Linear(model.fc.in_features, c);
  return model;
}

// data, blocks = loaddataset("imagenette2-320", (Image, Label))
// method = ImageClassificationSingle(blocks, (224, 224))
const data = await imageFolder(folder, { size });
// dls = methoddataloaders(data, method, 64)
const [training, validation] = data.split(0.8);
const dls = {
  training: new DataLoader(training, { batchSize, shuffle: true }),
  validation: new DataLoader(validation, { batchSize: 2 * batchSize }),
};
// c = length(blocks[2].classes)
const c = data.classes.length;

// model = loadresnet(c)
const model = loadResNet(c);
// learner = Learner(model, dls, ADAM(0.01), Flux.logitcrossentropy, PyTorchBackend())
const learner = new Learner(model, logitCrossEntropy(), {
  data: dls,
  optimizer: adam({ lr: 0.01 }),
  // The ancestor permuted images by their number of axes. Here the format says how, and normalises them.
  input: image(imagenet),
  // PyTorchBackend, which takes a GPU where there is one, comes by default, and so do the printers of progress and
  // metrics.
});

// fit!(learner, 10)
await learner.fit(epochs);
