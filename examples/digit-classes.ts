/**
 * Which digit is it? Ten classes, a small convolutional network, and a learning rate that rises and falls once.
 *
 * The images are bytes, as they lie in the file; the worker turns them into normalised floats. The labels are numbers
 * from 0 to 9.
 *
 *     npx tsx --conditions=torchwire-source examples/digit-classes.ts [training images, 6000 by default, 60000 at most]
 */
import {
  accuracy,
  adamW,
  crossEntropy,
  DataLoader,
  image,
  kw,
  Learner,
  Metrics,
  mnist,
  oneCycle,
  Scheduler,
  spawnWorker,
} from "torchwire";
import { cut, pictures, readDigits } from "./digits.ts";

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const test = await readDigits("test", 2000);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");

const model = nn.Sequential(
  nn.Conv2d(1, 16, 3, kw({ stride: 2 })), // 28 by 28 pixels become 13 by 13
  nn.ReLU(),
  nn.Conv2d(16, 32, 3, kw({ stride: 2 })), // 6 by 6
  nn.ReLU(),
  nn.Flatten(),
  nn.Linear(32 * 6 * 6, 10), // a score for each digit
);

const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(training, { batchSize: 64, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 500 }),
  },
  input: image(mnist),
  optimizer: adamW(),
  callbacks: [new Metrics(accuracy), new Scheduler({ lr: oneCycle("run", 5e-3) })],
});
await learner.fit(3);

const five = cut(test, 0, 5);
const found = await learner.predict(five.xs, { topK: 1 });
console.log(`\n${pictures(five.xs)}`);
console.log(
  found.map(({ label, probability }) => `${label}, by ${(100 * probability).toFixed(1)} %`.padEnd(28)).join(" "),
);
