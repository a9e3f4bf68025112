/**
 * Where is the digit? Segmentation: does a pixel belong to the digit, or to the noise around it?
 *
 * In places the noise is as bright as the digit, so a pixel alone does not tell: the model must look at its neighbours.
 * The target is a picture too, a mask that is white where the digit is. F1 over the pixels (for masks also called Dice)
 * is 1 if the model finds exactly the digit.
 *
 *     npx tsx --conditions=torchwire-source examples/masks.ts [training images, 2000 by default, 60000 at most]
 */
import { adam, bceWithLogits, DataLoader, image, kw, Learner, Metrics, spawnWorker, type NDArray } from "torchwire";
import { f1 } from "torchwire/metrics";
import { pictures, readDigits } from "./digits.ts";
import { random } from "./random.ts";

/** Turns pictures of digits into bright noise where there is ink and dark noise elsewhere, with the mask. */
function noisy({ shape, data }: NDArray): { xs: NDArray; ys: NDArray } {
  const mask = Uint8Array.from(data as Uint8Array, (pixel) => (pixel > 100 ? 255 : 0));
  const seen = mask.map((inside) => (inside > 0 ? 90 : 0) + 165 * random());
  return { xs: { dtype: "uint8", shape, data: seen }, ys: { dtype: "uint8", shape, data: mask } };
}
const training = noisy((await readDigits("training", Number(process.argv[2] ?? 2000))).xs);
const test = noisy((await readDigits("test", 500)).xs);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
// Each layer keeps 28 by 28 pixels. Dilation widens the surroundings that a pixel sees.
const model = nn.Sequential(
  nn.Conv2d(1, 16, 3, kw({ padding: 1 })),
  nn.ReLU(),
  nn.Conv2d(16, 16, 3, kw({ padding: 2, dilation: 2 })),
  nn.ReLU(),
  nn.Conv2d(16, 16, 3, kw({ padding: 4, dilation: 4 })),
  nn.ReLU(),
  nn.Conv2d(16, 1, 3, kw({ padding: 1 })),
);

const learner = new Learner(model, bceWithLogits(), {
  data: {
    training: new DataLoader(training, { batchSize: 32, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 250 }),
  },
  input: image(),
  target: image(), // [N, 28, 28, 1] bytes → [N, 1, 28, 28] floats, 0 or 1
  optimizer: adam({ lr: 5e-3 }),
  callbacks: [new Metrics(f1({ name: "dice" }))],
});
await learner.fit(4);

const five = { ...test.xs, shape: [5, 28, 28, 1], data: test.xs.data.subarray(0, 5 * 28 * 28) };
const scores = await learner.predict(five);
const found = { ...scores, data: Float32Array.from(scores.data as Float32Array, (score) => (score > 0 ? 1 : 0)) };
console.log(`\nseen:\n${pictures(five)}\n\nfound:\n${pictures(found)}`);
