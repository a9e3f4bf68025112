/** Misuse of a Learner. Each gives an error, or a warning, that says what it was, where, and what to do. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  callback,
  CallbackError,
  crossEntropy,
  DataLoader,
  freeze,
  Learner,
  kw,
  metric,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  StepError,
  ValidationPhase,
  type Callback,
  type Data,
  type Learner as AnyLearner,
  type LearnerOptions,
  type NDArray,
  type Report,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { format } from "torchwire/formats";
import { multiMargin, type Loss } from "torchwire/losses";
import { Metric } from "torchwire/metrics";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, nextLine, untyped } from "../../observed.ts";
import { labels, ones, pairs } from "../../misuse/given.ts";
import { unchecked } from "../../tiny.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const linear = (from = 1, to = 1): AnyRef => torch.nn.Linear(from, to);

function learnerWith(
  callbacks: readonly Callback[] = [],
  options: LearnerOptions = {},
  model: AnyRef = linear(),
): Learner {
  return new Learner(model, mse(), {
    data: { training: pairs(3), validation: pairs(1) },
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(), ...callbacks],
    ...options,
  });
}

const PARTS = `
import torch
class Parts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x):
        return {"out": self.layer(x), "aux": self.layer(x)}
`;

const fit = (learner: AnyLearner, data?: unknown): Promise<Report> =>
  learner.fit(1, data === undefined ? {} : { data: { training: unchecked(data) } });

describe("making a learner", () => {
  test("a model that is none, on no worker, or a record in which one is none", () => {
    const made =
      (model: unknown): (() => unknown) =>
      () =>
        new Learner(model, mse());
    for (const model of [undefined, null, {}, 3, "resnet18", () => 1, { generator: 3 }])
      expect(made(model)).toThrow("new Learner(model, …): model is not a reference to a module, nor a record of some");
    expect(made({ generator: linear(), critic: 3 })).toThrow(
      'new Learner(model, …): the model "critic" is 3, and no reference to a module of this worker',
    );
  });

  test("a loss that is none, or was not called", () => {
    expect(() => new Learner(linear(), unchecked("mse"))).toThrow(/^the loss is 'mse'; it must be crossEntropy\(\)/);
    expect(() => new Learner(linear(), unchecked(undefined))).toThrow(/^the loss is undefined/);
  });

  test("a window that is none", () => {
    for (const window of [0, 1.5, "3", Number.NaN])
      expect(() => learnerWith([], { window: unchecked(window) })).toThrow(
        `window must be a whole number from 1, not ${window}`,
      );
  });

  test("a metric of one name twice", () => {
    const one = metric("one", { update: () => ({}), compute: () => 1 });
    expect(() => new Metrics(one, one)).toThrow('Metrics: there are two metrics called "one"; names are keys');
    expect(() => new Metrics(metric("loss", one))).toThrow('two metrics called "loss"');
  });

  test("one PyTorchBackend for two learners, or two for one", () => {
    const backend = new PyTorchBackend();
    learnerWith([backend]);
    expect(() => learnerWith([backend])).toThrow("a PyTorchBackend belongs to one learner: make another one");
    expect(() => learnerWith([new PyTorchBackend(), new PyTorchBackend()])).toThrow(
      "two callbacks called PyTorchBackend",
    );
    expect(() => new PyTorchBackend({ accumulate: 0 })).toThrow("accumulate must be a whole number from 1, not 0");
    expect(() => new PyTorchBackend({ clipGradNorm: 0 })).toThrow("clipGradNorm must be above 0, not 0");
  });

  test("several models: an optimizer for each", () => {
    const models = { generator: linear(), critic: linear() };
    expect(() => new Learner(models, mse(), { optimizer: { generator: sgd() } as never })).toThrow(
      'optimizer: there is none for the model "critic"',
    );
  });

  test("a callback that cannot be added leaves the learner as it was", async () => {
    const learner = learnerWith();
    const before = [learner.callbacks, learner.explain()];
    expect(() => learner.addCallback(new Recorder())).toThrow("two callbacks called Recorder");
    const failing = callback({
      name: "Failing",
      on: { stepBegin: () => undefined },
      init: () => {
        throw new RangeError("not here");
      },
    });
    expect(() => learner.addCallback(failing)).toThrow("not here");
    expect([learner.callbacks, learner.explain()]).toEqual(before);
    expect((await fit(learner)).status).toBe("completed");
  });

  test("a callback that is added is told of the learner, and found by its class", () => {
    let told: unknown;
    const learner = learnerWith();
    const added = callback({ name: "Told", init: (one) => (told = one), on: { epochEnd: () => undefined } });
    learner.addCallback(added);
    expect(told).toBe(learner);
    expect(learner.callbacks.at(-1)).toBe(added);
    expect(learner.explain()).toContain("Told (in line)");
    expect(learner.getCallback(Recorder)).toBe(learner.callbacks.find((one) => one instanceof Recorder));
    class Other extends Recorder {}
    expect(learner.getCallback(Other)).toBeUndefined();
  });
});

describe("starting a fit", () => {
  test("epochs that are no number", async () => {
    for (const epochs of ["10", 1.5, -1, Number.NaN, undefined, Infinity])
      expect(await caught(() => learnerWith().fit(unchecked(epochs)))).toMatchObject({
        code: "MISUSE",
        message: `fit: epochs must be a whole number, not ${epochs}`,
      });
  });

  test("no training data", async () => {
    expect(await caught(() => learnerWith([], { data: {} }).fit(1))).toMatchObject({
      code: "MISUSE",
      message: "fit: there is no training data: give the learner data: { training: … }",
    });
    expect(await caught(() => learnerWith([], { data: {} }).validate())).toMatchObject({
      code: "MISUSE",
      message: "epoch: there is no validation data: give the learner data: { validation: … }",
    });
  });

  test("no validation data: it trains, and says so once", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void (warning.name === "TorchwireWarning" && warnings.push(warning));
    process.on("warning", listen);
    const learner = learnerWith([], { data: { training: pairs(2) } });
    const report = await learner.fit(1);
    await learner.fit(1);
    await new Promise((resolve) => setImmediate(resolve));
    process.removeListener("warning", listen);
    expect(report).toMatchObject({ status: "completed", epochs: 1, steps: 2 });
    expect(Object.keys(report.phases)).toEqual(["training"]);
    expect(warnings.map(({ message }) => message)).toEqual([
      "there is no validation data: fit runs training epochs only",
    ]);
  });

  test("data that can be iterated only once", async () => {
    function* generator(): Generator<{ xs: NDArray; ys: NDArray }> {
      yield* pairs(2);
    }
    for (const once of [generator(), pairs(2).values(), new Map().entries()]) {
      const error = await caught(() => fit(learnerWith(), once));
      expect(error.code).toBe("MISUSE");
      expect(error.message).toMatch(
        /^the training data can be iterated only once \(it is a generator or another iterator\): give a DataLoader/,
      );
    }
    expect((await caught(() => learnerWith().validate(unchecked(generator())))).message).toContain(
      "the validation data",
    );
  });

  test("data that gives its batches once, and nothing in the second epoch", async () => {
    const iterator = pairs(2).values();
    const once: Data = { [Symbol.iterator]: () => ({ next: () => iterator.next() }) };
    const learner = learnerWith([], { data: { training: once, validation: pairs(1) } });
    const error = await caught(() => learner.fit(2));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toBe(
      "the training data gave no batches in epoch 2: it must give them each time it is iterated",
    );
    expect((await caught(() => fit(learnerWith(), []))).message).toContain("gave no batches in epoch 1");
  });

  test("a loader without a single batch; one that stands at the end of its pass is validated as a whole, and stays there", async () => {
    const few = { xs: ones(3, 1), ys: ones(3, 1) };
    const none = new DataLoader(few, { batchSize: 4, dropLast: true });
    expect((await caught(() => fit(learnerWith(), none))).message).toContain("gave no batches in epoch 1");
    const loader = new DataLoader(few, { batchSize: 2 });
    const learner = learnerWith();
    const whole = await learner.validate(loader);
    expect(whole).toHaveProperty("loss");
    const end = { ...loader.position, batch: loader.length };
    loader.position = end;
    expect(await learner.validate(loader)).toEqual(whole);
    expect(loader.position).toEqual(end);
    // An epoch goes on from where the loader is: there is no batch left, and so no metric.
    const losses = (): number => learner.state.metricsEpoch["validation"]!["loss"]!.length;
    const before = losses();
    await learner.epoch(new ValidationPhase(), loader);
    expect(losses()).toBe(before);
  });

  test("data that cannot be iterated", async () => {
    expect((await caught(() => fit(learnerWith(), { length: 3, get: () => 1 }))).message).toBe(
      "the training data cannot be iterated: give a DataLoader, or an array of batches",
    );
    for (const data of [3, "photos/", null, () => pairs(1)])
      expect((await caught(() => fit(learnerWith(), data))).message).toMatch(
        /^the training data is .+: give a DataLoader, or an array of batches$/,
      );
  });

  test("several models without a phase of their own", async () => {
    const models = { generator: linear(), critic: linear() };
    const learner = new Learner(models, mse(), { data: { training: pairs(1) }, defaultCallbacks: false });
    const error = await caught(() => learner.fit(1));
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({ code: "MISUSE", phase: "training", epoch: 1, step: 0 });
    expect(error.message).toBe(
      "training epoch 1, step 0: the learner has several models: write a phase that says how they work together, and fit with { phases: … }",
    );
  });

  test("a second fit, or an epoch, of this learner or of another one, while one runs", async () => {
    const learner = learnerWith();
    const running = learner.fit(1);
    const busy =
      /^this worker is busy with a fit, since \d{4}-\d\d-\d\dT[\d:.]+Z: await it first, or spawn another worker$/;
    for (const second of [() => learner.fit(1), () => learnerWith().fit(1), () => learner.validate()]) {
      const error = await caught(second);
      expect(error.code).toBe("BUSY");
      expect(error.message).toMatch(busy);
    }
    expect((await running).status).toBe("completed");
    const epoch = learner.epoch(new ValidationPhase());
    expect((await caught(() => learner.fit(1))).message).toContain("busy with an epoch, since");
    await epoch;
    expect((await learner.fit(1)).status).toBe("completed");
  });

  test("a signal that is none; the worker is not held by a fit that never began", async () => {
    const learner = learnerWith();
    const error = await caught(() => learner.fit(1, { signal: unchecked({ aborted: false }) }));
    expect([error.code, error.message]).toEqual(["MISUSE", expect.stringContaining("signal is no AbortSignal")]);
    expect((await learner.fit(1)).status).toBe("completed");
  });

  test("validating inside of a fit, which would be an epoch in an epoch", async () => {
    const inside = new CustomCallback("epochEnd", async () => void (await learner.validate()), { name: "Inside" });
    const learner = learnerWith([inside]);
    expect(await caught(() => learner.fit(1))).toMatchObject({ code: "BUSY", callback: "Inside", event: "epochEnd" });
  });
});

describe("a handler that throws is named, with the event, the phase and the step", () => {
  const thrown = new RangeError("mine");
  const throws = (): never => {
    throw thrown;
  };
  const place = { callback: "Bad", phase: "training", epoch: 1 };

  test.each([
    ["in line", "lossBegin", throws, 0],
    ["async, in line", "backwardEnd", () => Promise.reject(thrown), 0],
    ["at the start of an epoch", "epochBegin", throws, undefined],
    ["at the end of an epoch, async", "epochEnd", () => Promise.reject(thrown), undefined],
    ["at the start of the fit", "fitBegin", throws, undefined],
  ] as const)("%s", async (_how, event, handler, step) => {
    const error = await caught(() => fit(learnerWith([new CustomCallback(event, handler, { name: "Bad" })])));
    expect(error).toBeInstanceOf(CallbackError);
    expect(error).toMatchObject({ ...place, code: "CALLBACK", event, step, cause: thrown });
    expect(error.message).toBe(
      `callback Bad failed at ${event} (training epoch 1${step === undefined ? "" : `, step ${step}`}): mine`,
    );
  });

  test.each([
    ["observing", throws],
    ["observing, async", () => Promise.reject(thrown)],
  ] as const)("%s", async (_how, handler) => {
    const observe = { stepEnd: ({ index }: { index: number }) => (index === 1 ? handler() : undefined) };
    const error = await caught(() => fit(learnerWith([callback({ name: "Bad", observe })])));
    expect(error).toMatchObject({ ...place, code: "CALLBACK", event: "stepEnd", step: 1, cause: thrown });
  });

  test("at the end of the fit; but of two errors the first is told", async () => {
    const atEnd = new CustomCallback("fitEnd", throws, { name: "Bad" });
    expect(await caught(() => fit(learnerWith([atEnd])))).toMatchObject({ callback: "Bad", event: "fitEnd" });
    const first = new CustomCallback("stepBegin", throws, { name: "First" });
    const second = new CustomCallback("fitEnd", throws, { name: "Second" });
    expect(await caught(() => fit(learnerWith([first, second])))).toMatchObject({ callback: "First" });
  });

  test("measuring: what throws, what is async, what is neither a reference nor a number", async () => {
    const measuring = (measure: unknown): Promise<Error> =>
      caught(() => fit(learnerWith([callback({ name: "Bad", measure: unchecked(measure) })])));
    expect(await measuring(throws)).toMatchObject({ ...place, event: "measure", step: 0, cause: thrown });
    expect((await measuring(async () => ({}))).message).toBe(
      "callback Bad failed at measure (training epoch 1, step 0): " +
        "measure must not be async: return references, and their values come to observe.stepEnd",
    );
    expect((await measuring(() => ({ text: "1" }))).message).toContain(
      "measure: text is neither a reference nor a number",
    );
    expect((await measuring(() => undefined)).message).toContain(
      "measure must return a record of references or numbers",
    );
  });

  test("going past its access", async () => {
    const sneaks = new CustomCallback(
      "stepBegin",
      unchecked(({ step }: any) => step.xs),
      { name: "Bad" },
    );
    const error = await caught(() => fit(learnerWith([sneaks])));
    expect(error).toMatchObject({ ...place, code: "MISUSE", event: "stepBegin", step: 0 });
    expect(error.message).toContain(
      'callback Bad has no read access to learner.step: say so in its access, step: "read"',
    );
  });

  test("a throwing handler leaves neither the learner nor the worker unusable", async () => {
    let isBad = true;
    const bad = new CustomCallback("backwardEnd", () => {
      if (isBad) throw thrown;
    });
    const learner = learnerWith([bad]);
    await caught(() => learner.fit(1));
    isBad = false;
    expect(await learner.fit(1)).toMatchObject({ status: "completed", steps: 3 });
    expect((await learner.predict(ones(2, 1))).shape).toEqual([2, 1]);
  });
});

describe("a step that fails has its place", () => {
  const failed = async (learner: AnyLearner): Promise<string> => {
    const error = await caught(() => learner.fit(1));
    expect(error).toBeInstanceOf(StepError);
    expect(error).toMatchObject({ phase: "training", epoch: 1, step: 1 });
    expect(error.message).toMatch(/^training epoch 1, step 1: /);
    return error.message;
  };
  /** The second batch is another one. */
  const second = (batch: unknown): Learner =>
    learnerWith([], { data: { training: unchecked([...pairs(1), batch, ...pairs(2)]) } });

  test("xs and ys that differ in length", async () => {
    expect(await failed(second({ xs: ones(2, 1), ys: ones(3, 1) }))).toContain(
      "xs has 2 samples and ys has 3: each input needs its target",
    );
    expect(await failed(second([[ones(2, 1), ones(4, 1)], ones(2, 1)]))).toContain(
      "xs[0] has 2 samples and xs[1] has 4",
    );
    expect(await failed(second({ xs: { a: ones(2, 1) }, ys: { b: ones(1, 1) } }))).toContain(
      "xs.a has 2 samples and ys.b has 1",
    );
    expect(await failed(second({ xs: ones(), ys: ones(1) }))).toContain("xs is a single number");
  });

  test("what is no batch", async () => {
    const message = (what: string): string => `the data gave ${what} where a batch is needed: { xs, ys } or [xs, ys]`;
    for (const [batch, what] of [
      [3, "number"],
      [null, "null"],
      ["a", "string"],
      [[ones(1)], "an array of 1"],
      [ones(2, 1), "an array without targets"],
      [{ x: ones(2, 1), y: ones(2, 1) }, "object"],
      [{ xs: ones(2, 1) }, "object"],
    ])
      expect(await failed(second(batch))).toContain(message(what as string));
    const unsendable = await caught(() => second({ xs: [1, 2], ys: ones(2, 1) }).fit(1));
    expect(unsendable).toMatchObject({ code: "BAD_DATA", callback: "PyTorchBackend", event: "stepBegin", step: 1 });
    expect(unsendable.message).toContain(
      "xs[0] is 1, which is neither an array { dtype, shape, data } nor a reference",
    );
  });

  test("indices of an embedding that are bytes", async () => {
    const learner = new Learner(torch.nn.Embedding(4, 2), (yhat) => yhat.sum(), {
      data: { training: [{ xs: { dtype: "uint8", shape: [2], data: Uint8Array.of(1, 2) }, ys: ones(2, 1) }] },
      defaultCallbacks: false,
    });
    const { message } = await caught(() => learner.fit(1));
    expect(message).toContain("An embedding takes whole numbers of 32 or 64 bits: give its indices as an Int32Array.");
  });

  test("a loss that is not a scalar", async () => {
    const learner = new Learner(linear(), (yhat, ys) => yhat.sub(ys), {
      data: { training: pairs(2), validation: pairs(1) },
      defaultCallbacks: false,
    });
    const advice = /must return one number[:;] reduce it, e\.g\. with \.mean\(\)\./;
    for (const run of [() => learner.fit(1), () => learner.validate()]) {
      const error = await caught(run);
      expect(error).toMatchObject({ code: "PYTHON", step: 0 });
      expect(error.message).toMatch(advice);
    }
  });

  test("a loss that is a promise, or nothing", async () => {
    const learner = (loss: unknown): Learner =>
      new Learner(linear(), unchecked(loss), { data: { training: pairs(1) }, defaultCallbacks: false });
    const error = await caught(() => learner(async (yhat: AnyRef) => yhat.mean()).fit(1));
    expect(error).toMatchObject({ code: "MISUSE", phase: "training", step: 0 });
    expect(error.message).toContain("the loss function gave a Promise");
    expect(error.message).toContain("leave async and await out");
    expect((await caught(() => learner(() => undefined).fit(1))).message).toContain("is a return missing?");
  });

  test("a head that was not replaced: a label past the last output", async () => {
    const learner = new Learner(linear(1, 2), crossEntropy(), {
      data: {
        training: [
          { xs: ones(2, 1), ys: labels(0, 1) },
          { xs: ones(2, 1), ys: labels(1, 2) },
        ],
      },
      defaultCallbacks: false,
    });
    const message = await failed(learner);
    expect(message).toContain("Target 2 is out of bounds");
    expect(message).toContain(
      "outside is 2\nDo the labels begin at 1? They must begin at 0: take 1 away. If they begin at 0, the model's head",
    );
  });

  describe("advice goes by the facts", () => {
    const failed = async (learner: AnyLearner): Promise<string> => {
      const error = await caught(() => learner.fit(1));
      expect(error).toBeInstanceOf(StepError);
      return error.message;
    };
    const int = (...data: readonly number[]): NDArray => ({
      dtype: "int32",
      shape: [data.length],
      data: Int32Array.from(data),
    });
    /** The error of a first batch with these labels and three outputs. */
    const saidOf = async (ys: NDArray, loss: Loss = crossEntropy()): Promise<string> =>
      failed(
        new Learner(linear(1, 3), loss, {
          data: { training: [{ xs: ones(ys.shape[0]!, 1), ys }] },
          defaultCallbacks: false,
        }),
      );

    test.each<[string, readonly number[], string]>([
      ["-1", [0, -1, 2], "Does -1 stand for no label? Then let it be ignored: crossEntropy({ ignoreIndex: -1 })."],
      [
        "255",
        [0, 255, 255],
        "Does 255 stand for no label? Then let it be ignored: crossEntropy({ ignoreIndex: 255 }).",
      ],
      ["1 to C", [1, 3, 2], "Do the labels begin at 1? They must begin at 0: take 1 away."],
      [
        "0 to C",
        [0, 3, 2],
        "A label is past the last output of the model: its head must have an output for each class, 4 or more",
      ],
      ["many", [0, 9, 7], "its head must have an output for each class, 10 or more"],
      ["several below 0", [-1, -2, 1], "several cannot"],
    ])("labels of %s", async (_, given, advice) => {
      const message = await saidOf(int(...given));
      expect(message).toContain(advice);
      expect(message).toContain(`targets are ${Math.min(...given)} to ${Math.max(...given)}, and the 3 classes 0 to 2`);
      // One piece of advice, and no other.
      expect(message.match(/Does .*\?|Do the labels|past the last output|several cannot/g)).toHaveLength(1);
    });

    test("what is ignored is no label outside, and -100 is one where something else is ignored", async () => {
      expect(await saidOf(int(0, -100, 3))).toContain("targets are 0 to 3, and");
      expect(await saidOf(int(1, -100, 0), crossEntropy({ ignoreIndex: 0 }))).toContain(
        "Does -100 stand for no label?",
      );
    });

    test("a loss that ignores nothing is told so, and a model of one output what that is", async () => {
      expect(await saidOf(int(1, 3), multiMargin())).toContain("Do the labels begin at 1?");
      expect(await saidOf(int(-1, 0), multiMargin())).toContain("from 0, and this loss ignores none.");
      const data = { training: [{ xs: ones(2, 1), ys: int(0, 1) }] };
      const said = await failed(new Learner(linear(1, 1), crossEntropy(), { data, defaultCallbacks: false }));
      expect(said).toContain("A model with one output tells yes from no, by bceWithLogits()");
    });

    test("a loss of one's own, and one of the worker's, are told the same", async () => {
      const own: Loss = (yhat, ys) => untyped(worker, "torch.nn.functional").cross_entropy(yhat, ys.long());
      expect(await saidOf(int(1, 3), own)).toContain("Do the labels begin at 1?");
      expect(
        await saidOf({ dtype: "int64", shape: [1], data: BigInt64Array.of(3n) }, torch.nn.CrossEntropyLoss()),
      ).toContain("outside is 3");
    });

    test("a last batch of one under BatchNorm: dropLast; where all are of one, the batch size", async () => {
      const model = (): AnyRef => torch.nn.Sequential(linear(1, 2), torch.nn.BatchNorm1d(2), linear(2, 1));
      const samples = (batchSize: number): LearnerOptions => ({
        data: { training: new DataLoader({ xs: ones(5, 1), ys: ones(5, 1) }, { batchSize }) },
      });
      const last = await failed(learnerWith([], samples(4), model()));
      expect(last).toContain("Expected more than 1 value per channel");
      expect(last).toContain("the last batch has one: leave it out, new DataLoader(…, { dropLast: true })");
      expect(await failed(learnerWith([], samples(1), model()))).toContain("take a batchSize above 1");
    });

    test("outputs that are a dict: by their key, and not kw", async () => {
      const names = untyped(worker, "builtins").dict();
      untyped(worker, "builtins").exec(PARTS, names);
      const model = (): AnyRef => py.at(names, "Parts")();
      const said = (loss: Loss): Promise<string> =>
        failed(new Learner(model(), loss, { data: { training: pairs(1) }, defaultCallbacks: false }));
      for (const [loss, advice] of [
        [(yhat: AnyRef, ys: AnyRef) => yhat.out.sub(ys).mean(), 'py.at(yhat, "out")'],
        [(yhat: AnyRef, ys: AnyRef) => yhat.sub(ys).mean(), 'py.at(yhat, "out")'],
        [mse(), 'py.at(yhat, "out")'],
        [(yhat: AnyRef, ys: AnyRef) => py.op("-", yhat, ys).mean(), 'py.at(yhat, "…")'],
      ] as const) {
        const message = await said(loss);
        expect(message).toContain(advice);
        expect(message).not.toContain("kw({");
      }
    });

    test("a plain object gets the word about kw where it was written, and nowhere else", async () => {
      const { nn } = torch;
      const kwAdvice = "arguments by name are kw({ … })";
      expect((await caught(() => py.settle(nn.Dropout({ p: 0.5 })))).message).toContain(kwAdvice);
      expect((await caught(() => py.settle(nn.Linear(1, { out_features: 2 })))).message).toContain(kwAdvice);
      const { builtins } = { builtins: untyped(worker, "builtins") };
      // A dict that is meant, and what fails is another thing.
      expect((await caught(() => py.settle(linear().load_state_dict({ weight: 1 })))).message).not.toContain(kwAdvice);
      const made = builtins.dict();
      expect((await caught(() => py.settle(nn.functional.relu(made)))).message).not.toContain(kwAdvice);
      expect((await caught(() => py.settle(builtins.dict({ out: 1 }).out))).message).toMatch(
        /keys 'out'\nThe values of a dict are had by their keys: py\.at\(yhat, "out"\)\.$/,
      );
      expect((await caught(() => py.settle(builtins.int("dict")))).message).not.toContain(kwAdvice);
      expect((await caught(() => py.settle(builtins.tuple([1]).sub))).message).toContain("py.at(yhat, 0)");
    });

    test("an index past an embedding is told with its rows", async () => {
      const message = (await caught(() => py.settle(torch.nn.Embedding(3, 2)(worker.tensor(Int32Array.of(0, 5))))))
        .message;
      expect(message).toContain("indices are 0 to 5, and the 3 rows 0 to 2");
    });

    test("gradients that are not there may be lost on the way", async () => {
      const own: Loss = (yhat) => yhat.detach().mean();
      expect(
        await failed(new Learner(linear(), own, { data: { training: pairs(1) }, defaultCallbacks: false })),
      ).toContain("does the loss go through what has no gradient");
    });

    test.each<[string, () => unknown, RegExp]>([
      ["an array", () => [], /^the validation data has no batches: leave it out where there is none/],
      [
        "a loader",
        () => new DataLoader({ xs: ones(3, 1), ys: ones(3, 1) }, { batchSize: 4, dropLast: true }),
        /^the validation data has no batches: its 3 samples are less than a batch of 4, and dropLast leaves them out/,
      ],
      ["a list in the worker", () => untyped(worker, "builtins").list(), /^the validation data has no batches/],
    ])("empty validation data is told before the first epoch: %s", async (_, make, said) => {
      const learner = learnerWith([], { data: { training: pairs(2), validation: unchecked(make()) } });
      const error = await caught(() => learner.fit(1));
      expect([error.code, error.message]).toEqual(["BAD_DATA", expect.stringMatching(said)]);
      expect(learner.state.history["training"]).toBeUndefined();
    });
  });

  test("everything frozen", async () => {
    const model = linear();
    await freeze(model);
    const error = await caught(() => fit(learnerWith([], {}, model)));
    expect(error).toMatchObject({ code: "PYTHON", step: 0 });
    expect(error.message).toContain("Nothing that the loss depends on can be trained: are all parameters frozen");
  });

  test("a model that takes other shapes, with the operation and its line", async () => {
    const error = await caught(() => fit(learnerWith([], {}, linear(3, 1))));
    expect(error).toMatchObject({ code: "PYTHON", step: 0, cause: { pyType: "RuntimeError" } });
    expect(error.message).toContain("mat1 and mat2 shapes cannot be multiplied");
  });

  test("a metric that PyTorch cannot compute", async () => {
    const odd = metric("odd", { update: (yhat) => ({ sum: yhat.argmax(7) }), compute: ({ sum }) => sum });
    const learner = new Learner(linear(), mse(), {
      data: { training: pairs(1) },
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics(odd)],
    });
    const error = await caught(() => learner.fit(1));
    expect(error).toMatchObject({ phase: "training", epoch: 1, step: 0 });
    expect(error.message).toContain("Dimension out of range");
    expect(error.message).toContain("learner-misuse.test.ts");
  });

  test("a metric whose update is async, or gives no record", async () => {
    const run = (update: unknown): Promise<Error> =>
      caught(() =>
        new Learner(linear(), mse(), {
          data: { training: pairs(1) },
          defaultCallbacks: false,
          callbacks: [new Recorder(), new Metrics(metric("odd", { update: unchecked(update), compute: () => 1 }))],
        }).fit(1),
      );
    for (const update of [async () => ({ a: 1 }), (yhat: AnyRef) => yhat.sum(), () => undefined]) {
      const error = await run(update);
      expect(error).toMatchObject({ callback: "Metrics", event: "measure", step: 0 });
      expect(error.message).toContain("metric odd");
    }
  });

  test("where a callback awaits what was never run, it is the step that failed", async () => {
    const reads = new CustomCallback("stepEnd", async ({ step }) => void (await step.loss.item()), {
      name: "Innocent",
      access: { step: { loss: "read" } },
    });
    const error = await caught(() => fit(learnerWith([reads], {}, linear(3, 1))));
    expect(error).toBeInstanceOf(StepError);
    expect(error.message).toContain("mat1 and mat2 shapes cannot be multiplied");
    expect(error.message).not.toContain("Innocent");
  });

  test("data that fails: the steps before it count, and the error is the data's own", async () => {
    const broken = new RangeError("file 7 is corrupt");
    const data: Data = {
      *[Symbol.iterator]() {
        yield* pairs(5);
        throw broken;
      },
    };
    const learner = learnerWith([], { data: { training: data } });
    expect(await caught(() => learner.fit(1))).toBe(broken);
    expect(learner.state.history["training"]).toMatchObject({ epochs: 0, steps: 5 });
    const loader = new DataLoader(
      { length: 4, get: (i) => (i === 2 ? unchecked("?") : [ones(1), ones(1)]) },
      { batchSize: 1 },
    );
    expect(await caught(() => fit(learner, loader))).toMatchObject({ code: "BAD_DATA" });
  });
});

