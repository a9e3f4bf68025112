/** What is in the folder of a fit: whole checkpoints of this program, or none. */
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";
import {
  AbstractTrainingPhase,
  accuracy,
  adamW,
  callback,
  Checkpointer,
  crossEntropy,
  kw,
  Metrics,
  oneCycle,
  py,
  PyTorchBackend,
  Scheduler,
  sgd,
  type AnyRef,
  type Callback,
  type Learner,
  type LearnerData,
  type Worker,
} from "torchwire";
import { EarlyStopping, EMA, Recorder, ReduceOnPlateau, Traces } from "torchwire/callbacks";
import { csv, jsonLines, LogHistograms, LogHyperParams, LogMetrics, LogTraces } from "torchwire/logging";
import { fromWorker } from "torchwire/data";
import { statefulMetric, torchmetric, type Metric } from "torchwire/metrics";
import { numberSinceBest } from "torchwire/stopping";
import { digits, fitted, kinds, learnerOf, type Data, type Outcome, type Setting } from "../../fixtures/resume/fits.ts";
import { allBatches, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
let whole: Outcome;
const plain = kinds["plain"]!;
let warnings: MockInstance<typeof process.emitWarning>;

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
  whole = await fitted(worker, { kind: plain, seed: 1, data });
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "checkpoints-"));
  warnings = vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A program in the folder, that is interrupted at a training step. */
function program(setting: Partial<Setting> & { stopAt?: number } = {}): Promise<Outcome> {
  const interrupt = new AbortController();
  const { stopAt, ...more } = setting;
  return fitted(worker, {
    kind: plain,
    seed: 1,
    data,
    options: { resume: { folder, every: 4 }, signal: interrupt.signal },
    atStep: (phase, step) => {
      if (phase === "training" && step === stopAt) interrupt.abort("stopped");
    },
    ...more,
  });
}

const checkpoints = async (): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith("step-")).toSorted();
const told = (): string => warnings.mock.calls.map(([message]) => String(message)).join("\n");

test("the two newest checkpoints stay, and the last is that of the end", async () => {
  await program();
  expect(await checkpoints()).toEqual(["step-00000024-1", "step-00000027-1"]);
  expect(JSON.parse(await readFile(join(folder, "latest.json"), "utf8"))).toEqual({ checkpoint: "step-00000027-1" });
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
});

test("model.safetensors opens in plain Python and has the weights", async () => {
  await program();
  const learner = learnerOf(worker, { kind: plain, seed: 5, data });
  const load = worker.import("safetensors.torch");
  await py.settle(learner.model.load_state_dict(load.load_file(join(folder, "step-00000027-1", "model.safetensors"))));
  expect(await weightsHash(worker, learner.model as never)).toBe(whole.weights);
});

test("a fit that is over has nothing to do, and gives its report again", async () => {
  const first = await program();
  let steps = 0;
  const again = await program({ seed: 2, atStep: () => void steps++ });
  expect(steps).toBe(0);
  expect(again).toEqual({
    ...first,
    report: { ...first.report, resumed: { from: join(folder, "step-00000027-1"), steps: 27, times: 1 } },
  });
});

test("n counts from the run's beginning", async () => {
  await learnerOf(worker, { kind: plain, seed: 1, data }).fit(1, { resume: folder });
  const { weights, report } = await program({ seed: 2 });
  expect(weights).toBe(whole.weights);
  expect(report).toMatchObject({ epochs: 3, steps: 27, resumed: { steps: 9 } });
});

test("a checkpoint never takes the place of another: a kill between the two would leave none", async () => {
  // After 27 steps one is written at the epoch's end, and one at the fit's.
  await program({ options: { resume: { folder, every: 9, keep: 2 } } });
  expect(await checkpoints()).toEqual(["step-00000027-1", "step-00000027-1-2"]);
  const { weights, report } = await program({ seed: 2 });
  expect(weights).toBe(whole.weights);
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000027-1-2") });
});

