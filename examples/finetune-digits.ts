/**
 * Fine-tuning: knowledge of the digits 0 to 4 helps with 5 to 9.
 *
 * A small network learns the first five digits and is saved. A fresh network loads the file, gets a new head, and
 * trains this head alone, for a few steps, on the other five. Its rival trains for the same steps from random weights.
 *
 *     npx tsx --conditions=torchwire-source examples/finetune-digits.ts
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  accuracy,
  adam,
  crossEntropy,
  DataLoader,
  freeze,
  kw,
  Learner,
  loadWeights,
  Metrics,
  py,
  spawnWorker,
  type Dataset,
  type Report,
} from "torchwire";
import { subset, take } from "torchwire/data";
import { readDigits, type Digits } from "./digits.ts";

const { values: options } = parseArgs({
  options: {
    samples: { type: "string", default: "12000" },
    "test-samples": { type: "string", default: "4000" },
    /** The steps on the digits 5 to 9, with 32 images each. */
    steps: { type: "string", default: "20" },
    seed: { type: "string", default: "0" },
  },
});
const seed = Number(options.seed);

const worker = await spawnWorker({ seed });
const { nn } = worker.import("torch");

/** Some convolutions with batch normalisation. */
const layers = (from: number, to: number) => [
  nn.Conv2d(from, to, 3, kw({ padding: 1 })),
  nn.BatchNorm2d(to),
  nn.ReLU(),
];
/** A body that turns an image into 64 · 7 · 7 numbers, and a head that turns them into scores of five classes. */
const network = () =>
  nn.Sequential(
    nn.Sequential(
      ...layers(1, 16),
      nn.MaxPool2d(2),
      ...layers(16, 32),
      nn.MaxPool2d(2),
      ...layers(32, 64),
      nn.Flatten(),
    ),
    head(),
  );
const head = () => nn.Linear(64 * 7 * 7, 5);

/** The digits `first` to `first + 4`, as the classes 0 to 4. */
function five({ xs, ys }: Digits, first: number): Dataset {
  const classes = Array.from(ys.data as Uint8Array, (digit) => digit - first);
  const rows = [...classes.keys()].filter((row) => classes[row]! >= 0 && classes[row]! < 5);
  return subset({ xs, ys: classes }, rows);
}

const training = await readDigits("training", Number(options.samples));
const test = await readDigits("test", Number(options["test-samples"]));

function learnerOf(model: ReturnType<typeof network>, first: 0 | 5): Learner {
  const digits = five(training, first);
  const some = first === 0 ? digits : take(digits, 32 * Number(options.steps));
  return new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(some, { batchSize: 32, shuffle: { seed } }),
      validation: new DataLoader(five(test, first), { batchSize: 500 }),
    },
    optimizer: adam({ lr: 1e-3 }),
    callbacks: [new Metrics(accuracy)],
  });
}

console.log("The digits 0 to 4:");
const first = learnerOf(network(), 0);
await first.fit(1);
const folder = await mkdtemp(join(tmpdir(), "digits-"));
const file = join(folder, "digits-0-to-4.safetensors");
await first.save(file);

console.log(`\nThe digits 5 to 9, ${options.steps} steps, fine-tuned:`);
const model = network();
await loadWeights(model, file);
freeze(model);
py.setAt(model, 1, head()); // in Python: model[1] = nn.Linear(64 * 7 * 7, 5)
const tuned = await learnerOf(model, 5).fit(1);

console.log(`\nThe digits 5 to 9, ${options.steps} steps, from scratch:`);
const scratch = await learnerOf(network(), 5).fit(1);

const percent = ({ history }: Report): string =>
  `${(100 * history["validation"]!["accuracy"]![0]!.value).toFixed(1)} %`;
console.log(`\nright after ${options.steps} steps: fine-tuned ${percent(tuned)}, from scratch ${percent(scratch)}`);

await rm(folder, { recursive: true });
await worker.close();
