/** Losses, optimisers and formats. Each line ends in the one error it must give. */
import { worker } from "../worker.ts";
import { format, image, sequence } from "../../../client/formats/index.ts";
import { adam, adamW, bceWithLogits, crossEntropy, mse, sgd } from "torchwire";
import { toLoss } from "../../../client/losses/spec.ts";
import { toOptimizer } from "../../../client/optim/spec.ts";

const torch = worker.import("torch");
const F = torch.nn.functional;
const model = worker.import("torchvision.models").resnet18();

adamW({ weight_decay: 0.1 }); // TS2561 PyTorch's own spelling, with a suggestion
adamW({ momentum: 0.9 }); // TS2353 of another optimiser
sgd({ lr: "0.1" }); // TS2322 a string as a number
sgd({ nesterov: 1 }); // TS2322 a number as a boolean
adam({ betas: [0.9] }); // TS2322 one beta
sgd({ groups: { head: { lr: 0.1 } } }); // TS2322 a group without parameters
sgd({ groups: { head: { params: (m) => m.fc, lR: 0.1 } } }); // TS2561 misspelt in a group
sgd({ groups: { head: { params: async (m) => m.fc } } }); // TS2322 parameters from an async function
sgd({ groups: { head: { params: () => undefined } } }); // TS2322 parameters from nothing
toOptimizer(worker, sgd, model); // TS2345 a factory that was not called
toOptimizer(worker, torch.optim.SGD, model); // TS2345 a class
toOptimizer(worker, async (m) => torch.optim.SGD(m.parameters()), model); // TS2345 from an async function
toOptimizer(worker, () => model, model); // TS2345 a function that gives a model
toOptimizer(worker, "adam", model); // TS2345 a name

crossEntropy({ label_smoothing: 0.1 }); // TS2561 PyTorch's own spelling, with a suggestion
crossEntropy({ nesterov: true }); // TS2353 of an optimiser
crossEntropy({ weight: 1 }); // TS2322 a number as a tensor
mse({ reduction: "avg" }); // TS2322 not one of the names
bceWithLogits(0.1); // TS2559 a number as options
toLoss(worker, crossEntropy); // TS2345 a factory that was not called
toLoss(worker, async (yhat, ys) => F.mse_loss(yhat, ys)); // TS2345 an async function
toLoss(worker, (yhat, ys) => void F.mse_loss(yhat, ys)); // TS2345 a function that gives nothing
toLoss(worker, () => 1); // TS2345 a function that gives a number
toLoss(worker, "mse"); // TS2345 a name

image({ means: 0.5 }); // TS2561 misspelt
image({ mean: "0.5" }); // TS2322 a string as a number
sequence({ batch_first: true }); // TS2561 PyTorch's own spelling, with a suggestion
format({ name: "volume" }); // TS2345 without axes or functions
format({ name: "one way", toTorch: (x) => x }); // TS2345 without a way back
format({ name: "late", toTorch: async (x) => x, fromTorch: (y) => y }); // TS2739 an async function