describe("broken checkpoints are passed over", () => {
  const newest = "step-00000014-1";
  const breakings: [string, (path: string) => Promise<void>][] = [
    ["a file is cut short", (path) => truncate(join(path, "training.safetensors"), 1000)],
    ["a file has other bytes", (path) => flip(join(path, "model.safetensors"))],
    ["a file is missing", (path) => rm(join(path, "model.safetensors"))],
    ["the manifest is half there", (path) => truncate(join(path, "manifest.json"), 100)],
    ["the manifest is missing", (path) => rm(join(path, "manifest.json"))],
    ["the format is of another version", (path) => reformat(join(path, "manifest.json"))],
  ];
  test.each(breakings)("%s", async (_, breakIt) => {
    await program({ stopAt: 14 });
    expect(await checkpoints()).toEqual(["step-00000012-1", newest]);
    await breakIt(join(folder, newest));
    const { weights, report } = await program({ seed: 2 });
    expect(told()).toContain(`${newest} is passed over: `);
    expect(report.resumed).toMatchObject({ from: join(folder, "step-00000012-1"), steps: 12 });
    expect(weights).toBe(whole.weights);
  });

  test("all of them are broken: the fit begins anew", async () => {
    await program({ stopAt: 14 });
    for (const name of await checkpoints()) await rm(join(folder, name, "manifest.json"));
    const { weights, report } = await program();
    expect(report).not.toHaveProperty("resumed");
    expect(weights).toBe(whole.weights);
  });
});

const reformat = async (path: string): Promise<void> =>
  writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), format: 2 }));

const flip = async (path: string): Promise<void> => {
  const bytes = await readFile(path);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(path, bytes);
};

describe("a checkpoint of another program is refused, and stays as it is", () => {
  const others: [string, () => Partial<Setting>, RegExp][] = [
    ["the batch size", () => ({ batchSize: 4 }), /training data: batchSize was 8 there, and is 4 here/],
    ["the data", () => ({ data: { ...data, training: { ...data.training, ys: data.validation.ys } } }), /rows|samples/],
    [
      "the labels",
      () => ({
        data: {
          ...data,
          training: {
            ...data.training,
            ys: { ...data.training.ys, data: Uint8Array.from(data.training.ys.data as Uint8Array, (y) => 9 - y) },
          },
        },
      }),
      /training data: its bytes was [0-9a-f]{16} there/,
    ],
    [
      "the optimizer",
      () => ({ kind: { ...plain, optimizer: () => adamW() } }),
      /the optimizer was SGD there, and is AdamW here/,
    ],
    [
      "a hyperparameter",
      () => ({ kind: { ...plain, optimizer: () => sgd({ lr: 0.01, momentum: 0.9 }) } }),
      /the optimizer, the group 0: lr was 0\.05 there, and is 0\.01 here/,
    ],
    ["the callbacks", () => ({ more: [callback({ name: "another" })] }), /the callbacks was .*, and is .*another/],
    [
      "the model",
      () => ({
        change: (learner) => {
          learner.model = worker.import("torch").nn.Sequential(learner.model as never) as unknown as AnyRef;
        },
      }),
      /the module 0 was Conv2d there, and is Sequential here/,
    ],
  ];
  test.each(others)("%s", async (_, other, message) => {
    await program({ stopAt: 5 });
    const before = await checkpoints();
    await expect(program({ seed: 2, ...other() })).rejects.toMatchObject({
      code: "BAD_DATA",
      message: expect.stringMatching(message) as unknown,
    });
    expect(await checkpoints()).toEqual(before);
    // The right program, which may be running, still has the folder.
    expect(await readdir(folder)).not.toContain("incarnation-2.json");
    expect((await program({ seed: 2 })).weights).toBe(whole.weights);
  });
});

test("callbacks with other options, and schedules with other values, make another program", async () => {
  const decide: [string, (more: boolean) => Callback][] = [
    ["clipGradNorm of PyTorchBackend", (more) => new PyTorchBackend({ clipGradNorm: more ? 1 : 2 })],
    ["decay of EMA", (more) => new EMA({ decay: more ? 0.9 : 0.8 })],
    ["schedules of Scheduler", (more) => new Scheduler({ lr: oneCycle("run", more ? 0.1 : 0.2) })],
    ["patience of ReduceOnPlateau", (more) => new ReduceOnPlateau({ patience: more ? 2 : 3 })],
    ["criterion of EarlyStopping", (more) => new EarlyStopping(numberSinceBest(more ? 8 : 9))],
    ["metrics of Metrics", (more) => new Metrics(...(more ? [accuracy] : []))],
    ["own of mine", (more) => callback({ name: "mine", options: { own: more } })],
  ];
  for (const [what, make] of decide) {
    await program({ stopAt: 5, more: [make(true)] });
    await expect(program({ more: [make(false)] })).rejects.toThrow(`of another program: ${what} was`);
    // The same options are the same program, in an object of their own.
    expect((await program({ stopAt: 5, more: [make(true)] })).report.resumed).toMatchObject({ times: 1 });
    await rm(folder, { recursive: true });
  }
});

