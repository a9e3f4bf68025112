/** Uses of a model beside training: predict and validate. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  bceWithLogits,
  crossEntropy,
  DataLoader,
  Learner,
  Metrics,
  mse,
  py,
  Recorder,
  sgd,
  type Data,
  type NDArray,
  type Worker,
} from "torchwire";
import { batches } from "torchwire/data";
import { probabilityCrossEntropy } from "torchwire/flux";
import { bce, nll, type Loss } from "torchwire/losses";
import { classify, outputs } from "torchwire/model";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

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

/** With a parameter, which an optimizer asks for. */
function optimized(model: AnyRef): AnyRef {
  const whole = torch.nn.Sequential(model);
  whole.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)));
  return whole;
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

  const whole = (...values: bigint[]): NDArray => ({
    dtype: "int64",
    shape: [values.length, 1],
    data: BigInt64Array.from(values),
  });

  test("what is no half float keeps its dtype and its numbers", async () => {
    const big = whole(2n ** 24n + 1n, -(2n ** 62n) - 1n, 3n);
    for (const options of [{}, { batchSize: 2 }]) expect(await outputs(torch.nn.Identity(), big, options)).toEqual(big);
    const double: NDArray = { dtype: "float64", shape: [3], data: Float64Array.of(1 / 3, 2 ** 60 + 2 ** 9, 1e300) };
    const complex: NDArray = { dtype: "complex64", shape: [2], data: Float32Array.of(1, 2, 3, -4) };
    const flags: NDArray = { dtype: "bool", shape: [2, 2], data: Uint8Array.of(1, 0, 0, 1) };
    const bytes: NDArray = { dtype: "uint8", shape: [2], data: Uint8Array.of(255, 3) };
    for (const array of [double, complex, flags, bytes]) {
      expect(await outputs(torch.nn.Identity(), array)).toEqual(array);
      expect(await outputs(torch.nn.Identity(), array, { batchSize: 1 })).toEqual(array);
    }
  });

  test("half floats of every kind come as float32, and what cannot be sent says what to do", async () => {
    const xs: NDArray = { dtype: "float32", shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 3) };
    for (const dtype of ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
      expect(await outputs(moduleOf(`x: x.to(torch.${dtype})`), xs)).toEqual(xs);
    const error = await caught(() => outputs(moduleOf("x: x.to(torch.complex128)"), xs));
    expect(error.message).toContain(
      "a tensor of complex128, which cannot be sent; convert it first: .to(torch.complex64)",
    );
    const wide = await caught(() => outputs(moduleOf("x: x.abs().to(torch.uint16)"), xs));
    expect(wide.message).toContain("convert it first: .to(torch.int32)");
    const uneven = await caught(() =>
      outputs(moduleOf("x: x if len(x) > 1 else x.double()"), rows(3), { batchSize: 2 }),
    );
    expect(uneven.message).toContain("outputs of float32 [2] for some samples and of float64 [2] for others");
  });

  test("several outputs come in the containers that they are in", async () => {
    const xs = rows(5);
    const values = xs.data as Float32Array;
    const doubled = { ...xs, data: values.map((x) => 2 * x) };
    const [first, second] = [xs, doubled];
    for (const options of [{}, { batchSize: 2 }]) {
      type Two = { readonly out: NDArray; readonly aux: readonly NDArray[] };
      const two: Two = await outputs<Two>(moduleOf('x: {"out": x, "aux": [2 * x]}'), xs, options);
      expect(two).toEqual({ out: first, aux: [second] });
      const half = await outputs<any>(
        moduleOf('x: __import__("collections").defaultdict(list, out=x.double())'),
        xs,
        options,
      );
      expect(half.out).toEqual({ dtype: "float64", shape: [5, 2], data: Float64Array.from(values) });
      const record = 'x: __import__("dataclasses").make_dataclass("Out", ["out", "name"])(2 * x, "text")';
      expect(await outputs<any>(moduleOf(record), xs, options)).toEqual({ out: second, name: "text" });
      expect(await learnerOf(optimized(moduleOf("x: (x, 2 * x)"))).predict<readonly NDArray[]>(xs, options)).toEqual([
        first,
        second,
      ]);
    }
    const none = await caught(() => classify(moduleOf('x: {"out": x, "aux": x}'), xs, { topK: 1 }));
    expect(none.message).toContain("the model gives a dict of out, aux, and no scores of classes [samples, classes]");
    const odd = await caught(() => outputs(moduleOf('x: {"out": x} if len(x) > 1 else [x]'), xs, { batchSize: 2 }));
    expect(odd).toMatchObject({ code: "MISUSE" });
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

describe("classes of what the model was trained for", () => {
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  const column = (...values: number[]): NDArray => ({
    dtype: "float32",
    shape: [values.length, 1],
    data: Float32Array.from(values),
  });
  const trained = (model: AnyRef, loss: Loss): Learner =>
    new Learner(optimized(model), loss, { defaultCallbacks: false });

  test("one output is a yes or a no, and its probability a sigmoid", async () => {
    const xs = column(-5, 2, 0);
    const expected = [sigmoid(-5), sigmoid(2), 0.5];
    const shapes = [torch.nn.Identity(), torch.nn.Flatten(0)];
    const losses: Loss[] = [bceWithLogits(), torch.nn.BCEWithLogitsLoss(), (yhat, ys) => yhat.sub(ys).mean()];
    for (const model of shapes)
      for (const loss of losses) {
        const found = await trained(model, loss).predict(xs, { topK: 2, batchSize: 2 });
        expect(found.map(({ label }) => label)).toEqual(["0", "1", "0"]);
        for (const [i, { probabilities, probability, index, top }] of found.entries()) {
          expect(probabilities[1]).toBeCloseTo(expected[i]!, 6);
          expect(probabilities[0]).toBeCloseTo(1 - expected[i]!, 6);
          expect(probability).toBe(probabilities[index]);
          expect(top).toHaveLength(2);
        }
      }
    const named = await trained(torch.nn.Identity(), bceWithLogits()).predict(xs, { classes: ["ham", "spam"] });
    expect(named.map(({ label }) => label)).toEqual(["ham", "spam", "ham"]);
    expect(named[1]).toMatchObject({ score: 2, index: 1 });
  });

  test("probabilities are not made probabilities again", async () => {
    const xs = column(0.1, 0.9);
    const [no, yes] = await trained(torch.nn.Identity(), bce()).predict(xs, { classes: ["no", "yes"] });
    expect([no!.label, yes!.label]).toEqual(["no", "yes"]);
    expect(no!.probability).toBeCloseTo(0.9, 6);
    expect(yes!.probability).toBeCloseTo(0.9, 6);
    const three: NDArray = { dtype: "float32", shape: [1, 3], data: Float32Array.of(0.2, 0.7, 0.1) };
    for (const loss of [bce(), probabilityCrossEntropy()]) {
      const [found] = await trained(torch.nn.Identity(), loss).predict(three, { topK: 1 });
      expect([...found!.probabilities]).toEqual([...three.data]);
    }
    const logs = { ...three, data: (three.data as Float32Array).map(Math.log) };
    const [found] = await trained(torch.nn.Identity(), nll()).predict(logs, { topK: 1 });
    for (const i of [0, 1, 2]) expect(found!.probabilities[i]).toBeCloseTo(three.data[i] as number, 6);
  });

  test("labels have a probability each", async () => {
    const xs: NDArray = { dtype: "float32", shape: [1, 3], data: Float32Array.of(2, -1, 3) };
    const [found] = await trained(torch.nn.Identity(), bceWithLogits()).predict(xs, {
      classes: ["a", "b", "c"],
      topK: 2,
    });
    expect(found!.top.map(({ label }) => label)).toEqual(["c", "a"]);
    for (const [i, x] of [2, -1, 3].entries()) expect(found!.probabilities[i]).toBeCloseTo(sigmoid(x), 6);
    // Without a learner the loss is said, or what the outputs are.
    for (const options of [{ loss: bceWithLogits() }, { task: "labels" }] as const)
      expect((await classify(torch.nn.Identity(), xs, options))[0]!.probabilities).toEqual(found!.probabilities);
  });

  test("what has no classes is refused, and says what to do", async () => {
    const message = async (loss: Loss, xs: NDArray, options: object): Promise<string> => {
      const error = await caught(() => trained(torch.nn.Identity(), loss).predict(xs, unchecked(options)));
      expect(error.code).toBe("MISUSE");
      return error.message;
    };
    expect(await message(crossEntropy(), column(1, 2), { topK: 1 })).toContain(
      "are one class, of probability 1 whatever the model says",
    );
    expect(await message(mse(), column(1, 2), { topK: 1 })).toContain(
      "the model was trained with mse_loss, which is no loss of classes",
    );
    expect(await message(bceWithLogits(), column(1), { classes: ["cat"] })).toContain(
      "the model has one output, a yes or a no: classes are the names of no and of yes, and not 1",
    );
    expect(await message(bceWithLogits(), column(1), { topK: 1, task: "multi" })).toContain('"classes" or "labels"');
  });

  test("scores of double precision are not rounded", async () => {
    const model = torch.nn.Identity();
    const xs: NDArray = { dtype: "float64", shape: [1, 2], data: Float64Array.of(1 / 3, 1 / 7) };
    const [found] = await trained(model, crossEntropy()).predict(xs, { topK: 1 });
    expect(found!.scores).toEqual(xs.data);
    expect(found!.probability).toBeCloseTo(sigmoid(1 / 3 - 1 / 7), 15);
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
