/**
 * A digit in sixteen numbers: an autoencoder. What goes in is to come out again, and in between it must pass through a narrow place.
 *
 * The targets are the images themselves; labels are not looked at. (Where the loss is about the sixteen numbers as well, see vae.ts.)
 *
 *     npx tsx --conditions=torchwire-source examples/autoencoder.ts [training images, 6000 by default, 60000 at most]
 */
import { adam, DataLoader, image, Learner, Metrics, mse, py, spawnWorker } from "torchwire";
import { rootMeanSquaredError } from "torchwire/metrics";
import { outputs } from "torchwire/model";
import { cut, pictures, readDigits } from "./digits.ts";

/** Numbers that stand for an image of 784. */
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
  nn.Sigmoid(), // from 0 to 1, as the pixels are
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