test("a fit that is interrupted as an epoch begins makes its first group: no epoch begins twice", async () => {
  const generator = (): AnyRef => (worker.import("torch") as unknown as AnyRef).Generator().manual_seed(3) as AnyRef;
  // They are drawn from PyTorch's own generator, and from one that the program tracks.
  const drawing = (own: AnyRef): Partial<Setting> => ({
    change: (learner) => learner.track("noise", own),
    more: [
      callback({
        name: "draws",
        phase: AbstractTrainingPhase,
        access: { model: "write" },
        on: {
          epochBegin: ({ model, epoch }) => {
            const noise = (worker.import("torch") as unknown as AnyRef).rand(1, kw({ generator: own }));
            const both = noise.add((worker.import("torch") as unknown as AnyRef).rand(1)).item();
            model[0].bias.requires_grad_(false).add_(both).requires_grad_(true);
            if (epoch === stopIn) interrupt.abort("stopped");
          },
        },
      }),
    ],
  });
  let interrupt = new AbortController();
  let stopIn = 0;
  const undisturbed = await fitted(worker, { kind: plain, seed: 1, data, ...drawing(generator()) });
  stopIn = 2;
  const options = { resume: { folder, every: 4 }, signal: interrupt.signal };
  const first = await fitted(worker, { kind: plain, seed: 1, data, options, ...drawing(generator()) });
  expect(first.report).toMatchObject({ status: "interrupted", steps: 10 });
  [interrupt, stopIn] = [new AbortController(), 0];
  expect((await program({ seed: 2, ...drawing(generator()) })).weights).toBe(undisturbed.weights);
});

test("a loss with a tensor in the worker is the same in each program, whatever its reference", async () => {
  const weighted = (of: Worker) => crossEntropy({ weight: of.import("torch").arange(10).add(1).float() as never });
  await program({ stopAt: 5, loss: weighted });
  // Its reference has another number.
  await py.js((worker.import("torch") as unknown as AnyRef).ones(3).sum());
  const { weights } = await program({ seed: 2, loss: weighted });
  expect(weights).toBe((await fitted(worker, { kind: plain, seed: 1, data, loss: weighted })).weights);
  expect(weights).not.toBe(whole.weights);
});

test("callbacks hear nothing of a fit that is refused", async () => {
  const files = join(folder, "files");
  const kind = { ...plain, callbacks: (): Callback[] => [new Checkpointer(files)] };
  await program({ kind, stopAt: 5 });
  const before = await readdir(files);
  await expect(program({ kind, batchSize: 4, seed: 2 })).rejects.toMatchObject({ code: "BAD_DATA" });
  expect(await readdir(files)).toEqual(before);
  expect(before).toHaveLength(1);
});

describe("a program that comes back after its successor has begun", () => {
  test("writes no checkpoint any more, and goes on", async () => {
    const { weights } = await program({
      atStep: (phase, step) => {
        if (phase === "training" && step === 10) void writeFile(join(folder, "incarnation-9.json"), "{}");
      },
    });
    expect(weights).toBe(whole.weights);
    expect(told()).toContain("belongs to another program now, its number 9; this one is number 1");
    expect((await checkpoints()).filter((name) => name > "step-00000008-1")).toEqual([]);
  });
});

test("a checkpoint that cannot be written is told, and the fit goes on", async () => {
  const { weights, report } = await program({
    atStep: async (phase, step) => {
      if (phase !== "training" || step !== 2) return;
      // A file takes the folder's place.
      await rm(folder, { recursive: true });
      await writeFile(folder, "");
    },
  });
  expect(told()).toMatch(/a checkpoint cannot be written to \S+checkpoints-\w+: ENOTDIR/);
  expect(report.status).toBe("completed");
  expect(weights).toBe(whole.weights);
});

