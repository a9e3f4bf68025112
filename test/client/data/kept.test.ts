/** Samples that the worker keeps: each is sent once, and a fit has the bits of one whose batches travel. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  callback,
  crossEntropy,
  DataLoader,
  Learner,
  lrFind,
  mse,
  py,
  PyTorchBackend,
  sgd,
  split,
  type AnyRef,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { ArrayList, imageFolder, list, pad, stack, type DataLoaderOptions, type Indexed } from "torchwire/data";
import type { KeptCounts, WorkerStats } from "torchwire/bridge";
import type { Loss } from "torchwire/losses";
import { SWA } from "torchwire/callbacks";
import { same } from "torchwire/formats";
import { isReference } from "../../../bridge/reference/ref.ts";
import { sizeOf, toBytes } from "../../../bridge/values/ndarray.ts";
import { Packed } from "../../../client/data/list.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { folder, picture, raw } from "../../pictures.ts";
import { clean } from "../../scratch.ts";
import { warmWorker } from "../../worker.ts";

afterAll(clean);

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

let drawn = 0;
/** Bytes that no other test has: the worker knows samples by what they hold. */
const noise = (shape: readonly number[]): Uint8Array => {
  let state = ++drawn * 2_654_435_761;
  return Uint8Array.from({ length: sizeOf(shape) }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
};
const bytes = (...shape: readonly number[]): NDArray => ({ dtype: "uint8", shape, data: noise(shape) });
const floats = (...shape: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(noise(shape), (x) => x / 128 - 1),
});
const labels = (n: number): NDArray => ({
  dtype: "int64",
  shape: [n],
  data: BigInt64Array.from(noise([n]), (x) => BigInt(x % 3)),
});

interface Case {
  readonly data: () => Indexed;
  readonly options: DataLoaderOptions;
  readonly model: () => AnyRef;
  readonly loss: Loss;
  readonly learner?: () => LearnerOptions;
}

/** The losses of each step and the weights at the end, as bytes. */
async function trained({ options, model, loss, learner: more }: Case, keep: boolean, data: Indexed): Promise<string[]> {
  await torch.manual_seed(1);
  const loader = (): DataLoader =>
    new DataLoader(data, { ...options, keep: keep ? (options.keep ?? "worker") : undefined } as DataLoaderOptions);
  const losses: number[] = [];
  const noting = callback({
    name: "Noting",
    access: { step: { loss: "read" } },
    observe: { stepEnd: ({ values }) => void losses.push(values.loss) },
  });
  const { callbacks = [], ...others } = more?.() ?? {};
  const learner = new Learner(model(), loss, {
    data: { training: loader(), validation: loader() },
    optimizer: sgd({ lr: 0.1 }),
    defaultCallbacks: false,
    callbacks: [...callbacks, noting],
    ...others,
  });
  await learner.fit(2);
  const state = (await py.js(
    untyped(worker, "torch").nn.utils.parameters_to_vector(learner.model.parameters()),
  )) as NDArray;
  return [...losses.map(String), Buffer.from(toBytes(state.data)).toString("hex")];
}

const linear =
  (inputs: number): (() => AnyRef) =>
  () =>
    torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs, 3));
const conv = (): AnyRef =>
  torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3));
const encoder = (): AnyRef => py.at(classes(), "Encoder")();
const summing = (kind: number): AnyRef => py.at(classes(), "Summing")(kind);

/** Models that see whether each element stands where it should. */
function classes(): AnyRef {
  const builtins = untyped(worker, "builtins");
  const names = builtins.dict();
  builtins.exec(PYTHON, names);
  return names;
}

const PYTHON = `
import torch

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, src, src_key_padding_mask):
        return self.layer(src, src_key_padding_mask=src_key_padding_mask).mean(1)

class Summing(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.linear = torch.nn.Linear({1: 3, 2: 4, 3: 4}[kind], 3)

    def forward(self, *inputs, a=None, b=None):
        if self.kind == 1:
            [images] = inputs
            return self.linear(torch.stack([one.float().mean((1, 2)) for one in images]))
        if self.kind == 2:
            padded, mask = inputs
            steps = torch.arange(1, padded.shape[1] + 1).reshape(1, -1, 1)
            return self.linear((padded * mask.unsqueeze(-1) * steps).sum(1))
        sums = torch.stack([one["boxes"].sum(0) + one["n"] for one in a])
        return self.linear(sums + b)
`;
const records = (n: number): Indexed => Array.from({ length: n }, (_, i) => ({ xs: floats(4), ys: i % 3 }));

