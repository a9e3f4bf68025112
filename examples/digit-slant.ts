/**
 * How far does a digit lean? The pictures are the same, but the answer is a number: regression.
 *
 * Four things differ from classes. The targets are floats, [images, 1]; the model has one output; the loss is the
 * squared error; and R² replaces the accuracy. R² is 0 for a model that always says the mean, and 1 for one that is
 * always right.
 *
 *     npx tsx --conditions=torchwire-source examples/digit-slant.ts [training images, 6000 by default, 60000 at most]
 */
import { adam, DataLoader, image, Learner, Metrics, mnist, mse, spawnWorker } from "torchwire";
import { meanAbsoluteError, r2 } from "torchwire/metrics";
import { cut, pictures, readDigits, type Digits } from "./digits.ts";

/**
 * The number of columns that the ink moves left for each row down, along its best line: above 0, a digit leans like
 * "/".
 */
function slant(pixels: Uint8Array): number {
  let [ink, x, y, xy, yy] = [0, 0, 0, 0, 0];
  for (const [i, dark] of pixels.entries()) {
    const [row, column] = [Math.floor(i / 28), i % 28];
    ink += dark;
    x += dark * column;
    y += dark * row;
    xy += dark * row * column;
    yy += dark * row * row;
  }
  return -(xy - (x * y) / ink) / (yy - (y * y) / ink);
}

/** The digits, each with its slant as its target. */
function leaning({ xs }: Digits) {
  const bytes = xs.data as Uint8Array;
  const slants = Array.from({ length: xs.shape[0]! }, (_, i) => slant(bytes.subarray(784 * i, 784 * (i + 1))));
  return { xs, ys: slants.map((each) => [each]) };
}
const training = leaning(await readDigits("training", Number(process.argv[2] ?? 6000)));
const digits = await readDigits("test", 2000);
const test = leaning(digits);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 1));

const learner = new Learner(model, mse(), {
  data: {
    training: new DataLoader(training, { batchSize: 64, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 500 }),
  },
  input: image(mnist),
  optimizer: adam({ lr: 1e-3 }),
  callbacks: [new Metrics(r2(), meanAbsoluteError())],
});
await learner.fit(5);

const five = cut(digits, 0, 5);
const guesses = await learner.predict(five.xs);
const captions = test.ys.slice(0, 5).map(([is], i) => `${Number(guesses.data[i]).toFixed(2)}, is ${is!.toFixed(2)}`);
console.log(`\n${pictures(five.xs)}\n${captions.map((caption) => caption.padEnd(28)).join(" ")}`);
