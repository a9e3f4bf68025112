/** Losses that models compute in their forward, beside plain PyTorch. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  DataLoader,
  EarlyStopping,
  Learner,
  lrFind,
  metric,
  Metrics,
  MetricsPrinter,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  ValidationPhase,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { SanityCheck, SWA } from "torchwire/callbacks";
import { ownLoss, type OwnLossOptions } from "torchwire/losses";
import { MeanLoss, Metric, topK } from "torchwire/metrics";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { evaluated, structures } from "../../structures.ts";
import { float32, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let native: (name: string) => AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  native = structures(worker);
});

const copyOf = (model: AnyRef): AnyRef => worker.import("copy").deepcopy(model) as AnyRef;
const weightsOf = (model: AnyRef): Promise<unknown> => py.js(model.state_dict());
const valuesOf = (learner: Learner, phase: string, name: string): number[] =>
  learner.state.metricsStep[phase]![name]!.map(({ value }) => value);
const lastOf = (learner: Learner, phase: string, name: string): number =>
  learner.state.metricsEpoch[phase]![name]!.at(-1)!.value;

const options = (more: LearnerOptions): LearnerOptions => ({
  optimizer: sgd({ lr: 0.1 }),
  defaultCallbacks: false,
  callbacks: [new Recorder(), new Metrics()],
  ...more,
});

test("SWA's updateBatchNorm gives it its targets", async () => {
  const model = native("Normed")();
  const copy = copyOf(model);
  const xs = float32([6, 2], ...Array.from({ length: 12 }, (_, i) => Math.sin(i * 7)));
  const ys: NDArray = { dtype: "int64", shape: [6], data: BigInt64Array.of(0n, 1n, 2n, 2n, 0n, 1n) };
  const swa = new SWA({ start: 1 });
  const learner = new Learner(
    model,
    ownLoss(),
    options({ data: { training: new DataLoader({ xs, ys }, { batchSize: 3 }) }, callbacks: [swa] }),
  );
  await learner.fit(2);
  await swa.updateBatchNorm();
  const batches = evaluated(worker, "list(zip(x.split(3), y.split(3)))", {
    x: worker.tensor(xs),
    y: worker.tensor(ys),
  });
  expect(await weightsOf(swa.model)).toEqual(await py.js(native("averaged")(copy, batches, 2, py.float(0.1))));
});

describe("a model as Hugging Face's, with labels and an output that has the loss", () => {
  const ids = (rows: number): NDArray => ({
    dtype: "int64",
    shape: [rows, 4],
    data: BigInt64Array.from({ length: 4 * rows }, (_, i) => BigInt((i * i) % 11)),
  });
  const mask = (rows: number): NDArray =>
    float32([rows, 4], ...Array.from({ length: 4 * rows }, (_, i) => (i % 4 < 3 ? 1 : 0)));
  /** The first row has one label, and the others have three. */
  const labels = (rows: number): NDArray => ({
    dtype: "int64",
    shape: [rows, 4],
    data: BigInt64Array.from({ length: 4 * rows }, (_, i) =>
      BigInt(i > 0 && i < 4 ? -100 : i % 4 === 3 ? -100 : i % 3),
    ),
  });
  const rows = (from: number, to: number): { xs: { input_ids: NDArray; attention_mask: NDArray }; ys: NDArray } => {
    const cut = (array: NDArray): NDArray => ({
      ...array,
      shape: [to - from, 4],
      data: array.data.slice(4 * from, 4 * to),
    });
    return { xs: { input_ids: cut(ids(5)), attention_mask: cut(mask(5)) }, ys: cut(labels(5)) };
  };
  const batches = [rows(0, 2), rows(2, 5)];
  const plainBatches = (): AnyRef =>
    evaluated(worker, "[(dict(input_ids=i[a:b], attention_mask=m[a:b]), y[a:b]) for a, b in ((0, 2), (2, 5))]", {
      i: worker.tensor(ids(5)),
      m: worker.tensor(mask(5)),
      y: worker.tensor(labels(5)),
    });
  const data = { training: batches, validation: batches };
  const tagger = (): AnyRef => native("Tagger")();

  test("the bits of the plain loop, and an epoch's loss over all labels that count", async () => {
    const model = tagger();
    const copy = copyOf(model);
    const learner = new Learner(
      model,
      ownLoss(),
      options({
        data,
        output: (y) => y.logits,
        callbacks: [new Recorder(), new Metrics(topK(1, { name: "right", axis: -1 }))],
      }),
    );
    await learner.fit(2);
    const loss = evaluated(worker, "lambda model, xs, ys: model(**xs, labels=ys).loss");
    const plain = (await py.js(native("train")(copy, plainBatches(), 2, py.float(0.1), loss))) as number[];
    expect(valuesOf(learner, "training", "loss")).toEqual(plain);
    expect(await weightsOf(model)).toEqual(await weightsOf(copy));
    // 4 labels count in the first batch, and 9 in the second.
    expect(lastOf(learner, "training", "loss")).toBeCloseTo((4 * plain[2]! + 9 * plain[3]!) / 13, 12);
    const whole = await py.js(
      evaluated(worker, "copy(input_ids=i, attention_mask=m, labels=y).loss.item()", {
        copy,
        i: worker.tensor(ids(5)),
        m: worker.tensor(mask(5)),
        y: worker.tensor(labels(5)),
      }),
    );
    expect(lastOf(learner, "validation", "loss")).toBeCloseTo(whole as number, 6);
    const right = await py.js(
      evaluated(worker, "(lambda g: (g == y)[y != -100].float().mean().item())(copy(i, m).logits.argmax(-1))", {
        copy,
        i: worker.tensor(ids(5)),
        m: worker.tensor(mask(5)),
        y: worker.tensor(labels(5)),
      }),
    );
    expect(lastOf(learner, "validation", "right")).toBeCloseTo(right as number, 6);
    // A prediction gives the model no targets.
    const { xs } = rows(0, 2);
    expect((await learner.predict(xs)).shape).toEqual([2, 4, 3]);
    expect(Object.keys(await learner.predict(xs, { select: (y) => ({ states: y.hidden_states[0] }) }))).toEqual([
      "states",
    ]);
  });

  test("targets by name, by another name, and where the loss is not one of the usual places", async () => {
    const one = [rows(0, 5)];
    const first = async (model: AnyRef, own: OwnLossOptions, ys: unknown = one[0]!.ys): Promise<number> => {
      const training = [{ xs: one[0]!.xs, ys }] as never;
      const learner = new Learner(model, ownLoss(own), options({ data: { training } }));
      await learner.fit(1);
      return valuesOf(learner, "training", "loss")[0]!;
    };
    const model = tagger();
    const plain = await first(copyOf(model), {});
    expect(await first(copyOf(model), {}, { labels: one[0]!.ys })).toBe(plain);
    expect(await first(copyOf(model), { targets: "labels" })).toBe(plain);
    expect(await first(copyOf(model), { loss: (y) => y.loss.mul(2) })).toBe(2 * plain);
    expect(await first(copyOf(model), { loss: (y) => [y.loss, y.loss] })).toBe(2 * plain);
    expect(await first(copyOf(model), { loss: (y) => ({ a: y.loss }) })).toBe(plain);
    // Bytes are labels, too.
    const bytes = { dtype: "uint8", shape: [5, 4], data: new Uint8Array(20).fill(1) } as const;
    expect(await first(copyOf(model), {}, bytes)).toBe(
      await first(copyOf(model), {}, { ...bytes, dtype: "int64", data: new BigInt64Array(20).fill(1n) }),
    );
  });

  test("with gradients accumulated, scaled, checked for NaN, and before a fit", async () => {
    const callbacks = [
      new Recorder(),
      new Metrics(),
      new SanityCheck(),
      new StopOnNaNLoss(),
      new PyTorchBackend({ accumulate: 2, amp: "bf16" }),
    ];
    const learner = new Learner(tagger(), ownLoss(), options({ data, callbacks }));
    expect((await lrFind(learner, { steps: 3 })).losses.length).toBeGreaterThan(0);
    expect((await learner.fit(2)).steps).toBe(4);
    expect(Object.keys(learner.state.metricsEpoch["training"]!)).toEqual(["loss"]);
    // A batch without a label that counts has no loss.
    const empty = { ...rows(0, 2), ys: { ...rows(0, 2).ys, data: new BigInt64Array(8).fill(-100n) } };
    const two = new Learner(
      tagger(),
      ownLoss(),
      options({
        data: { training: [empty, rows(2, 5)] },
        callbacks: [new Recorder(), new Metrics(), new StopOnNaNLoss()],
      }),
    );
    expect((await two.fit(1)).status).toBe("completed");
    expect(valuesOf(two, "training", "loss")).toHaveLength(1);
  });
});

