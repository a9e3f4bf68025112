/** Early stopping in a fit: when, by whom, what is still done, and which weights are left. */
import { beforeAll, describe, expect, test, vi } from "vitest";
import {
  AbstractTrainingPhase,
  callback,
  CallbackError,
  EarlyStopping,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  Recorder,
  type Learner,
  type Report,
  type Worker,
} from "torchwire";
import type { EarlyStoppingOptions } from "torchwire/callbacks";
import * as stopping from "torchwire/stopping";
import { caught, countsOf } from "../../observed.ts";
import { coefficient, scored, setCoefficient, tiny, tinyData, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
beforeAll(async () => {
  worker = await warmWorker();
});

interface Scored {
  readonly report: Report;
  readonly learner: Learner;
  readonly early: EarlyStopping;
  /** The coefficient at the end of each training epoch. */
  readonly coefficients: readonly number[];
}

async function fitWith(
  values: readonly number[],
  criterion: ConstructorParameters<typeof EarlyStopping>[0],
  options: EarlyStoppingOptions = {},
): Promise<Scored> {
  const early = new EarlyStopping(criterion, { monitor: "score", mode: "min", ...options });
  const { callbacks, of } = scored(values);
  const coefficients: number[] = [];
  const looks = callback({
    name: "Looks",
    access: { model: "read" },
    phase: AbstractTrainingPhase,
    on: { epochEnd: async ({ model }) => void coefficients.push(await coefficient(model)) },
  });
  const learner = tiny(worker, { callbacks: [...callbacks, early, looks] });
  of(learner);
  const report = await learner.fit(values.length);
  return { report, learner, early, coefficients };
}

describe("2.9.13: a rise of the validation loss ends the fit", () => {
  test.each([
    ["a number", 1],
    ["a criterion", stopping.patience(1)],
  ])("%s", async (_, criterion) => {
    const early = new EarlyStopping(criterion);
    const learner = tiny(worker, { lr: 0.1, callbacks: [new Recorder(), new Metrics(), early] });
    const { status, by, reason, epochs, history } = await learner.fit(100);
    expect([status, by, reason]).toEqual([
      "stopped",
      "EarlyStopping",
      "Stop triggered by Patience(1) stopping criterion.",
    ]);
    expect(epochs).toBeGreaterThan(1);
    expect(epochs).toBeLessThan(100);
    const losses = history["validation"]!["loss"]!.map(({ value }) => value);
    expect(losses).toHaveLength(epochs);
    expect(stopping.stoppingTime(stopping.patience(1), losses)).toBe(epochs);
    expect(String(early)).toBe("EarlyStopping(Patience(1))");
  });
});

test("it acts at the end of an epoch alone: the window stays, and the weights are those of a fit without it", async () => {
  const early = new EarlyStopping(stopping.or(stopping.never(), stopping.pq()), { restoreBest: false });
  const output = { write: () => undefined };
  const printers = [new ProgressPrinter({ output }), new MetricsPrinter({ output })];
  const learner = tiny(worker, { defaultCallbacks: true, callbacks: [early, ...printers] });
  expect(learner.explain()).toContain("steps in flight: 3 to 32");
  await learner.fit(2);
  const alone = tiny(worker);
  await alone.fit(2);
  expect(await coefficient(learner.model)).toBe(await coefficient(alone.model));
});

test("the last epoch is printed, and counted in the report", async () => {
  let printed = "";
  const output = { write: (text: string) => void (printed += text) };
  for (const reversed of [false, true]) {
    printed = "";
    const { callbacks, of } = scored([3, 2, 4, 1]);
    const early = new EarlyStopping(1, { monitor: "score", mode: "min" });
    const both = [new MetricsPrinter({ output }), early];
    const learner = tiny(worker, { callbacks: [...callbacks, ...(reversed ? both.toReversed() : both)] });
    of(learner);
    const report = await learner.fit(4);
    expect([report.status, report.epochs, report.phases["validation"]!.epochs]).toEqual(["stopped", 3, 3]);
    expect(printed).toMatch(/\n +3 +validation .*\n$/);
    expect(learner.explain()).toMatch(/^epochEnd .*MetricsPrinter.*EarlyStopping/m);
  }
});

describe("what the criterion sees", () => {
  test.each<
    [string, readonly number[], ConstructorParameters<typeof EarlyStopping>[0], EarlyStoppingOptions, number, boolean]
  >([
    ["what is to become small", [3, 2, 4, 1], 1, {}, 3, true],
    ["what is to become large", [1, 2, 3, 2, 9], 1, { mode: "max" }, 4, true],
    ["the negative of that", [0.1, 0.5, 0.8, 0.9], stopping.threshold(-0.7), { mode: "max" }, 3, true],
    ["an improvement by minDelta is none", [1, 0.9, 0.8, 0.2], stopping.numberSinceBest(2), { minDelta: 0.2 }, 3, true],
    ["but one by more than it is", [1, 0.9, 0.79, 0.7, 0.5], stopping.numberSinceBest(2), { minDelta: 0.2 }, 5, false],
    ["without it every improvement counts", [1, 0.9, 0.8, 0.7], stopping.numberSinceBest(1), {}, 4, false],
    ["NaN", [1, 2, NaN, 3], stopping.invalidValue(), {}, 3, true],
    ["the training's too", [1, 1, 1], stopping.numberLimit(2), { testPhase: AbstractTrainingPhase }, 2, true],
  ])("%s", async (_, values, criterion, options, epochs, isStopped) => {
    const { report } = await fitWith(values, criterion, options);
    expect(report.phases["training"]!.epochs).toBe(epochs);
    expect(report.status).toBe(isStopped ? "stopped" : "completed");
  });

  test("training losses by updateTraining, in their order", async () => {
    const seen: string[] = [];
    const spy = stopping.criterion<number>({
      name: "Spy",
      update: (loss) => (seen.push(`validation ${loss}`), 0),
      updateTraining: (loss) => (seen.push(`training ${loss}`), 0),
      done: () => false,
    });
    await fitWith([5, 4], spy);
    expect(seen).toEqual(["training 5", "validation 5", "training 4", "validation 4"]);
  });

  test("each fit begins anew", async () => {
    const { callbacks, of } = scored([1, 2, 3, 4, 5, 6]);
    const early = new EarlyStopping(2, { monitor: "score", mode: "min" });
    const learner = tiny(worker, { callbacks: [...callbacks, early] });
    of(learner);
    expect([(await learner.fit(3)).status, (await learner.fit(2)).status]).toEqual(["stopped", "completed"]);
    expect(early.best).toEqual({ epoch: 4, value: 4 });
    expect((await learner.fit(1)).status).toBe("completed");
  });
});

describe("restoreBest", () => {
  const values = [5, 3, 1, 2, 3, 4];

  test("the weights of the best epoch are left, and the callback says which it was", async () => {
    const { learner, early, coefficients, report } = await fitWith(values, 2, { restoreBest: true });
    expect([report.status, coefficients.length]).toEqual(["stopped", 5]);
    expect(new Set(coefficients).size).toBe(5);
    expect(await coefficient(learner.model)).toBe(coefficients[2]);
    expect(early.best).toEqual({ epoch: 3, value: 1 });
    // It can be trained on.
    await learner.fit(1);
    expect(await coefficient(learner.model)).not.toBe(coefficients[2]);
  });

  test("also where the fit came to its end, and by the largest value", async () => {
    const { learner, coefficients, report, early } = await fitWith([1, 7, 2], stopping.never(), {
      restoreBest: true,
      mode: "max",
    });
    expect(report.status).toBe("completed");
    expect(await coefficient(learner.model)).toBe(coefficients[1]);
    expect(early.best).toEqual({ epoch: 2, value: 7 });
  });

  test("without it they are those of the last", async () => {
    const { learner, coefficients } = await fitWith(values, 2);
    expect(await coefficient(learner.model)).toBe(coefficients[4]);
  });

  test("no reference is left behind", async () => {
    const { callbacks, of } = scored([9, 8, 7, 9, 5, 4, 9]);
    const early = new EarlyStopping(stopping.never(), { monitor: "score", mode: "min", restoreBest: true });
    const learner = tiny(worker, { callbacks: [...callbacks, early] });
    of(learner);
    const objects: number[] = [];
    for (let i = 0; i < 3; i++) {
      await learner.fit(2);
      objects.push((await countsOf(worker)).worker.objects);
    }
    // Fewer too: what earlier tests left may be freed meanwhile.
    expect(Math.max(...objects)).toBe(objects[0]);
  });
});

describe("what is said", () => {
  test("a fit without validation data: there was nothing to go by", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    try {
      const { training } = tinyData();
      const learner = tiny(worker, {
        data: { training },
        callbacks: [new Recorder(), new Metrics(), new EarlyStopping(1)],
      });
      await learner.fit(2);
      const texts = warn.mock.calls.map(([text]) => String(text));
      expect(texts.filter((text) => text.startsWith("EarlyStopping had nothing to go by"))).toHaveLength(1);
    } finally {
      warn.mockRestore();
    }
  });

  test("a metric that is not there, and what is", async () => {
    const early = new EarlyStopping(1, { monitor: "accurracy", mode: "max" });
    const error = await caught(() => tiny(worker, { callbacks: [new Recorder(), new Metrics(), early] }).fit(1));
    expect(error).toBeInstanceOf(CallbackError);
    expect(error.code).toBe("MISUSE");
    expect(error.message).toContain('monitor is "accurracy", but training has no such metric; it has loss');
  });

  test.each<[string, () => unknown, RegExp]>([
    ["n of 0", () => new EarlyStopping(0), /^patience: n is 0;/],
    [
      "no criterion",
      () => new EarlyStopping(unchecked(undefined)),
      /^EarlyStopping: undefined is not a stopping criterion;/,
    ],
    [
      "an unknown option",
      () => new EarlyStopping(1, unchecked({ patience: 3 })),
      /^EarlyStopping has no option "patience"; it has monitor, mode, minDelta,/,
    ],
    [
      "a mode",
      () => new EarlyStopping(1, unchecked({ mode: "auto" })),
      /^EarlyStopping: mode is 'auto'; it must be "min" or "max"$/,
    ],
    [
      "no mode",
      () => new EarlyStopping(1, { monitor: "accuracy" }),
      /^EarlyStopping: must accuracy become small or large\? Say mode: "min" or mode: "max"$/,
    ],
    [
      "minDelta below 0",
      () => new EarlyStopping(1, { minDelta: -1 }),
      /^EarlyStopping: minDelta is -1; it must be a number from 0$/,
    ],
    [
      "a phase",
      () => new EarlyStopping(1, unchecked({ testPhase: "validation" })),
      /^EarlyStopping: testPhase is 'validation'; it must be a class of phases$/,
    ],
  ])("%s", async (_, make, message) => {
    const error = await caught(make);
    expect([error.code, error.message]).toEqual(["MISUSE", expect.stringMatching(message)]);
  });

  test("without Metrics: it is told to be added", async () => {
    expect((await caught(() => tiny(worker, { callbacks: [new EarlyStopping(1)] }))).message).toContain("add Metrics");
  });
});

test("a fit that fails leaves the weights as they are", async () => {
  const { callbacks, of } = scored([1, 2]);
  const early = new EarlyStopping(stopping.never(), { monitor: "score", mode: "min", restoreBest: true });
  const fails = callback({
    name: "Fails",
    access: { model: "read" },
    phase: AbstractTrainingPhase,
    on: {
      epochEnd: ({ epoch, model }) => {
        if (epoch < 2) return;
        setCoefficient(model, 77);
        throw new Error("enough");
      },
    },
  });
  const learner = tiny(worker, { callbacks: [...callbacks, early, fails] });
  of(learner);
  expect((await caught(() => learner.fit(3))).message).toContain("enough");
  expect(await coefficient(learner.model)).toBe(77);
});

test("it acts in fits alone: a lone epoch, or validate, is stopped by nobody", async () => {
  const learner = tiny(worker, {
    lr: 0,
    callbacks: [new Recorder(), new Metrics(), new EarlyStopping(stopping.numberSinceBest(1))],
  });
  expect(await learner.fit(5)).toMatchObject({ status: "stopped", epochs: 2 });
  const { loss } = await learner.validate();
  expect(await learner.validate()).toEqual({ loss });
});
