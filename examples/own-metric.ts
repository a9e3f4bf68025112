/**
 * A metric of your own: is the model as sure as it is right? Of all answers that it is 80 % sure of, 80 % should be
 * right.
 *
 * A metric counts something in each batch, in the worker, and computes a value from the sums. Here the sums are
 * tensors: for each of ten ranges of certainty, the number of answers, their certainty, and the number of right ones.
 * The expected calibration error is the distance between the last two (Guo et al., 2017). It rises again while the
 * accuracy stays: the model becomes sure of what it has memorised.
 *
 *     npx tsx --conditions=torchwire-source examples/own-metric.ts [training images, 1000 by default, 60000 at most]
 */
import { accuracy, adam, crossEntropy, DataLoader, image, kw, Learner, metric, Metrics, mnist } from "torchwire";
import { spawnWorker } from "torchwire";
import { readDigits } from "./digits.ts";

await using worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;

/** Ranges of certainty: 0 to 10 %, 10 to 20 %, … */
const RANGES = 10;
type Sums = { readonly [what in "answers" | "sure" | "right"]: { readonly data: Float32Array } };
/** At the end, the sums of the last epoch. */
let last!: Sums;

const calibrationError = metric("calibration", {
  update: (yhat, ys) => {
    const [sure, answer] = [yhat.softmax(1).amax(1), yhat.argmax(1)];
    const range = sure
      .mul(RANGES)
      .floor()
      .clamp(0, RANGES - 1);
    const sumOf = (weights: object) => torch.bincount(range.long(), kw({ weights, minlength: RANGES }));
    return { answers: sumOf(torch.ones_like(sure)), sure: sumOf(sure), right: sumOf(answer.eq(ys).float()) };
  },
  // Called for each batch by itself, and then for the whole epoch.
  compute: (sums: Sums) => {
    last = sums;
    const apart = sums.sure.data.map((sure, i) => Math.abs(sure - sums.right.data[i]!));
    return total(apart) / total(sums.answers.data);
  },
});
const total = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0);

const training = await readDigits("training", Number(process.argv[2] ?? 1000));
const model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, 10));
const learner = new Learner(model, crossEntropy(), {
  data: {
    training: new DataLoader(training, { batchSize: 32, shuffle: true }),
    validation: new DataLoader(await readDigits("test"), { batchSize: 500 }),
  },
  input: image(mnist),
  optimizer: adam({ lr: 1e-3 }),
  callbacks: [new Metrics(accuracy, calibrationError)],
});
await learner.fit(15);

console.log("\n   sure of it    right   answers");
for (const [i, answers] of last.answers.data.entries()) {
  const percent = (sum: number) => `${((100 * sum) / answers).toFixed(1)} %`.padStart(10);
  if (answers > 0)
    console.log(`${percent(last.sure.data[i]!)}${percent(last.right.data[i]!)}${`${answers}`.padStart(9)}`);
}
