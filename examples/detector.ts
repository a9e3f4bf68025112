/**
 * A detector: which digits are in a picture, and where? Pictures have different widths and different numbers of boxes,
 * so a batch is a list of pictures and a list of records. The detector is torchvision's Faster R-CNN, which computes its
 * losses itself. What it finds is judged by torchmetrics: by the mean average precision (mAP).
 *
 *     npx torchwire add torchmetrics faster-coco-eval
 *     npx tsx --conditions=torchwire-source examples/detector.ts [training pictures, 600 by default] [epochs, 5]
 */
import { adamW, DataLoader, image, kw, Learner, Metrics, py, spawnWorker, ValidationPhase } from "torchwire";
import type { NDArray } from "torchwire";
import { list } from "torchwire/data";
import { ownLoss } from "torchwire/losses";
import { torchmetric } from "torchwire/metrics";
import { readDigits, type Digits } from "./digits.ts";
import { generator } from "./random.ts";

const random = generator();
const below = (n: number): number => Math.floor(n * random());

/** A picture [64, 32 n, 1] of `n` digits, each somewhere in its own column, and what a detector must find there. */
function picture({ xs, ys }: Digits, n: number) {
  const pixels = new Uint8Array(64 * 32 * n);
  const digits = Array.from({ length: n }, () => below(ys.data.length));
  const boxes = digits.flatMap((digit, i) => {
    const [left, top] = [32 * i + below(5), below(64 - 27)];
    const inked = Array.from({ length: 28 * 28 }, (_, p) => p).filter((p) => xs.data[28 * 28 * digit + p]! > 0);
    const columns = inked.map((p) => left + (p % 28));
    const rows = inked.map((p) => top + Math.floor(p / 28));
    for (const [k, p] of inked.entries())
      pixels[rows[k]! * 32 * n + columns[k]!] = Number(xs.data[28 * 28 * digit + p]);
    return [Math.min(...columns), Math.min(...rows), Math.max(...columns) + 1, Math.max(...rows) + 1];
  });
  return {
    xs: { dtype: "uint8", shape: [64, 32 * n, 1], data: pixels },
    ys: {
      boxes: { dtype: "float32", shape: [n, 4], data: Float32Array.from(boxes) },
      // Class 0 is the background.
      labels: Int32Array.from(digits, (digit) => Number(ys.data[digit]) + 1),
    },
  } as const;
}

function pictures(digits: Digits, count: number) {
  const all = Array.from({ length: count }, () => picture(digits, 2 + below(3)));
  return { length: count, get: (i: number) => all[i]! };
}
const training = pictures(await readDigits("training", 20_000), Number(process.argv[2] ?? 600));
const test = pictures(await readDigits("test", 2000), 100);

await using worker = await spawnWorker({ seed: 0 });
const { nn } = worker.import("torch");
const { FasterRCNN } = worker.import("torchvision.models.detection");
const { AnchorGenerator } = worker.import("torchvision.models.detection.rpn");
const { MultiScaleRoIAlign } = worker.import("torchvision.ops");
const { MeanAveragePrecision } = worker.import("torchmetrics.detection");

const block = (from: number, to: number, stride: number) => [
  nn.Conv2d(from, to, 3, kw({ stride, padding: 1 })),
  nn.BatchNorm2d(to),
  nn.ReLU(),
];
const backbone = nn.Sequential(...block(1, 16, 2), ...block(16, 32, 2), ...block(32, 32, 1));
void py.set(backbone, "out_channels", 32);
const model = FasterRCNN(
  backbone,
  11,
  kw({
    min_size: 64,
    max_size: 128,
    image_mean: [0.13],
    image_std: [0.31],
    rpn_anchor_generator: AnchorGenerator([[20]], [[1, 2]]),
    rpn_pre_nms_top_n_train: 200,
    rpn_post_nms_top_n_train: 100,
    rpn_post_nms_top_n_test: 30,
    rpn_batch_size_per_image: 64,
    box_roi_pool: MultiScaleRoIAlign(["0"], 6, 2),
    box_batch_size_per_image: 32,
  }),
);

const mAP = MeanAveragePrecision(kw({ backend: "faster_coco_eval" }));
const lists = { xs: list, ys: list };
const learner = new Learner(model, ownLoss(), {
  data: {
    training: new DataLoader(training, { batchSize: 8, shuffle: true, collate: lists }),
    validation: new DataLoader(test, { batchSize: 20, collate: lists }),
  },
  input: image(),
  optimizer: adamW({ lr: 1e-3 }),
  // In training a detector gives losses, and finds nothing.
  callbacks: [new Metrics(torchmetric("mAP", mAP, { keys: ["map", "map_50"], phase: ValidationPhase }))],
});
await learner.fit(Number(process.argv[3] ?? 5));

type Found = { readonly boxes: NDArray; readonly labels: NDArray; readonly scores: NDArray };
const seen = [0, 1, 2].map((i) => test.get(i));
const found = await learner.predict<Found[]>(list(seen.map(({ xs }) => xs)));
for (const [i, { boxes, labels, scores }] of found.entries()) {
  const digits = seen[i]!.ys.labels.map((label) => label - 1);
  console.log(`\na picture with ${digits.join(", ")}; what is found first:`);
  // The surest come first.
  for (const [k, score] of [...scores.data].slice(0, digits.length).entries()) {
    const [left, top] = boxes.data.subarray(4 * k);
    const place = `${Number(left).toFixed(0)}, ${Number(top).toFixed(0)}`;
    console.log(`${Number(labels.data[k]) - 1} at ${place}, by ${(100 * Number(score)).toFixed(0)} %`);
  }
}