describe("what a program adds", () => {
  test("callbacks of its own go on with their state, and tracked objects too", async () => {
    const values: [epoch: number, sum: number][] = [];
    const own = (seed: number): Partial<Setting> => {
      let sum = 0;
      const generator = py.keep(worker.import("torch").Generator()) as unknown as AnyRef;
      void py.settle(generator.manual_seed(seed));
      return {
        seed,
        more: [
          callback({
            name: "summing",
            state: { save: () => ({ sum }), load: (saved) => void (sum = saved.sum) },
            measure: () => ({
              drawn: (worker.import("torch") as unknown as AnyRef).rand(1, kw({ generator })).sum(),
            }),
            observe: {
              stepEnd: ({ epoch, values: { drawn } }) => {
                sum += drawn as unknown as number;
                values.push([epoch, sum]);
              },
            },
          }),
        ],
        change: (learner) => learner.track("noise", generator),
      };
    };
    await fitted(worker, { kind: plain, data, ...own(1) } as Setting);
    const expected = values.splice(0);
    await program({ ...own(1), stopAt: 14 });
    const first = values.splice(0);
    await program(own(2));
    expect([...first, ...values]).toEqual(expected);
    expect(expected).toHaveLength(33);
  });

  test("the best weights are given back at the end, of an epoch before the checkpoint too", async () => {
    // The highest loss is that of the first epoch.
    const callbacks = (): Callback[] => [new EarlyStopping(numberSinceBest(9), { restoreBest: true, mode: "max" })];
    const kind = { ...plain, callbacks };
    const undisturbed = await fitted(worker, { kind, seed: 1, data });
    await program({ kind, stopAt: 23 });
    expect((await program({ kind, seed: 2 })).weights).toBe(undisturbed.weights);
    expect(undisturbed.weights).not.toBe(whole.weights);
  });

  test("a callback of a class that says nothing of its state is refused", async () => {
    class Silent extends Recorder {
      override readonly name = "Silent" as never;
      override readonly state = undefined as never;
    }
    await expect(program({ more: [new Silent()] })).rejects.toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("the callback Silent does not say its state") as unknown,
    });
  });
});

test("a copy of the folder goes on elsewhere", async () => {
  await program({ stopAt: 14 });
  const copy = join(folder, "copy");
  for (const name of await readdir(folder))
    if (name !== "copy") await cp(join(folder, name), join(copy, name), { recursive: true });
  const { weights } = await program({ seed: 2, options: { resume: copy } });
  expect(weights).toBe(whole.weights);
});

