/** Batches of samples of different lengths, in the worker. */
import { beforeAll, describe, expect, test } from "vitest";
import { Dealer } from "zeromq";
import {
  callback,
  crossEntropy,
  DataLoader,
  image,
  imagenet,
  kw,
  Learner,
  Metrics,
  mse,
  py,
  Recorder,
  sgd,
  type AnyRef,
  type NDArray,
  type Worker,
} from "torchwire";
import { Augment } from "torchwire/callbacks";
import { ArrayList, list, pad, type Dataset } from "torchwire/data";
import { batch, format, same, sequence } from "torchwire/formats";
import { loss, ownLoss } from "torchwire/losses";
import { outputs } from "torchwire/model";
import { MOST } from "../../../bridge/pace/window.ts";
import { toTorch } from "../../../client/formats/convert.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { bytes, floats, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

/** What Python has for `value`, as a learner on the CPU would give it to a model. */
const inPython = (value: ArrayList, format = same): AnyRef => toTorch(value, "xs", { worker, device: "cpu", format });
const kinds = async (value: AnyRef): Promise<string> => (await py.repr(value)).replaceAll(/\s+/g, " ");

const lengths = [3, 5, 1, 4, 2, 5, 6, 1];
const features = lengths.map((n) => floats(n, 8));
const labels = lengths.map((n, i) => BigInt64Array.from({ length: n }, (_, t) => BigInt((3 * i + t) % 8)));

describe("pad gives the bits of torch.nn.utils.rnn.pad_sequence", () => {
  test.each(["float32", "float64", "int64", "int32", "uint8", "bool", "float16", "bfloat16", "complex64"] as const)(
    "%s",
    async (dtype) => {
      const { pad_sequence } = untyped(worker, "torch.nn.utils.rnn");
      for (const [side, value] of [
        ["right", 1],
        ["left", 0],
        ["right", 0],
      ] as const) {
        const tensors = [4, 0, 1, 6].map((n) =>
          torch
            .arange(n * 3)
            .remainder(2)
            .reshape(n, 3)
            .to(torch[dtype]),
        );
        const arrays = await Promise.all(tensors.map((one) => py.ndarray(one)));
        const expected = await py.ndarray(
          pad_sequence(tensors, kw({ batch_first: true, padding_value: value, padding_side: side })),
        );
        expect(pad({ side, value })(arrays)).toEqual(expected);
      }
    },
  );
});

