/** Rows of files, sent to the worker: they are there what Python reads in the same files. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { crossEntropy, DataLoader, kw, Learner, py, sgd, type Worker } from "torchwire";
import { fromCsv } from "torchwire/data";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { untyped } from "../../observed.ts";
import { reset, warmWorker } from "../../worker.ts";
import { clean, fresh } from "../../scratch.ts";

afterAll(clean);

let worker: Worker;
let torch: AnyRef;
let numpy: AnyRef;
/** 500 rows: a, b, and which of the two is larger. */
let path: string;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  numpy = untyped(worker, "numpy");
  path = await fresh("table.csv");
  const random = numpy.random.RandomState(0).randn(500, 2);
  const larger = numpy.argmax(random, kw({ axis: 1 })).reshape(500, 1);
  const table = numpy.hstack([random, larger]);
  await numpy.savetxt(path, table, kw({ delimiter: ",", header: "a,b,larger", comments: "" }));
});

const samples = async () => {
  const rows = await fromCsv(path, { types: { a: "number", b: "number", larger: "number" } });
  return rows.map(({ a, b, larger }) => ({ xs: Float32Array.of(a, b), ys: larger }));
};

test("shuffled batches of a CSV file are NumPy's rows in that order, bit for bit", async () => {
  const table = torch.from_numpy(numpy.loadtxt(path, kw({ delimiter: ",", skiprows: 1 })));
  const order = [...permutation(500, 3)];
  let at = 0;
  for await (const { xs, ys } of new DataLoader(await samples(), { batchSize: 64, shuffle: { seed: 3 } })) {
    const wanted = table.index_select(0, torch.tensor(order.slice(at, at + 64)));
    at += 64;
    const [inputs, targets] = [worker.tensor(xs), worker.tensor(ys)];
    expect(await py.js(torch.equal(inputs, wanted.narrow(1, 0, 2).float()))).toBe(true);
    expect(await py.js(torch.equal(targets, wanted.select(1, 2).long()))).toBe(true);
  }
  expect(at).toBe(512);
});

test("a fit over rows, and over rows kept on disk, has the bits of one over arrays", async () => {
  const rows = await samples();
  const list = await rows.toArray();
  const arrays = { xs: list.map(({ xs }) => [...xs]), ys: list.map(({ ys }) => ys) };
  const weights: number[][] = [];
  for (const data of [arrays, rows, await rows.cacheOnDisk(await fresh("cache"))]) {
    await reset(worker, { seed: 0, deterministic: true });
    const model = torch.nn.Linear(2, 2);
    const learner = new Learner(model, crossEntropy(), {
      data: { training: new DataLoader(data, { batchSize: 32, shuffle: true }) },
      optimizer: sgd({ lr: 0.1 }),
      defaultCallbacks: false,
    });
    await learner.fit(2);
    weights.push((await py.js(model.weight.flatten().tolist())) as number[]);
  }
  expect(weights[1]).toEqual(weights[0]);
  expect(weights[2]).toEqual(weights[0]);
});