const cases: { readonly [name: string]: Case } = {
  "arrays, in their order, with a small last batch": {
    data: () => ({ xs: floats(22, 4), ys: labels(22) }),
    options: { batchSize: 8 },
    model: linear(4),
    loss: crossEntropy(),
  },
  "images, shuffled": {
    data: () => ({ xs: bytes(20, 8, 8, 3), ys: labels(20) }),
    options: { batchSize: 8, shuffle: true, dropLast: true },
    model: conv,
    loss: crossEntropy(),
  },
  "records with plain numbers as labels": {
    data: () => records(20),
    options: { batchSize: 6, shuffle: { seed: 3 } },
    model: linear(4),
    loss: crossEntropy(),
  },
  "plain numbers with fractions": {
    data: () => Array.from({ length: 9 }, (_, i) => ({ xs: floats(4), ys: i / 2 })),
    options: { batchSize: 4 },
    model: () => torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Flatten(0)),
    loss: mse(),
  },
  "typed arrays, and lists of inputs": {
    data: () => Array.from({ length: 9 }, () => ({ xs: [floats(4).data, floats(4)], ys: floats(3) })) as never,
    options: { batchSize: 4 },
    model: () => torch.nn.Bilinear(4, 4, 3),
    loss: mse(),
  },
  "plain numbers alone": {
    data: () => Array.from({ length: 9 }, (_, i) => ({ xs: i / 4, ys: [i / 2, i][0]! })),
    options: { batchSize: 4 },
    model: () =>
      torch.nn.Sequential(torch.nn.Unflatten(0, torch.Size([-1, 1])), torch.nn.Linear(1, 1), torch.nn.Flatten(0)),
    loss: mse(),
  },
  "no memory, so that all is on the disk": {
    data: () => ({ xs: floats(22, 4), ys: labels(22) }),
    options: { batchSize: 8, shuffle: true, keep: { memory: 0 } },
    model: linear(4),
    loss: crossEntropy(),
  },
  "sequences that are padded, with a mask": {
    data: () => Array.from({ length: 20 }, (_, i) => ({ xs: { src: floats(1 + (i % 5), 8) }, ys: i % 8 })),
    options: {
      batchSize: 6,
      shuffle: true,
      bucketBy: (i: number) => 1 + (i % 5),
      collate: {
        xs: { src: pad({ value: 2, mask: { name: "src_key_padding_mask", marks: "padding" }, multipleOf: 3 }) },
      },
    } as DataLoaderOptions,
    model: encoder,
    loss: crossEntropy(),
  },
  "two inputs by position, one of them padded on the left": {
    data: () => Array.from({ length: 11 }, (_, i) => ({ xs: floats(1 + (i % 4), 4), ys: i % 3 })),
    options: { batchSize: 4, collate: { xs: pad({ side: "left", mask: { dtype: "float32" } }) } } as DataLoaderOptions,
    model: () => summing(2),
    loss: crossEntropy(),
  },
  "lists of images of different sizes, and of numbers": {
    data: () => Array.from({ length: 11 }, (_, i) => ({ xs: bytes(3 + (i % 4), 5, 3), ys: i % 3 })),
    options: { batchSize: 4, shuffle: true, collate: { xs: list } } as DataLoaderOptions,
    model: () => summing(1),
    loss: crossEntropy(),
  },
  "records of lists, and parts that are stacked": {
    data: () =>
      Array.from({ length: 11 }, (_, i) => ({
        xs: { a: { boxes: floats(i % 4, 4), n: i % 2 }, b: floats(4) },
        ys: floats(3),
      })) as never,
    options: { batchSize: 4, shuffle: true, collate: { xs: { a: list }, ys: stack } } as DataLoaderOptions,
    model: () => summing(3),
    loss: mse(),
  },
  "draws with repeats": {
    data: () => ({ xs: floats(10, 4), ys: labels(10) }),
    options: { batchSize: 4, sample: { weights: Array.from({ length: 10 }, (_, i) => i), count: 16 } },
    model: linear(4),
    loss: crossEntropy(),
  },
  "accumulated gradients, and buckets": {
    data: () => ({ xs: floats(21, 4), ys: labels(21) }),
    options: { batchSize: 4, shuffle: true, bucketBy: (i: number) => i % 5 },
    model: linear(4),
    loss: crossEntropy(),
    learner: () => ({ callbacks: [new PyTorchBackend({ accumulate: 3 })] }),
  },
  "several inputs by name, and a part of a split": {
    data: () =>
      split(
        Array.from({ length: 20 }, (_, i) => ({ xs: { input: floats(4) }, ys: i % 3 })),
        0.6,
      )[0],
    options: { batchSize: 4, shuffle: true },
    model: () => torch.nn.Linear(4, 3),
    loss: crossEntropy(),
  },
  "floats of four dimensions, with a format": {
    data: () => ({ xs: floats(10, 3, 8, 8), ys: labels(10) }),
    options: { batchSize: 4 },
    model: conv,
    loss: crossEntropy(),
    learner: () => ({ input: same }),
  },
};