describe("a list in Python", () => {
  test("of arrays is list[Tensor], of records list[dict], of lists list[tuple]", async () => {
    const arrays = [floats(2, 3), floats(0, 2), floats(1, 1)];
    const tensors = inPython(list(arrays));
    expect(await py.js(worker.import("builtins").type(tensors).__name__ as AnyRef)).toBe("list");
    expect(await Promise.all([0, 1, 2].map((i) => py.ndarray(py.at(tensors, i))))).toEqual(arrays);

    const records = inPython(
      list([
        { boxes: floats(1, 4), id: 7, both: [Int32Array.of(1), bytes(2)] },
        { boxes: floats(0, 4), id: 8, both: [Int32Array.of(), bytes(1)] },
      ]),
    );
    expect(await kinds(records)).toMatch(
      /^\[\{'boxes': tensor\(\[\[.*\]\]\), 'id': tensor\(7\), 'both': \(tensor\(\[1\], dtype=torch.int32\), tensor\(\[.*\], dtype=torch.uint8\)\)\}, \{'boxes': tensor\(\[\], size=\(0, 4\)\), 'id': tensor\(8\), 'both': \(tensor\(\[\], dtype=torch.int32\), tensor\(\[0\], dtype=torch.uint8\)\)\}\]$/,
    );
  });

  test.each(["bool", "uint8", "int64", "float16", "bfloat16", "float64", "complex64"] as const)(
    "of %s, each at a place of its own with PyTorch's alignment",
    async (dtype) => {
      const tensors = [5, 0, 1, 77].map((n) => torch.arange(n).remainder(2).to(torch[dtype]));
      const arrays = await Promise.all(tensors.map((one) => py.ndarray(one)));
      const there = inPython(list(arrays));
      for (const [i, array] of arrays.entries()) expect(await py.ndarray(py.at(there, i))).toEqual(array);
      const single = { ...arrays[2]!, shape: [] };
      expect(await py.ndarray(py.at(inPython(list([single])), 0))).toEqual(single);
      if (dtype === "uint8" || dtype === "bool" || dtype === "int64") return;
      for (const i of [0, 2, 3]) expect(((await py.js(py.at(there, i).data_ptr() as AnyRef)) as number) % 64).toBe(0);
    },
  );

  test("its tensors are tensors of their own: a change of one is no change of the others", async () => {
    const [one, other] = py.unpack(inPython(list([floats(3), floats(0), floats(2)])), 3);
    const versions = (): Promise<unknown[]> => Promise.all([one, other].map((x) => py.js(x!._version as AnyRef)));
    const [first, second] = (await versions()) as number[];
    one!.add_(torch.ones(3, kw({ requires_grad: true })));
    expect(await versions()).toEqual([first! + 1, second]);
    expect(await py.js(one!.is_leaf as AnyRef)).toBe(false);
  });

  test("is one frame for each part, and no operation for each array", async () => {
    const images = Array.from({ length: 50 }, (_, i) => bytes(20 + i, 30, 3));
    const all = images.reduce((sum, { data }) => sum + data.byteLength, 0);
    const frames: number[] = [];
    const send = Reflect.get<Dealer, "send">(Dealer.prototype, "send");
    const counting = function (this: Dealer, parts: Uint8Array[]): Promise<void> {
      // After the header with the operations.
      frames.push(...parts.slice(1).map(({ byteLength }) => byteLength));
      return send.call(this, parts);
    };
    Object.defineProperty(Dealer.prototype, "send", { value: counting, configurable: true });
    try {
      await py.settle(inPython(list(images.map((one, i) => ({ image: one, boxes: floats(i, 4) })))));
    } finally {
      Object.defineProperty(Dealer.prototype, "send", { value: send, configurable: true });
    }
    const boxes = (49 * 50 * 16) / 2;
    expect(frames.filter((length) => length > 0)).toHaveLength(2);
    expect(frames[0]! + frames[1]!).toBeGreaterThanOrEqual(all + boxes);
    // Each array begins at a multiple of 64 bytes.
    expect(frames[0]! + frames[1]!).toBeLessThan(all + boxes + 100 * 64);
    expect(await operationsOf(worker, () => inPython(list(images)))).toBe(
      await operationsOf(worker, () => inPython(list(images.slice(0, 2)))),
    );
  });

  test("a format is that of each array, with the bits of a batch", async () => {
    const images = [bytes(4, 6, 3), bytes(2, 3, 3)];
    const { transforms } = untyped(worker, "torchvision");
    const { mean, std } = imagenet;
    const found = inPython(list(images), image(imagenet));
    for (const [i, one] of images.entries()) {
      const x = worker.tensor(one) as unknown as AnyRef;
      const expected = transforms.Normalize(mean, std)(x.permute(2, 0, 1).contiguous().float().div(255));
      expect(await py.ndarray(py.at(found, i))).toEqual(await py.ndarray(expected));
    }
    // Bytes with a last axis of 1, 3 or 4 are images by default; floats must be told.
    const byDefault = toTorch(list(images), "xs", { worker, device: "cpu", format: undefined });
    expect(await py.js(py.at(byDefault, 1).shape as AnyRef)).toEqual([3, 2, 3]);
    const error = await caught(() =>
      toTorch(list([floats(2, 2, 3)]), "xs", { worker, device: "cpu", format: undefined }),
    );
    expect(error.message).toMatch(/input is float32 of shape \[1, 2, 2, 3\].*Say which it is/);
    const volume = format({ name: "turned", axes: [1, 0] });
    expect(await py.ndarray(py.at(inPython(list([floats(2, 3)]), volume), 0))).toEqual(
      await py.ndarray((worker.tensor(floats(2, 3)) as unknown as AnyRef).t()),
    );
  });

  test.each([sequence(), batch(image())])("a format of a whole batch does not fit: $name", async (whole) => {
    const error = await caught(() => inPython(list([bytes(1, 1, 3)]), whole));
    expect([error.code, error.message]).toEqual([
      "MISUSE",
      `xs is a list, and the format ${whole.name} takes a whole batch: give the format of one sample`,
    ]);
  });
});