describe("a model that gives a dict of losses in training", () => {
  const sizes = [2, 3];
  const imagesOf = (): AnyRef => native("images")(sizes);
  const SUM = "lambda model, xs, ys: sum(model(xs, ys).values())";

  test("the bits of the plain loop, and each loss in the history", async () => {
    const model = native("Detector")();
    const copy = copyOf(model);
    const output = {
      text: "",
      write(text: string) {
        this.text += text;
      },
    };
    const learner = new Learner(
      model,
      ownLoss(),
      options({
        data: { training: imagesOf() },
        callbacks: [new Recorder(), new Metrics(), new SanityCheck(), new MetricsPrinter({ output })],
      }),
    );
    await learner.fit(2);
    const plain = (await py.js(
      native("train")(copy, imagesOf(), 2, py.float(0.1), evaluated(worker, SUM)),
    )) as number[];
    expect(await weightsOf(model)).toEqual(await weightsOf(copy));
    expect(valuesOf(learner, "training", "loss")).toEqual(plain);
    const [classifier, boxes] = ["loss_classifier", "loss_box_reg"].map((name) =>
      valuesOf(learner, "training", name),
    ) as [number[], number[]];
    expect(classifier.map((one, i) => Math.fround(one + boxes[i]!))).toEqual(plain);
    for (const name of ["loss", "loss_classifier", "loss_box_reg"]) {
      const [, , a, b] = valuesOf(learner, "training", name);
      expect(lastOf(learner, "training", name)).toBeCloseTo((2 * a! + 3 * b!) / 5, 12);
    }
    expect(output.text).toMatch(/loss +loss_classifier +loss_box_reg/);
  });

  test("validation has the detections, and no loss", async () => {
    const seen: unknown[] = [];
    const found = metric("found", {
      phase: ValidationPhase,
      update: (yhat) => ({ images: worker.import("builtins").len(yhat), score: py.at(yhat[0], "scores").sum() }),
      compute: ({ images, score }) => {
        seen.push(score);
        return images;
      },
    });
    const learner = new Learner(
      native("Detector")(),
      ownLoss(),
      options({
        data: { training: imagesOf(), validation: imagesOf() },
        callbacks: [new Recorder(), new Metrics(found), new StopOnNaNLoss()],
      }),
    );
    await learner.fit(1);
    expect(Object.keys(learner.state.metricsEpoch["validation"]!)).toEqual(["found"]);
    expect(lastOf(learner, "validation", "found")).toBe(5);
    expect(await learner.validate()).toEqual({ found: 5 });
    learner.addCallback(new EarlyStopping(1));
    const error = await caught(() => learner.fit(1));
    expect(error.message).toContain('monitor is "loss", but validation has no such metric; it has found');
  });

  test("a detector of torchvision's", async () => {
    const model = native("faster_rcnn")();
    const copy = copyOf(model);
    const learner = new Learner(model, ownLoss(), options({ data: { training: imagesOf(), validation: imagesOf() } }));
    torch.manual_seed(3);
    await learner.fit(1);
    torch.manual_seed(3);
    const plain = await py.js(native("train")(copy, imagesOf(), 1, py.float(0.1), evaluated(worker, SUM)));
    expect(valuesOf(learner, "training", "loss")).toEqual(plain);
    expect(await weightsOf(model)).toEqual(await weightsOf(copy));
    expect(Object.keys(learner.state.metricsEpoch["training"]!).toSorted()).toEqual([
      "loss",
      "loss_box_reg",
      "loss_classifier",
      "loss_objectness",
      "loss_rpn_box_reg",
    ]);
  });

  test("parts weigh as the loss does, by a weight of one's own too", async () => {
    const model = native("Detector")();
    for (const [own, mean, weights] of [
      [{ weight: (_: unknown, ys: any) => worker.import("builtins").len(ys).__pow__(2) }, "samples", [4, 9]],
      [{ weight: () => 1 }, "samples", [1, 1]],
      [{}, "steps", [1, 1]],
    ] as const) {
      const learner = new Learner(
        copyOf(model),
        ownLoss(unchecked(own)),
        options({
          data: { training: imagesOf() },
          callbacks: [new Recorder(), new Metrics(new MeanLoss({ mean }))],
        }),
      );
      await learner.fit(1);
      for (const name of ["loss", "loss_classifier"]) {
        const [a, b] = valuesOf(learner, "training", name);
        expect(lastOf(learner, "training", name)).toBeCloseTo(
          (weights[0] * a! + weights[1] * b!) / (weights[0] + weights[1]),
          12,
        );
      }
    }
  });
});

