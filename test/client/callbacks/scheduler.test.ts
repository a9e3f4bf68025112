/** Scheduler, learner.hyper and ReduceOnPlateau: what the real optimizer has at each step. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  adamW,
  callback,
  DataLoader,
  Learner,
  type Trainer,
  Metrics,
  oneCycle,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  TrainingPhase,
  type BatchLike,
  type Callback,
  type Data,
  type LearnerOptions,
  type NDArray,
  type Step,
  type Worker,
} from "torchwire";
import { CustomCallback, ReduceOnPlateau, relative, type ReduceOnPlateauOptions } from "torchwire/callbacks";
import { hyperparameter, type Hyper } from "torchwire/optim";
import type { Schedule } from "torchwire/schedules";
import * as schedules from "torchwire/schedules";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { unchecked } from "../../tiny.ts";
import { mnist } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

const { constant, exp, interpolator, poly } = schedules;

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

/** 2.9's test learner: y = 3x, of a model coeff · x, in 16 batches of 8. */
const BATCHES = 16;
function line(batches = BATCHES): { xs: NDArray; ys: NDArray } {
  const xs = Float32Array.from({ length: 8 * batches }, (_, i) => ((i * 37) % 100) / 100);
  return {
    xs: { dtype: "float32", shape: [8 * batches, 1], data: xs },
    ys: { dtype: "float32", shape: [8 * batches, 1], data: xs.map((x) => 3 * x) },
  };
}
const loader = (batches?: number): Data => new DataLoader(line(batches), { batchSize: 8 });

function learnerOf({ batches, ...options }: LearnerOptions & { readonly batches?: number } = {}): Learner {
  return new Learner(torch.nn.Linear(1, 1), (yhat, ys) => yhat.sub(ys).abs().mean(), {
    data: { training: loader(batches) },
    optimizer: sgd({ lr: 0.001 }),
    defaultCallbacks: false,
    ...options,
  });
}

