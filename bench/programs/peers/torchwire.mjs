/** torchwire among the peers: a Learner with its default callbacks, as a user writes it. */
import {
  adam,
  callback,
  crossEntropy,
  kw,
  Learner,
  MetricsPrinter,
  ProgressPrinter,
  spawnWorker,
  TrainingPhase,
} from "torchwire";
import { format } from "torchwire/formats";
import { outputs } from "torchwire/model";
import { BATCH, PIXELS } from "./digits.mjs";

const silent = { write: () => true };
/** As the plain script makes its input. */
const input = format({ name: "digits", toTorch: (x) => x.unsqueeze(1).float().div(255), fromTorch: (y) => y });

export async function make({ model: name, digits: { images, labels } }) {
  const worker = await spawnWorker({ device: "cpu" });
  const torch = worker.import("torch");
  const { nn } = torch;
  const layers = {
    mlp: () => [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)],
    cnn: () => [
      nn.Conv2d(1, 16, 3, kw({ padding: 1 })),
      nn.ReLU(),
      nn.MaxPool2d(2),
      nn.Conv2d(16, 32, 3, kw({ padding: 1 })),
      nn.ReLU(),
      nn.MaxPool2d(2),
      nn.Flatten(),
      nn.Linear(32 * 7 * 7, 10),
    ],
  };
  const imagesOf = (data) => ({ dtype: "uint8", shape: [data.length / PIXELS, 28, 28], data });
  const phase = new TrainingPhase();
  let learner;
  let last;
  const lastLoss = callback({
    name: "LastLoss",
    access: { step: { loss: "read" } },
    observe: { stepEnd: ({ values }) => void (last = values.loss) },
  });
  const fresh = async () => {
    await torch.manual_seed(0);
    const model = nn.Sequential(...layers[name]());
    const printers = [new ProgressPrinter({ output: silent }), new MetricsPrinter({ output: silent })];
    const options = { input, optimizer: adam({ lr: 3e-3 }), callbacks: [lastLoss, ...printers] };
    learner = new Learner(model, crossEntropy(), options);
  };
  await fresh();
  return {
    versions: worker.versions,
    pids: [worker.pid],
    fresh,
    async run(steps, next) {
      const batches = {
        length: steps,
        *[Symbol.iterator]() {
          for (let i = 0; i < steps; i++) {
            const start = next();
            const xs = imagesOf(images.subarray(start * PIXELS, (start + BATCH) * PIXELS));
            yield { xs, ys: { dtype: "uint8", shape: [BATCH], data: labels.subarray(start, start + BATCH) } };
          }
        },
      };
      await learner.epoch(phase, batches);
      return last;
    },
    async classes(data) {
      const { data: scores } = await outputs(learner.model, imagesOf(data), { input, batchSize: 1000 });
      return classesOf(scores);
    },
    close: () => worker.close(),
  };
}

/** The class of each ten scores. */
function classesOf(scores) {
  return Array.from({ length: scores.length / 10 }, (_, row) => {
    let best = 0;
    for (let i = 1; i < 10; i++) if (scores[10 * row + i] > scores[10 * row + best]) best = i;
    return best;
  });
}
