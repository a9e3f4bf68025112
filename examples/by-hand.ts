/**
 * The work that a learner does for you: ResNet-18 on MNIST, as in examples/mnist, with a hand-written training loop.
 *
 *     npx tsx examples/by-hand.ts [number of training images]
 */
import { fileURLToPath } from "node:url";
import { ensurePython, kw, py, spawnWorker, type Ref, type Worker } from "torchwire";
import type { ResNet } from "torchwire/bridge";
import { batches } from "torchwire/data";
import { readDigits, type Digits } from "./digits.ts";

export interface TrainOptions {
  readonly epochs: number;
  readonly batchSize: number;
  readonly lr: number;
  readonly seed: number;
}

export interface Epoch {
  readonly epoch: number;
  readonly loss: number;
  readonly accuracy: number;
  readonly seconds: number;
}

export async function trainMnist(
  worker: Worker,
  { training, test }: { training: Digits; test: Digits },
  { epochs, batchSize, lr, seed }: TrainOptions,
  onStep: (epoch: number, images: number, loss: number) => void,
): Promise<{ model: Model; history: Epoch[] }> {
  const torch = worker.import("torch");
  const F = torch.nn.functional;

  const model = makeModel(worker);
  const optimizer = torch.optim.Adam(model.parameters(), kw({ lr }));
  const history: Epoch[] = [];
  // It says when to issue the next step, so that the worker never waits for the loop.
  const pace = worker.pace();

  for (let epoch = 1; epoch <= epochs; epoch++) {
    const start = performance.now();
    let total = 0;
    model.train();
    for (const batch of batches(training, { batchSize, shuffle: { seed, epoch } })) {
      const loss = worker.scope(() => {
        const { x, y } = toDevice(worker, batch);
        const loss = F.cross_entropy(model(x), y);
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        return py.js(loss.item());
      });
      const images = batch.ys.shape[0]!;
      const seen = (value: unknown): void => {
        total += images * (value as number);
        onStep(epoch, images, value as number);
      };
      await pace.add(loss.then(seen));
    }
    await pace.end();
    const loss = total / training.ys.shape[0]!;
    const accuracy = await validate(worker, model, test);
    history.push({ epoch, loss, accuracy, seconds: (performance.now() - start) / 1000 });
  }
  return { model, history };
}

export type Model = Ref<ResNet>;

export function makeModel(worker: Worker): Model {
  const model = worker.import("torchvision").models.resnet18(kw({ weights: null }));
  model.fc = worker.import("torch").nn.Linear(model.fc.in_features, 10);
  return model.to(worker.device);
}

/** The fraction of `data` that `model` gets right. It does not change the training. */
export function validate(worker: Worker, model: Model, data: Digits): Promise<number> {
  return worker.context({ mode: "inference", eval: [model], rng: "fork" }, async () => {
    const right = [...batches(data, { batchSize: 500 })].map((batch) =>
      worker.scope(() => {
        const { x, y } = toDevice(worker, batch);
        return py.js(model(x).argmax(1).eq(y).sum().item());
      }),
    );
    const counts = (await Promise.all(right)) as number[];
    return counts.reduce((sum, n) => sum + n, 0) / data.ys.shape[0]!;
  });
}

/**
 * Turns uint8 NHWC, as it lies in memory, into float NCHW, normalised, with three channels; all of it in the worker.
 */
function toDevice(worker: Worker, { xs, ys }: Digits) {
  const grey = worker.tensor(xs).to(worker.device).permute(0, 3, 1, 2).contiguous().float().div(255);
  return { x: grey.sub(0.1307).div(0.3081).expand(-1, 3, -1, -1), y: worker.tensor(ys).to(worker.device).long() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const samples = Number(process.argv[2] ?? Infinity);
  if (!(samples >= 1)) throw new Error(`the number of training images cannot be ${process.argv[2]}`);
  const { executable: python } = await ensurePython();
  const worker = await spawnWorker({ python, seed: 0 });
  try {
    const data = { training: await readDigits("training", samples), test: await readDigits("test", samples) };
    const settings = { epochs: 1, batchSize: 128, lr: 1e-3, seed: 0 };
    let steps = 0;
    const { history } = await trainMnist(worker, data, settings, (epoch, _images, loss) => {
      if (++steps % 50 === 0) console.log(`epoch ${epoch}, step ${steps}: loss ${loss.toFixed(4)}`);
    });
    console.table(history);
  } finally {
    await worker.close();
  }
}