describe("a worker that dies in the middle", () => {
  test("the fit says so, fitEnd comes, and later fits say so too", async () => {
    const mortal = await testWorker();
    const nn = untyped(mortal, "torch").nn;
    const events: string[] = [];
    const kill = new CustomCallback(
      "stepEnd",
      ({ index }) => void (index === 20 && process.kill(mortal.pid, "SIGKILL")),
    );
    const learner = new Learner(nn.Linear(1, 1), mse(), {
      data: { training: pairs(2000), validation: pairs(1) },
      defaultCallbacks: false,
      callbacks: [new Recorder(), kill, new CustomCallback("fitEnd", () => void events.push("fitEnd"))],
    });
    const error = await caught(() => learner.fit(1));
    expect(error).toMatchObject({ code: "WORKER_GONE", phase: "training", epoch: 1 });
    expect(error.message).toContain("SIGKILL");
    expect(error.cause).toMatchObject({ name: "WorkerExitedError" });
    expect(events).toEqual(["fitEnd"]);
    expect(learner.state.history["training"]!.steps).toBeGreaterThanOrEqual(1);
    expect(await caught(() => learner.fit(1))).toMatchObject({ code: "WORKER_GONE" });
    expect(await caught(() => learner.predict(ones(1, 1)))).toMatchObject({ code: "WORKER_GONE" });
    await mortal.close().catch(() => undefined);
  });

  test("a worker that was closed", async () => {
    const closed = await testWorker();
    const learner = new Learner(untyped(closed, "torch").nn.Linear(1, 1), mse(), {
      data: { training: pairs(1) },
      defaultCallbacks: false,
    });
    await closed.close();
    expect(await caught(() => learner.fit(1))).toMatchObject({ code: "CLOSED" });
  });
});

