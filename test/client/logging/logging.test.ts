/** The logging callbacks and the folder of a run, in fits on a real worker. */
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  accuracy,
  adamW,
  callback,
  Checkpointer,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  Metrics,
  mse,
  py,
  Scheduler,
  sgd,
  TrainingPhase,
  type Callback,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import { CustomCallback, GarbageCollect, Traces } from "torchwire/callbacks";
import {
  csv,
  jsonLines,
  Loggables,
  LogHistograms,
  LogHyperParams,
  LogMetrics,
  LogTraces,
  LogVisualization,
  RunFolder,
  tensorBoard,
  type LoggedHistogram,
  type LoggedImage,
  type LoggerBackend,
  type LogRecord,
} from "torchwire/logging";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { built } from "../../built.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { float32, line, pairs, printers } from "../../tiny.ts";
import { rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
const root = mkdtempSync(join(tmpdir(), "logging-"));
let count = 0;
let folder = "";
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});
beforeEach(() => {
  folder = join(root, String(count++));
});
afterAll(async () => {
  rmSync(root, { recursive: true });
});

/** A backend of one's own: it keeps everything, in memory. */
class Memory implements LoggerBackend {
  readonly name = "memory";
  readonly keeps = ["value", "text", "image", "audio", "histogram", "file"] as const;
  readonly records: LogRecord[] = [];
  readonly told: unknown[] = [];
  log(record: LogRecord): void {
    this.records.push(record);
  }
  begin(hyperparameters: object): void {
    this.told.push(hyperparameters);
  }
  end({ status }: { status: string }): void {
    this.told.push(status);
  }
  close(): void {
    this.told.push("closed");
  }
  /** `[at, value]` of each value that was logged under the tag. */
  of(tag: string): [at: number, value: unknown][] {
    return this.records.flatMap(({ group, at, values }) =>
      Object.entries(values).flatMap(([name, value]): [number, unknown][] =>
        [...group, name].join("/") === tag ? [[at, value]] : [],
      ),
    );
  }
  get tags(): string[] {
    return [
      ...new Set(
        this.records.flatMap(({ group, values }) => Object.keys(values).map((name) => [...group, name].join("/"))),
      ),
    ].toSorted();
  }
}

const learnerWith = (callbacks: readonly Callback[], options: LearnerOptions = {}): Learner =>
  new Learner(line(torch), mse(), {
    data: { training: pairs(3), validation: pairs(2) },
    optimizer: sgd({ lr: 0.01 }),
    callbacks: [...printers(), ...callbacks],
    ...options,
  });

const stopAt = (step: number): Callback =>
  callback({
    name: "Stop",
    phase: TrainingPhase,
    access: { control: "write" },
    observe: { stepEnd: ({ index, control }) => void (index === step && control.cancel("fit", "enough")) },
  });

const linesOf = (path: string): any[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);