/** The rates that the optimizer really has when it steps: asked for in line, at the end of each step. */
function rates(into: unknown[], name = "lr"): Callback {
  let learner!: Trainer;
  return callback({
    name: "Rates",
    phase: AbstractTrainingPhase,
    init: (given) => void (learner = given),
    measure: () => ({ rate: py.at(py.at(py.get(learner.optimizer, "param_groups"), 0), name) }),
    observe: { stepEnd: ({ values }) => void into.push(values["rate"]) },
  });
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

const recorded = ({ state }: Learner, name = "lr"): (number | undefined)[] =>
  state.hyperparams[name]!.map(({ value }) => value);

describe("2.9.15: Scheduler", () => {
  const schedule = (): Schedule => interpolator(poly(1e-4, 1, 10), BATCHES);

  test("the rate of each step is the schedule's, and the last ones of the first two epochs are 1e-4 and 9e-5", async () => {
    const real: number[] = [];
    const scheduler = new Scheduler({ lr: schedule() }, { across: true });
    const learner = learnerOf({ callbacks: [scheduler, new Recorder(), rates(real)] });
    await learner.fit(1);
    expect(real).toEqual(Array(16).fill(1e-4));
    await learner.fit(1);
    expect(real.slice(16)).toEqual(Array(16).fill(1e-4 * (1 - 1 / 10)));
    expect(recorded(learner)).toEqual(real);
    expect(learner.state.hyperparams["lr"]!.map(({ at }) => at)).toEqual(real.map((_, i) => i + 1));
  });

  test("so it is in epochs that are no fit, which count on", async () => {
    const learner = learnerOf({ callbacks: [new Scheduler({ lr: schedule() })] });
    await learner.epoch(new TrainingPhase());
    expect(recorded(learner).at(-1)).toBe(1e-4);
    await learner.epoch(new TrainingPhase());
    expect(recorded(learner).at(-1)).toBe(1e-4 * (1 - 1 / 10));
    expect(recorded(learner)).toHaveLength(32);
  });

  test("with what moves model and batches to the device, and with Recorder, the callbacks have an order", () => {
    const learner = learnerOf({ callbacks: [new PyTorchBackend(), new Scheduler({ lr: schedule() }), new Recorder()] });
    expect(learner.explain()).toMatch(/^stepBegin .*(Scheduler.*PyTorchBackend|PyTorchBackend.*Scheduler)/m);
  });
});

describe("where a schedule is", () => {
  const count = (t: number): number => t / 1000;
  const steps = (found: readonly unknown[]): number[] => found.map((rate) => Math.round(1000 * (rate as number)));
  const run = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

  test("it begins anew with each fit, and knows how long that is", async () => {
    const lengths: unknown[] = [];
    const real: unknown[] = [];
    const spy: Schedule = (t, length) => (lengths.push(length), count(t));
    const learner = learnerOf({ batches: 4, callbacks: [new Scheduler({ lr: spy }), rates(real)] });
    await learner.fit(2);
    await learner.fit(1);
    expect(steps(real)).toEqual([...run(8), ...run(4)]);
    expect(lengths).toEqual([...times(8, { steps: 8, stepsPerEpoch: 4 }), ...times(4, { steps: 4, stepsPerEpoch: 4 })]);
  });

  test("across fits it counts what the worker has done, and there is no run", async () => {
    const real: unknown[] = [];
    const fault = hyperparameter("fault", 0);
    const learner = learnerOf({ batches: 5, callbacks: [new Scheduler({ lr: count }, { across: true }), rates(real)] });
    const { lossFn } = learner;
    // Withheld in the worker: the fourth step of the first fit fails there, when others are on their way.
    learner.lossFn = (yhat, ys) => {
      fault.value++;
      return fault.value === 4 ? yhat.view(-77) : lossFn(yhat, ys);
    };
    await expect(learner.fit(1)).rejects.toThrow("training epoch 1, step 3");
    expect(steps(real)).toEqual([1, 2, 3]);
    await learner.fit(1);
    expect(steps(real)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const lost = learnerOf({ callbacks: [new Scheduler({ lr: oneCycle("run", 1) }, { across: true })] });
    expect(await caught(() => lost.fit(1))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("the number of steps in the run is not known here") as string,
    });
  });

  test("batches whose gradients are added up are one step", async () => {
    const lengths: unknown[] = [];
    const real: unknown[] = [];
    const spy: Schedule = (t, length) => (lengths.push(length), count(t));
    const backend = new PyTorchBackend({ accumulate: 3 });
    const learner = learnerOf({ batches: 7, callbacks: [new Scheduler({ lr: spy }), backend, rates(real)] });
    await learner.fit(2);
    expect(steps(real)).toEqual([1, 1, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5, 5, 6]);
    expect(lengths).toEqual(times(6, { steps: 6, stepsPerEpoch: 3 }));
    expect(learner.state.hyperparams["lr"]!.map(({ at }) => at)).toEqual([1, 4, 7, 8, 11, 14]);
  });

  test("a step that is cancelled does not count; validation does not either", async () => {
    const real: unknown[] = [];
    const skip = callback({
      name: "Skip",
      phase: AbstractTrainingPhase,
      access: { control: "write" },
      on: {
        lossBegin: ({ index, control, epoch }) =>
          void (index === 2 && epoch === 1 && skips++ === 0 && control.cancel("step", "no")),
      },
    });
    let skips = 0;
    const learner = learnerOf({
      data: { training: loader(5), validation: loader(3) },
      callbacks: [new Scheduler({ lr: count }), skip, rates(real)],
    });
    await learner.fit(2);
    expect(steps(real)).toEqual(run(9));
  });

  test("it acts in line, and nobody waits for it: 3 steps in flight, a batch each, and no round trip", async () => {
    const make = (callbacks: readonly Callback[]): Learner => learnerOf({ batches: 10, callbacks });
    const cost = async (learner: Learner): Promise<object> => {
      await learner.fit(1);
      const before = await countsOf(worker);
      await learner.fit(2);
      const after = await countsOf(worker);
      return {
        batches: after.batches - before.batches,
        roundTrips: after.roundTrips - before.roundTrips,
        // Fewer are no cost: what earlier tests left may be freed meanwhile.
        objects: Math.max(0, after.worker.objects - before.worker.objects),
      };
    };
    const bare = await cost(make([]));
    const scheduler = new Scheduler({
      lr: oneCycle("run", 0.01),
      momentum: constant(0.9),
      own: [[hyperparameter("x", 1), (t) => t]],
    });
    const learner = make([scheduler]);
    expect(await cost(learner)).toEqual(bare);
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
  });
});

describe("what is scheduled", () => {
  const body = (m: AnyRef): AnyRef => py.at(m, 0);
  const twoGroups = (): Learner["model"] => torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Linear(4, 1));
  const grouped = (callbacks: readonly Callback[]): Learner =>
    new Learner(twoGroups(), (yhat, ys) => yhat.sub(ys).abs().mean(), {
      data: { training: loader(3) },
      optimizer: adamW({ lr: 0.1, betas: [0.8, 0.99], groups: { body: { params: body, lr: 0.01 } } }),
      defaultCallbacks: false,
      callbacks,
    });

  test("any hyperparameter, of all groups or of one; floats arrive as floats", async () => {
    const scheduler = new Scheduler({
      lr: constant(1),
      weightDecay: (t) => t,
      "betas.0": exp(0.5, 0.5),
      groups: { body: { lr: exp(1, 0.5), eps: constant(1) } },
    });
    const learner = grouped([scheduler]);
    await learner.fit(1);
    const { default: rest, body: first } = await learner.hyper.groups();
    expect(rest).toMatchObject({ lr: 1, weightDecay: 3, betas: [0.125, 0.99], eps: 1e-8 });
    expect(first).toMatchObject({ lr: 0.25, weightDecay: 3, betas: [0.125, 0.99], eps: 1 });
    const kinds = untyped(worker, "builtins").eval(
      "lambda groups: [[type(g[k]).__name__ for k in ('lr', 'weight_decay', 'eps')] + [type(g['betas'][0]).__name__] for g in groups]",
    );
    expect(await py.js(kinds(learner.optimizer.param_groups))).toEqual(Array(2).fill(Array(4).fill("float")));
    expect(Object.keys(learner.state.hyperparams).toSorted()).toEqual([
      "betas.0",
      "eps/body",
      "lr",
      "lr/body",
      "weightDecay",
    ]);
    expect([recorded(learner, "lr/body"), recorded(learner)]).toEqual([
      [1, 0.5, 0.25],
      [1, 1, 1],
    ]);
  });

  test("relative schedules multiply each group's own value, in each fit anew; hyper.set changes what that is", async () => {
    const learner = grouped([new Scheduler({ lr: relative(exp(1, 0.5)) })]);
    await learner.fit(1);
    await learner.fit(1);
    const halves = (from: number): number[] => [from, from / 2, from / 4];
    expect(recorded(learner, "lr/default")).toEqual([...halves(0.1), ...halves(0.1)]);
    expect(recorded(learner, "lr/body")).toEqual([...halves(0.01), ...halves(0.01)]);
    learner.hyper.set("lr", 8, "body");
    await learner.fit(1);
    expect(recorded(learner, "lr/body").slice(6)).toEqual(halves(8));
    expect(recorded(learner, "lr/default").slice(6)).toEqual(halves(0.1));
  });

  test("one's own, which a loss reads, and which is written where it belongs", async () => {
    const seen: number[] = [];
    const weight = hyperparameter("weight", 1);
    const model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(1, 1));
    const dropout = hyperparameter("dropout", 0.5, { apply: (p) => void (py.at(model, 0).p = py.float(p)) });
    const learner = new Learner(model, (yhat, ys) => yhat.sub(ys).abs().mean().mul(py.float(weight.value)), {
      data: { training: loader(3) },
      defaultCallbacks: false,
      callbacks: [
        new Scheduler({
          own: [
            [weight, (t) => 10 * t],
            [dropout, exp(0.5, 0)],
          ],
        }),
        callback({
          name: "Weights",
          measure: () => ({ p: py.at(model, 0).p }),
          observe: { stepEnd: ({ values }) => void seen.push(values["p"]) },
        }),
      ],
    });
    await learner.fit(1);
    expect(recorded(learner, "weight")).toEqual([10, 20, 30]);
    expect([weight.value, dropout.value]).toEqual([30, 0]);
    expect(seen).toEqual([0.5, 0, 0]);
  });

  test("the optimizers of several models, together or each by its name", async () => {
    class Both extends AbstractTrainingPhase {
      readonly name = "both";
      step(learner: Learner, batch: BatchLike): Promise<Step> {
        return learner.runStep(this, batch, async (step) => {
          const { a, b } = learner.model as { [name: string]: AnyRef };
          step.loss = learner.lossFn(b!(a!(step.xs)), step.ys);
          for (const one of Object.values(learner.optimizer as { [name: string]: AnyRef })) one.zero_grad();
          step.loss.backward();
          for (const one of Object.values(learner.optimizer as { [name: string]: AnyRef })) one.step();
        });
      }
    }
    const learner = new Learner(
      { a: torch.nn.Linear(1, 2), b: torch.nn.Linear(2, 1) } as never,
      (yhat, ys) => yhat.sub(ys).abs().mean(),
      {
        data: { training: loader(3) },
        optimizer: { a: sgd({ lr: 0.1 }), b: adamW({ lr: 0.2 }) },
        defaultCallbacks: false,
        callbacks: [
          new Scheduler({ weightDecay: constant(0.5), lr: relative(exp(1, 0.5)), models: { b: { lr: constant(7) } } }),
        ],
      },
    );
    await learner.fit(1, { phases: { training: new Both() } });
    expect(await learner.hyper.groups()).toMatchObject({
      "a/default": { lr: 0.025, weightDecay: 0.5 },
      "b/default": { lr: 7, weightDecay: 0.5 },
    });
    expect(await learner.hyper.get("lr", { model: "a" })).toBe(0.025);
    expect(recorded(learner, "b/lr")).toEqual([7, 7, 7]);
    expect(await caught(() => learner.hyper.get("lr", { model: "c" }))).toMatchObject({
      message: expect.stringMatching(/there is no model "c"; there are a, b/) as string,
    });
  });

  test("two Schedulers of different things go together, and not of the same", async () => {
    const decay = new Scheduler(
      { weightDecay: constant(0.5), groups: { body: { lr: constant(3) } } },
      { name: "Decay" },
    );
    const learner = grouped([
      new Scheduler({ "betas.0": constant(0.7), groups: { default: { lr: constant(2) } } }),
      decay,
    ]);
    await learner.fit(1);
    expect(await learner.hyper.groups()).toMatchObject({
      default: { lr: 2, weightDecay: 0.5, betas: [0.7, 0.99] },
      body: { lr: 3, weightDecay: 0.5 },
    });
    const together = (...callbacks: Callback[]): Promise<unknown> => caught(() => grouped(callbacks));
    const other = new Scheduler({ lr: constant(1) }, { name: "Other" });
    const never = {
      code: "MISUSE",
      message: expect.stringMatching(
        /^callbacks \w+ and \w+ cannot be used together: both have to do with hyper\.lr/,
      ) as string,
    };
    expect(await together(new Scheduler({ lr: constant(1) }), other)).toMatchObject(never);
    expect(await together(decay, other)).toMatchObject(never);
    expect(await together(other, new Recorder(), new Metrics(), new ReduceOnPlateau())).toMatchObject(never);
    const mine = hyperparameter("mine", 1);
    const own = (name: string): Callback => new Scheduler({ own: [[mine, constant(1)]] }, { name });
    expect(await together(own("A"), own("B"))).toMatchObject({
      message: expect.stringContaining("hyper.own.mine") as string,
    });
    // Others that write something say who goes first.
    const writer = (runAfter: string[]): Callback =>
      callback({
        name: "Writer",
        access: { hyper: "write" },
        runAfter,
        on: { stepBegin: ({ hyper }) => hyper.set("lr", 9) },
      });
    expect(await together(writer([]), other)).toMatchObject({
      message: expect.stringMatching(/both write hyper\.lr: say which goes first/) as string,
    });
    const last = grouped([writer(["Other"]), other]);
    await last.fit(1);
    expect(await last.hyper.get("lr")).toBe(9);
  });
});

