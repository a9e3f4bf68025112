/** Values on their way in a metric's `update`: they travel with the step. Any other promise is refused. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  callback,
  Learner,
  metric,
  Metrics,
  mse,
  py,
  Recorder,
  TrainingPhase,
  type AnyRef,
  type BatchLike,
  type Callback,
  type NDArray,
  type Worker,
} from "torchwire";
import { Metric, statefulMetric } from "torchwire/metrics";
import { caught, countsOf, untyped } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const float32 = (...data: readonly number[]): NDArray => ({
  dtype: "float32",
  shape: [data.length, 1],
  data: Float32Array.from(data),
});
/** Eight batches, of one, two and three samples in turn. */
const batches: readonly BatchLike[] = Array.from({ length: 8 }, (_, i) => {
  const xs = Array.from({ length: 1 + (i % 3) }, (_x, j) => i + j);
  return { xs: float32(...xs), ys: float32(...xs.map((x) => 3 * x)) };
});
const sizes = [1, 2, 3, 1, 2, 3, 1, 2];

const learnerWith = (...callbacks: readonly Callback[]): Learner =>
  new Learner(torch.nn.Linear(1, 1), mse(), { defaultCallbacks: false, callbacks: [new Recorder(), ...callbacks] });

async function trained(...metrics: readonly Metric[]): Promise<Learner> {
  const learner = learnerWith(new Metrics(...metrics));
  await learner.epoch(new TrainingPhase(), batches);
  return learner;
}

const stepsOf = ({ state }: Learner, name: string): number[] =>
  state.metricsStep["training"]![name]!.map(({ value }) => value);
const epochOf = ({ state }: Learner, name: string): number => state.metricsEpoch["training"]![name]![0]!.value;

describe("what py.len and its kin return", () => {
  test("has its value in compute, in each step and in the epoch", async () => {
    const counted = metric("counted", {
      update: (yhat, ys) => ({
        samples: py.len(ys),
        total: py.js(ys.sum()),
        each: py.ndarray(ys.flatten()[0]),
        has: py.has(yhat, "shape"),
        steps: 1,
      }),
      compute: ({ samples, total, each, has, steps }) => samples + 100 * total + 1e6 * each + 1e9 * has + 1e12 * steps,
    });
    const learner = await trained(counted);
    const totals = sizes.map((size, i) => Array.from({ length: size }, (_, j) => 3 * (i + j)).reduce((a, b) => a + b));
    expect(stepsOf(learner, "counted")).toEqual(
      sizes.map((size, i) => size + 100 * totals[i]! + 1e6 * 3 * i + 1e9 + 1e12),
    );
    const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b);
    expect(epochOf(learner, "counted")).toBe(
      sum(sizes) + 100 * sum(totals) + 1e6 * 3 * sum(sizes.map((_, i) => i)) + 8e9 + 8e12,
    );
  });

  test("costs no round trip and no batch: it travels with the step, as a reference does", async () => {
    const spent = async (one: Metric): Promise<unknown> => {
      const learner = learnerWith(new Metrics(one));
      await learner.epoch(new TrainingPhase(), batches);
      const before = await countsOf(worker);
      await learner.epoch(new TrainingPhase(), batches);
      const { batches: sent, roundTrips } = await countsOf(worker);
      return { sent: sent - before.batches, roundTrips: roundTrips - before.roundTrips };
    };
    const compute = ({ n }: { n: number }): number => n;
    const byReference = await spent(metric("n", { update: (_, ys) => ({ n: ys.size(0) }), compute }));
    expect(await spent(metric("n", { update: (_, ys) => ({ n: py.len(ys) }), compute }))).toEqual(byReference);
    const learner = learnerWith(new Metrics(metric("n", { update: (_, ys) => ({ n: py.len(ys) }), compute })));
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
  });

  test("serves a Metric, a metric with a state, and the measure of a callback", async () => {
    const mean = new Metric((_, ys) => py.len(ys), { name: "mean", mean: "steps" });
    const seen: number[] = [];
    const own = statefulMetric("own", {
      start: () => ({ update: (_, ys) => ({ n: py.len(ys) }), add: ({ n }) => n, compute: () => 7 }),
    });
    const watch = callback({
      name: "Watch",
      access: { step: { ys: "use" } },
      measure: ({ step }) => ({ n: py.len(step.ys as AnyRef), text: py.str(step.ys as AnyRef) }),
      observe: { stepEnd: ({ values }) => void seen.push(values["n"] as number) },
    });
    const learner = learnerWith(new Metrics(mean, own), watch);
    await learner.epoch(new TrainingPhase(), batches);
    expect(stepsOf(learner, "mean")).toEqual(sizes);
    expect(epochOf(learner, "mean")).toBe(15 / 8);
    expect(stepsOf(learner, "own")).toEqual(sizes);
    expect(seen).toEqual(sizes);
  });

  test("where it fails, the step fails with Python's error", async () => {
    const wrong = metric("wrong", { update: (yhat) => ({ n: py.len(yhat.mean()) }), compute: ({ n }) => n });
    const error = await caught(() => trained(wrong));
    expect(error.message).toContain("len() of a 0-d tensor");
  });

  test("text is no number", async () => {
    const wrong = metric("wrong", { update: (yhat) => ({ n: py.str(yhat) }), compute: ({ n }) => n });
    expect((await caught(() => trained(wrong))).message).toContain("something that cannot be added up");
  });
});

