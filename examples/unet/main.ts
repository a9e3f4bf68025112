/**
 * A U-Net of one's own: my_unet.py lies beside this program, with the file that it imports. Digits lie about in noise
 * that is as bright as they are, and the model marks their pixels. Each picture is turned and moved at random before a
 * step, and its mask with it.
 *
 *     npx tsx --conditions=torchwire-source examples/unet/main.ts [training pictures, 1000 by default] [epochs, 4]
 */
import { adamW, bceWithLogits, DataLoader, image, kw, Learner, metric, Metrics, spawnWorker } from "torchwire";
import { Augment } from "torchwire/callbacks";
import { f1 } from "torchwire/metrics";
import { readDigits, type Digits } from "../digits.ts";
import { random, randomBelow } from "../random.ts";

const count = Number(process.argv[2] ?? 1000);
const epochs = Number(process.argv[3] ?? 4);
const SIDE = 48;

/** Pictures with two digits each in noise, and their masks: bytes [n, 48, 48, 1]. */
function scenes({ xs: { data } }: Digits, n: number) {
  const masks = new Uint8Array(n * SIDE * SIDE);
  for (let i = 0; i < 2 * n; i++) {
    const [top, left] = [randomBelow(SIDE - 28), randomBelow(SIDE - 28)];
    for (let pixel = 0; pixel < 28 * 28; pixel++)
      if (Number(data[i * 28 * 28 + pixel]) > 100)
        masks[((i >> 1) * SIDE + top + Math.floor(pixel / 28)) * SIDE + left + (pixel % 28)] = 255;
  }
  const seen = masks.map((inside) => (inside > 0 ? 90 : 0) + 165 * random());
  const pictures = (bytes: Uint8Array) => ({ dtype: "uint8", shape: [n, SIDE, SIDE, 1], data: bytes }) as const;
  return { xs: pictures(seen), ys: pictures(masks) };
}
const training = scenes(await readDigits("training", 2 * count), count);
const test = scenes(await readDigits("test", 400), 200);

await using worker = await spawnWorker({ seed: 0 });
const { UNet } = worker.module(new URL("my_unet.py", import.meta.url));

const iou = metric("iou", {
  update: (yhat, ys) => {
    const [found, there] = [yhat.gt(0), ys.gt(0.5)];
    return { both: found.logical_and(there).sum(), either: found.logical_or(there).sum() };
  },
  compute: ({ both, either }) => both / either,
});

const learner = new Learner(UNet(kw({ channels: 1, width: 8 })), bceWithLogits(), {
  data: {
    training: new DataLoader(training, { batchSize: 20, shuffle: true }),
    validation: new DataLoader(test, { batchSize: 100 }),
  },
  input: image(),
  target: image(),
  optimizer: adamW({ lr: 1e-2 }),
  callbacks: [
    new Augment(
      (v2) =>
        v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(15, kw({ translate: [0.1, 0.1], scale: [0.8, 1.2] }))]),
      { targets: "masks" },
    ),
    new Metrics(f1({ name: "dice" }), iou),
  ],
});
await learner.fit(epochs);
