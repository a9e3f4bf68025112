/**
 * A metric of one's own: is the model as sure as it is right? Of all answers that it was 80 % sure of, 80 % should be right.
 *
 * A metric is what to count of a batch, in the worker, and what to make of the sums. Here the sums are tensors: for each of ten ranges of certainty,
 * how many answers fell into it, how sure they were, and how many were right. How far the last two are apart is the expected calibration error
 * (Guo et al., 2017). It rises again while the accuracy stays where it is: the model becomes sure of what it has learnt by heart.
 *
 *     npx tsx --conditions=torchwire-source examples/own-metric.ts [training images, 1000 by default, 60000 at most]
 */
import { accuracy, adam, crossEntropy, DataLoader, image, kw, Learner, metric, Metrics, mnist } from "torchwire";
import { spawnWorker } from "torchwire";
import { readDigits } from "./digits.ts";

await using worker = await spawnWorker({ seed: 0 });
const torch = worker.import("torch");
const { nn } = torch;

/** How sure: 0 to 10 %, 10 to 20 %, … */
const RANGES = 10;
type Sums = { readonly [what in "answers" | "sure" | "right"]: { readonly data: Float32Array } };
/** Those of the last epoch, in the end. */
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
  // Of each batch by itself, and then of the whole epoch.
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