for (const [name, one] of Object.entries(cases))
  test(`${name}: the same losses and weights`, async () => {
    const data = one.data();
    const without = await trained(one, false, data);
    const kept = await trained(one, true, data);
    expect(kept).toEqual(without);
    expect(without.length).toBeGreaterThan(4);
  });

test("the files of images that the worker decodes travel once, too", async () => {
  const files: { [name: string]: Uint8Array } = {};
  for (let i = 0; i < 8; i++) {
    const photo = raw(40 + 3 * i, 50 - i, picture(40 + 3 * i, 50 - i, i)).jpeg();
    files[`${i % 2 === 0 ? "cat" : "dog"}/${i}.jpg`] = new Uint8Array(await photo.toBuffer());
  }
  const photos = await imageFolder(await folder(files), { size: 8, decode: "worker" });
  const one: Case = { data: () => [], options: { batchSize: 3, shuffle: true }, model: conv, loss: crossEntropy() };
  const without = await trained(one, false, photos);
  const counts = await sent(async () => expect(await trained(one, true, photos)).toEqual(without));
  const bytes = Object.values(files).reduce((sum, file) => sum + file.length, 0);
  expect(counts).toMatchObject({ samples: 8, bytes, hits: 3 * 8 });
});

/** What the worker was sent, by `run`. */
async function sent(run: () => unknown): Promise<KeptCounts & Pick<WorkerStats, "bytesSent" | "batches">> {
  const before = await countsOf(worker);
  await run();
  const after = await countsOf(worker);
  const less = (name: "samples" | "bytes" | "cached" | "hits"): number => after.kept[name] - before.kept[name];
  return {
    samples: less("samples"),
    bytes: less("bytes"),
    cached: less("cached"),
    hits: less("hits"),
    bytesSent: after.bytesSent - before.bytesSent,
    batches: after.batches - before.batches,
  };
}

test("the first epoch sends each sample once; then a batch is its indices", async () => {
  const xs = bytes(64, 16, 16, 3);
  const loader = new DataLoader({ xs, ys: labels(64) }, { batchSize: 16, shuffle: true, keep: "worker" });
  const learner = new Learner(linear(768)(), crossEntropy(), { defaultCallbacks: false, data: { training: loader } });
  process.removeAllListeners("warning");
  const first = await sent(() => learner.fit(1));
  expect(first).toMatchObject({ samples: 64, bytes: 64 * (768 + 8), hits: 0 });
  const second = await sent(() => learner.fit(1));
  expect(second).toMatchObject({ samples: 0, bytes: 0, hits: 64 });
  // Each of the four steps says its 16 indices, and the operations of a step.
  expect(second.bytesSent).toBeLessThan(4 * 2000);
  const third = await sent(() => learner.fit(1));
  // A message for each step, and those of the fit itself.
  expect(second.batches).toBe(third.batches);
  expect(third.batches).toBeLessThan(4 + 12);
  expect(Math.abs(third.bytesSent - second.bytesSent)).toBeLessThan(200);
});

