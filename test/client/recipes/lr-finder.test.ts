/** The learning-rate finder leaves no trace: a fit after it is the fit without it, bit for bit. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  lrFind,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  type Callback,
  type LearnerOptions,
  type LrFindOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import * as schedules from "torchwire/schedules";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { float32Bits, rgbDigits } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let images: { readonly xs: NDArray; readonly ys: NDArray };
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  images = await rgbDigits(72);
  const builtins = untyped(worker, "builtins");
  builtins.exec(DIGEST, untyped(worker, "__main__").__dict__);
});

/** Everything in the worker that a fit depends on, or changes. */
const DIGEST = `
import hashlib, pickle, random
import numpy, torch

def digest(value):
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(repr((value.dtype, value.shape)).encode() + value.detach().contiguous().numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, dict):
        return {str(k): digest(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(v) for v in value]
    return repr(value)

def state_of(model, optimizer):
    return {
        "weights": digest(dict(model.state_dict())),
        "gradients": digest([p.grad for p in model.parameters()]),
        "modes": [m.training for m in model.modules()],
        "required": [p.requires_grad for p in model.parameters()],
        "optimizer": digest(optimizer.state_dict()),
        "torch": digest(torch.get_rng_state()),
        "python": hashlib.sha256(pickle.dumps(random.getstate())).hexdigest(),
        "numpy": hashlib.sha256(pickle.dumps(numpy.random.get_state())).hexdigest(),
    }
`;
const stateOf = (learner: Learner): Promise<any> =>
  py.js(untyped(worker, "__main__").state_of(learner.model, learner.optimizer));

/** Draws random numbers of all three kinds in each step, normalises batches, and drops out. */
function learnerOf({ loader, ...options }: LearnerOptions & { readonly loader?: object } = {}): Learner {
  torch.manual_seed(0);
  untyped(worker, "random").seed(0);
  untyped(worker, "numpy").random.seed(0);
  const { nn } = torch;
  const model = nn.Sequential(
    nn.Conv2d(3, 4, 3),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.MaxPool2d(4),
    nn.Dropout(0.2),
    nn.Flatten(),
    nn.Linear(4 * 6 * 6, 10),
  );
  const noise = callback({
    name: "Noise",
    phase: AbstractTrainingPhase,
    access: { step: { xs: "write" } },
    runAfter: ["PyTorchBackend"],
    on: {
      stepBegin: ({ step }) => {
        step.xs = step.xs.mul(untyped(worker, "random").random()).add(untyped(worker, "numpy").random.rand());
      },
    },
  });
  return new Learner(model, crossEntropy(), {
    data: { training: (loader ?? new DataLoader(images, { batchSize: 12, shuffle: true, seed: 3 })) as never },
    optimizer: adamW({ lr: 1e-3, groups: { head: { params: (m) => py.at(m, -1), lr: 5e-3 } } }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(), noise],
    ...options,
  });
}

const noise = (): Callback =>
  callback({
    name: "OtherNoise",
    access: { step: { xs: "write" } },
    runAfter: ["PyTorchBackend"],
    on: {
      stepBegin: ({ step }) => {
        step.xs = step.xs.mul(untyped(worker, "random").random()).add(untyped(worker, "numpy").random.rand());
      },
    },
  });

interface Way {
  readonly make?: () => Learner;
  readonly find?: (learner: Learner) => Promise<unknown>;
}

/** A fit, perhaps the finder, and another fit: everything that there is then. */
async function outcome({ make = learnerOf, find }: Way): Promise<object> {
  const learner = make();
  const losses: string[] = [];
  learner.addCallback(
    callback({ name: "Losses", observe: { stepEnd: ({ values }) => void losses.push(float32Bits(values.loss)) } }),
  );
  const epochs: number[] = [];
  learner.addCallback(callback({ name: "Epochs", observe: { epochBegin: ({ epoch }) => void epochs.push(epoch) } }));
  await learner.fit(1);
  const now = async (): Promise<object> => ({
    ...(await stateOf(learner)),
    position: positionOf(learner),
    state: JSON.stringify(learner.state),
    options: await learner.hyper.groups(),
    step: learner.step,
  });
  const before = await now();
  await find?.(learner);
  // Nothing has changed at once, and not only after the next fit.
  expect(await now()).toEqual(before);
  const report = await learner.fit(2);
  return {
    losses,
    epochs,
    report: JSON.stringify(report),
    position: positionOf(learner),
    ...(await stateOf(learner)),
    explain: learner.explain(),
  };
}