describe("checkpoints wait for the end of the epoch, and say why, where", () => {
  /** The fit is interrupted in its second epoch, and goes on from the end of the first. */
  async function waiting(setting: () => Partial<Setting>, why: RegExp): Promise<[Outcome, Outcome]> {
    const undisturbed = await fitted(worker, { kind: plain, seed: 1, data, ...setting() });
    await program({ ...setting(), stopAt: 14 });
    expect(told()).toMatch(why);
    expect(await checkpoints()).toEqual(["step-00000009-1"]);
    const { report, ...rest } = await program({ seed: 2, ...setting() });
    expect(report.resumed).toMatchObject({ steps: 9 });
    return [{ ...rest, report: undisturbed.report }, undisturbed];
  }

  test("a metric says no state of the epoch under way", async () => {
    const own = (): Metric =>
      statefulMetric("steps", { start: (sum = 0) => ({ add: () => ++sum, compute: () => sum }) });
    const kind = { ...plain, callbacks: () => [new Metrics(own())] };
    const [resumed, undisturbed] = await waiting(() => ({ kind }), /the metric steps says no state/);
    expect(resumed).toEqual(undisturbed);
  });

  test("an object that gathers has no state", async () => {
    const kind = { ...plain, callbacks: () => [new Metrics(torchmetric("sum", stateless()))] };
    const why = /the metric sum says no state of the epoch under way: .* has no state_dict and load_state_dict/;
    const [resumed, undisturbed] = await waiting(() => ({ kind }), why);
    expect(resumed).toEqual(undisturbed);
  });

  /** A torch.utils.data.DataLoader, with what its program gives it. */
  const torchData = (given: (torch: AnyRef) => object) => ({
    change(learner: Learner<AnyRef>): void {
      const torch = worker.import("torch") as unknown as AnyRef;
      const { xs, ys } = data.training;
      const images = worker.tensor(xs).permute(0, 3, 1, 2).float().div(255);
      const set = torch.utils.data.TensorDataset(images, worker.tensor(ys).long());
      const options = kw({ batch_size: 8, shuffle: true, ...given(torch) });
      learner.data = { ...learner.data, training: torch.utils.data.DataLoader(set, options) as AnyRef };
    },
  });
  test.each<[string, (torch: AnyRef) => object]>([
    ["", () => ({})],
    [", read by two processes", () => ({ num_workers: 2 })],
    [", with a generator of its own", (torch) => ({ generator: torch.Generator().manual_seed(3) })],
  ])("the data is a DataLoader in the worker%s", async (_, given) => {
    const [resumed, undisturbed] = await waiting(() => torchData(given), /the training data has no position/);
    expect(resumed).toEqual(undisturbed);
  });

  test("the data is an object in the worker that keeps its own state", async () => {
    const change = (learner: Learner<AnyRef>): void => {
      const { xs, ys } = data.training;
      const images = worker.tensor(xs).permute(0, 3, 1, 2).float().div(255);
      learner.data = { ...learner.data, training: fromPython("Turning")(images, worker.tensor(ys).long()) };
    };
    const [resumed, undisturbed] = await waiting(() => ({ change }), /the training data has no position/);
    expect(resumed).toEqual(undisturbed);
  });
});

const PYTHON = `
class Sum:
    def reset(self):
        self.sum = 0
    def update(self, yhat, ys):
        self.sum += yhat.sum()
    def compute(self):
        return self.sum

class Turning:
    """Each pass begins with the batch after that of the pass before."""
    def __init__(self, xs, ys):
        self.xs, self.ys, self.first = xs, ys, 0
    def __iter__(self):
        for i in range(9):
            start = 8 * ((self.first + i) % 9)
            yield self.xs[start : start + 8], self.ys[start : start + 8]
        self.first += 1
    def state_dict(self):
        return {"first": self.first}
    def load_state_dict(self, state):
        self.first = state["first"]
`;
function fromPython(name: string): AnyRef {
  const builtins = worker.import("builtins");
  const names = builtins.dict();
  builtins.exec(PYTHON, names);
  return py.at(names, name);
}
const stateless = (): AnyRef => fromPython("Sum")();

test("a data set in the worker goes on in the middle of an epoch, in the order of that epoch", async () => {
  const { xs, ys } = data.training;
  const images = worker.tensor(xs).permute(0, 3, 1, 2).float().div(255);
  const torch = worker.import("torch") as unknown as AnyRef;
  const set = py.keep(torch.utils.data.TensorDataset(images, worker.tensor(ys).long())) as never;
  const cut = async (batchSize = 8): Promise<Partial<Setting>> => {
    const training = await fromWorker(set, { batchSize, shuffle: { seed: 5 } });
    return { change: (learner) => void (learner.data = { ...learner.data, training }) };
  };
  const undisturbed = await fitted(worker, { kind: plain, seed: 1, data, ...(await cut()) });
  await program({ stopAt: 23, ...(await cut()) });
  expect(await checkpoints()).toEqual(["step-00000020-1", "step-00000023-1"]);
  await expect(program({ seed: 2, ...(await cut(4)) })).rejects.toMatchObject({
    code: "BAD_DATA",
    message: expect.stringContaining("training data: batchSize was 8 there, and is 4 here") as unknown,
  });
  const { report: _, ...resumed } = await program({ seed: 2, ...(await cut()) });
  expect(undisturbed).toMatchObject(resumed);
});

