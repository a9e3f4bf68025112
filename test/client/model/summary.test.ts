/** What a model is made of. */
import { beforeAll, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { freeze } from "../../../client/model/freeze.ts";
import { summary } from "../../../client/model/summary.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let nn: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  nn = torch.nn;
});

// First, while there is little garbage of which the collection could hide what is left.
test("nothing is left in the worker", async () => {
  const model = worker.scope(() => py.keep(nn.Linear(3, 4)));
  const { objects } = (await countsOf(worker)).worker;
  for (let i = 0; i < 20; i++) await summary(model, { input: [2, 3] });
  expect((await countsOf(worker)).worker.objects).toBeLessThanOrEqual(objects);
});

test("resnet18: every layer, its shapes, and the sums that are known", async () => {
  const model = worker.import("torchvision").models.resnet18(kw({ weights: null }));
  const found = await summary(model, { input: [2, 3, 64, 64] });
  expect(found.layers).toHaveLength(68);
  expect([found.parameters, found.trainable]).toEqual([11_689_512, 11_689_512]);
  expect(found.layers.reduce((sum, { parameters }) => sum + parameters, 0)).toBe(11_689_512);
  // Each of the 20 batch normalisations has a counter of 8 bytes, and a mean and a variance of 4800 channels in all.
  expect(found.bytes).toBe(4 * 11_689_512 + 4 * 2 * 4800 + 20 * 8);
  const byName = Object.fromEntries(found.layers.map((layer) => [layer.name, layer]));
  expect(byName["conv1"]).toEqual({
    name: "conv1",
    type: "Conv2d",
    outputs: [[2, 64, 32, 32]],
    calls: 1,
    parameters: 9408,
    trainable: 9408,
  });
  expect(byName["layer1.0.relu"]).toMatchObject({ calls: 2, outputs: [[2, 64, 16, 16]] });
  expect(byName[""]).toMatchObject({ type: "ResNet", outputs: [[2, 1000]], parameters: 0 });
});

test("the table", async () => {
  const body = nn.Sequential(nn.Linear(3, 400), nn.ReLU());
  const model = nn.Sequential(body, nn.LSTM(400, 4), nn.Linear(4, 2));
  freeze(body);
  expect(`${(await summary(nn.Sequential(body, nn.Linear(400, 2)), { input: [5, 3] })).toString()}\n`).toBe(`\
┌─────────┬────────────┬──────────┬────────────┬───────────┐
│ Layer   │ Type       │ Output   │ Parameters │ Trainable │
├─────────┼────────────┼──────────┼────────────┼───────────┤
│ (model) │ Sequential │ [5, 2]   │            │           │
│ ├─ 0    │ Sequential │ [5, 400] │            │           │
│ │  ├─ 0 │ Linear     │ [5, 400] │      1,600 │         0 │
│ │  └─ 1 │ ReLU       │ [5, 400] │            │           │
│ └─ 1    │ Linear     │ [5, 2]   │        802 │       802 │
└─────────┴────────────┴──────────┴────────────┴───────────┘
2,402 parameters, 802 of them trainable; 9.4 KiB with buffers
`);
  // Without an input there is no column for what comes out.
  const lines = (await summary(model)).toString().split("\n");
  expect(lines[1]).toBe("│ Layer   │ Type       │ Parameters │ Trainable │");
  expect(lines.every((line) => line.length === lines[0]!.length || line === lines.at(-1))).toBe(true);
});

test("arrays, several inputs and keywords", async () => {
  const ids = { dtype: "int64", shape: [2, 3], data: BigInt64Array.from([0n, 1n, 2n, 3n, 4n, 0n]) } as const;
  const embedded = await summary(nn.Embedding(5, 4), { input: ids });
  expect(embedded.layers[0]!.outputs).toEqual([[2, 3, 4]]);
  const bilinear = nn.Bilinear(3, 4, 5);
  const [one, two] = [torch.ones(2, 3), torch.ones(2, 4)];
  for (const input of [[one, two], { input1: one, input2: two }])
    expect((await summary(bilinear, { input })).layers[0]!.outputs).toEqual([[2, 5]]);
});

test("training does not notice: modes, weights, running statistics, random numbers, hooks", async () => {
  const model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout());
  await model[1].eval();
  await summary(model, { input: [2, 3] });
  const look = async (): Promise<unknown> => [
    await weightsHash(worker, model),
    await torch.get_rng_state().sum().item(),
    await model.training,
    await model[1].training,
    await model[2].training,
  ];
  const before = await look();
  await summary(model, { input: [2, 3] });
  expect(await look()).toEqual(before);
  expect(before).toEqual([expect.any(String), expect.any(Number), true, false, true]);

  const error = await caught(() => summary(model, { input: [2, 99] }));
  expect([error.code, error.pyType]).toEqual(["PYTHON", "RuntimeError"]);
  expect(await look()).toEqual(before);
  for (const module of [model, model[0], model[2]])
    expect(await worker.import("builtins").len(module._forward_hooks)).toBe(0);
});