describe("learner.hyper", () => {
  test("sets and reads at its place in the program, in one group or in all", async () => {
    const learner = learnerOf({ optimizer: adamW({ lr: 1e-3, groups: { bias: { params: (m) => m.bias } } }) });
    const before = learner.hyper.get("lr");
    learner.hyper.set("lr", 1);
    const between = learner.hyper.get("lr");
    learner.hyper.set("weightDecay", 0.25, "bias");
    learner.hyper.set("betas.1", 0.5, { group: "default" });
    learner.hyper.set("amsgrad", true);
    expect([await before, await between, await learner.hyper.get("amsgrad")]).toEqual([1e-3, 1, true]);
    expect(await learner.hyper.get("betas", "default")).toEqual([0.9, 0.5]);
    expect(await learner.hyper.groups()).toMatchObject({
      default: { weightDecay: 0.01, betas: [0.9, 0.5] },
      bias: { weightDecay: 0.25, betas: [0.9, 0.999] },
    });
  });

  test("a rate that is a tensor stays the same tensor", async () => {
    const learner = learnerOf({
      optimizer: (m) => torch.optim.AdamW(m.parameters(), torch.tensor(0.5)) as never,
      callbacks: [new Scheduler({ lr: relative(exp(1, 0.5)) })],
    });
    const lr = py.at(py.at(learner.optimizer.param_groups, 0), "lr");
    await learner.fit(1);
    expect(await lr.item()).toBe(0.5 ** 16);
    expect(await learner.hyper.get("lr")).toBe(0.5 ** 16);
    expect(recorded(learner).slice(0, 3)).toEqual([0.5, 0.25, 0.125]);
  });

  test.each<[string, (learner: Learner) => unknown, RegExp]>([
    [
      "an option",
      ({ hyper }) => hyper.get("beta"),
      /the optimizer has no hyperparameter "beta" in its group "default"; it has lr, momentum, /,
    ],
    ["a group", ({ hyper }) => hyper.get("lr", "hed"), /the optimizer has no group "hed"; it has default \(/],
    ["a part", ({ hyper }) => hyper.get("lr.0"), /there is no "lr\.0": lr is 0\.001/],
    [
      "a pair of values",
      ({ hyper }) => (hyper.set("betas", 1), hyper.get("lr")),
      /the optimizer has no hyperparameter "betas"/,
    ],
    ["the parameters", ({ hyper }) => hyper.get("params"), /no hyperparameter "params"/],
    ["a model", ({ hyper }) => hyper.get("lr", { model: "a" }), /there is no model "a", there is one alone/],
    [
      "a name",
      ({ hyper }) => hyper.set("weight-decay", 1),
      /^'weight-decay' is not the name of a hyperparameter; .*weightDecay/,
    ],
    [
      "a value",
      ({ hyper }) => hyper.set("lr", unchecked("1")),
      /^hyper: lr is '1'; it must be a number, true or false$/,
    ],
    ["a number", ({ hyper }) => hyper.set("lr", NaN), /^hyper: lr is NaN$/],
  ])("%s that is not there is an error which says what is", async (_, use, message) => {
    expect((await caught(() => use(learnerOf()))).message.split("\n")[0]).toMatch(message);
  });

  test("an optimizer that has no such hyperparameter fails the first step, with what there is", async () => {
    const learner = learnerOf({ callbacks: [new Scheduler({ "betas.0": constant(0.9) })] });
    const error = await caught(() => learner.fit(1));
    expect(error.message).toMatch(
      /^training epoch 1, step 0: .*the optimizer has no hyperparameter "betas" .* it has lr, momentum/,
    );
  });

  test("who has no access to it cannot have it", async () => {
    const learner = learnerOf({
      callbacks: [new CustomCallback("stepBegin", (view) => (view as { readonly hyper?: Hyper }).hyper?.set("lr", 1))],
    });
    expect(await caught(() => learner.fit(1))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("no read access to learner.hyper") as string,
    });
  });
});

