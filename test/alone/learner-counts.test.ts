/** The cost of a fit: as many batches as steps, and no round trip. It leaves nothing behind. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  callback,
  crossEntropy,
  DataLoader,
  Learner,
  metric,
  Metrics,
  py,
  PyTorchBackend,
  sgd,
  type Callback,
  type Data,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { f1, perplexity, SmoothLoss, topK } from "torchwire/metrics";
import type { AnyRef } from "../../bridge/types/core.ts";
import { fastClock } from "../fast-clock.ts";
import { countsOf, untyped } from "../observed.ts";
import { printers } from "../tiny.ts";
import { testWorker } from "../worker.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await testWorker();
  torch = untyped(worker, "torch");
});
afterAll(() => worker?.close());

const STEPS = 100;
const BATCH = 4;

/** Points of four coordinates, and the largest of them. */
function points(samples: number): { xs: NDArray; ys: NDArray } {
  const xs = Float32Array.from({ length: 4 * samples }, (_, i) => ((i * 2654435761) % 1000) / 1000);
  const ys = Uint8Array.from({ length: samples }, (_, i) => {
    const row = xs.subarray(4 * i, 4 * i + 4);
    return row.indexOf(Math.max(...row));
  });
  return {
    xs: { dtype: "float32", shape: [samples, 4], data: xs },
    ys: { dtype: "uint8", shape: [samples], data: ys },
  };
}

const loader = (steps: number): Data => new DataLoader(points(steps * BATCH), { batchSize: BATCH, shuffle: true });
/** With the default callbacks, and those given, over `steps` batches. */
function learnerOf({
  steps = STEPS,
  callbacks = [],
  ...options
}: Partial<LearnerOptions> & { steps?: number } = {}): Learner {
  return new Learner(torch.nn.Linear(4, 4), crossEntropy(), {
    data: { training: loader(steps) },
    optimizer: sgd({ lr: 0.1 }),
    callbacks: [...printers(), ...callbacks],
    ...options,
  });
}

/** Made of parts that are freed before anything is counted. */
async function made<T>(make: () => T): Promise<T> {
  const one = make();
  for (let objects = Infinity; ;) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = (await countsOf(worker)).worker.objects;
    if (now >= objects) return one;
    objects = now;
  }
}

interface Cost {
  readonly batches: number;
  readonly roundTrips: number;
  /** More objects in the worker than before. */
  readonly objects: number;
}

async function costOf(run: () => Promise<unknown>): Promise<Cost> {
  await countsOf(worker);
  // References found by it are freed by a batch, which is nobody's cost.
  gc();
  await new Promise((resolve) => setImmediate(resolve));
  const before = await countsOf(worker);
  await run();
  const after = await countsOf(worker);
  // The last count is a batch and a round trip itself.
  return {
    batches: after.batches - before.batches - 1,
    roundTrips: after.roundTrips - before.roundTrips - 1,
    // Fewer are no cost: what earlier tests left may be freed meanwhile.
    objects: Math.max(0, after.worker.objects - before.worker.objects),
  };
}

/** Reads the loss of each step in line. */
const reader = (): Callback =>
  callback({
    name: "Reader",
    access: { step: { loss: "read" } },
    on: { backwardEnd: async ({ step }) => void (await step.loss.item()) },
  });

