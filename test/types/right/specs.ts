/** Losses, optimisers and formats as a program writes them. */
import { worker } from "../worker.ts";
import { adam, adamW, bceWithLogits, crossEntropy, mse, py, sgd } from "torchwire";
import { logitCrossEntropy } from "torchwire/flux";
import type { Loss, LossSpec } from "torchwire/losses";
import type { OptimizerOption, OptimizerSpec } from "torchwire/optim";
import { batch, format, image, imagenet, same, sequence, video, type Format } from "../../../client/formats/index.ts";

const torch = worker.import("torch");
const F = torch.nn.functional;
const model = worker.import("torchvision.models").resnet18();

export const optimizers: OptimizerOption[] = [
  adamW(),
  adamW({ lr: 1e-3, weightDecay: 0.01, groups: { head: { params: (m) => m.fc.parameters(), lr: 1e-2 } } }),
  adam({ betas: [0, 0.9], lr: torch.tensor(0.1), eps: py.float(1) }),
  sgd({ momentum: 0.9, groups: { head: { params: (m) => [m.fc.weight, m.layer4.parameters()], momentum: 0 } } }),
  sgd({
    groups: { norms: { params: () => [model.bn1, model.fc.bias], weightDecay: 0 }, fc: { params: () => model.fc } },
  }),
  (m) => torch.optim.SGD(m.parameters()),
  () => torch.optim.Adam(model.parameters(), 1e-3),
  (m) => worker.import("lion_pytorch").Lion(m.parameters()),
  torch.optim.SGD(model.parameters()),
  worker.import("lion_pytorch").Lion(model.parameters()),
];
export const optimizer: OptimizerSpec = adamW({ lr: 1 });

export const losses: Loss[] = [
  crossEntropy(),
  crossEntropy({ weight: [1, 2], ignoreIndex: -1, reduction: "sum", labelSmoothing: 0 }),
  logitCrossEntropy({ weight: torch.ones(3) }),
  bceWithLogits({
    posWeight: Float32Array.of(1, 2),
    weight: { dtype: "float32", shape: [1], data: Float32Array.of(1) },
  }),
  mse({ reduction: "mean" }),
  (yhat, ys) => F.cross_entropy(yhat, ys),
  (yhat, ys) => yhat.sub(ys).pow(2).mean(),
  // A model with several outputs, and targets by name.
  (yhat, ys) => F.mse_loss(py.at(yhat, "mean"), py.at(ys, "value")).add(yhat.kl.mean()),
  torch.nn.CrossEntropyLoss(),
  torch.nn.MSELoss(),
  worker.import("my_losses").Focal(),
];
export const loss: LossSpec = crossEntropy();

export const formats: Format[] = [
  same,
  image(),
  image(imagenet),
  image({ ...imagenet, channels: 3 }),
  video({ mean: 0.5, std: [0.1, 0.2, 0.3] }),
  batch(batch(image())),
  sequence({ batchFirst: true }),
  format({ name: "volume", axes: [3, 0, 1, 2] }),
  format({ name: "halved", toTorch: (x) => F.avg_pool2d(x, 2), fromTorch: (y) => y }),
];
