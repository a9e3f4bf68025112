/** What one does with a model beside training it: predict and validate. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  batches,
  classify,
  crossEntropy,
  DataLoader,
  Learner,
  Metrics,
  outputs,
  py,
  Recorder,
  sgd,
  type Data,
  type NDArray,
  type Worker,
} from "torchwire";
import type { AnyRef } from "../bridge/types/core.ts";
import { caught, untyped } from "./observed.ts";
import { testWorker } from "./worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await testWorker();
  torch = untyped(worker, "torch");
});
afterAll(() => worker.close());

/** What no type checker has seen. */
const unchecked = (value: unknown): any => value;

/** Rows of two numbers, of which the sign of the first tells the class. */
const rows = (count: number): NDArray => ({
  dtype: "float32",
  shape: [count, 2],
  data: Float32Array.from({ length: 2 * count }, (_, i) => Math.sin(i * 7)),
});
const labels = (count: number): NDArray => ({
  dtype: "uint8",
  shape: [count],
  data: Uint8Array.from({ length: count }, (_, i) => (Math.sin(14 * i) > 0 ? 1 : 0)),
});
const data = (count: number): { xs: NDArray; ys: NDArray } => ({ xs: rows(count), ys: labels(count) });

/** Scores [-x0, x0, 2 x0] */
function scorer(): AnyRef {
  const model = torch.nn.Linear(2, 3, false);
  model.weight.data.copy_(
    torch.tensor([
      [-1, 0],
      [1, 0],
      [2, 0],
    ]),
  );
  return model;
}

/** A module whose forward is this lambda of Python. */
function moduleOf(lambda: string): AnyRef {
  const names = worker.import("builtins").dict();
  const source = `import torch\nclass Own(torch.nn.Module):\n  def forward(self, *xs, **named): return (lambda ${lambda})(*xs, **named)`;
  worker.import("builtins").exec(source, names);
  return py.at(names, "Own")();
}

const learnerOf = (model: AnyRef): Learner =>
  new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(data(8), { batchSize: 4 }),
      validation: new DataLoader(data(6), { batchSize: 4 }),
    },
    optimizer: sgd({ lr: 0.1 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(accuracy)],
  });