/** The mean of each array of a list, [N, 1]. */
async function meansOf(): Promise<AnyRef> {
  const scope: AnyRef = worker.import("builtins").dict();
  await worker.import("builtins").exec(
    `
import torch
class Means(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
    def forward(self, xs):
        return torch.stack([x.float().mean().reshape(1) for x in xs]) * self.scale
`,
    scope,
  );
  return py.at(scope, "Means")();
}

const bags: Dataset = {
  length: 7,
  get: (i) => ({ xs: Float32Array.from({ length: 1 + (i % 3) }, () => i), ys: Float32Array.of(2 * i) }),
};

describe("a learner", () => {
  test("counts the samples of lists, and weighs the loss by them", async () => {
    const listed = (ys: boolean): DataLoader<any, any> =>
      new DataLoader(bags, { batchSize: 3, collate: { xs: list, ...(ys && { ys: list }) } });
    const own = (yhat: AnyRef, ys: unknown): AnyRef =>
      yhat
        .sub(Array.isArray(ys) ? ys : torch.stack(ys))
        .pow(2)
        .mean();
    for (const [training, lossOf] of [
      [listed(false), mse()],
      [listed(true), own],
    ] as const) {
      const learner = new Learner(await meansOf(), lossOf, {
        data: { training },
        optimizer: sgd({ lr: 0 }),
        defaultCallbacks: false,
        callbacks: [new Recorder(), new Metrics()],
      });
      const { phases, history } = await learner.fit(1);
      expect(phases["training"]).toMatchObject({ steps: 3, samples: 7 });
      // The mean of (i - 2i)² over all samples, and not the mean of the batches' means.
      expect(history["training"]!["loss"]!.at(-1)!.value).toBeCloseTo((0 + 1 + 4 + 9 + 16 + 25 + 36) / 7, 5);
    }
  });

  test("a batch may say its size, and lists must have as many samples as targets", async () => {
    const learnerOf = (data: object): Learner<AnyRef> =>
      new Learner(torch.nn.Linear(8, 1), (yhat: AnyRef) => yhat.mean(), {
        data: { training: unchecked([data]) },
        optimizer: sgd({ lr: 0 }),
        defaultCallbacks: false,
        callbacks: [new Recorder()],
        input: same,
      });
    // Two graphs of seven nodes.
    const { phases } = await learnerOf({ xs: floats(7, 8), ys: floats(2), size: 2 }).fit(1);
    expect(phases["training"]).toMatchObject({ samples: 2 });
    for (const [data, message] of [
      [{ xs: list([floats(1), floats(2)]), ys: floats(3) }, /xs has 2 samples and ys has 3/],
      [{ xs: floats(7, 8), ys: floats(2), size: 0 }, /the size of a batch is 0; it must be a whole number from 1/],
    ] as const)
      expect((await caught(() => learnerOf(data).fit(1))).message).toMatch(message);
  });

  test("100 steps with lists are 100 batches, and their memory is used again", async () => {
    const big: Dataset = {
      length: 200,
      get: (i) => ({ xs: new Float32Array(2000 - (i % 2)).fill(1), ys: Float32Array.of(1) }),
    };
    const training = new DataLoader<ArrayList>(big, { batchSize: 2, collate: { xs: list } });
    const learner = new Learner(await meansOf(), mse(), {
      data: { training },
      optimizer: sgd({ lr: 0 }),
      defaultCallbacks: false,
    });
    await learner.fit(1);
    const before = await worker.stats();
    await learner.fit(1);
    const after = await worker.stats();
    expect(after.batches - before.batches).toBeLessThan(110);
    expect(training.memory.reused).toBeGreaterThan(150);
    // A list of two for each step that may be in flight.
    expect(training.memory.made).toBeLessThanOrEqual(2 * (MOST + 2));
  });

  test("images of different sizes are images by default, and Augment keeps them a list", async () => {
    const seen: unknown[] = [];
    const training = new DataLoader<ArrayList>(
      { length: 2, get: (i) => ({ xs: bytes(2 + i, 2, 3), ys: Float32Array.of(0) }) },
      { batchSize: 2, collate: { xs: list } },
    );
    const learner = new Learner(await meansOf(), mse(), {
      data: { training },
      optimizer: sgd({ lr: 0 }),
      defaultCallbacks: false,
      callbacks: [
        new Augment((v2) => v2.Pad(1)),
        callback({
          name: "Shapes",
          access: { step: { xs: "read" } },
          runAfter: ["Augment"],
          on: {
            stepBegin: async ({ step }) => {
              for (const i of [0, 1]) seen.push(await py.js(py.at(step.xs as AnyRef, i).shape as AnyRef));
            },
          },
        }),
      ],
    });
    await learner.fit(1);
    expect(seen).toEqual([
      [3, 4, 4],
      [3, 5, 4],
    ]);
  });

  test("predict takes lists, in batches or from a loader", async () => {
    const model = await meansOf();
    const samples = Array.from({ length: 5 }, (_, i) => Float32Array.from({ length: i + 1 }, () => i));
    const expected = { dtype: "float32", shape: [5, 1], data: Float32Array.of(0, 1, 2, 3, 4) };
    expect(await outputs(model, list(samples), { batchSize: 2 })).toEqual(expected);
    const loader = new DataLoader<ArrayList>(
      { length: 5, get: (i) => ({ xs: samples[i]!, ys: 0 }) },
      { batchSize: 2, collate: { xs: list } },
    );
    expect(await outputs(model, loader)).toEqual(expected);
  });
});