test.each<[string, () => unknown, RegExp]>([
  ["a number", () => new Scheduler({ lr: unchecked(0.1) }), /^Scheduler: lr is 0\.1; it must be a schedule/],
  ["nothing", () => new Scheduler({}), /^Scheduler: there is nothing to schedule/],
  [
    "a group of numbers",
    () => new Scheduler({ groups: { head: { lr: unchecked(1) } } }),
    /^Scheduler: group "head": lr is 1; /,
  ],
  [
    "groups that are none",
    () => new Scheduler({ groups: unchecked([1]) }),
    /^Scheduler: groups is .* it must be an object/,
  ],
  [
    "own ones that are none",
    () => new Scheduler({ own: unchecked([["x", constant(1)]]) }),
    /^Scheduler: own must be an array of pairs/,
  ],
  [
    "an option",
    () => new Scheduler({ lr: constant(1) }, unchecked({ accross: true })),
    /^Scheduler has no option "accross"; it has across, name$/,
  ],
  ["relative of a number", () => relative(unchecked(1)), /^relative: 1 is not a schedule$/],
  ["an own one without a number", () => hyperparameter("x", unchecked("1")), /^hyperparameter x: '1' is not a number$/],
  [
    "a factor above 1",
    () => new ReduceOnPlateau({ factor: 10 }),
    /^ReduceOnPlateau: factor is 10; it must be a number from 0, below 1$/,
  ],
  [
    "what is not said",
    () => new ReduceOnPlateau({ monitor: "accuracy" }),
    /^ReduceOnPlateau: must accuracy become small or large\?/,
  ],
])("MISUSE where it is made: %s", async (_, make, message) => {
  expect(await caught(make)).toMatchObject({ code: "MISUSE", message: expect.stringMatching(message) as string });
});