const positionOf = ({ data }: Learner): unknown =>
  data.training instanceof DataLoader ? data.training.position : undefined;

const quick: LrFindOptions = { steps: 20, from: 1e-5, to: 1, diverged: Infinity };

describe("no trace", () => {
  let alone: object;
  beforeAll(async () => {
    alone = await outcome({});
  });

  test("two runs without the finder are the same, and it matters where the random numbers are", async () => {
    expect(await outcome({})).toEqual(alone);
    const disturbed = await outcome({
      make: () => {
        const one = learnerOf();
        torch.rand(1);
        return one;
      },
    });
    expect(disturbed).not.toEqual(alone);
  });

  test.each<[string, (learner: Learner) => Promise<unknown>]>([
    ["over more than three epochs of data", (learner) => lrFind(learner, quick)],
    ["with callbacks that draw random numbers", (learner) => lrFind(learner, { ...quick, callbacks: [noise()] })],
    [
      "that diverges",
      async (learner) =>
        expect(await lrFind(learner, { steps: 40, from: 1, to: 1e12 })).toMatchObject({ status: "diverged" }),
    ],
    ["twice", async (learner) => void (await lrFind(learner, quick), await lrFind(learner, quick))],
    ["with other data", (learner) => lrFind(learner, { ...quick, data: [{ xs: images.xs, ys: images.ys }] })],
  ])("fit is fit after one %s", async (_, find) => {
    expect(await outcome({ find })).toEqual(alone);
  });

  const failing = (at: number): Callback => {
    let steps = 0;
    return callback({
      name: "Failing",
      access: { step: { loss: "write" } },
      on: {
        backwardBegin: ({ step }) => {
          if (++steps === at) step.loss = step.loss.view(-77);
        },
      },
    });
  };
  const throwing = (): Callback =>
    callback({
      name: "Throwing",
      on: {
        backwardEnd: ({ index }) => {
          if (index === 5) throw new Error("no more");
        },
      },
    });

  test("fit is fit after one that failed in the worker, or in a handler", async () => {
    const find = async (learner: Learner): Promise<void> => {
      await expect(lrFind(learner, { ...quick, callbacks: [failing(6)] })).rejects.toThrow("training epoch 1, step 5");
      await expect(lrFind(learner, { ...quick, callbacks: [throwing()] })).rejects.toThrow("no more");
    };
    expect(await outcome({ find })).toEqual(alone);
  });

  test("fit is fit after one that was interrupted, which says so", async () => {
    const find = async (learner: Learner): Promise<void> => {
      const abort = new AbortController();
      const stop = callback({ name: "Stop", observe: { stepEnd: ({ index }) => void (index === 4 && abort.abort()) } });
      const found = await lrFind(learner, { ...quick, callbacks: [stop], signal: abort.signal });
      expect(found.status).toBe("interrupted");
      expect(found.losses.length).toBeLessThan(20);
      expect(found.losses.length).toBeGreaterThan(3);
    };
    expect(await outcome({ find })).toEqual(alone);
  });

  test("of momentum, of accumulated gradients, and of batches in the middle of an epoch", async () => {
    const make = (): Learner => {
      const learner = learnerOf({
        optimizer: sgd({ lr: 0.01, momentum: 0.9 }),
        callbacks: [
          new Recorder(),
          new PyTorchBackend({ accumulate: 2, clipGradNorm: 1 }),
          new Scheduler({ lr: schedules.exp(0.01, 0.9) }),
          // Leaves the loader in the middle of its pass, in the first fit.
          callback({
            name: "Leaver",
            access: { control: "write" },
            observe: {
              stepEnd: ({ index, epoch, control }) =>
                void (index === 2 && epoch === 1 && control.cancel("epoch", "enough")),
            },
          }),
        ],
      });
      return learner;
    };
    expect(await outcome({ make, find: (learner) => lrFind(learner, quick) })).toEqual(await outcome({ make }));
  });

  test("of a loader that draws its samples by weights: the finder's does so too", async () => {
    const all = Array.from(images.ys.data as Uint8Array);
    const weights = all.map((label) => (label === all[0] ? 1 : 0));
    const make = (): Learner => learnerOf({ loader: new DataLoader(images, { batchSize: 12, sample: { weights } }) });
    const labels: number[] = [];
    const spy = callback({
      name: "Labels",
      access: { step: { ys: "use" } },
      runAfter: ["PyTorchBackend"],
      measure: ({ step }) => ({ ys: step.ys }),
      observe: { stepEnd: ({ values }) => void labels.push(...Array.from(values["ys"].data as BigInt64Array, Number)) },
    });
    const find = (learner: Learner): Promise<unknown> => lrFind(learner, { ...quick, callbacks: [spy] });
    expect(await outcome({ make, find })).toEqual(await outcome({ make }));
    expect(labels).toEqual(Array.from({ length: 20 * 12 }, () => all[0]));
  });

  test("of a DataLoader of PyTorch's that has a generator of its own", async () => {
    const make = (): Learner => {
      const { data } = untyped(worker, "torch.utils");
      torch.manual_seed(9);
      const [xs, ys] = [torch.rand(36, 3, 28, 28), torch.arange(36).remainder(10)];
      const generator = torch.Generator();
      generator.manual_seed(5);
      return learnerOf({
        loader: data.DataLoader(data.TensorDataset(xs, ys), kw({ batch_size: 12, shuffle: true, generator })),
      });
    };
    expect(await outcome({ make, find: (learner) => lrFind(learner, quick) })).toEqual(await outcome({ make }));
  });

  test("of gradients, modes, and buffers that a state dict does not have", async () => {
    const learner = learnerOf();
    const { model } = learner;
    model.eval();
    py.at(model, 0).register_buffer("seen", torch.zeros(2), kw({ persistent: false }));
    py.at(model, 1).train();
    model(torch.ones(2, 3, 28, 28))
      .sum()
      .backward();
    const before = await stateOf(learner);
    learner.lossFn = (yhat) => {
      py.at(model, 0).seen = py.at(model, 0).seen.add(py.float(1));
      return yhat.pow(2).mean();
    };
    await lrFind(learner, quick);
    expect(await stateOf(learner)).toEqual(before);
    expect(await py.js(py.at(model, 0).seen.tolist())).toEqual([0, 0]);
  });

  test("nothing of it is left in the worker, and nobody who listens hears of it", async () => {
    const learner = learnerOf();
    await learner.fit(1);
    await lrFind(learner, quick);
    const events = learner.events();
    const before = (await countsOf(worker)).worker.objects;
    const found = await lrFind(learner, quick);
    expect(found.losses).toHaveLength(20);
    // What its loss is made of, until that is garbage here.
    expect((await countsOf(worker)).worker.objects - before).toBeLessThanOrEqual(3);
    await learner.fit(1);
    expect((await events.next()).value).toMatchObject({ type: "fitBegin" });
    await events.return?.();
  });

  test("where a fit is under way it is BUSY, and changes nothing of that", async () => {
    const plain = learnerOf();
    await plain.fit(2);
    const learner = learnerOf();
    const [report, error] = await Promise.all([learner.fit(2), caught(() => lrFind(learner, quick))]);
    expect([report.status, error.code]).toEqual(["completed", "BUSY"]);
    expect(await stateOf(learner)).toEqual(await stateOf(plain));
  });
});