describe("what fails meets who caused it", () => {
  const uncaught: unknown[] = [];
  const note = (error: unknown): void => void uncaught.push(error);
  beforeAll(() => void process.on("uncaughtException", note).on("unhandledRejection", note));
  afterAll(() => void process.off("uncaughtException", note).off("unhandledRejection", note));
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
  };

  test("a model without parameters predicts; its optimizer's failure is the fit's, with the line of the learner, and no stranger's", async () => {
    const line = nextLine();
    const learner = new Learner(torch.nn.ReLU(), mse(), { data: { training: pairs(1), validation: pairs(1) } });
    // The next operation of the program has nothing to do with it.
    expect(await torch.ones(3).sum().item()).toBe(3);
    const negative: NDArray = { dtype: "float32", shape: [2, 1], data: Float32Array.of(-1, 2) };
    expect(await learner.predict(negative)).toEqual({ dtype: "float32", shape: [2, 1], data: Float32Array.of(0, 2) });
    expect(await learner.validate()).toEqual({ loss: 0 });
    for (let i = 0; i < 2; i++) {
      const error = await caught(() => learner.fit(1));
      expect(error).toMatchObject({ pyType: "ValueError", pyMessage: "optimizer got an empty parameter list" });
      expect(error.message).toContain(`Adam(...) at ${line}`);
    }
    expect(await torch.ones(3).sum().item()).toBe(3);
    expect(uncaught).toEqual([]);
  });

  test("one whose parameters are all frozen predicts, and what it cannot do is the fit's", async () => {
    const model = linear();
    model.requires_grad_(false);
    const learner = learnerWith([], {}, model);
    expect((await learner.predict(ones(2, 1))).shape).toEqual([2, 1]);
    expect((await caught(() => learner.fit(1))).message).toMatch(/all parameters frozen/);
    expect(await torch.ones(3).sum().item()).toBe(3);
  });

  test("what a callback queues when the learner gets it, at once or later", async () => {
    const bad = callback({ name: "Bad", init: (learner) => void (learner.model as AnyRef).no_such_method() });
    const learner = learnerWith([bad]);
    expect(await torch.ones(3).sum().item()).toBe(3);
    for (const use of [
      () => learner.fit(1),
      () => learner.predict(ones(1, 1)),
      () => learner.epoch(new ValidationPhase()),
    ])
      expect((await caught(use)).message).toMatch(/no attribute 'no_such_method'.*learner-misuse\.test\.ts:\d+/);
    const later = learnerWith();
    later.addCallback(bad);
    expect(await torch.ones(3).sum().item()).toBe(3);
    expect((await caught(() => later.fit(1))).message).toContain("no attribute 'no_such_method'");
    expect(await torch.ones(3).sum().item()).toBe(3);
    expect(uncaught).toEqual([]);
  });

  test("a loss that cannot be made", async () => {
    const loss = crossEntropy({ weight: torch.no_such_weights });
    const learner = new Learner(linear(1, 2), loss, { data: { training: [{ xs: ones(2, 1), ys: labels(0, 1) }] } });
    const error = await caught(() => learner.fit(1));
    expect(error.message).toContain("no_such_weights");
    await torch
      .ones(1)
      .sum()
      .item()
      .catch(() => undefined);
    expect(await torch.ones(3).sum().item()).toBe(3);
  });

  const late = async (): Promise<any> => {
    await Promise.resolve();
    throw new Error("nobody waits for this");
  };
  const thenable = (): any => ({
    then: (_: unknown, failed: (reason: unknown) => void) => failed(new Error("nor this")),
  });
  const fits = (options: LearnerOptions, loss: Loss = mse()) =>
    new Learner(linear(), loss, {
      data: { training: pairs(1), validation: pairs(1) },
      defaultCallbacks: false,
      ...options,
    }).fit(1);
  const observed = (one: Callback, ...more: Callback[]): LearnerOptions => ({
    callbacks: [new Recorder(), one, ...more],
  });
  const measuring = (parts: object): LearnerOptions =>
    observed(new Metrics(metric("mine", { update: () => ({ n: 1 }), compute: () => 1, ...parts })));

  const refusals: Record<string, (give: () => any) => unknown> = {
    "a loss": (give) => fits({}, unchecked(give)),
    "an optimizer": (give) => fits({ optimizer: give }),
    "the parameters of a group": (give) => fits({ optimizer: sgd({ lr: 1, groups: { a: { params: give } } }) }),
    "a schedule": (give) => fits(observed(new Scheduler({ lr: give }))),
    "a format": (give) => fits({ input: format({ name: "mine", toTorch: give, fromTorch: give }) }),
    "an init": (give) => fits(observed(callback({ name: "Mine", init: give }))),
    "a measure": (give) =>
      fits(observed(callback({ name: "Mine", measure: give, observe: { stepEnd: () => undefined } }))),
    "a part of a measure": (give) =>
      fits(observed(callback({ name: "Mine", measure: () => ({ a: give() }), observe: { stepEnd: () => undefined } }))),
    "a metric's update": (give) => fits(measuring({ update: give })),
    "a part of a metric's update": (give) => fits(measuring({ update: () => ({ n: give() }) })),
    "a metric's compute": (give) => fits(measuring({ compute: give })),
    "a metric's merge": (give) =>
      new Learner(linear(), mse(), {
        data: { training: pairs(2) },
        defaultCallbacks: false,
        ...measuring({ merge: give }),
      }).fit(1),
    "a metric's function": (give) => fits(observed(new Metrics(new Metric(give, { name: "mine" })))),
    "what resolves a conflict": (give) => {
      const one = (name: string): Callback =>
        callback({
          name,
          access: { step: { xs: "write" } },
          resolveConflict: give,
          on: { stepBegin: () => undefined },
        });
      return fits(observed(one("One"), one("Other")));
    },
    "an argument": (give) => torch.ones(give()),
    "an argument within": (give) => torch.ones([1, { a: give() }]),
    keywords: (give) => torch.ones(1, kw(give())),
    "a keyword": (give) => torch.ones(1, kw({ dtype: give() })),
    "a tensor": (give) => worker.tensor(give()),
    targets: (give) => {
      const training = {
        *[Symbol.iterator]() {
          yield { xs: ones(1, 1), ys: give() };
        },
      };
      return fits({ data: { training } });
    },
    "a model": (give) => new Learner(give(), mse()),
  };

  test.for(
    Object.entries(refusals).flatMap(([what, run]) =>
      [
        ["a promise", late],
        ["a thenable", thenable],
      ].map(([kind, give]) => [what, kind, run, give] as const),
    ),
  )("%s that is %s is refused, and looked after", async ([, , run, give]) => {
    expect(await caught(() => run(give as () => any))).toHaveProperty("code");
    await turns();
    expect(uncaught.splice(0)).toEqual([]);
    expect(await torch.ones(3).sum().item()).toBe(3);
  });
});
