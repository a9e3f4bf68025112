/**
 * A digit in sixteen numbers: an autoencoder. Its output must equal its input, although everything passes through a
 * narrow layer.
 *
 * The targets are the images themselves; the labels are not used. (vae.ts has a loss that includes the sixteen
 * numbers.)
 *
 *     npx tsx --conditions=torchwire-source examples/autoencoder.ts [training images, 6000 by default, 60000 at most]
 */
import { adam, DataLoader, image, Learner, Metrics, mse, py, spawnWorker } from "torchwire";
import { rootMeanSquaredError } from "torchwire/metrics";
import { outputs } from "torchwire/model";
import { cut, pictures, readDigits } from "./digits.ts";

/** An image of 784 numbers becomes this many. */
const CODE = 16;

const training = await readDigits("training", Number(process.argv[2] ?? 6000));
const test = await readDigits("test", 1000);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const encoder = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, CODE));
const decoder = nn.Sequential(
  nn.Linear(CODE, 256),
  nn.ReLU(),
  nn.Linear(256, 28 * 28),
  nn.Sigmoid(), // from 0 to 1, like the pixels
  nn.Unflatten(1, py.tuple(1, 28, 28)),
);

const learner = new Learner(nn.Sequential(encoder, decoder), mse(), {
  data: {
    training: new DataLoader({ xs: training.xs, ys: training.xs }, { batchSize: 64, shuffle: true }),
    validation: new DataLoader({ xs: test.xs, ys: test.xs }, { batchSize: 500 }),
  },
  input: image(),
  target: image(),
  optimizer: adam({ lr: 2e-3 }),
  callbacks: [new Metrics(rootMeanSquaredError())],
});

await learner.fit(5);

const five = cut(test, 0, 5).xs;
const codes = await outputs(encoder, five, { input: image() });
console.log(`\nin:\n${pictures(five)}`);
console.log(`\nthe first one, as ${CODE} numbers:`);
console.log(Array.from((codes.data as Float32Array).slice(0, CODE), (number) => number.toFixed(1)).join(" "));
console.log(`\nout:\n${pictures(await learner.predict(five))}`);