test("samples with the same bytes are sent once, and none is read again", async () => {
  const [one, other] = [floats(4), floats(4)];
  let reads = 0;
  const data = {
    length: 12,
    get: (i: number) => {
      reads++;
      return { xs: i % 2 === 0 ? one : other, ys: i % 3 };
    },
  };
  const learner = new Learner(linear(4)(), crossEntropy(), { defaultCallbacks: false });
  const loader = new DataLoader(data, { batchSize: 4, shuffle: true, keep: "worker" });
  expect(await sent(() => learner.fit(3, { data: { training: loader } }))).toMatchObject({ samples: 2 });
  expect(reads).toBe(12);
});

test("predictions and validation use what the training has sent", async () => {
  const data = { xs: floats(12, 4), ys: labels(12) };
  const loader = new DataLoader(data, { batchSize: 4, keep: "worker" });
  const learner = new Learner(linear(4)(), crossEntropy(), { defaultCallbacks: false });
  await learner.fit(1, { data: { training: loader } });
  const plain = await learner.predict(data.xs);
  const there = await sent(async () => expect(await learner.predict(loader)).toEqual(plain));
  expect(there).toMatchObject({ samples: 0, hits: 12 });
  expect(await sent(() => learner.validate(loader))).toMatchObject({ samples: 0, hits: 12 });
});

test("the learning-rate finder and averages of weights see the same batches", async () => {
  const data = { xs: floats(12, 4), ys: labels(12) };
  const seen = async (keep: object): Promise<unknown> => {
    await torch.manual_seed(5);
    const model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)) as AnyRef;
    const swa = new SWA({ start: 1 });
    const training = new DataLoader(data, { batchSize: 4, shuffle: true, ...keep });
    const learner = new Learner(model, crossEntropy(), {
      data: { training },
      defaultCallbacks: false,
      callbacks: [swa],
    });
    const { losses } = await lrFind(learner, { steps: 8 });
    await learner.fit(2);
    await swa.updateBatchNorm();
    return [losses, await py.ndarray(swa.model[1].running_mean as AnyRef)];
  };
  const plain = await seen({});
  const counts = await sent(async () => expect(await seen({ keep: "worker" })).toEqual(plain));
  expect(counts).toMatchObject({ samples: 12, hits: 8 * 4 + 2 * 12 + 12 - 12 });
});

test("a loop by hand gets the tensors that its arrays would be, and leaves none behind", async () => {
  const data = { xs: bytes(10, 2, 3), ys: labels(10) };
  const loader = new DataLoader(data, { batchSize: 4, shuffle: true, keep: "worker" });
  const arrays: { xs: NDArray; ys: NDArray }[] = [];
  for await (const { xs, ys } of loader.clone())
    arrays.push({ xs: { ...xs, data: xs.data.slice() }, ys: { ...ys, data: ys.data.slice() } });
  const found: { xs: NDArray; ys: NDArray }[] = [];
  const pass = async (): Promise<void> => {
    for await (const batch of loader.on(worker))
      found.push(
        await worker.scope(async () => {
          const [xs, ys] = [batch.xs as AnyRef, batch.ys as AnyRef];
          return { xs: await py.ndarray(xs), ys: await py.ndarray(ys) };
        }),
      );
  };
  await pass();
  expect(found).toEqual(arrays);
  const before = (await countsOf(worker)).worker.objects;
  for (let i = 0; i < 5; i++) await pass();
  expect((await countsOf(worker)).worker.objects).toBe(before);
  // Outside of a scope they live until the next batch.
  const whole: NDArray[] = [];
  for await (const { xs } of loader.on(worker)) whole.push(await py.ndarray(xs));
  expect(whole.map(({ shape }) => shape[0])).toEqual([4, 4, 2]);
  expect((await countsOf(worker)).worker.objects).toBe(before);
});