describe("LogMetrics", () => {
  test("each step and each epoch of each phase, as Metrics has them", async () => {
    const [one, other] = [new Memory(), new Memory()];
    const learner = learnerWith([new LogMetrics([one, other])]);
    await learner.fit(2);
    expect(one.tags).toEqual([
      "Epoch/training/Metrics/loss",
      "Epoch/validation/Metrics/loss",
      "Step/training/Metrics/loss",
      "Step/validation/Metrics/loss",
    ]);
    const { metricsStep, metricsEpoch } = learner.state;
    for (const phase of ["training", "validation"])
      for (const [unit, history] of [
        ["Step", metricsStep],
        ["Epoch", metricsEpoch],
      ] as const)
        expect(one.of(`${unit}/${phase}/Metrics/loss`)).toEqual(
          history[phase]!["loss"]!.map(({ at, value }) => [at, value]),
        );
    expect(one.of("Step/training/Metrics/loss").map(([at]) => at)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(other.records).toEqual(one.records);
    // A second fit goes on.
    await learner.fit(1);
    expect(one.of("Step/training/Metrics/loss").map(([at]) => at)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(one.of("Epoch/validation/Metrics/loss").map(([at]) => at)).toEqual([1, 2, 3]);
    // One that comes late logs what happens from then on.
    const late = new Memory();
    learner.replaceCallback(new LogMetrics(late));
    await learner.fit(1);
    expect(late.of("Step/training/Metrics/loss").map(([at]) => at)).toEqual([10, 11, 12]);
    expect(late.of("Epoch/training/Metrics/loss").map(([at]) => at)).toEqual([4]);
    expect(one.of("Epoch/training/Metrics/loss")).toHaveLength(3);
  });

  test("of an epoch in which the fit ends, what was done of it", async () => {
    const memory = new Memory();
    const report = await learnerWith([new LogMetrics([memory, tensorBoard(folder)]), stopAt(1)], { window: 1 }).fit(1);
    expect(report).toMatchObject({ status: "stopped", steps: 2 });
    const steps = memory.of("Step/training/Metrics/loss").map(([, value]) => value as number);
    expect(steps).toHaveLength(2);
    const [[at, loss], ...more] = memory.of("Epoch/training/Metrics/loss") as [[number, number]];
    expect(more).toEqual([]);
    expect(at).toBeCloseTo(2 / 3, 12);
    expect(loss).toBeCloseTo((steps[0]! + steps[1]!) / 2, 12);
  });

  test("needs Metrics", () => {
    expect(
      () => new Learner(line(torch), mse(), { callbacks: [new LogMetrics(new Memory())], defaultCallbacks: false }),
    ).toThrow(/LogMetrics reads state.metricsStep, which no callback writes: add Metrics/);
  });

  test("where a backend fails, the fit says whose it was", async () => {
    class Full extends Memory {
      override log(): void {
        throw new Error("the disk is full");
      }
    }
    const error = await caught(() => learnerWith([new LogMetrics(new Full())]).fit(1));
    expect(error).toMatchObject({ code: "CALLBACK", callback: "LogMetrics" });
    expect(error.message).toContain("the disk is full");
  });
});

test("LogTraces logs what Traces follows", async () => {
  const memory = new Memory();
  const traces = new Traces(
    { weight: ({ model }) => model.weight.sum(), double: ({ index }) => 2 * index },
    { phase: TrainingPhase },
  );
  const learner = learnerWith([traces, new LogTraces(memory)]);
  await learner.fit(1);
  expect(memory.tags).toEqual(["Step/training/Traces/double", "Step/training/Traces/weight"]);
  expect(memory.of("Step/training/Traces/double")).toEqual([
    [1, 0],
    [2, 2],
    [3, 4],
  ]);
  expect(memory.of("Step/training/Traces/weight").at(-1)![1]).toBe((await py.ndarray(learner.model.weight)).data[0]);
});

describe("LogHyperParams", () => {
  test("what Scheduler set, at each step", async () => {
    const memory = new Memory();
    const scheduler = new Scheduler({ lr: (t) => t / 1000, momentum: () => 0.5 });
    await learnerWith([scheduler, new LogHyperParams(memory)], { optimizer: sgd({ momentum: 0.9 }) }).fit(2);
    expect(memory.tags).toEqual(["Step/HParams/lr", "Step/HParams/momentum"]);
    expect(memory.of("Step/HParams/lr")).toEqual([1, 2, 3, 4, 5, 6].map((t) => [t, t / 1000]));
    expect(memory.of("Step/HParams/momentum").map(([, value]) => value)).toEqual([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(memory.told).toEqual([]);
  });

  test("the run's settings, and how it ended, with and without Scheduler", async () => {
    const memory = new Memory();
    const hyperparameters = { lr: 0.01, net: "line" };
    await learnerWith([new LogHyperParams(memory, { hyperparameters }), stopAt(0)]).fit(1);
    expect([memory.told, memory.records]).toEqual([[hyperparameters, "stopped"], []]);
    const both = new Memory();
    await learnerWith([new LogHyperParams(both, { hyperparameters }), new Scheduler({ lr: () => 0.1 })]).fit(1);
    expect(both.told).toEqual([hyperparameters, "completed"]);
    expect(both.of("Step/HParams/lr")).toEqual([
      [1, 0.1],
      [2, 0.1],
      [3, 0.1],
    ]);
    expect(() => learnerWith([new LogHyperParams(memory)])).toThrow(
      /reads state.hyperparams, which no callback writes/,
    );
    expect(() => new LogHyperParams(memory, { hyperparameters: { a: [1] as never } })).toThrow(
      /a is \[ 1 \]; it must be a number/,
    );
  });
});

describe("LogHistograms", () => {
  test("bins of weights and gradients, of every freq-th step", async () => {
    const memory = new Memory();
    torch.manual_seed(1);
    const { nn } = torch;
    const model = nn.Sequential(nn.Linear(4, 30), nn.BatchNorm1d(30), nn.Linear(30, 1));
    model[1].bias.requires_grad_(false);
    const batches = Array.from({ length: 4 }, (_, i) => ({
      xs: float32([5, 4], ...Array.from({ length: 20 }, (_, j) => Math.sin(20 * i + j))),
      ys: float32([5, 1], 1, 2, 3, 4, 5),
    }));
    const learner = new Learner(model, mse(), {
      data: { training: batches, validation: batches },
      optimizer: sgd({ lr: 0.1 }),
      callbacks: [...printers(), new LogHistograms(memory, { freq: 3, bins: 8 })],
    });
    await learner.fit(2);
    const names = ["0.bias", "0.weight", "1.weight", "2.bias", "2.weight"];
    expect(memory.tags).toEqual(
      ["Gradients", "Weights"].flatMap((what) => names.map((name) => `Step/Histograms/${what}/${name}`)),
    );
    expect(memory.of("Step/Histograms/Weights/0.weight").map(([at]) => at)).toEqual([1, 4, 7]);

    // The eighth step is not logged: a fit of one more step is, and ends with these weights and gradients.
    await learner.fit(1, { data: { training: batches.slice(0, 2) } });
    const parameter = model[0].weight;
    for (const [what, tensor] of [
      ["Weights", parameter],
      ["Gradients", parameter.grad],
    ] as const) {
      const [at, found] = memory.of(`Step/Histograms/${what}/0.weight`).at(-1) as [number, LoggedHistogram];
      expect(at).toBe(10);
      const numbers = [...((await py.ndarray(tensor)).data as Float32Array)];
      const expected = Loggables.histogram(numbers, { bins: 8 });
      const { counts, edges, sum, sumSquares, notFinite } = found;
      expect({ edges, notFinite }).toEqual({ edges: expected.edges, notFinite: 0 });
      // In float32 a number on an edge may fall to either side of it.
      const moved = counts.reduce((total, n, i) => total + Math.abs(n - expected.counts[i]!), 0);
      expect(moved).toBeLessThanOrEqual(4);
      expect(sum / expected.sum).toBeCloseTo(1, 4);
      expect(sumSquares / expected.sumSquares).toBeCloseTo(1, 4);
      expect(counts.reduce((a, b) => a + b, 0)).toBe(120);
    }
  });

  test("of several models, by their names; of weights that are not finite, how many", async () => {
    const memory = new Memory();
    const models = { left: line(torch), right: line(torch) };
    models.right.weight.data.fill_(NaN);
    const histograms = new LogHistograms(memory, { freq: 1 });
    class Both extends TrainingPhase {
      override step(learner: Learner, batch: { xs: NDArray; ys: NDArray }) {
        return learner.runStep(this, batch, async (step) => {
          const { left } = learner.model as typeof models;
          step.loss = learner.lossFn(left(step.xs), step.ys);
          step.loss.backward();
        });
      }
    }
    const learner = new Learner(models, mse(), { callbacks: [...printers(), histograms] });
    await learner.fit(1, { data: { training: pairs(1) }, phases: { training: new Both() } });
    expect(memory.tags).toEqual([
      "Step/Histograms/Gradients/left.weight",
      "Step/Histograms/Weights/left.weight",
      "Step/Histograms/Weights/right.weight",
    ]);
    expect(memory.of("Step/Histograms/Weights/right.weight")).toMatchObject([[1, { notFinite: 1, counts: [0] }]]);
    expect(memory.of("Step/Histograms/Weights/left.weight")).toMatchObject([[1, { edges: [0, 0], counts: [1] }]]);
  });
});

describe("LogVisualization", () => {
  const pixels = async ({ png }: LoggedImage): Promise<number[]> => [...(await sharp(png).raw().toBuffer())];

  /** Two images, and their class. */
  const photos = (): { xs: NDArray; ys: NDArray } => ({
    xs: { dtype: "uint8", shape: [2, 2, 2, 3], data: Uint8Array.from({ length: 24 }, (_, i) => 10 * i) },
    ys: { dtype: "uint8", shape: [2], data: Uint8Array.of(0, 1) },
  });
  const format = image({ mean: [0.4, 0.5, 0.6], std: 0.2 });

  async function seen(visualization: (memory: Memory) => LogVisualization, steps = 1): Promise<Memory> {
    const memory = new Memory();
    const { nn } = torch;
    const learner = new Learner(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), crossEntropy(), {
      data: { training: Array.from({ length: steps }, photos), validation: [photos()] },
      input: format,
      callbacks: [...printers(), visualization(memory)],
    });
    await learner.fit(1);
    return memory;
  }

  test("an input as it was, by its format", async () => {
    const memory = await seen((to) => new LogVisualization(({ xs }) => xs.narrow(0, 1, 1), to, { freq: 2, format }), 4);
    expect(memory.tags).toEqual(["Step/Visualization"]);
    const found = memory.of("Step/Visualization") as [number, LoggedImage][];
    expect(found.map(([at]) => at)).toEqual([1, 3]);
    expect(await pixels(found[0]![1])).toEqual([...(photos().xs.data as Uint8Array)].slice(12));
  });

  test("a tensor with PyTorch's axes, and several by name", async () => {
    const memory = await seen(
      (to) =>
        new LogVisualization(
          ({ xs }) => ({
            loss: xs[0].mul(0.2).add(torch.tensor([[[0.4]], [[0.5]], [[0.6]]])),
            grey: xs[0].mean(0).mul(0),
          }),
          to,
        ),
    );
    expect(memory.tags).toEqual(["Step/Visualization/grey", "Step/Visualization/loss"]);
    const [[, first]] = memory.of("Step/Visualization/loss") as [[number, LoggedImage]];
    expect(await pixels(first)).toEqual([...(photos().xs.data as Uint8Array)].slice(0, 12));
    const [[, grey]] = memory.of("Step/Visualization/grey") as [[number, LoggedImage]];
    expect([grey.width, grey.height, grey.channels]).toEqual([2, 2, 1]);
  });

  test("whatever `show` makes of the values", async () => {
    const text = await seen(
      (to) =>
        new LogVisualization(({ yhat, ys }) => ({ found: yhat.argmax(1), ys }), to, {
          show: ({ found, ys }) => Loggables.text(`${found.data.length} of ${[...ys.data].join()}`),
        }),
    );
    expect(text.of("Step/Visualization")).toEqual([[1, { kind: "text", text: "2 of 0,1" }]]);
    const number = await seen(
      (to) => new LogVisualization(({ ys }) => ys.sum(), to, { show: (sum: number) => ({ sum, twice: 2 * sum }) }),
    );
    expect(number.of("Step/Visualization/twice")).toEqual([[1, 2]]);
  });

  test.each<[string, any, object, RegExp]>([
    ["gives nothing", () => undefined, {}, /the function gave undefined; it must return a reference/],
    ["is async", async ({ xs }: { xs: AnyRef }) => xs, {}, /must not be async/],
    ["gives no image", ({ xs }: { xs: AnyRef }) => xs.sum(), {}, /is not an image: say with `show`/],
    ["gives what is no image", ({ xs }: { xs: AnyRef }) => xs.flatten(), {}, /the shape is \[24\]/],
    [
      "is shown as nothing",
      ({ xs }: { xs: AnyRef }) => xs.sum(),
      { show: () => "x" },
      /`show` gave 'x'; it must return one of Loggables/,
    ],
  ])("a function that %s", async (_, look, options, message) => {
    const error = await caught(() => seen((to) => new LogVisualization(look, to, options)));
    expect(error).toMatchObject({ code: "MISUSE", callback: "LogVisualization" });
    expect(error.message).toMatch(message);
  });
});

/** All that log, on all backends; with what they log. */
const logging = (freq: number): Callback[] => {
  const backends = [tensorBoard(folder), jsonLines(folder)];
  return [
    new Metrics(accuracy),
    new Scheduler({ lr: () => 0.05 }),
    new Traces({ spread: ({ step }) => step.yhat.detach().std() }),
    new LogMetrics([...backends, csv(folder)]),
    new LogTraces(backends),
    new LogHyperParams(backends, { hyperparameters: { lr: 0.05 } }),
    new LogHistograms(backends, { freq }),
    new LogVisualization(({ xs }) => xs.narrow(0, 0, 4), backends, { freq }),
    new RunFolder(folder, { freq }),
  ];
};

describe("with everything that logs", () => {
  const BATCH = 16;
  async function fitted(callbacks: readonly Callback[]): Promise<{ hash: string; learner: Learner }> {
    torch.manual_seed(0);
    const { nn } = torch;
    const model = nn.Sequential(
      nn.Conv2d(3, 8, 3),
      nn.BatchNorm2d(8),
      nn.ReLU(),
      nn.MaxPool2d(4),
      nn.Dropout(0.25),
      nn.Flatten(),
      nn.Linear(8 * 6 * 6, 10),
    );
    const { xs, ys } = await rgbDigits(100);
    const learner = new Learner(model, crossEntropy(), {
      data: {
        training: new DataLoader({ xs, ys }, { batchSize: BATCH, shuffle: true }),
        validation: new DataLoader({ xs, ys }, { batchSize: 50 }),
      },
      optimizer: sgd({ lr: 0.05, momentum: 0.9 }),
      callbacks: [...printers(), ...callbacks],
    });
    await learner.fit(2);
    return { hash: await weightsHash(worker, model), learner };
  }

  test("the weights are, bit for bit, those of a fit that nobody logs", async () => {
    const { hash, learner } = await fitted(logging(2));
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
    expect(hash).toBe((await fitted([])).hash);
    // And it has been logged.
    const tags = new Set(
      linesOf(join(folder, "log.jsonl")).flatMap(({ group, values }) =>
        Object.keys(values ?? {}).map((name) => [...group, name].join("/")),
      ),
    );
    for (const tag of [
      "Epoch/validation/Metrics/accuracy",
      "Step/training/Traces/spread",
      "Step/HParams/lr",
      "Step/Histograms/Gradients/0.weight",
      "Step/Visualization",
    ])
      expect(tags).toContain(tag);
  });

  test("100 steps are 100 batches, nothing waits, and nothing is left", async () => {
    const xs = Float32Array.from({ length: 4 * 400 }, (_, i) => Math.sin(i));
    const ys = Uint8Array.from({ length: 400 }, (_, i) => i % 4);
    const training = new DataLoader(
      { xs: { dtype: "float32", shape: [400, 4], data: xs }, ys: { dtype: "uint8", shape: [400], data: ys } },
      { batchSize: 4 },
    );
    const callbacks = logging(10).map((one) =>
      one instanceof LogVisualization ? new LogVisualization(({ xs }) => xs, tensorBoard(folder), { freq: 10 }) : one,
    );
    const learner = new Learner(torch.nn.Linear(4, 4), crossEntropy(), {
      data: { training },
      optimizer: sgd({ lr: 0.1 }),
      callbacks: [...printers(), ...callbacks],
    });
    // The callbacks' imports, and requests that are made once.
    await learner.fit(1);
    const before = await countsOf(worker);
    await learner.fit(1);
    const after = await countsOf(worker);
    const cost = {
      batches: after.batches - before.batches - 1,
      roundTrips: after.roundTrips - before.roundTrips - 1,
      // Fewer are no cost: what earlier tests left may be freed meanwhile.
      objects: Math.max(0, after.worker.objects - before.worker.objects),
    };
    expect(cost).toEqual({ batches: 101, roundTrips: 0, objects: 0 });
  });

  test("2.9.16: LogMetrics, LogHyperParams, LogHistograms, LogVisualization and GarbageCollect: a fit without warnings", async () => {
    const warnings: unknown[] = [];
    const note = (warning: unknown): unknown => warnings.push(warning);
    process.on("warning", note);
    try {
      const backend = tensorBoard(folder);
      const learner = new Learner(line(torch), (yhat, ys) => yhat.sub(ys).abs().mean(), {
        data: { training: pairs(16), validation: pairs(16) },
        optimizer: sgd({ lr: 0.001 }),
        callbacks: [
          ...printers(),
          new Scheduler({ lr: () => 0.001 }),
          new LogMetrics(backend),
          new LogHyperParams(backend),
          new LogHistograms(backend, { freq: 5 }),
          new LogVisualization(({ xs }) => xs, backend, { freq: 5 }),
          new GarbageCollect(5),
        ],
      });
      expect((await learner.fit(1)).status).toBe("completed");
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off("warning", note);
    }
    expect(warnings).toEqual([]);
    expect(readdirSync(folder)).toHaveLength(1);
  });
});

describe("the folder of a run", () => {
  test("config.json says what the run was made of", async () => {
    const run = new RunFolder(folder, { name: "line", hyperparameters: { width: 1 } });
    const { xs, ys } = pairs(1)[0]!;
    const learner = new Learner(
      torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Linear(3, 1)),
      mse({ reduction: "sum" }),
      {
        data: { training: new DataLoader({ xs, ys }, { batchSize: 1 }), validation: pairs(2) },
        optimizer: adamW({ lr: 0.01, groups: { head: { params: (m) => m[1], lr: 0.1 } } }),
        callbacks: [...printers(), run],
      },
    );
    expect(existsSync(join(run.path, "config.json"))).toBe(false);
    await learner.fit(1);
    const config = JSON.parse(readFileSync(join(run.path, "config.json"), "utf8"));
    const versions = {
      torchwire: expect.stringMatching(/^\d/),
      node: process.versions.node,
      python: expect.stringMatching(/^3\./),
      torch: worker.versions["torch"],
    };
    expect(config).toMatchObject({
      started: expect.stringMatching(/^\d{4}-/),
      command: process.argv,
      versions,
      hyperparameters: { width: 1 },
      loss: { name: "mse_loss" },
      data: { training: { batches: 2, samples: 2, batchSize: 1 }, validation: { batches: 2 } },
      window: 3,
      git: expect.toSatisfy((commit) => commit === null || /^[0-9a-f]{40,64}$/.test(commit as string)),
      model: {
        class: "torch.nn.modules.container.Sequential",
        parameters: 10,
        trainable: 10,
        bytes: 40,
        layers: [
          ["", "Sequential", 0],
          ["0", "Linear", 6],
          ["1", "Linear", 4],
        ],
      },
      optimizer: {
        class: "torch.optim.adamw.AdamW",
        groups: [
          { name: "default", lr: 0.01, betas: [0.9, 0.999], weight_decay: 0.01, parameters: 6 },
          { name: "head", lr: 0.1, parameters: 4 },
        ],
      },
      torch: { threads: 1, deterministic: true },
    });
    expect(config.callbacks).toContain("RunFolder");
    expect(readdirSync(run.path).toSorted()).toEqual(["config.json", "metrics.jsonl"]);
  });

  test("metrics.jsonl tells of each fit, and of the steps by freq", async () => {
    const run = new RunFolder(folder, { freq: 2 });
    const learner = learnerWith([run], { data: { training: pairs(3), validation: pairs(1) } });
    await learner.fit(2);
    learner.addCallback(stopAt(0));
    await learner.fit(1);
    const lines = linesOf(join(run.path, "metrics.jsonl"));
    const told = lines.map(({ type, phase, epoch, step, isWhole, status }) =>
      [type, phase, epoch, step, isWhole, status].filter((x) => x !== undefined).join(" "),
    );
    expect(told.slice(0, 13)).toEqual([
      "fitBegin",
      "step training 1 1",
      "step training 1 3",
      "epoch training 1 true",
      "step validation 1 1",
      "epoch validation 1 true",
      "step training 2 5",
      "epoch training 2 true",
      "epoch validation 2 true",
      "fitEnd completed",
      "fitBegin",
      "step training 3 7",
      "step training 3 9",
    ]);
    expect(told.slice(13)).toEqual(["epoch training 3 false", "fitEnd stopped"]);
    expect(lines.at(-1)).toMatchObject({ status: "stopped", reason: "enough", by: "Stop" });
    const { metricsEpoch, metricsStep } = learner.state;
    const epochs = lines.filter(({ type, phase }) => type === "epoch" && phase === "training");
    expect(epochs.map(({ metrics }) => metrics.loss)).toEqual(
      metricsEpoch["training"]!["loss"]!.map(({ value }) => value),
    );
    expect(epochs[0]).toMatchObject({ steps: 3, samples: 6, seconds: expect.any(Number) });
    expect(lines[2].metrics.loss).toBe(metricsStep["training"]!["loss"]![2]!.value);
  });

  test("of an epoch that was cancelled, and of a lone one", async () => {
    const run = new RunFolder(folder);
    const learner = learnerWith([
      run,
      new CustomCallback(
        "stepBegin",
        ({ index, phase, control }) => void (index === 1 && phase.name === "training" && control.cancel("epoch")),
        { access: { control: "write" } },
      ),
    ]);
    await learner.validate();
    await learner.fit(1);
    const lines = linesOf(join(run.path, "metrics.jsonl")).filter(({ type }) => type === "epoch");
    expect(lines.map(({ phase, epoch, isWhole, steps }) => [phase, epoch, isWhole, steps])).toEqual([
      ["validation", 1, true, 2],
      ["training", 1, false, 1],
      ["validation", 2, true, 2],
    ]);
    const config = JSON.parse(readFileSync(join(run.path, "config.json"), "utf8"));
    expect(config).toMatchObject({ window: 1, model: { parameters: 1 }, loss: { name: "mse_loss" } });
    expect(() => learnerWith([run])).toThrow(/a RunFolder belongs to one learner/);
  });

  test("a fit that failed says of what; NaN is told", async () => {
    const run = new RunFolder(folder);
    const learner = learnerWith([
      run,
      new CustomCallback("stepBegin", ({ index }) => {
        if (index === 2) throw new Error("no more");
      }),
    ]);
    learner.model.weight.data.fill_(NaN);
    learner.removeCallback("StopOnNaNLoss");
    await expect(learner.fit(1)).rejects.toThrow("no more");
    const lines = linesOf(join(run.path, "metrics.jsonl"));
    expect(lines.at(-1)).toMatchObject({
      type: "fitEnd",
      status: "failed",
      reason: expect.stringContaining("no more"),
    });
    expect(lines.find(({ type }) => type === "epoch")).toMatchObject({
      isWhole: false,
      steps: 2,
      metrics: { loss: "NaN" },
    });
  });

  test("checkpoints.jsonl has a line for each checkpoint, also for those that are gone by now", async () => {
    const run = new RunFolder(folder);
    const checkpointer = new Checkpointer(join(run.path, "checkpoints"), { keep: 2 });
    const learner = learnerWith([run, checkpointer]);
    await learner.fit(3);
    const lines = linesOf(join(run.path, "checkpoints.jsonl"));
    expect(lines.map(({ epoch, steps, monitor }) => [epoch, steps, monitor])).toEqual([
      [1, 3, "loss"],
      [2, 6, "loss"],
      [3, 9, "loss"],
    ]);
    expect(readdirSync(join(run.path, "checkpoints"))).toHaveLength(2);
    expect(lines.map(({ value }) => value as number)).toEqual(
      learner.state.metricsEpoch["training"]!["loss"]!.map(({ value }) => value),
    );
  });

  test("a run whose program is killed leaves readable files", async () => {
    const child = execa(process.execPath, [built("test/fixtures/logging/train.mts"), folder], {
      reject: false,
      buffer: false,
    });
    const [said] = (await once(child.stdout, "data")) as [Buffer];
    const { pid, path } = JSON.parse(String(said)) as { pid: number; path: string };
    process.kill(pid, "SIGKILL");
    await child;
    const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
    expect(config).toMatchObject({
      model: { class: "torch.nn.modules.linear.Linear" },
      optimizer: { class: "torch.optim.sgd.SGD" },
    });
    const lines = linesOf(join(path, "metrics.jsonl"));
    expect(lines[0].type).toBe("fitBegin");
    // That it was killed shows: no fit ends.
    expect(lines.filter(({ type }) => type === "fitEnd")).toEqual([]);
    const steps = lines
      .filter(({ type, phase }) => type === "step" && phase === "training")
      .map(({ step }) => step as number);
    expect(steps).toEqual(Array.from(steps, (_, i) => i + 1));
    expect(steps.length).toBeGreaterThanOrEqual(20);
  }, 60_000);
});