describe("what it finds", () => {
  /**
   * A loss that falls until the rate is about 0.1, and rises then: of a parameter that is moved towards 1 by the rate.
   */
  const parabola = (): Learner => {
    const model = torch.nn.Linear(1, 1, kw({ bias: false }));
    torch.nn.init.zeros_(model.weight);
    const ones: NDArray = { dtype: "float32", shape: [1, 1], data: Float32Array.of(1) };
    return new Learner(model, (yhat, ys) => yhat.sub(ys).pow(2).mean(), {
      data: { training: [{ xs: ones, ys: ones }] },
      optimizer: sgd({ lr: 123 }),
      defaultCallbacks: false,
    });
  };

  test("rates in even factors, the loss at each, and the curve", async () => {
    const found = await lrFind(parabola(), { from: 1e-4, to: 10, steps: 60, smoothing: 0 });
    expect(found.rates[0]).toBe(1e-4);
    for (const [i, rate] of found.rates.entries()) expect(rate).toBeCloseTo(1e-4 * 1e5 ** (i / 59), 12);
    // Gradient descent: w += 2 · rate · (1 - w), with each loss from before its step.
    let w = 0;
    for (const [i, loss] of found.losses.entries()) {
      expect(loss).toBeCloseTo((1 - w) ** 2, 4);
      w += 2 * found.rates[i]! * (1 - w);
    }
    expect(found.smoothed).toEqual(found.losses);
    expect(found.status).toBe("diverged");
    const text = String(found);
    expect(text).toMatch(/^loss by learning rate, \d+ steps, diverged\n/);
    expect(text).toMatch(/\n +└─+\n +1\.0e-4 +\d\.\de[+-]\d\nsteepest \d\.\de-\d, valley \d\.\de-\d$/);
    expect(found.suggestion.valley).toBeLessThan(1);
  });

  test("fastai's suggestions", async () => {
    const found = await lrFind(parabola(), { from: 1e-3, to: 1, steps: 40, diverged: Infinity });
    const { rates, smoothed } = found;
    // Smoothed as fastai's is.
    let mean = 0;
    const expected = found.losses.map((loss, i) => {
      mean += (loss - mean) * (1 - 0.98);
      return mean / (1 - 0.98 ** (i + 1));
    });
    for (const [i, value] of expected.entries()) expect(smoothed[i]).toBeCloseTo(value, 9);
    const [x, y] = [rates.slice(4, -5), smoothed.slice(4, -5)];
    const slope = (i: number): number => (y[i + 1]! - y[i]!) / Math.log(x[i + 1]! / x[i]!);
    const slopes = y.slice(1).map((_, i) => slope(i));
    expect(found.suggestion.steepest).toBe(x[slopes.indexOf(Math.min(...slopes))]);
    // It falls all the way: from before the first to the last, a half of that in whole thirds.
    const [end, third] = [y.length - 1, (y.length - 1) / 3];
    expect(end).toBe(30);
    expect(found.suggestion.valley).toBe(x[Math.floor(third) + Math.floor(third / 2)]);
  });

  test("with gradients of several batches, a step is all of them", async () => {
    const learner = learnerOf({ callbacks: [new PyTorchBackend({ accumulate: 4 })] });
    const found = await lrFind(learner, { ...quick, steps: 12 });
    expect([found.rates.length, found.losses.length, found.status]).toEqual([12, 12, "completed"]);
    expect(found.losses.every((loss) => loss > 0)).toBe(true);
  });

  test.each<[string, LrFindOptions, RegExp]>([
    ["a range", { from: 1, to: 0.1 }, /^lrFind: it goes up, from above 0: not from 1 to 0\.1$/],
    ["steps", { steps: 1 }, /^lrFind: steps must be a whole number from 2, not 1$/],
    ["smoothing", { smoothing: 1 }, /^lrFind: smoothing is from 0 and below 1/],
    ["an option", { start: 1 } as never, /^lrFind has no option "start"; it has from, to, /],
  ])("MISUSE for %s that makes no sense", async (_, options, message) => {
    expect(await caught(() => lrFind(parabola(), options))).toMatchObject({
      code: "MISUSE",
      message: expect.stringMatching(message) as string,
    });
  });

  test("a run of too few steps suggests nothing, and one of none says so", async () => {
    const found = await lrFind(parabola(), { steps: 5, diverged: Infinity });
    expect(found.suggestion).toEqual({ steepest: undefined, valley: undefined });
    expect(String(found)).toMatch(/steepest -, valley -$/);
    const abort = new AbortController();
    abort.abort();
    expect(String(await lrFind(parabola(), { signal: abort.signal }))).toBe("no learning rate was tried");
    expect(await caught(() => lrFind(learnerOf({ data: {} })))).toMatchObject({ code: "MISUSE" });
  });
});