describe("training has the bits of plain PyTorch", () => {
  const batches = [
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
  ];
  const images = [bytes(20, 30, 3), bytes(32, 24, 3), bytes(16, 16, 3), bytes(40, 32, 3)];
  const boxes = [
    [[2, 2, 14, 18]],
    [
      [0, 0, 10, 10],
      [4, 6, 20, 28],
    ],
    [],
    [[8, 8, 24, 30]],
  ];
  const classes = [[1], [1, 2], [], [2]];
  const pairs = [
    [0, 1],
    [2, 3],
  ];
  let plain: {
    tagger: { weights: number[][]; loss: number };
    detector: { losses: number[]; weights: number; found: { boxes: number[][]; labels: number[]; scores: number[] }[] };
  };
  beforeAll(async () => {
    const nested = ({ shape, data }: NDArray): unknown => {
      const [rows, ...rest] = shape;
      if (rest.length === 0) return Array.from(data, Number);
      const size = data.length / rows!;
      return Array.from({ length: rows! }, (_, i) =>
        nested({ dtype: "float32", shape: rest, data: data.subarray(i * size, (i + 1) * size) }),
      );
    };
    plain = await plainPython("ragged.py", {
      cases: {
        sequences: features.map(nested),
        labels: labels.map((one) => Array.from(one, Number)),
        batches,
        images: images.map(nested),
        boxes,
        classes,
        pairs,
      },
    });
  }, 120_000);

  test("sequences that are padded, with a mask: weights and the loss of the epoch", async () => {
    await torch.manual_seed(0);
    const model = torch.nn.TransformerEncoderLayer(8, 2, 16, kw({ dropout: 0, batch_first: true }));
    const F = torch.nn.functional;
    const training = new DataLoader<{ src: NDArray; src_key_padding_mask: NDArray }>(
      { length: lengths.length, get: (i) => ({ xs: { src: features[i]! }, ys: labels[i]! }) },
      {
        batchSize: 3,
        collate: {
          xs: { src: pad({ mask: { name: "src_key_padding_mask", marks: "padding" } }) },
          ys: pad({ value: -100 }),
        },
      },
    );
    const learner = new Learner(
      model,
      loss({
        fn: (yhat, ys) => F.cross_entropy(yhat.transpose(1, 2), ys, kw({ ignore_index: -100 })),
        weight: (_, ys) => ys.ne(-100).sum(),
      }),
      {
        data: { training },
        optimizer: sgd({ lr: 0.1 }),
        defaultCallbacks: false,
        callbacks: [new Recorder(), new Metrics()],
      },
    );
    const { history, phases } = await learner.fit(1);
    const parameters = py.unpack(model.parameters(), plain.tagger.weights.length);
    const found = await Promise.all(parameters.map(async (one) => Array.from((await py.ndarray(one)).data, Number)));
    expect(found).toEqual(plain.tagger.weights);
    expect(history["training"]!["loss"]!.at(-1)!.value).toBe(plain.tagger.loss);
    expect(phases["training"]).toMatchObject({ samples: 8 });
  });

  test("a detector of torchvision: images of different sizes, and their boxes as records", async () => {
    const { detection } = untyped(worker, "torchvision.models");
    await torch.manual_seed(0);
    const backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, kw({ stride: 4, padding: 1 })), torch.nn.ReLU());
    backbone.out_channels = 8;
    const model = detection.FasterRCNN(
      backbone,
      3,
      kw({
        min_size: 32,
        max_size: 64,
        rpn_anchor_generator: untyped(worker, "torchvision.models.detection.rpn").AnchorGenerator(
          py.tuple(py.tuple(8, 16)),
          py.tuple(py.tuple(py.float(1))),
        ),
        box_roi_pool: untyped(worker, "torchvision.ops").MultiScaleRoIAlign(["0"], 3, 2),
      }),
    );
    const photos: Dataset = {
      length: 4,
      get: (i) => ({
        xs: images[i]!,
        ys: {
          boxes: { dtype: "float32", shape: [boxes[i]!.length, 4], data: Float32Array.from(boxes[i]!.flat()) },
          // The detector refuses labels that are not int64.
          labels: Int32Array.from(classes[i]!),
        },
      }),
    };
    const learner = new Learner(model, ownLoss(), {
      data: { training: new DataLoader(photos, { batchSize: 2, collate: { xs: list, ys: list } }) },
      input: image(),
      optimizer: sgd({ lr: 0.01 }),
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics()],
    });
    const { phases } = await learner.fit(1);
    const losses = learner.state.metricsStep["training"]!["loss"]!.map(({ value }) => value);
    expect(losses).toEqual(plain.detector.losses);
    expect(phases["training"]).toMatchObject({ steps: 2, samples: 4 });
    const weights = torch.nn.utils.parameters_to_vector(model.parameters());
    expect(await weights.double().sum().item()).toBe(plain.detector.weights);

    const found = await learner.predict<{ [part: string]: NDArray }[]>(list(images), { batchSize: 3 });
    const numbers = found.map((each) =>
      Object.fromEntries(Object.entries(each).map(([part, { data }]) => [part, Array.from(data, Number)])),
    );
    expect(numbers).toEqual(plain.detector.found.map((each) => ({ ...each, boxes: each.boxes.flat() })));
    expect(numbers.every(({ scores }) => scores!.length > 0)).toBe(true);
    const loader = new DataLoader(photos, { batchSize: 3, collate: { xs: list, ys: list } });
    expect(await learner.predict<{ [part: string]: NDArray }[]>(loader)).toEqual(found);
  });

  test("targets in a list are what the loss asks for: whole numbers are indices, values, or as they are", async () => {
    const seen: unknown[] = [];
    const kindOf = (ys: AnyRef): AnyRef => worker.import("builtins").str(py.at(py.at(ys, 0), "y").dtype) as AnyRef;
    const data = {
      training: new DataLoader(
        { length: 2, get: (i) => ({ xs: floats(1), ys: { y: Int32Array.of(i, 7), z: 0.5 } }) },
        { batchSize: 2, collate: { xs: list, ys: list } },
      ),
    };
    const spy = callback({
      name: "Kinds",
      access: { step: { ys: "read" } },
      on: {
        stepBegin: async ({ step }) => {
          const ys = step.ys as AnyRef;
          seen.push([
            await py.js(kindOf(ys)),
            await py.js(py.at(py.at(ys, 1), "y")),
            await py.js(py.at(py.at(ys, 1), "z")),
          ]);
          throw new Error("seen");
        },
      },
    });
    for (const one of [crossEntropy(), mse(), (yhat: AnyRef) => yhat.mean()])
      await caught(async () =>
        new Learner(await meansOf(), one, {
          data,
          optimizer: sgd({ lr: 0 }),
          defaultCallbacks: false,
          callbacks: [spy],
        }).fit(1),
      );
    const half = { dtype: "float32", shape: [], data: Float32Array.of(0.5) };
    expect(seen).toEqual([
      ["torch.int64", { dtype: "int64", shape: [2], data: BigInt64Array.of(1n, 7n) }, half],
      ["torch.float32", { dtype: "float32", shape: [2], data: Float32Array.of(1, 7) }, half],
      ["torch.int32", { dtype: "int32", shape: [2], data: Int32Array.of(1, 7) }, half],
    ]);
  });
});
