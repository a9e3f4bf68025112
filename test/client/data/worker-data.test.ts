/** Data that lies in the worker, driven by the loop here. */
import { beforeAll, expect, test } from "vitest";
import {
  accuracy,
  crossEntropy,
  kw,
  Learner,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  type Callback,
  type Worker,
} from "torchwire";
import { fromWorker } from "torchwire/data";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { evaluated } from "../../structures.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let data: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  data = untyped(worker, "torch.utils.data");
});

function learnerOf(training: object, validation: object, ...more: readonly Callback[]): Learner {
  const model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4));
  return new Learner(model, crossEntropy(), {
    data: { training: training as never, validation: validation as never },
    optimizer: sgd({ lr: 0.1 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(accuracy), ...more],
  });
}

const numbered = (n: number): AnyRef =>
  data.TensorDataset(torch.arange(n).float().reshape(n, 1, 1, 1).expand(n, 3, 8, 8), torch.arange(n).remainder(4));

test("a torch.utils.data.DataLoader is data by itself, again and again", async () => {
  const loader = data.DataLoader(numbered(22), kw({ batch_size: 4 }));
  const learner = learnerOf(loader, loader);
  const before = await countsOf(worker);
  const { phases, history } = await learner.fit(2);
  expect(phases["training"]).toMatchObject({ epochs: 2, steps: 12, samples: 44 });
  expect(phases["validation"]).toMatchObject({ epochs: 2, steps: 12, samples: 44 });
  expect(history["training"]!["accuracy"]).toHaveLength(2);
  // Nothing of the batches is left.
  expect((await countsOf(worker)).worker.objects - before.worker.objects).toBeLessThan(20);
});

test("a loader whose batches are dicts says what to write, and that gives the bits of pairs", async () => {
  const pairs = data.DataLoader(numbered(8), kw({ batch_size: 4 }));
  const dicts = data.DataLoader(
    numbered(8),
    kw({
      batch_size: 4,
      collate_fn: evaluated(worker, "lambda rows: dict(zip(('input', 'labels'), default(rows)))", {
        default: data.default_collate,
      }),
    }),
  );
  const plain = learnerOf(dicts, dicts);
  expect((await caught(() => plain.fit(1))).message).toContain(
    "a batch is a pair of inputs and targets. Say which they are: for await (const batch of loader) yield { xs: {",
  );
  const named = {
    async *[Symbol.asyncIterator]() {
      for await (const batch of dicts) yield { xs: { input: py.at(batch, "input") }, ys: py.at(batch, "labels") };
    },
  };
  const losses = async (training: object): Promise<unknown> => {
    torch.manual_seed(1);
    return (await learnerOf(training, training).fit(2)).history["training"]!["loss"];
  };
  expect(await losses(named)).toEqual(await losses(pairs));
});

test("batches of a group whose gradients are added up are there until the group is over", async () => {
  const theirs = data.DataLoader(numbered(22), kw({ batch_size: 4 }));
  const accumulated = async (training: object): Promise<unknown> => {
    torch.manual_seed(1);
    const learner = learnerOf(training, training, new PyTorchBackend({ accumulate: 4 }));
    await learner.fit(1);
    const before = await countsOf(worker);
    const { history } = await learner.fit(4);
    // Nothing of 48 batches is left.
    expect((await countsOf(worker)).worker.objects - before.worker.objects).toBeLessThan(20);
    return history["training"]!["loss"];
  };
  const ours = await fromWorker(numbered(22), { batchSize: 4 });
  expect(await accumulated(theirs)).toEqual(await accumulated(ours));
});

test("a data set of torchvision is cut into batches and shuffled from here", async () => {
  const { datasets, transforms } = untyped(worker, "torchvision");
  const fake = datasets.FakeData(
    kw({ size: 10, image_size: py.tuple(3, 8, 8), num_classes: 4, transform: transforms.ToTensor() }),
  );
  const training = await fromWorker(fake, { batchSize: 4, shuffle: { seed: 3 }, dropLast: true });
  expect([training.length, training.samples]).toEqual([2, 10]);
  const { phases } = await learnerOf(training, await fromWorker(fake, { batchSize: 4 })).fit(1);
  expect(phases["training"]).toMatchObject({ steps: 2, samples: 8 });
  expect(phases["validation"]).toMatchObject({ steps: 3, samples: 10 });
});

test("each pass has the order that DataLoader has, and frees its batches", async () => {
  const loader = await fromWorker(numbered(10), { batchSize: 4, shuffle: { seed: 5 } });
  const orders: number[][] = [];
  for (let pass = 0; pass < 2; pass++) {
    const labels: number[] = [];
    for (const batch of loader as Iterable<object>)
      labels.push(
        ...Array.from((await py.ndarray(py.at(batch, 0).select(1, 0).select(1, 0).select(1, 0))).data, Number),
      );
    orders.push(labels);
  }
  expect(orders).toEqual([[...permutation(10, 5, 0)], [...permutation(10, 5, 1)]]);
});

test("what is no data set says so", async () => {
  expect((await caught(() => fromWorker([1] as never, { batchSize: 2 }))).message).toContain("not a reference");
  expect((await caught(() => fromWorker(numbered(3), { batchSize: 0 }))).message).toContain("batchSize");
  expect((await caught(() => fromWorker(torch.nn.ReLU(), { batchSize: 1 }))).message).toContain("len()");
});