describe("predict", () => {
  test("gives the outputs in one array, whatever the batches", async () => {
    const model = scorer();
    const xs = rows(7);
    const own = await py.ndarray(model(worker.tensor(xs)));
    for (const options of [{}, { batchSize: 3 }, { batchSize: 1 }, { batchSize: 7 }])
      expect(await learnerOf(model).predict(xs, options)).toEqual(own);
    expect(await outputs(model, xs)).toEqual(own);
  });

  test("takes loaders, batches, references, and what is iterated once", async () => {
    const model = scorer();
    const learner = learnerOf(model);
    const all = await learner.predict(rows(7));
    expect(await learner.predict(new DataLoader(data(7), { batchSize: 2 }))).toEqual(all);
    expect(await learner.predict([...batches(data(7), { batchSize: 3 })] as Data)).toEqual(all);
    expect(await learner.predict(batches(data(7), { batchSize: 3 }) as Data)).toEqual(all);
    expect(await learner.predict(worker.tensor(rows(7)))).toEqual(all);
    expect(await learner.predict([])).toMatchObject({ shape: [0] });
  });

  test("with topK or classes: the likeliest of each sample, its probability and score", async () => {
    const xs: NDArray = { dtype: "float32", shape: [2, 2], data: Float32Array.of(1, 0, -3, 0) };
    const predictions = await learnerOf(scorer()).predict(xs, { topK: 2 });
    expect(predictions.map(({ label, index, score }) => [label, index, score])).toEqual([
      ["2", 2, 2],
      ["0", 0, 3],
    ]);
    expect(predictions[0]!.top.map(({ label }) => label)).toEqual(["2", "1"]);
    expect([...predictions[0]!.scores]).toEqual([-1, 1, 2]);
    const sum = Math.exp(-1) + Math.exp(1) + Math.exp(2);
    const probabilities = [-1, 1, 2].map((score) => Math.exp(score) / sum);
    for (const [i, probability] of probabilities.entries())
      expect(predictions[0]!.probabilities[i]).toBeCloseTo(probability, 6);
    expect(predictions[0]!.probability).toBe(predictions[0]!.probabilities[2]);

    const named = await learnerOf(scorer()).predict(xs, { classes: ["cat", "dog", "owl"] });
    expect(named.map(({ label, top }) => [label, top.length])).toEqual([
      ["owl", 1],
      ["cat", 1],
    ]);
    // No more than there are.
    expect((await classify(scorer(), xs, { topK: 9 }))[0]!.top).toHaveLength(3);
  });

  test("several inputs, by position and by name", async () => {
    const model = moduleOf("a, b: a + 2 * b");
    const [a, b] = [rows(3), rows(3)];
    const tripled = Float32Array.from(a.data as Float32Array, (x) => Math.fround(x + Math.fround(2 * x)));
    expect(await outputs(model, [a, b])).toEqual({ dtype: "float32", shape: [3, 2], data: tripled });
    expect((await outputs(model, { b, a })).data).toEqual(tripled);
  });

  test("in eval mode and without gradients, and leaves modes, weights and random numbers as they were", async () => {
    const model = torch.nn.Sequential(scorer(), torch.nn.Dropout(0.5));
    model.train();
    const before = await py.ndarray(torch.get_rng_state());
    const once = await outputs(model, rows(5));
    // Not only the same ones each time, as a dropout with the same random numbers would give.
    expect(await outputs(py.at(model, 0), rows(5))).toEqual(once);
    expect(await outputs(model, rows(5))).toEqual(once);
    expect(await py.ndarray(torch.get_rng_state())).toEqual(before);
    expect(await py.js(model.training)).toBe(true);
    expect(await py.js(py.at(model, 1).training)).toBe(true);
  });

  test("what cannot be predicted, and what was asked in a wrong way", async () => {
    const learner = learnerOf(scorer());
    const message = async (samples: unknown, options: object = {}): Promise<string> => {
      const error = await caught(() => learner.predict(unchecked(samples), unchecked(options)));
      expect(["MISUSE", "BAD_DATA"]).toContain(error.code);
      return error.message;
    };
    expect(await message(rows(2), { topK: 0 })).toBe("predict: topK must be a whole number from 1, not 0");
    for (const batchSize of [0, -1, 1.5, Number.NaN, "3"])
      expect(await message(rows(2), { batchSize })).toBe(
        `predict: batchSize must be a whole number from 1, not ${batchSize}`,
      );
    expect(await message(rows(2), { classes: ["cat", "dog"] })).toBe(
      "predict: the model has 3 outputs, and classes has 2 names",
    );
    for (const samples of ["cat.jpg", undefined, null, 3])
      expect(await message(samples)).toMatch(/^predict: the samples are .+; give an array/);
    expect(await message({ dtype: "float32", shape: [], data: new Float32Array(1) })).toContain(
      "predict: a single number has no axis of samples",
    );
    expect(await message({ dtype: "float32", shape: [1, 4, 4, 3], data: new Float32Array(48) })).toContain("image(");

    const flat = await caught(() => classify(torch.nn.Flatten(0), rows(2), { topK: 1 }));
    expect(flat.message).toContain("the model gives outputs of shape [4], which are no scores of classes");
    const scalar = await caught(() => outputs(moduleOf("x: x.sum()"), rows(2)));
    expect(scalar).toMatchObject({ code: "MISUSE" });
    expect(scalar.message).toContain("a single number");
    const uneven = await caught(() =>
      outputs(
        torch.nn.Identity(),
        [rows(2), { dtype: "float32", shape: [1, 3], data: new Float32Array(3) }].map((xs) => ({
          xs,
          ys: labels(1),
        })) as Data,
      ),
    );
    expect(uneven.message).toContain("[3]");
  });

  test("a failed prediction stops nothing else, and none of what came before stops it", async () => {
    const learner = learnerOf(scorer());
    const wrong: NDArray = { dtype: "float32", shape: [1, 5], data: new Float32Array(5) };
    const [bad, good] = await Promise.allSettled([learner.predict(wrong), learner.predict(rows(2))]);
    expect(bad.status === "rejected" && bad.reason).toMatchObject({ code: "PYTHON", pyType: "RuntimeError" });
    expect(good.status).toBe("fulfilled");
    expect((await learner.fit(1)).status).toBe("completed");
  });
});

describe("validate", () => {
  test("gives the metrics of the learner's validation data, or of other data, and changes no weight", async () => {
    const learner = learnerOf(scorer());
    const before = await py.ndarray(learner.model.weight);
    const own = await learner.validate();
    // The scores of class 2 are the highest for x0 > 0, those of class 0 for x0 < 0.
    const { xs, ys } = data(6);
    const right = Array.from({ length: 6 }, (_, i) => (xs.data[2 * i]! as number) <= 0 && ys.data[i] === 0).filter(
      Boolean,
    );
    expect(own).toEqual({ loss: expect.any(Number), accuracy: right.length / 6 });
    expect(await learner.validate(new DataLoader(data(6), { batchSize: 1 }))).toMatchObject({
      accuracy: own["accuracy"]!,
    });
    expect(await learner.validate([data(1)])).not.toEqual(own);
    expect(await py.ndarray(learner.model.weight)).toEqual(before);
    expect(learner.state.history["validation"]).toMatchObject({ epochs: 3, steps: 9 });
    expect(learner.state.history["training"]).toBeUndefined();
  });

  test("the loss of an epoch is the mean over samples, of batches of different sizes too", async () => {
    const learner = learnerOf(scorer());
    const whole = await learner.validate(new DataLoader(data(6), { batchSize: 6 }));
    const cut = await learner.validate(new DataLoader(data(6), { batchSize: 4 }));
    expect(cut["loss"]).toBeCloseTo(whole["loss"]!, 6);
  });

  test("between fits, it leaves the training as it would have been", async () => {
    const [one, other] = [learnerOf(scorer()), learnerOf(scorer())];
    await one.fit(1);
    await one.validate();
    await one.fit(1);
    await other.fit(2);
    expect(await py.ndarray(one.model.weight)).toEqual(await py.ndarray(other.model.weight));
  });
});
