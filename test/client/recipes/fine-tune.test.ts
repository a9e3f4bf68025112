/** fitOneCycle and fineTune: recipes, and what they leave behind. */
import { beforeAll, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  adamW,
  callback,
  DataLoader,
  fineTune,
  fitOneCycle,
  freeze,
  Learner,
  type Trainer,
  Metrics,
  oneCycle,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  type Callback,
  type LearnerOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import * as schedules from "torchwire/schedules";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const BATCHES = 10;
const data = (): { training: DataLoader } => {
  const xs: NDArray = {
    dtype: "float32",
    shape: [BATCHES * 4, 2],
    data: Float32Array.from({ length: BATCHES * 8 }, (_, i) => Math.sin(i)),
  };
  const ys: NDArray = {
    dtype: "float32",
    shape: [BATCHES * 4, 1],
    data: Float32Array.from({ length: BATCHES * 4 }, (_, i) => Math.cos(i)),
  };
  return { training: new DataLoader({ xs, ys }, { batchSize: 4 }) };
};

/** stem, norm, head; the optimizer's groups are these. */
const network = (): AnyRef =>
  torch.nn.Sequential(
    untyped(worker, "collections").OrderedDict({
      stem: torch.nn.Linear(2, 4),
      norm: torch.nn.BatchNorm1d(4),
      head: torch.nn.Linear(4, 1),
    }),
  );
const groups = {
  stem: { params: (m: AnyRef) => m.stem },
  norm: { params: (m: AnyRef) => m.norm },
  head: { params: (m: AnyRef) => m.head, lr: 0.5 },
};

function learnerOf(options: Partial<LearnerOptions> = {}, model: AnyRef = network()): Learner {
  return new Learner(model, (yhat, ys) => yhat.sub(ys).pow(2).mean(), {
    data: data(),
    optimizer: adamW({ lr: 0.25, groups }),
    defaultCallbacks: false,
    callbacks: [new Recorder()],
    ...options,
  });
}

/** For each step, the parameters that get gradients, and those that have changed since the fit began. */
function trained(into: { required: unknown[]; moved: unknown[] }): Callback {
  let learner!: Trainer;
  let before: AnyRef | undefined;
  const names = (): AnyRef =>
    untyped(worker, "builtins").eval("lambda m: [n for n, p in m.named_parameters() if p.requires_grad]");
  const moved = (): AnyRef =>
    untyped(worker, "builtins").eval("lambda m, b: [n for n, p in m.named_parameters() if not p.equal(b[n])]");
  const copy = (): AnyRef =>
    untyped(worker, "builtins").eval("lambda m: {n: p.detach().clone() for n, p in m.named_parameters()}");
  return callback({
    name: "Trained",
    phase: AbstractTrainingPhase,
    init: (given) => void (learner = given),
    on: {
      fitBegin: () => void (before = py.keep(copy()(learner.model))),
      fitEnd: async () => {
        into.required.push(await py.js(names()(learner.model)));
        into.moved.push(await py.js(moved()(learner.model, before)));
      },
    },
  });
}

const recorded = ({ state }: Learner, name: string): number[] => state.hyperparams[name]!.map(({ value }) => value);
const schedule = (of: ReturnType<typeof oneCycle>, steps: number): number[] =>
  Array.from({ length: steps }, (_, i) => of(i + 1, { steps }));
const ALL = ["stem.weight", "stem.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"];

test("fitOneCycle is a fit with one cycle of rate and momentum, after which both are as before", async () => {
  const learner = learnerOf();
  const before = await learner.hyper.groups();
  const report = await fitOneCycle(learner, 2, 0.01);
  expect(report).toMatchObject({ status: "completed", epochs: 2, steps: 2 * BATCHES });
  const momentum = oneCycle("run", 0.85, { startValue: 0.95, endValue: 0.95 });
  for (const name of ["stem", "norm", "head"]) {
    expect(recorded(learner, `lr/${name}`)).toEqual(schedule(oneCycle("run", 0.01), 20));
    expect(recorded(learner, `betas.0/${name}`)).toEqual(schedule(momentum, 20));
  }
  expect(recorded(learner, "betas.0/stem")[0]).toBeCloseTo(0.95, 12);
  expect(recorded(learner, "betas.0/stem")[5]).toBeCloseTo(0.85, 12);
  expect(await learner.hyper.groups()).toEqual(before);
  expect(learner.callbacks.map(({ name }) => name)).toEqual(["Recorder", "PyTorchBackend"]);
});

test("rates by group: for each, or from the first one to the last, in even factors", async () => {
  const tops = async (rates: number | readonly number[]): Promise<number[]> => {
    const learner = learnerOf();
    await fitOneCycle(learner, 1, rates, { percentStart: 0.5, div: 10, divFinal: 100, momentum: false });
    expect(learner.state.hyperparams["betas.0/head"]).toBeUndefined();
    return ["stem", "norm", "head"].map((name) => {
      const all = recorded(learner, `lr/${name}`);
      expect(all[0]).toBeCloseTo(Math.max(...all) / 10, 12);
      return Math.max(...all);
    });
  };
  expect(await tops(0.1)).toEqual([0.1, 0.1, 0.1]);
  expect(await tops([0.3, 0.2, 0.1])).toEqual([0.3, 0.2, 0.1]);
  const [first, middle, last] = await tops([0.001, 0.1]);
  expect([first, last]).toEqual([0.001, 0.1]);
  expect(middle).toBeCloseTo(0.01, 12);
});

test("a momentum is moved where there is one: not one of 0", async () => {
  const momenta = async (momentum: number): Promise<unknown> => {
    const learner = learnerOf({ optimizer: sgd({ lr: 0.1, momentum }) });
    await fitOneCycle(learner, 1, 0.01);
    expect(await learner.hyper.get("momentum")).toBe(momentum);
    return learner.state.hyperparams["momentum/default"]?.length;
  };
  expect([await momenta(0.9), await momenta(0)]).toEqual([BATCHES, undefined]);
});

test("what is put back is put back where the fit fails or is stopped; a Scheduler of the rate is in the way", async () => {
  const thrower = callback({
    name: "Thrower",
    on: {
      backwardEnd: ({ index }) => {
        if (index === 3) throw new Error("no more");
      },
    },
  });
  const learner = learnerOf({ callbacks: [thrower] });
  const before = await learner.hyper.groups();
  await expect(fitOneCycle(learner, 1, 0.01)).rejects.toThrow("no more");
  expect(await learner.hyper.groups()).toEqual(before);
  expect(learner.getCallback("fitOneCycle")).toBeUndefined();

  const other = learnerOf({ callbacks: [new Scheduler({ lr: schedules.constant(1) })] });
  expect(await caught(() => fitOneCycle(other, 1, 0.01))).toMatchObject({
    code: "MISUSE",
    message: expect.stringContaining("Scheduler") as string,
  });
  const busy = learnerOf();
  const [report, error] = await Promise.all([busy.fit(1), caught(() => fitOneCycle(busy, 1, 0.01))]);
  expect([report.status, error.code]).toEqual(["completed", "BUSY"]);
});

test.each<[string, (learner: Learner) => Promise<unknown>, RegExp]>([
  [
    "rates",
    (learner) => fitOneCycle(learner, 1, [1, 2, 3, 4]),
    /^fitOneCycle: maxLr is \[ 1, 2, 3, 4 \]; .* one for each of the groups stem, norm, head$/,
  ],
  ["a rate", (learner) => fitOneCycle(learner, 1, -1), /^fitOneCycle: maxLr is -1; /],
  [
    "an option",
    (learner) => fitOneCycle(learner, 1, 1, { divisor: 3 } as never),
    /^fitOneCycle has no option "divisor"; /,
  ],
  ["options", (learner) => fineTune(learner, 1, { freeze: 3 } as never), /^fineTune has no option "freeze"; /],
])("MISUSE for %s that make no sense", async (_, run, message) => {
  expect(await caught(() => run(learnerOf()))).toMatchObject({
    code: "MISUSE",
    message: expect.stringMatching(message) as string,
  });
});

test("fineTune trains the head, and batch normalisation; then all, with rates by group", async () => {
  const seen = { required: [] as unknown[], moved: [] as unknown[] };
  const learner = learnerOf({ callbacks: [new Recorder(), trained(seen)] });
  const report = await fineTune(learner, 3, { baseLr: 0.02, lrMult: 100, freezeEpochs: 2 });
  expect(report).toMatchObject({ status: "completed", epochs: 5, steps: 50 });
  expect(seen.required).toEqual([["norm.weight", "norm.bias", "head.weight", "head.bias"], ALL]);
  expect(seen.moved).toEqual([["norm.weight", "norm.bias", "head.weight", "head.bias"], ALL]);
  const first = { percentStart: 0.99 };
  const rates = (name: string): number[] => recorded(learner, `lr/${name}`);
  expect(rates("head").slice(0, 20)).toEqual(schedule(oneCycle("run", 0.02, first), 20));
  expect(rates("stem").slice(0, 20)).toEqual(schedule(oneCycle("run", 0.002, first), 20));
  const second = (top: number): number[] =>
    schedule(oneCycle("run", top, { percentStart: 0.3, startValue: top / 5 }), 30);
  expect(rates("head").slice(20)).toEqual(second(0.01));
  expect(rates("stem").slice(20)).toEqual(second(0.0001));
  expect(Math.max(...rates("norm").slice(20))).toBeCloseTo(0.001, 12);
});

test("the head can be said, where the optimizer has one group; batch normalisation can wait", async () => {
  const seen = { required: [] as unknown[], moved: [] as unknown[] };
  const learner = learnerOf({ optimizer: sgd({ lr: 0.1 }), callbacks: [trained(seen)] });
  await fineTune(learner, 1, { head: (m) => m.head, trainNorms: false });
  expect(seen.required).toEqual([["head.weight", "head.bias"], ALL]);
  expect(seen.moved[0]).toEqual(["head.weight", "head.bias"]);
  expect(seen.moved[1]).toContain("stem.weight");
  // Without a word of it, nobody knows which it is.
  const error = await caught(() => fineTune(learnerOf({ optimizer: sgd({ lr: 0.1 }) }), 1));
  expect(error).toMatchObject({
    code: "MISUSE",
    message: expect.stringMatching(/^fineTune: which part is the head\? Make it a group/) as string,
  });
});

test("a first part that is stopped is the last, and nothing stays frozen; what was frozen is not", async () => {
  const stop = callback({
    name: "Stop",
    access: { control: "write" },
    observe: { stepEnd: ({ index, control }) => void (index === 2 && control.cancel("fit", "enough")) },
  });
  const model = network();
  freeze(model.stem);
  const learner = learnerOf({ callbacks: [stop] }, model);
  expect(await fineTune(learner, 3)).toMatchObject({ status: "stopped", by: "Stop", epochs: 0 });
  const required = untyped(worker, "builtins").eval("lambda m: [p.requires_grad for p in m.parameters()]");
  expect(await py.js(required(model))).toEqual(Array(6).fill(true));
});

test("a learner of several models has no head", async () => {
  const several = new Learner(
    { a: torch.nn.Linear(1, 1), b: torch.nn.Linear(1, 1) } as never,
    (yhat, ys) => yhat.sub(ys).mean(),
    {
      callbacks: [new PyTorchBackend(), new Metrics(), new Recorder()],
      defaultCallbacks: false,
    },
  );
  for (const run of [() => fitOneCycle(several, 1, 1), () => fineTune(several, 1)])
    expect(await caught(run)).toMatchObject({
      code: "MISUSE",
      message: expect.stringMatching(/is for a learner of one model/) as string,
    });
});

test("an optimizer that cannot be made is told by its own error", async () => {
  const wrong = () => learnerOf({ optimizer: adamW({ groups: { head: { params: (m: AnyRef) => m.nowhere } } }) });
  const message = expect.stringContaining("'Sequential' object has no attribute 'nowhere'") as unknown;
  await expect(fitOneCycle(wrong(), 1, 0.01)).rejects.toMatchObject({ message });
  await expect(wrong().hyper.get("lr")).rejects.toMatchObject({ message });
});
