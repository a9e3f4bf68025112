/** ResNet-18 on MNIST, with a learner. */
import {
  accuracy,
  adam,
  crossEntropy,
  DataLoader,
  image,
  kw,
  Learner,
  Metrics,
  mnist,
  type Callback,
  type Ref,
  type Worker,
} from "torchwire";
import type { ResNet } from "torchwire/bridge";
import type { Digits } from "../digits.ts";

export interface Settings {
  readonly batchSize: number;
  readonly lr: number;
  readonly seed: number;
}

export type Model = Ref<ResNet>;

export function makeModel(worker: Worker): Model {
  const model = worker.import("torchvision").models.resnet18(kw({ weights: null }));
  model.fc = worker.import("torch").nn.Linear(model.fc.in_features, 10);
  return model;
}

/** Makes the learner. Train it with `await makeLearner(…).fit(1)`. */
export function makeLearner(
  model: Model,
  { training, test }: { readonly training: Digits; readonly test: Digits },
  { batchSize, lr, seed }: Settings,
  options: { readonly callbacks?: readonly Callback[]; readonly defaultCallbacks?: boolean } = {},
): Learner<Model> {
  return new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(training, { batchSize, shuffle: { seed } }),
      validation: new DataLoader(test, { batchSize: 500 }),
    },
    // The worker turns grey bytes, as they lie in memory, into three normalised channels.
    input: image({ ...mnist, channels: 3 }),
    optimizer: adam({ lr }),
    ...options,
    callbacks: [new Metrics(accuracy), ...(options.callbacks ?? [])],
  });
}