describe("batches and round trips", () => {
  // The steps, and what sets the model to training mode.
  const oneEach: Cost = { batches: STEPS + 1, roundTrips: 0, objects: 0 };

  test("100 steps with the default callbacks are 100 batches and one for the epoch, and nothing waits for the worker", async () => {
    const learner = await made(() => learnerOf());
    expect(await costOf(() => learner.fit(1))).toEqual(oneEach);
    expect(await costOf(() => learner.fit(3))).toEqual({ ...oneEach, batches: 3 * (STEPS + 1) });
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
  });

  test("so are those of validation, which needs none for the epoch", async () => {
    const learner = await made(() => learnerOf({ data: { training: loader(20), validation: loader(30) } }));
    expect(await costOf(() => learner.fit(2))).toEqual({ ...oneEach, batches: 2 * (20 + 1 + 30) });
    expect(await costOf(() => learner.validate())).toEqual({ ...oneEach, batches: 30 });
  });

  test("and those of a window of 1, or of data that is waited for", async () => {
    const narrow = await made(() => learnerOf({ window: 1 }));
    expect(await costOf(() => narrow.fit(1))).toEqual(oneEach);
    const { xs, ys } = points(STEPS * BATCH);
    const samples = {
      length: STEPS * BATCH,
      get: async (i: number) => {
        await new Promise((resolve) => setImmediate(resolve));
        return [{ dtype: "float32", shape: [4], data: xs.data.slice(4 * i, 4 * i + 4) }, ys.data[i]] as never;
      },
    };
    const slow = await made(() => learnerOf({ data: { training: new DataLoader(samples, { batchSize: BATCH }) } }));
    expect(await costOf(() => slow.fit(1))).toEqual(oneEach);
  });

  test("metrics, accumulation and clipping add none", async () => {
    const recall = metric("recall", {
      update: (yhat, ys) => ({ found: yhat.argmax(1).eq(ys).mul(ys.eq(1)).sum(), all: ys.eq(1).sum() }),
      compute: ({ found, all }) => found / all,
    });
    const metrics = await made(() =>
      learnerOf({
        callbacks: [new Metrics(accuracy, recall, f1({ average: "macro" }), topK(2), perplexity(), new SmoothLoss())],
      }),
    );
    expect(await costOf(() => metrics.fit(1))).toEqual(oneEach);
    const backend = new PyTorchBackend({ accumulate: 3, clipGradNorm: 1 });
    const groups = await made(() => learnerOf({ callbacks: [new Metrics(accuracy), backend] }));
    expect(await costOf(() => groups.fit(1))).toEqual(oneEach);
  });

  test("what is in line without reading values adds none", async () => {
    const user = callback({
      name: "User",
      access: { step: { yhat: "use", loss: "use" }, model: "use" },
      on: { lossBegin: ({ step }) => void step.yhat.detach(), stepEnd: async ({ step }) => void step.loss.detach() },
    });
    const learner = await made(() => learnerOf({ callbacks: [user] }));
    expect(await costOf(() => learner.fit(1))).toEqual(oneEach);
  });

  test("who reads the loss of each step in line makes 100 round trips and has one step in flight, and explain() names him", async () => {
    const learner = await made(() => learnerOf({ callbacks: [reader()] }));
    // Each step is cut in two where its loss is awaited.
    expect(await costOf(() => learner.fit(1))).toEqual({ batches: 2 * STEPS + 1, roundTrips: STEPS, objects: 0 });
    expect(learner.explain()).toMatch(/steps in flight: 1, because of Reader: /);
  });

  test("who may cancel in line has one step in flight too, without a round trip", async () => {
    const canceller = callback({ name: "Canceller", access: { control: "write" }, on: { stepEnd: () => undefined } });
    const learner = await made(() => learnerOf({ callbacks: [canceller] }));
    expect(await costOf(() => learner.fit(1))).toEqual(oneEach);
    expect(learner.explain()).toMatch(/steps in flight: 1, because of Canceller: /);
  });
});

describe("memory", () => {
  test("a step leaves nothing in this program that outlives it, but for what a callback keeps", async () => {
    const learner = new Learner(torch.nn.Linear(4, 4), crossEntropy(), {
      data: { training: loader(1000) },
      defaultCallbacks: false,
    });
    const heap = async (): Promise<number> => {
      await countsOf(worker);
      for (let i = 0; i < 3; i++) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return process.memoryUsage().heapUsed;
    };
    // The first steps are compiled, and make what all share.
    await learner.fit(2);
    const before = await heap();
    await learner.fit(3);
    // (A promise takes a hundred bytes, and a step makes dozens of objects.)
    expect(((await heap()) - before) / 3000).toBeLessThan(50);
  });
});