test("a fit that fails loses nothing that it has sent", async () => {
  const loader = new DataLoader({ xs: floats(12, 4), ys: labels(12) }, { batchSize: 4, keep: "worker" });
  const learner = new Learner(linear(4)(), crossEntropy(), { defaultCallbacks: false });
  const failing = new Learner(linear(5)(), crossEntropy(), { defaultCallbacks: false });
  await caught(() => failing.fit(1, { data: { training: loader } }));
  const rest = await sent(() => learner.fit(2, { data: { training: loader.clone() } }));
  expect(rest.samples).toBeLessThan(12);
  expect(rest.hits + rest.samples).toBe(24);
});

test("samples that do not go together are told as without", async () => {
  const message = async (data: Indexed, keep: object): Promise<string> => {
    const loader = new DataLoader(data, { batchSize: 2, ...keep });
    const error = await caught(async () => {
      for await (const _ of loader.on(worker)) void _;
    });
    return error.message.split("\n")[0]!;
  };
  const one = { xs: floats(4), ys: 0 };
  for (const other of [
    { xs: floats(5), ys: 0 },
    { xs: floats(2, 2), ys: 0 },
    { xs: bytes(4), ys: 0 },
    { xs: [floats(4)], ys: 0 },
    { xs: floats(4), ys: 0.5 },
    { xs: floats(4), ys: [1, 2] },
    { xs: floats(4), ys: "cat" },
    { xs: floats(4) },
  ]) {
    const data = [one, one, one, other] as unknown as Indexed;
    const kept = await message(data, { keep: "worker" });
    expect(kept).toBe(await message(data, {}));
    expect(kept).toContain("sample");
  }
});

/** Of an array, a list of arrays, or a reference to a tensor. */
async function elementsOf(part: any): Promise<number[]> {
  const whole = part instanceof Packed ? part.flat : part;
  const { data } = isReference(whole) ? await py.ndarray(whole) : (whole as NDArray);
  return Array.from(data as ArrayLike<number>, Number);
}

test.each<[string, DataLoaderOptions & { collate?: object }]>([
  ["stacked", { batchSize: 4 }],
  ["in lists", { batchSize: 4, collate: { xs: list } }],
])("members of records may come in another order in each sample: %s", async (_, options) => {
  const pair = Array.from({ length: 8 }, () => ({ a: floats(2), b: floats(2) }));
  const data: Indexed = {
    length: 8,
    get: (i: number) => {
      const { a, b } = pair[i]!;
      return i % 2 === 0 ? { xs: { a, n: i, b }, ys: { u: i, v: -i } } : { xs: { b, n: i, a }, ys: { v: -i, u: i } };
    },
  };
  const seen = async (batches: AsyncIterable<any>): Promise<unknown[]> => {
    const all: unknown[] = [];
    for await (const { xs, ys } of batches)
      for (const side of [xs instanceof ArrayList ? xs.parts : xs, ys])
        for (const name of Object.keys(side).toSorted()) all.push(name, await elementsOf(side[name]));
    return all;
  };
  const loader = (keep?: "worker"): DataLoader => new DataLoader(data, { ...options, ...(keep && { keep }) });
  const [plain, kept] = [loader(), loader("worker")];
  expect(await seen(kept.on(worker))).toEqual(await seen(plain));
});

test("a part that is an empty list stays one", async () => {
  const data: Indexed = { length: 4, get: () => ({ xs: floats(2), ys: [] }) };
  for await (const { ys } of new DataLoader(data, { batchSize: 2, keep: "worker" }).on(worker)) expect(ys).toEqual([]);
});

test("options that make no sense are refused", async () => {
  const data = { xs: floats(2, 4), ys: labels(2) };
  const message = async (keep: unknown, more: object = {}): Promise<string> =>
    (await caught(() => new DataLoader(data, { batchSize: 1, keep, ...more } as never))).message;
  expect(await message("here")).toContain('it must be "worker"');
  expect(await message({ cache: "../photos" })).toContain("a name of up to 64 letters");
  expect(await message({ cacheBytes: 5 })).toContain("give the cache a name");
  expect(await message("worker", { collate: { xs: { image: (all: unknown) => all } } })).toContain(
    "and collate.xs.image is a function of your own",
  );
  expect(await message("worker", { collate: () => ({}) })).toContain("and collate is a function of your own");
});