test("a validation that draws random numbers, and is interrupted, runs again with the same ones", async () => {
  const change = (learner: Learner<AnyRef>): void => {
    const torch = worker.import("torch") as unknown as AnyRef;
    const images = worker.tensor(data.validation.xs).permute(0, 3, 1, 2).float().div(255);
    const set = torch.utils.data.TensorDataset(images, worker.tensor(data.validation.ys).long());
    const validation = torch.utils.data.DataLoader(set, kw({ batch_size: 8, shuffle: true })) as AnyRef;
    learner.data = { ...learner.data, validation };
  };
  const undisturbed = await fitted(worker, { kind: plain, seed: 1, data, change });
  const interrupt = new AbortController();
  await program({
    change,
    options: { resume: { folder, every: 1000 }, signal: interrupt.signal },
    atStep: (phase, step) => {
      if (phase === "validation" && step === 3) interrupt.abort("stopped");
    },
  });
  expect(await checkpoints()).toEqual(["step-00000018-1"]);
  const { weights, report } = await program({ seed: 2, change });
  expect(report.resumed).toMatchObject({ steps: 18 });
  expect(weights).toBe(undisturbed.weights);
});

test("batches in an array go on in the middle of an epoch", async () => {
  const batches = (learner: Learner<AnyRef>): void => {
    learner.data = { training: allBatches(data.training, 8, 3), ...pick(learner.data.validation) };
  };
  const undisturbed = await fitted(worker, { kind: plain, seed: 1, data, change: batches });
  await program({ stopAt: 14, change: batches });
  expect(await checkpoints()).toEqual(["step-00000012-1", "step-00000014-1"]);
  expect((await program({ seed: 2, change: batches })).weights).toBe(undisturbed.weights);
});

const pick = (validation: unknown): LearnerData => ({ validation }) as LearnerData;

describe("logs", () => {
  /** What the files of both kinds say, without the times. */
  const lines = async (path: string): Promise<string[]> => {
    const read = async (name: string): Promise<string[]> =>
      (await readFile(join(path, name), "utf8")).trim().split(/\r?\n/);
    const untimed = (await read("log.jsonl")).map((line) =>
      JSON.stringify({ ...(JSON.parse(line) as object), time: "" }),
    );
    return [...untimed, ...(await read("log.csv")).map((line) => line.replace(/^[^,]*,/, ""))];
  };
  const logging = (path: string): Partial<Setting> => ({
    kind: {
      ...plain,
      callbacks: () => {
        const backends = [jsonLines(path), csv(path)];
        return [
          new Traces({ norm: ({ model }) => py.at(model, 0).weight.norm() }),
          new LogMetrics(backends),
          new LogTraces(backends),
          new LogHistograms(jsonLines(path), { freq: 5 }),
          new LogHyperParams(backends, { hyperparameters: { lr: 0.05 } }),
        ];
      },
    },
  });

  test("have each step once, as those of the undisturbed fit", async () => {
    await fitted(worker, { kind: plain, seed: 1, data, ...logging(join(folder, "whole")) });
    const parts = join(folder, "parts");
    await program({ ...logging(parts), stopAt: 5 });
    await program({ ...logging(parts), seed: 2, stopAt: 6 });
    await program({ ...logging(parts), seed: 3 });
    expect(await lines(parts)).toEqual(await lines(join(folder, "whole")));
  });

  const failing = (path: string): Partial<Setting> => ({
    ...logging(path),
    options: { resume: folder },
    atStep: (_, step) => {
      if (step === 3) throw new Error("a mistake in the program");
    },
  });

  test("have no step of a program that ended before its first checkpoint", async () => {
    await fitted(worker, { kind: plain, seed: 1, data, ...logging(join(folder, "whole")) });
    const parts = join(folder, "parts");
    for (let i = 0; i < 2; i++) await expect(program(failing(parts))).rejects.toThrow("a mistake in the program");
    expect(await checkpoints()).toEqual([]);
    await program(logging(parts));
    expect(await lines(parts)).toEqual(await lines(join(folder, "whole")));
  });

  test("keep the steps of another program, which ended before its first checkpoint", async () => {
    const parts = join(folder, "parts");
    await expect(program(failing(parts))).rejects.toThrow("a mistake in the program");
    const before = await readFile(join(parts, "log.jsonl"), "utf8");
    await program({ ...logging(parts), batchSize: 4 });
    expect((await readFile(join(parts, "log.jsonl"), "utf8")).startsWith(before)).toBe(true);
  });
});
