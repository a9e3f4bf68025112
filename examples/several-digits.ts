/**
 * Which digits are in the picture? Any of the ten may be: each picture has ten answers of yes or no.
 *
 * Up to four digits are pasted into a picture, at half their size. The target has a 1 for each digit that occurs,
 * wherever and however often. Each output has a loss of its own. F1 is over all answers together: it is 1 where the
 * model finds every digit and no other.
 *
 *     npx tsx --conditions=torchwire-source examples/several-digits.ts [training pictures, 4000 by default]
 */
import { adamW, bceWithLogits, DataLoader, image, Learner, Metrics, oneCycle, Scheduler, spawnWorker } from "torchwire";
import { f1 } from "torchwire/metrics";
import { pictures, readDigits, type Digits } from "./digits.ts";
import { randomBelow } from "./random.ts";

/** Each quarter of a picture gets one of the digits, or stays empty. */
function pasted({ xs, ys }: Digits, count: number) {
  const data = new Uint8Array(count * 28 * 28);
  const labels = Array.from({ length: count }, () => Array.from({ length: 10 }, () => 0));
  for (const [picture, answers] of labels.entries())
    for (const [top, left] of [
      [0, 0],
      [0, 14],
      [14, 0],
      [14, 14],
    ] as const) {
      if (randomBelow(4) === 0) continue;
      const digit = randomBelow(ys.data.length);
      answers[Number(ys.data[digit])] = 1;
      for (let row = 0; row < 28; row++)
        for (let column = 0; column < 28; column++) {
          const place = (28 * picture + top + (row >> 1)) * 28 + left + (column >> 1);
          data[place] = Math.max(data[place]!, Number(xs.data[(28 * digit + row) * 28 + column]));
        }
    }
  return { xs: { dtype: "uint8", shape: [count, 28, 28, 1], data }, ys: labels } as const;
}
const training = pasted(await readDigits("training", 20_000), Number(process.argv[2] ?? 4000));
const test = pasted(await readDigits("test", 2000), 500);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const model = nn.Sequential(
  nn.Conv2d(1, 16, 5),
  nn.ReLU(),
  nn.MaxPool2d(2),
  nn.Conv2d(16, 64, 5), // now a number sees 14 by 14 pixels, the size of a digit
  nn.ReLU(),
  nn.AdaptiveMaxPool2d(1), // wherever the digit is
  nn.Flatten(),
  nn.Linear(64, 10),
);
const learner = new Learner(model, bceWithLogits(), {
  data: {
    training: new DataLoader(training, { batchSize: 64, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 250 }),
  },
  input: image(),
  optimizer: adamW(),
  callbacks: [new Metrics(f1()), new Scheduler({ lr: oneCycle("run", 1e-2) })],
});
await learner.fit(4);

const five = { ...test.xs, shape: [5, 28, 28, 1], data: test.xs.data.subarray(0, 5 * 28 * 28) };
const { data: scores } = await learner.predict(five);
const digits = (answers: Iterable<unknown>) =>
  [...answers].flatMap((yes, digit) => (Number(yes) > 0 ? digit : [])).join(" ");
const captions = [0, 1, 2, 3, 4].map((i) => `${digits(scores.slice(10 * i, 10 * i + 10))}, is ${digits(test.ys[i]!)}`);
console.log(`\n${pictures(five)}\n${captions.map((caption) => caption.padEnd(28)).join(" ")}`);