describe("any other promise is refused, with what to write", () => {
  const fails = (): Promise<never> => Promise.reject(new Error("nobody hears of this"));
  const compute = ({ n }: { n: number }): number => n;

  test.for<[string, (yhat: AnyRef, ys: AnyRef) => unknown, RegExp]>([
    [
      "an async update",
      async (_, ys) => ({ n: await py.len(ys) }),
      /update gave a Promise; it must return a record .* what py\.len\(x\) or py\.js\(x\) returns may stand in the record, not awaited/,
    ],
    ["one that fails", fails, /update gave a Promise; it must return a record/],
    [
      "what .then gives",
      (_, ys) => ({ n: py.len(ys).then((n) => 2 * n) }),
      /update gave "n", which is a Promise, and a step waits for nothing: give the reference itself, or what py\.len\(x\)/,
    ],
    [
      "an async function's",
      (_, ys) => ({ m: 1, n: (async () => await ys.sum().item())() }),
      /update gave "n", which is a Promise/,
    ],
    ["the program's own", () => ({ n: Promise.resolve(1) }), /"n", which is a Promise.*without await, async or \.then/],
    ["one of several that fail", () => ({ n: fails(), m: fails() }), /"n", which is a Promise/],
    ["settle's", (yhat) => ({ n: py.settle(yhat.sum()) }), /"n", which is a Promise.*give the reference itself/],
    ["in a list", (_, ys) => ({ n: [py.len(ys)] }), /update gave "n", which is neither a reference nor a number/],
  ])("%s", async ([, update, message]) => {
    const unhandled: unknown[] = [];
    const hear = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", hear);
    try {
      const error = await caught(() => trained(metric("f", { update: unchecked(update), compute })));
      expect(error.message).toContain("metric f: ");
      expect(error.message).toMatch(message);
      const own = statefulMetric("f", { start: () => ({ update: unchecked(update), add: () => 1, compute: () => 1 }) });
      expect((await caught(() => trained(own))).message).toMatch(message);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(unhandled).toEqual([]);
    } finally {
      process.off("unhandledRejection", hear);
    }
  });

  test("of a function of outputs and targets, and of a callback's measure", async () => {
    const later = new Metric(async (_, ys) => await py.len(ys), { name: "later" });
    expect((await caught(() => trained(later))).message).toMatch(
      /metric later: the function gave a Promise; it must return a number or a reference to one \(what py\.len\(x\)/,
    );
    const watch = callback({
      name: "Watch",
      access: { step: { ys: "use" } },
      measure: ({ step }) => ({ n: py.len(step.ys as AnyRef).then((n) => n) }),
    });
    const learner = learnerWith(watch);
    expect((await caught(() => learner.epoch(new TrainingPhase(), batches))).message).toMatch(
      /measure: n is a Promise, and a step waits for nothing/,
    );
  });
});
