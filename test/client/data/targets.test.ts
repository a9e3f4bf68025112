/** Targets that are masks, and records: boxes with their labels. */
import { beforeAll, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  Metrics,
  metric,
  mse,
  py,
  Recorder,
  sgd,
  type AnyRef,
  type BatchLike,
  type NDArray,
  type Step,
  type Worker,
} from "torchwire";
import { Augment } from "torchwire/callbacks";
import { untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const bytes = (shape: readonly number[], at: (i: number) => number): NDArray => ({
  dtype: "uint8",
  shape,
  data: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => at(i)),
});
const floats = (shape: readonly number[], at: (i: number) => number): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => at(i)),
});

test("masks: each pixel has a class, and bytes become what the loss wants", async () => {
  const pixels = bytes([8, 4, 4, 1], (i) => (i % 3 === 0 ? 255 : 0));
  const masks = bytes([8, 4, 4], (i) => (i % 3 === 0 ? 1 : 0));
  const learner = new Learner(torch.nn.Conv2d(1, 2, 1), crossEntropy(), {
    data: {
      training: new DataLoader({ xs: pixels, ys: masks }, { batchSize: 4 }),
      validation: [{ xs: pixels, ys: masks }],
    },
    optimizer: sgd({ lr: 0.5 }),
    defaultCallbacks: false,
    callbacks: [
      new Recorder(),
      new Metrics(
        metric("pixels", {
          update: (yhat, ys) => ({ right: yhat.argmax(1).eq(ys).sum(), all: ys.numel() }),
          compute: ({ right, all }) => right / all,
        }),
      ),
    ],
  });
  const report = await learner.fit(60);
  expect(report.history["validation"]!["pixels"]!.at(-1)!.value).toBe(1);
});

test("a record: boxes and labels of each image, as the loss and the metrics get them", async () => {
  const images = floats([6, 4], (i) => Math.sin(i));
  const boxes = floats([6, 2, 4], (i) => (i % 4) / 4);
  const labels = bytes([6, 2], (i) => i % 3);
  const F = torch.nn.functional;
  const seen: unknown[] = [];
  const loss = (yhat: AnyRef, targets: unknown): AnyRef => {
    const ys = targets as { boxes: AnyRef; labels: AnyRef };
    const [where, what] = [yhat.narrow(1, 0, 8).reshape(-1, 2, 4), yhat.narrow(1, 8, 6).reshape(-1, 2, 3)];
    return F.l1_loss(where, ys.boxes).add(F.cross_entropy(what.flatten(0, 1), ys.labels.flatten().long()));
  };
  const learner = new Learner(torch.nn.Linear(4, 14), loss, {
    data: { training: new DataLoader({ xs: images, ys: { boxes, labels } }, { batchSize: 4 }) },
    optimizer: sgd({ lr: 0.1 }),
    defaultCallbacks: false,
    callbacks: [
      new Recorder(),
      new Metrics(
        metric("boxes", {
          update: (_yhat, ys) => ({ sum: (ys as { boxes: AnyRef }).boxes.sum() }),
          compute: ({ sum }) => (seen.push(sum), sum),
        }),
      ),
    ],
  });
  const { history, phases } = await learner.fit(3);
  const losses = history["training"]!["loss"]!.map(({ value }) => value);
  expect(losses[2]).toBeLessThan(losses[0]!);
  // Each image adds 2 · (0 + 1/4 + 1/2 + 3/4).
  expect(history["training"]!["boxes"]!.map(({ value }) => value)).toEqual([18, 18, 18]);
  expect(phases["training"]).toMatchObject({ samples: 18 });
});

test("masks go with their images where a transform moves pixels", async () => {
  const pixels = bytes([4, 8, 8, 1], (i) => (i % 8) * 30);
  const masks = bytes([4, 8, 8], (i) => ((i % 8) * 30 > 100 ? 1 : 0));
  const agreed: number[] = [];
  const learner = new Learner(torch.nn.Conv2d(1, 2, 1), crossEntropy(), {
    data: { training: [{ xs: pixels, ys: masks }] },
    optimizer: sgd({ lr: 0 }),
    defaultCallbacks: false,
    callbacks: [
      new Recorder(),
      new Augment((v2) => v2.RandomHorizontalFlip(kw({ p: 1 })), { targets: "masks" }),
      new Metrics(
        metric("agree", {
          update: (_yhat, ys, { xs }) => ({
            same: xs.squeeze(1).mul(255).gt(100).eq(ys).all().int(),
            first: ys.select(2, 0).sum(),
          }),
          compute: ({ same, first }) => (agreed.push(same as number, first as number), same as number),
        }),
      ),
    ],
  });
  await learner.fit(1);
  // Turned round: what was dark on the left is bright.
  expect(agreed.slice(0, 2)).toEqual([1, 32]);
});

test("boxes of which each image has another number: padded, with counts, for a detector of torchvision in a phase of one's own", async () => {
  /** The model gets lists: an image each, and a record of what is in it; in training it gives its losses. */
  class Detection extends AbstractTrainingPhase {
    readonly name = "training";

    step(learner: Learner, batch: BatchLike): Promise<Step> {
      const { data } = (batch as { readonly ys: { readonly counts: NDArray } } & BatchLike).ys.counts;
      const counts = Array.from({ length: data.length }, (_, i) => Number(data[i]));
      return learner.runStep(this, batch, async (step, handle) => {
        const { boxes, labels } = step.ys as { boxes: AnyRef; labels: AnyRef };
        const images = counts.map((_, i) => step.xs.select(0, i) as AnyRef);
        const targets = counts.map((count, i) => ({
          boxes: boxes.select(0, i).narrow(0, 0, count),
          labels: labels.select(0, i).narrow(0, 0, count).long(),
        }));
        const losses = learner.model(images, targets) as AnyRef;
        step.loss = torch
          .stack(py.tuple(...["classification", "bbox_regression"].map((one) => py.at(losses, one))))
          .sum();
        await handle("backwardBegin");
        learner.optimizer.zero_grad();
        learner.backward(step.loss);
        await handle("backwardEnd");
        learner.update();
      });
    }
  }
  const { detection } = untyped(worker, "torchvision").models;
  const model = detection.ssdlite320_mobilenet_v3_large(
    kw({ weights: null, weights_backbone: null, num_classes: 3 }),
  ) as AnyRef;
  const corners = [4, 4, 30, 30, 20, 8, 60, 50, 0, 0, 0, 0, 10, 10, 40, 40, 0, 0, 0, 0, 0, 0, 0, 0];
  const data = {
    xs: bytes([2, 64, 64, 3], (i) => (i * 7) % 256),
    ys: {
      boxes: floats([2, 3, 4], (i) => corners[i]!),
      labels: bytes([2, 3], (i) => [1, 2, 0, 1, 0, 0][i]!),
      counts: bytes([2], (i) => [2, 1][i]!),
    },
  };
  const learner = new Learner(model, mse(), {
    data: { training: [data] },
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics()],
  });
  const { history } = await learner.fit(3, { phases: { training: new Detection() } });
  const losses = history["training"]!["loss"]!.map(({ value }) => value);
  expect(losses[2]).toBeLessThan(losses[0]!);
});