test.each<[string, Schedule, RegExp]>([
  ["gives no number", () => unchecked("0.1"), /the schedule of lr gave '0\.1' at step 1; it must return a number/],
  ["gives NaN", (t) => (t > 2 ? NaN : 1), /step 2\): Scheduler: the schedule of lr gave NaN at step 3/],
  [
    "needs the length of data that has none",
    oneCycle("run", 1),
    /oneCycle: duration is 'run', and the number of steps in the run is not known here/,
  ],
])("a schedule that %s fails where it is asked", async (_, schedule, message) => {
  const endless = {
    *[Symbol.iterator]() {
      yield* [...Array(4)].map(() => line(1));
    },
  };
  const learner = learnerOf({ data: { training: endless }, callbacks: [new Scheduler({ lr: schedule })] });
  const error = await caught(() => learner.fit(1));
  expect(error).toMatchObject({ code: "MISUSE", callback: "Scheduler", event: "stepBegin" });
  expect(error.message).toMatch(message);
});

describe("ReduceOnPlateau", () => {
  // Sums of powers of two: float32 has them as they are.
  const metrics = [8, 4, 4, 4, 5, 4, 2, 2.5, 3, 2, 2, 2, 1.9375, 1.875, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1];
  const cases: readonly (readonly [object, ReduceOnPlateauOptions])[] = [
    [{ patience: 1 }, { patience: 1 }],
    [
      { patience: 0, factor: 0.5, cooldown: 2 },
      { patience: 0, factor: 0.5, cooldown: 2 },
    ],
    [
      { patience: 2, min_lr: 0.03, factor: 0.4 },
      { patience: 2, minLr: 0.03, factor: 0.4 },
    ],
    [
      { patience: 1, threshold: 1.5, threshold_mode: "abs", eps: 1e-3 },
      { patience: 1, threshold: 1.5, thresholdMode: "abs", eps: 1e-3 },
    ],
    [
      { patience: 1, mode: "max", threshold: 0.1 },
      { patience: 1, mode: "max", threshold: 0.1 },
    ],
    [
      { patience: 3, mode: "max", threshold: 2, threshold_mode: "abs" },
      { patience: 3, mode: "max", threshold: 2, thresholdMode: "abs" },
    ],
  ];
  let natives: number[][];
  beforeAll(async () => {
    const plateaus = cases.map(([keywords]) => [keywords, 0.1, metrics]);
    natives = (
      await plainPython<{ plateaus: number[][] }>("schedules.py", {
        data: mnist,
        cases: { values: [], plateaus, trainings: [] },
      })
    ).plateaus;
  });

  /** A learner whose validation loss is the next of `metrics` in each epoch. */
  function plateau(
    options: ReduceOnPlateauOptions,
    more: readonly Callback[] = [],
  ): { learner: Learner; found: unknown[] } {
    const found: unknown[] = [];
    const learner = learnerOf({
      data: { training: loader(1), validation: loader(1) },
      optimizer: sgd({ lr: 0.1 }),
      callbacks: [new Recorder(), new Metrics(), new ReduceOnPlateau(options), ...more],
    });
    let epoch = 0;
    learner.lossFn = (yhat) =>
      yhat
        .mean()
        .mul(py.float(0))
        .add(py.float(metrics[Math.floor(epoch++ / 2)]!));
    const after = callback({
      name: "After",
      runAfter: ["ReduceOnPlateau"],
      on: {
        epochEnd: async ({ phase }) => void (phase.data === "validation" && found.push(await learner.hyper.get("lr"))),
      },
    });
    learner.addCallback(after);
    return { learner, found };
  }

  test.each(cases.map(([keywords, options], i) => [JSON.stringify(keywords), options, i] as const))(
    "has the rates of torch.optim.lr_scheduler.ReduceLROnPlateau(%s)",
    async (_, options, i) => {
      const { learner, found } = plateau(options);
      await learner.fit(metrics.length);
      expect(new Set(natives[i]).size).toBeGreaterThan(1);
      expect(found).toEqual(natives[i]);
      const changes = natives[i]!.filter((rate, j) => rate !== (natives[i]![j - 1] ?? 0.1));
      expect([...new Set(recorded(learner))]).toEqual(changes);
    },
  );

  test("it goes on from fit to fit, or begins anew; the window stays", async () => {
    const going = plateau({ patience: 2 });
    for (const epochs of [4, 3, metrics.length - 7]) await going.learner.fit(epochs);
    const whole = plateau({ patience: 2 });
    await whole.learner.fit(metrics.length);
    expect(going.found).toEqual(whole.found);
    expect(whole.learner.explain()).toContain("steps in flight: 3 to 32");
    const anew = plateau({ patience: 2, restart: true });
    for (let i = 0; i < 6; i++) await anew.learner.fit(1);
    expect(anew.found).toEqual(Array(6).fill(0.1));
  });

  test("it goes with a Scheduler of something else", async () => {
    const { learner, found } = plateau({ patience: 0 }, [new Scheduler({ momentum: constant(0.5) })]);
    await learner.fit(4);
    expect(found.at(-1)).toBeCloseTo(0.001, 12);
    expect(recorded(learner, "momentum")).toHaveLength(4);
  });
});