describe("what the loss cannot be", () => {
  const x = float32([2, 1], 1, 2);
  /** A module with one weight w, whose forward gives this. */
  function model(parameters: string, gives: string): AnyRef {
    const names = worker.import("builtins").dict();
    worker
      .import("builtins")
      .exec(
        `import torch\nclass Own(torch.nn.Module):\n  def __init__(self):\n    super().__init__()\n    self.w = torch.nn.Parameter(torch.ones(1))\n  def forward(self, ${parameters}): return ${gives}`,
        names,
      );
    return py.at(names, "Own")();
  }
  const learnerOf = (made: AnyRef, own: OwnLossOptions = {}, more: LearnerOptions = {}): Learner =>
    new Learner(made, ownLoss(own), options({ data: { training: [{ xs: x, ys: x }] }, ...more }));
  const failure = async (made: AnyRef, own: OwnLossOptions = {}, more: LearnerOptions = {}): Promise<string> =>
    (await caught(() => learnerOf(made, own, more).fit(1))).message;
  const first = async (made: AnyRef, own: OwnLossOptions = {}): Promise<{ [name: string]: number }> => {
    const learner = learnerOf(made, own);
    await learner.fit(1);
    return Object.fromEntries(
      Object.keys(learner.state.metricsStep["training"]!).map((name) => [
        name,
        valuesOf(learner, "training", name)[0]!,
      ]),
    );
  };

  test("losses are found in every usual place, with the numbers beside them", async () => {
    const square = "(self.w * x - 2 * labels).square().mean()"; // (1 + 4) / 2
    expect(await first(model("x, labels", square))).toEqual({ loss: 2.5 });
    expect(await first(model("x, labels", `(${square}, x)`))).toEqual({ loss: 2.5 });
    expect(await first(model("x, labels", `{"loss": ${square}, "kl": self.w.sum() * 3, "y": x}`))).toEqual({
      loss: 2.5,
      kl: 3,
    });
    expect(await first(model("x, labels", `{"loss": ${square}, "loss_dict": {"ce": self.w.sum() * 2}}`))).toEqual({
      loss: 2.5,
      "loss_dict/ce": 2,
    });
    expect(await first(model("x, labels", `__import__("types").SimpleNamespace(loss=${square})`))).toEqual({
      loss: 2.5,
    });
    expect(await first(model("x, labels", `(x, ${square})`), { loss: (y) => y[1] })).toEqual({ loss: 2.5 });
    expect(await first(model("x, **named", `(self.w * x - 2 * named["labels"]).square().mean()`))).toEqual({
      loss: 2.5,
    });
    expect(await first(model("x, y", square.replace("labels", "y")), { targets: "y" })).toEqual({ loss: 2.5 });
    expect(await first(model("x", `{"recon": (self.w * x).sum(), "kl": self.w.sum()}`), { targets: false })).toEqual({
      loss: 4,
      recon: 3,
      kl: 1,
    });
    expect(await first(model("x, labels", square), { loss: (y) => ({ a: y, b: y }) })).toEqual({
      loss: 5,
      a: 2.5,
      b: 2.5,
    });
  });

  test("what is wrong is said, with what to do", async () => {
    expect(await failure(model("x, labels", "x * self.w"))).toMatch(
      /the model gives a Tensor and no loss.*ownLoss\(\{ loss: \(y\) => y\.total \}\)/,
    );
    expect(await failure(model("x, labels", '{"y": x * self.w}'))).toContain("the model gives a dict of y and no loss");
    expect(await failure(model("x, y", "self.w.sum()"))).toMatch(
      /has no parameter `labels` or `targets`.*ownLoss\(\{ targets: "y" \}\)/,
    );
    const both = new Learner(
      model("x, labels", "self.w.sum()"),
      ownLoss(),
      options({ data: { training: [{ xs: { x, labels: x }, ys: x }] } }),
    );
    expect((await caught(() => both.fit(1))).message).toContain("the inputs and the targets both have 'labels'");
    expect(await failure(model("x, labels", "self.w.sum()"), { weight: () => -1 })).toContain(
      "the weight of the loss is -1.0",
    );
    expect(await failure(model("x, labels", "self.w.sum()"), unchecked({ weight: () => "3" }))).toContain(
      "ownLoss: weight gave '3'",
    );
    expect(await failure(model("x, labels", "self.w.sum()"), unchecked({ loss: () => undefined }))).toContain(
      "ownLoss: loss gave undefined",
    );
    const named = await failure(
      model("x, labels", '{"loss": self.w.sum(), "accuracy": self.w.sum()}'),
      {},
      {
        callbacks: [new Recorder(), new Metrics(new Metric(() => 1, { name: "accuracy" }))],
      },
    );
    expect(named).toContain('the loss of the model has a part "accuracy", and there is a metric of that name');
    for (const wrong of [{ targets: 3 }, { loss: "y" }, { weight: 1 }, { target: "y" }])
      expect(() => ownLoss(unchecked(wrong))).toThrow(/^ownLoss/);
    // Outputs that the model was not asked for have no loss.
    const learner = learnerOf(model("x, labels", "self.w.sum()"));
    expect(() => learner.lossFn(worker.tensor(x) as never, x)).toThrow(/learner\.forward\(step\.xs, step\.ys\)/);
  });
});