describe("the two clocks", () => {
  /**
   * The events of a fit with `window`, as the callbacks see them: `>3` where step 3 is issued, `<3` where it is
   * observed.
   */
  async function happenings(
    window: number | undefined,
    callbacks: readonly Callback[] = [],
    steps = 5,
  ): Promise<string[]> {
    const seen: string[] = [];
    const watcher = callback({
      name: "Watcher",
      on: { stepBegin: ({ index }) => void seen.push(`>${index}`) },
      observe: {
        fitBegin: () => void seen.push("fit"),
        epochBegin: ({ phase, epoch, batches }) => void seen.push(`${phase.name} ${epoch} of ${batches}`),
        stepEnd: ({ index, size, values }) => {
          expect([size, typeof values.loss]).toEqual([BATCH, "number"]);
          seen.push(`<${index}`);
        },
        epochEnd: ({ index }) => void seen.push(`end after ${index}`),
        fitEnd: () => void seen.push("over"),
      },
    });
    const learner = learnerOf({
      data: { training: loader(steps), validation: loader(4) },
      ...(window !== undefined && { window }),
      callbacks: [watcher, ...callbacks],
    });
    await learner.fit(2);
    return seen;
  }

  test("an observer sees each step once and in order, up to a window after it was issued", async () => {
    const training = [">0", ">1", ">2", "<0", ">3", "<1", ">4", "<2", "<3", "<4", "end after 5"];
    const validation = [">0", ">1", ">2", "<0", ">3", "<1", "<2", "<3", "end after 4"];
    const epochs = [1, 2].flatMap((epoch) => [
      `training ${epoch} of 5`,
      ...training,
      `validation ${epoch} of 4`,
      ...validation,
    ]);
    expect(await happenings(3)).toEqual(["fit", ...epochs, "over"]);
  });

  test("short steps go in bursts: half of a window is issued in one turn, when the other half is left", async () => {
    fastClock();
    const seen = (await happenings(undefined, [], 100)).filter((one) => /^[<>]/.test(one)).slice(0, 2 * 100);
    // Runs of steps that are issued, and of those that are observed, one after the other.
    const runs = seen.reduce<[way: string, length: number][]>((all, [way]) => {
      if (all.at(-1)?.[0] === way) all.at(-1)![1]++;
      else all.push([way!, 1]);
      return all;
    }, []);
    const issued = runs.filter(([way]) => way === ">").map(([, length]) => length);
    expect(issued).toEqual([3, 1, 4, 9, 18, 20, 16, 16, 13]);
    expect(runs.filter(([way]) => way === "<").map(([, length]) => length)).toEqual([1, 1, 3, 6, 12, 16, 16, 16, 29]);
  });

  test("with a window of 1, or where somebody reads in line, before the next one is issued", async () => {
    const epoch = (phase: string, n: number, steps: number): string[] => [
      `${phase} ${n} of ${steps}`,
      ...Array.from({ length: steps }, (_, i) => [`>${i}`, `<${i}`]).flat(),
      `end after ${steps}`,
    ];
    const expected = [1, 2].flatMap((n) => [...epoch("training", n, 5), ...epoch("validation", n, 4)]);
    expect(await happenings(1)).toEqual(["fit", ...expected, "over"]);
    expect(await happenings(3, [reader()])).toEqual(["fit", ...expected, "over"]);
  });

  test("metrics have each step's own values, in order", async () => {
    const labels = metric("labels", { update: (_, ys) => ({ sum: ys.sum() }), compute: ({ sum }) => sum });
    const { xs, ys } = points(7 * BATCH + 1);
    const learner = learnerOf({
      data: { training: new DataLoader({ xs, ys }, { batchSize: BATCH }) },
      callbacks: [new Metrics(labels)],
    });
    await learner.fit(1);
    const sums = Array.from({ length: 8 }, (_, i) =>
      [...(ys.data as Uint8Array).subarray(BATCH * i, BATCH * (i + 1))].reduce((a, b) => a + b, 0),
    );
    const seen = learner.state.metricsStep["training"]!["labels"];
    expect(seen).toEqual(sums.map((value, i) => ({ at: i + 1, value })));
    const total = sums.reduce((a, b) => a + b, 0);
    expect(learner.state.metricsEpoch["training"]!["labels"]).toEqual([{ at: 1, value: total }]);
  });
});

describe("after a fit", () => {
  /** Holds the worker a while at the end of each step, so that unawaited work shows. */
  function slowLoss(): (yhat: AnyRef, ys: AnyRef) => AnyRef {
    const F = py.keep(untyped(worker, "torch.nn.functional"));
    const time = py.keep(untyped(worker, "time"));
    return (yhat, ys) => {
      const loss = F.cross_entropy(yhat, ys);
      time.sleep(0.05);
      return loss;
    };
  }
  const slowLearner = (callbacks: readonly Callback[]): Learner =>
    new Learner(torch.nn.Linear(4, 4), slowLoss(), {
      data: { training: loader(8) },
      callbacks: [...printers(), ...callbacks],
    });

  const stop = (how: "observe" | "on"): Callback =>
    callback({
      name: "Stop",
      access: { control: "write" },
      [how]: { stepEnd: ({ index, control }: any) => void (index === 4 && control.cancel("fit", "enough")) },
    });

  test.each<[string, () => Callback[], object]>([
    ["that completed", () => [], { status: "completed", steps: 8 }],
    // Two more were on their way when the fifth was seen; they count.
    [
      "that an observer stopped",
      () => [stop("observe")],
      { status: "stopped", reason: "enough", by: "Stop", steps: 7 },
    ],
    ["that was stopped in line", () => [stop("on")], { status: "stopped", reason: "enough", by: "Stop", steps: 5 }],
  ])("%s nothing is in flight", async (_, callbacks, report) => {
    expect(await slowLearner(callbacks()).fit(1)).toMatchObject(report);
    expect((await worker.stats()).inFlight).toBe(0);
  });

  async function failing(): Promise<never> {
    throw new Error("no more");
  }
  const thrower = new CustomCallback("backwardBegin", ({ index }) => (index === 5 ? failing() : undefined));
  async function* fiveBatches(): AsyncGenerator<{ xs: NDArray; ys: NDArray }> {
    for await (const batch of new DataLoader(points(5 * BATCH), { batchSize: BATCH })) yield batch;
    await failing();
  }

  test.each<[string, Callback[], Data]>([
    ["in a handler", [thrower], loader(8)],
    ["in its data", [], { [Symbol.asyncIterator]: fiveBatches }],
  ])(
    "that failed %s nothing is in flight, and what was issued before has been counted",
    async (_, callbacks, training) => {
      const learner = slowLearner(callbacks);
      await expect(learner.fit(1, { data: { training } })).rejects.toThrow("no more");
      expect((await worker.stats()).inFlight).toBe(0);
      expect(learner.state.history["training"]!.steps).toBe(5);
      // And the next one begins afresh.
      expect(await slowLearner([]).fit(1)).toMatchObject({ status: "completed", steps: 8 });
    },
  );
});
