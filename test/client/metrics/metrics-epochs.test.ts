/** Metrics over an epoch: means, the objects in the worker, and an epoch that is cut short. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  accuracy,
  callback,
  crossEntropy,
  kw,
  Learner,
  lrFind,
  metric,
  Metrics,
  MetricsPrinter,
  mse,
  ProgressPrinter,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  TrainingPhase,
  ValidationPhase,
  type AnyRef,
  type BatchLike,
  type Callback,
  type Data,
  type FitOptions,
  type LearnerData,
  type NDArray,
  type Report,
  type Step,
  type Worker,
} from "torchwire";
import { CustomCallback, type MetricValue } from "torchwire/callbacks";
import { same } from "torchwire/formats";
import { loss, type Loss } from "torchwire/losses";
import {
  auc,
  confusionMatrix,
  epochSeconds,
  f1,
  MeanLoss,
  Metric,
  rootMeanSquaredError,
  SmoothLoss,
  statefulMetric,
  topK,
  torchmetric,
} from "torchwire/metrics";
import { caught, countsOf, untyped } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const float32 = (data: readonly number[], ...shape: number[]): NDArray => ({
  dtype: "float32",
  shape: shape.length > 0 ? shape : [data.length],
  data: Float32Array.from(data),
});
const int64 = (data: readonly number[], ...shape: number[]): NDArray => ({
  dtype: "int64",
  shape: shape.length > 0 ? shape : [data.length],
  data: BigInt64Array.from(data, BigInt),
});

/** The outputs are the inputs, and the loss is their mean. */
class Given extends AbstractValidationPhase {
  readonly name = "validation";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step) => {
      step.yhat = step.xs;
      step.loss = step.xs.mean();
    });
  }
}

/** An epoch of outputs and targets. */
async function measured(batches: readonly BatchLike[], ...metrics: readonly Metric[]): Promise<Learner> {
  const learner = new Learner(torch.nn.Linear(1, 1), mse(), {
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(...metrics)],
    input: same,
  });
  await learner.epoch(new Given(), batches);
  return learner;
}

const stepsOf = ({ state }: Learner, name: string, phase = "validation"): number[] | undefined =>
  state.metricsStep[phase]?.[name]?.map(({ value }) => value);
const epochsOf = ({ state }: Learner, name: string, phase = "validation"): readonly MetricValue[] | undefined =>
  state.metricsEpoch[phase]?.[name];

/** FluxTraining's testlearner: y = 3x, 16 batches of 8. */
const line = (): BatchLike[] =>
  Array.from({ length: 16 }, (_, i) => {
    const xs = Array.from({ length: 8 }, (_, j) => Math.fround(((37 * i + 11 * j) % 64) / 64));
    return {
      xs: float32(xs, 8, 1),
      ys: float32(
        xs.map((x) => 3 * x),
        8,
        1,
      ),
    };
  });

interface Fitted extends Pick<FitOptions, "signal"> {
  readonly metrics?: readonly Metric[];
  readonly callbacks?: readonly Callback[];
  readonly data?: LearnerData;
  readonly window?: number;
}

function lineLearner({ metrics = [], callbacks = [], data, window = 3 }: Fitted = {}): Learner {
  return new Learner(torch.nn.Linear(1, 1), mse(), {
    data: data ?? { training: line(), validation: line().slice(0, 4) },
    optimizer: sgd({ lr: 0.001 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(...metrics), ...callbacks],
    window,
  });
}

describe("the acceptance list", () => {
  test("2.9.6: Recorder counts nothing before a fit, and after ten epochs 10, 16 and 160", async () => {
    const learner = lineLearner({ data: { training: line() } });
    expect(learner.state.history).toEqual({});
    await learner.fit(10);
    expect(learner.state.history["training"]).toMatchObject({ epochs: 10, stepsEpoch: 16, steps: 160, samples: 1280 });
  });

  test("2.9.9: a metric of validation is in the histories of steps and epochs of validation, and in no other", async () => {
    const share = (yhat: AnyRef, ys: AnyRef): AnyRef => yhat.sub(ys).abs().lt(0.5).float().mean();
    const learner = lineLearner({ metrics: [new Metric(share, { phase: ValidationPhase })] });
    await learner.fit(1);
    const { metricsStep, metricsEpoch } = learner.state;
    for (const history of [metricsStep, metricsEpoch]) {
      expect(Object.keys(history["validation"]!)).toEqual(["loss", "share"]);
      expect(Object.keys(history["training"]!)).toEqual(["loss"]);
    }
    expect(metricsStep["validation"]!["share"]).toHaveLength(4);
  });

  test("2.9.9: accuracy of one-hot targets, and of soft scores, is 1", async () => {
    const hot = float32([1, 0, 0, 1], 2, 2);
    const soft = float32([0.8, 0.2, 0.1, 0.9], 2, 2);
    for (const [xs, ys] of [
      [hot, hot],
      [hot, soft],
      [soft, hot],
      [soft, int64([0, 1])],
    ] as const)
      expect(epochsOf(await measured([{ xs, ys }], accuracy), "accuracy")).toEqual([{ at: 1, value: 1 }]);
    const wrong = await measured([{ xs: hot, ys: int64([0, 0]) }], accuracy);
    expect(epochsOf(wrong, "accuracy")).toEqual([{ at: 1, value: 0.5 }]);
  });
});

describe("means", () => {
  /** Batches of three samples and of one, whose means are 2 and 10. */
  const uneven = [
    { xs: float32([1, 2, 3]), ys: float32([0, 0, 0]) },
    { xs: float32([10]), ys: float32([0]) },
  ];
  const mean = (yhat: AnyRef): AnyRef => yhat.mean();

  test("of a function's values are by samples, or by steps", async () => {
    const learner = await measured(
      uneven,
      new Metric(mean),
      new Metric(mean, { name: "explicit", mean: "samples" }),
      new Metric(mean, { name: "unweighted", mean: "steps" }),
      new Metric(() => 3, { name: "number" }),
    );
    expect(stepsOf(learner, "mean")).toEqual([2, 10]);
    expect(stepsOf(learner, "unweighted")).toEqual([2, 10]);
    expect(epochsOf(learner, "mean")).toEqual([{ at: 1, value: 4 }]);
    expect(epochsOf(learner, "explicit")).toEqual([{ at: 1, value: 4 }]);
    expect(epochsOf(learner, "unweighted")).toEqual([{ at: 1, value: 6 }]);
    expect(epochsOf(learner, "number")).toEqual([{ at: 1, value: 3 }]);
  });

  test("of the loss likewise; the one that is given takes the place of the default one", async () => {
    expect(epochsOf(await measured(uneven), "loss")).toEqual([{ at: 1, value: 4 }]);
    const learner = await measured(uneven, new Metric(mean), new MeanLoss({ mean: "steps" }));
    expect(epochsOf(learner, "loss")).toEqual([{ at: 1, value: 6 }]);
    expect(Object.keys(learner.state.metricsEpoch["validation"]!)).toEqual(["loss", "mean"]);
  });

  test("of steps instead of sums, for those that are sums", async () => {
    const learner = await measured(
      uneven,
      rootMeanSquaredError(),
      rootMeanSquaredError({ name: "by steps", mean: "steps" }),
      rootMeanSquaredError({ name: "by samples", mean: "samples" }),
    );
    const [first, second] = [Math.sqrt(14 / 3), 10];
    expect(epochsOf(learner, "rmse")![0]!.value).toBeCloseTo(Math.sqrt(114 / 4), 12);
    expect(epochsOf(learner, "by steps")![0]!.value).toBeCloseTo((first + second) / 2, 12);
    expect(epochsOf(learner, "by samples")![0]!.value).toBeCloseTo((3 * first + second) / 4, 12);
  });

  test("SmoothLoss: each step weighs beta times as much as the next, and begins anew with each epoch", async () => {
    const losses = [4, 1, 2, 8];
    const batches = losses.map((loss) => ({ xs: float32([loss]), ys: float32([0]) }));
    for (const beta of [0.02, 0.5, 0.98, 0]) {
      const learner = await measured(batches, beta === 0.02 ? new SmoothLoss() : new SmoothLoss(beta));
      await learner.epoch(new Given(), batches);
      const expected = losses.map((_, t) => {
        const weights = losses.slice(0, t + 1).map((_, i) => beta ** (t - i));
        const sum = weights.reduce((a, b) => a + b);
        return weights.reduce((all, weight, i) => all + (weight / sum) * losses[i]!, 0);
      });
      const steps = stepsOf(learner, "smoothLoss")!;
      for (const [i, value] of [...expected, ...expected].entries()) expect(steps[i]).toBeCloseTo(value, 12);
      expect(epochsOf(learner, "smoothLoss")!.map(({ at }) => at)).toEqual([1, 2]);
      expect(epochsOf(learner, "smoothLoss")![1]!.value).toBe(steps[3]);
    }
  });

  test("a phase without a loss has neither", async () => {
    class Silent extends AbstractTrainingPhase {
      readonly name = "training";

      step(learner: Learner, batch: BatchLike): Promise<Step> {
        return learner.runStep(this, batch, async (step) => {
          step.yhat = step.xs;
        });
      }
    }
    const learner = lineLearner({ metrics: [new SmoothLoss(), new Metric(mean)] });
    await learner.epoch(new Silent(), line());
    expect(Object.keys(learner.state.metricsEpoch["training"]!)).toEqual(["mean"]);
    expect(Object.keys(learner.state.metricsStep["training"]!)).toEqual(["mean"]);
  });
});

describe("the loss of an epoch is the mean over it", () => {
  /** Logits of one position each, the target's score and three zeros: of it alone the loss is log(1 + 3 / e^score). */
  const scored = (scores: readonly number[], targets: readonly number[]): BatchLike => ({
    xs: float32(
      scores.flatMap((score, i) => [0, 1, 2, 3].map((c) => (c === targets[i] ? score : 0))),
      scores.length,
      4,
    ),
    ys: int64(targets),
  });
  const lossOf = (score: number): number => Math.log(1 + 3 / Math.exp(score));
  const PAD = -100;
  // Three samples of which one counts, one of which none does, and two that count both.
  const padded = [scored([1, 5, 5], [2, PAD, PAD]), scored([1, 1], [PAD, PAD]), scored([3, 4], [0, 1])];
  const mean = (lossOf(1) + lossOf(3) + lossOf(4)) / 3;

  class Bias extends AbstractTrainingPhase {
    readonly name = "training";
    readonly #lossOf: (learner: Learner, step: Step) => AnyRef;
    constructor(of: (learner: Learner, step: Step) => AnyRef) {
      super();
      this.#lossOf = of;
    }
    step(learner: Learner, batch: BatchLike): Promise<Step> {
      return learner.runStep(this, batch, async (step, handle) => {
        step.loss = this.#lossOf(learner, step);
        await handle("backwardBegin");
      });
    }
  }

  function learnerOf(loss: Loss, callbacks: readonly Callback[] = [], model: AnyRef = torch.nn.Identity()): Learner {
    return new Learner(model, loss, {
      optimizer: () => torch.optim.SGD([torch.zeros(1)], kw({ lr: 0.1 })),
      defaultCallbacks: false,
      callbacks: [new Recorder(), ...callbacks],
      input: same,
    });
  }
  const validated = async (
    loss: Loss,
    batches: readonly BatchLike[] = padded,
    ...metrics: Metric[]
  ): Promise<Learner> => {
    const learner = learnerOf(loss, [new Metrics(...metrics)]);
    await learner.validate(batches);
    return learner;
  };
  const valueOf = (learner: Learner, phase = "validation", name = "loss"): number =>
    epochsOf(learner, name, phase)![0]!.value;

  test("of the targets that count; a step without one has no loss, and an epoch of such NaN", async () => {
    const learner = await validated(crossEntropy(), padded, new SmoothLoss(0));
    expect(valueOf(learner)).toBeCloseTo(mean, 6);
    // The second step exists, and has no value.
    expect(learner.state.metricsStep["validation"]!["loss"]!.map(({ at }) => at)).toEqual([1, 3]);
    expect(valueOf(learner, "validation", "smoothLoss")).toBeCloseTo((lossOf(3) + lossOf(4)) / 2, 6);
    const none = await validated(crossEntropy(), [padded[1]!]);
    expect(valueOf(none)).toBeNaN();
    const bySteps = await validated(crossEntropy(), padded, new MeanLoss({ mean: "steps" }));
    expect(valueOf(bySteps)).toBeCloseTo((lossOf(1) + (lossOf(3) + lossOf(4)) / 2) / 2, 6);
  });

  test("of a loss of one's own by the weight that it says, or by samples, or by what a loss of ours in it divides by", async () => {
    const own = (yhat: AnyRef, ys: AnyRef): AnyRef => torch.nn.functional.cross_entropy(yhat, ys);
    expect(valueOf(await validated(loss({ fn: own, weight: (_, ys) => ys.ne(PAD).sum() })))).toBeCloseTo(mean, 6);
    const plain = [padded[0]!, padded[2]!];
    expect(valueOf(await validated(own, plain))).toBeCloseTo((3 * lossOf(1) + lossOf(3) + lossOf(4)) / 5, 6);
    expect(valueOf(await validated(loss({ fn: own, weight: () => 1 }), plain))).toBeCloseTo(
      (lossOf(1) + (lossOf(3) + lossOf(4)) / 2) / 2,
      6,
    );
    const inner = crossEntropy().create(worker, "cpu");
    expect(valueOf(await validated((yhat, ys) => inner(yhat.view(-1, 4), ys.view(-1))))).toBeCloseTo(mean, 6);
  });

  test.each<[string, (learner: Learner, step: Step) => AnyRef, number]>([
    ["as lossFn gives it, without outputs", ({ lossFn }, { xs, ys }) => lossFn(xs, ys), mean],
    ["with a penalty", ({ lossFn }, { xs, ys }) => lossFn(xs, ys).nan_to_num().add(1), mean + 1],
    [
      "of several, by samples",
      ({ lossFn }, { xs, ys }) =>
        lossFn(xs, ys)
          .nan_to_num()
          .add(lossFn(xs.mul(0), ys).nan_to_num()),
      (3 * (lossOf(1) + lossOf(0)) + lossOf(3) + lossOf(4) + 2 * lossOf(0)) / 7,
    ],
    [
      "of several, by what the phase says",
      ({ lossFn }, step) => {
        step.lossWeight = step.ys.ne(PAD).sum() as AnyRef;
        return lossFn(step.xs, step.ys).add(lossFn(step.xs.mul(0), step.ys));
      },
      mean + lossOf(0),
    ],
  ])("in a phase of one's own: %s", async (_, of, expected) => {
    const learner = learnerOf(crossEntropy(), [new Metrics()]);
    await learner.epoch(new Bias(of), padded);
    expect(valueOf(learner, "training")).toBeCloseTo(expected, 6);
  });

  test("a fit goes on over a batch without targets as PyTorch does, and every observer with it", async () => {
    const model = torch.nn.Linear(4, 4);
    const plain = torch.nn.Linear(4, 4);
    plain.load_state_dict(model.state_dict());
    const losses: (number | undefined)[] = [];
    let text = "";
    const watch = callback({ name: "Watch", observe: { stepEnd: ({ values }) => void losses.push(values.loss) } });
    const learner = new Learner(model, crossEntropy(), {
      data: { training: padded, validation: padded },
      optimizer: sgd({ lr: 0.1 }),
      callbacks: [
        watch,
        new ProgressPrinter({ output: { write: (more) => void (text += more) } }),
        new MetricsPrinter({ output: { write: () => undefined } }),
      ],
      input: same,
    });
    const events = learner.events();
    const report = await learner.fit(2);
    expect(report).toMatchObject({ status: "completed", epochs: 2 });
    expect(losses.map((one) => one === undefined)).toEqual([0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0].map(Boolean));
    expect(text).toContain("loss ");
    expect(text).not.toContain("NaN");
    const seen: (number | null)[] = [];
    for (let left = 3; left > 0;) {
      const event = (await events.next()).value!;
      if (event.type === "stepEnd" && left-- > 0) seen.push(event.loss);
    }
    expect(seen).toEqual([losses[0], null, losses[2]]);
    await events.return?.();

    const optimizer = torch.optim.SGD(plain.parameters(), kw({ lr: 0.1 }));
    for (const { xs, ys } of [...padded, ...padded] as { xs: NDArray; ys: NDArray }[]) {
      optimizer.zero_grad();
      torch.nn.functional.cross_entropy(plain(worker.tensor(xs)), worker.tensor(ys)).backward();
      optimizer.step();
    }
    expect(await torch.equal(model.weight, plain.weight)).toBe(true);
  });

  test.each([false, true])("NaN that comes of something else still stops a fit (late: %s)", async (late) => {
    const run = async (spec: Loss, batches: readonly BatchLike[]): Promise<Report> =>
      new Learner(torch.nn.Linear(4, 4), spec, {
        data: { training: batches, validation: padded },
        optimizer: sgd({ lr: 0.1 }),
        defaultCallbacks: false,
        callbacks: [new Recorder(), new Metrics(), new StopOnNaNLoss({ late })],
        input: same,
      }).fit(1);
    expect(await run(crossEntropy(), [padded[0]!, scored([NaN], [1]), ...padded])).toMatchObject({
      by: "StopOnNaNLoss",
    });
    // Classes without weight: 0 / 0 in the gradients too.
    const weightless = [padded[0]!, scored([1], [1]), ...padded];
    expect(await run(crossEntropy({ weight: [1, 0, 1, 1] }), weightless)).toMatchObject({ by: "StopOnNaNLoss" });
    const own = (yhat: AnyRef, ys: AnyRef): AnyRef => torch.nn.functional.cross_entropy(yhat, ys);
    const said = loss({ fn: own, weight: (_, ys) => ys.ne(PAD).sum() });
    expect(await run(said, padded)).toMatchObject({ status: "completed" });
    expect(await run(said, [scored([NaN], [1]), ...padded])).toMatchObject({ by: "StopOnNaNLoss" });
  });

  test("lrFind leaves out what has no loss, and takes the mean over a group of batches", async () => {
    const learner = new Learner(torch.nn.Linear(4, 4), crossEntropy(), {
      data: { training: padded },
      optimizer: sgd({ lr: 0.1 }),
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics()],
      input: same,
    });
    const found = await lrFind(learner, { steps: 9, from: 1e-30, to: 1e-29 });
    expect([found.losses.length, found.rates.length, found.status]).toEqual([6, 6, "completed"]);
    expect(found.losses.every(Number.isFinite)).toBe(true);
    const groups = new Learner(learner.model, crossEntropy(), {
      data: { training: padded },
      callbacks: [new PyTorchBackend({ accumulate: 3 })],
      input: same,
    });
    // Rates so small that nothing changes: it is the loss of the epoch.
    const whole = await groups.validate(padded);
    const [first] = (await lrFind(groups, { steps: 2, from: 1e-30, to: 1e-29 })).losses;
    expect(first).toBeCloseTo(whole["loss"]!, 6);
  });

  test.each<[string, () => unknown, RegExp]>([
    [
      "a weight that is no number",
      () => loss({ fn: (yhat) => yhat.mean(), weight: () => unchecked("all") }),
      /^validation epoch 1, step 0: the weight of the loss is 'all'; it must be a number or a reference/,
    ],
    [
      "one that is negative",
      () => loss({ fn: (yhat) => yhat.mean(), weight: () => -1 }),
      /the weight of the loss is -1; it must be a number from 0/,
    ],
    [
      "one of many",
      () => loss({ fn: (yhat) => yhat.mean(), weight: (yhat) => yhat }),
      /the weight of the loss is .*; it must be a number from 0/,
    ],
    [
      "none",
      () => loss(unchecked({ fn: (yhat: AnyRef) => yhat.mean() })),
      /^loss: weight is undefined; it must be a function of outputs and targets/,
    ],
  ])("refuses %s", async (_, make, said) => {
    const error = await caught(async () => validated(make() as Loss));
    expect(error.message).toMatch(said);
    expect(error.code).toBe("MISUSE");
  });
});

describe("metrics of one's own", () => {
  const batches = [1, 5, 3].map((x) => ({ xs: float32([x, -x]), ys: float32([x, x]) }));

  test("merge says what two batches make together", async () => {
    const largest = metric("largest", {
      update: (yhat) => ({ found: yhat.max() }),
      merge: (one, other) => ({ found: Math.max(one.found, other.found) }),
      compute: ({ found }) => found,
    });
    const learner = await measured(batches, largest);
    expect(stepsOf(learner, "largest")).toEqual([1, 5, 3]);
    expect(epochsOf(learner, "largest")).toEqual([{ at: 1, value: 5 }]);
  });

  test("what is more than sums is started with each epoch, and may give numbers by name, and arrays", async () => {
    const started: string[] = [];
    const own = statefulMetric("own", {
      start() {
        started.push("epoch");
        const seen: number[] = [];
        return {
          update: (yhat) => ({ top: yhat.max() }),
          add: ({ top }, { loss, size }) => {
            seen.push(top);
            return loss! + size;
          },
          compute: () => ({ first: seen[0]!, last: seen.at(-1)! }),
        };
      },
    });
    const histogram = statefulMetric("histogram", {
      start: () => ({ add: () => undefined, compute: async () => float32([1, 2]) }),
    });
    const learner = await measured(batches, own, histogram);
    const before = started.length;
    await learner.epoch(new Given(), batches.slice(1));
    expect(started.length - before).toBe(1);
    expect(stepsOf(learner, "own")).toEqual([2, 2, 2, 2, 2]);
    expect(epochsOf(learner, "own/first")).toEqual([
      { at: 1, value: 1 },
      { at: 2, value: 5 },
    ]);
    expect(epochsOf(learner, "own/last")!.map(({ value }) => value)).toEqual([3, 3]);
    expect(learner.state.metricsTable["validation"]!["histogram"]).toEqual({ at: 2, value: float32([1, 2]) });
    expect(epochsOf(learner, "histogram")).toBeUndefined();
  });

  test("outputs that are a tuple or a dict come without their gradients as well", async () => {
    const namespace = untyped(worker, "builtins").dict();
    untyped(worker, "builtins").exec(
      "import torch\nclass Two(torch.nn.Linear):\n    def forward(self, x): return {'out': (super().forward(x), 1)}",
      namespace,
    );
    const model = py.at(namespace, "Two")(1, 1);
    const tracked: AnyRef[] = [];
    const own = metric("own", {
      update(yhat) {
        const out = py.at(py.at(yhat, "out"), 0);
        tracked.push(py.keep(out.requires_grad));
        return { sum: out.sum(), one: py.at(py.at(yhat, "out"), 1) };
      },
      compute: ({ one }) => one,
    });
    const F = py.keep(torch.nn.functional);
    const learner = new Learner(model, (yhat, ys) => F.mse_loss(py.at(py.at(yhat, "out"), 0), ys), {
      data: { training: line().slice(0, 2) },
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics(own)],
    });
    await learner.epoch(new TrainingPhase());
    expect(await Promise.all(tracked)).toEqual([false, false]);
    expect(epochsOf(learner, "own", "training")).toEqual([{ at: 1, value: 2 }]);
  });

  test("epochSeconds is the time of an epoch", async () => {
    const before = performance.now();
    const learner = await measured(batches, epochSeconds);
    const [{ value }] = epochsOf(learner, "seconds") as [MetricValue];
    expect(value).toBeGreaterThan(0);
    expect(value).toBeLessThan((performance.now() - before) / 1000);
    expect(stepsOf(learner, "seconds")).toBeUndefined();
  });
});

describe("objects in the worker", () => {
  /** With the methods that those of torchmetrics have. */
  const PYTHON = `
import torch

class MaxError:
    """The largest error; and what it was asked."""

    def __init__(self, shape):
        self.calls, self.shape = [], shape

    def to(self, device):
        self.calls.append(str(device))

    def reset(self):
        self.calls.append("reset")
        self.worst = torch.zeros(())

    def update(self, yhat, ys):
        self.calls.append("update")
        assert not yhat.requires_grad
        self.worst = torch.maximum(self.worst, (yhat - ys).abs().max())

    def compute(self):
        self.calls.append("compute")
        return {"number": self.worst, "float": float(self.worst), "dict": {"a": self.worst, "b": 2}, "array": self.worst.repeat(2), "none": None}[self.shape]

    def __call__(self, yhat, ys):
        self.update(yhat, ys)
        return (yhat - ys).abs().max()
`;
  function maxError(shape = "number"): AnyRef {
    const namespace = untyped(worker, "builtins").dict();
    untyped(worker, "builtins").exec(PYTHON, namespace);
    return py.at(namespace, "MaxError")(shape);
  }
  const batches = [
    { xs: float32([1, 2]), ys: float32([1, 5]) },
    { xs: float32([4]), ys: float32([0]) },
    { xs: float32([3]), ys: float32([2]) },
  ];

  test("are reset when an epoch begins, updated with each step, and asked at its end", async () => {
    const object = maxError();
    const learner = await measured(batches, torchmetric("worst", object));
    await learner.epoch(new Given(), batches.slice(2));
    expect(epochsOf(learner, "worst")).toEqual([
      { at: 1, value: 4 },
      { at: 2, value: 1 },
    ]);
    expect(stepsOf(learner, "worst")).toBeUndefined();
    expect(await py.js(object.calls)).toEqual([
      "cpu",
      "reset",
      "update",
      "update",
      "update",
      "compute",
      "cpu",
      "reset",
      "update",
      "compute",
    ]);
  });

  test("give the values of steps where they are asked to, and only in their phase", async () => {
    const learner = await measured(batches, torchmetric("worst", maxError(), { steps: true }));
    expect(stepsOf(learner, "worst")).toEqual([3, 4, 1]);
    expect(epochsOf(learner, "worst")).toEqual([{ at: 1, value: 4 }]);
    const elsewhere = lineLearner({ metrics: [torchmetric("worst", maxError(), { phase: ValidationPhase })] });
    await elsewhere.fit(2);
    expect(epochsOf(elsewhere, "worst", "training")).toBeUndefined();
    expect(epochsOf(elsewhere, "worst")!.map(({ at }) => at)).toEqual([1, 2]);
  });

  test("keep the values of a dict under some keys, or the one under a key, as their own", async () => {
    const learner = await measured(
      batches,
      torchmetric("some", maxError("dict"), { keys: ["b"] }),
      torchmetric("one", maxError("dict"), { keys: "a" }),
    );
    const { loss: _, ...history } = learner.state.metricsEpoch["validation"]!;
    expect(history).toEqual({ "some/b": [{ at: 1, value: 2 }], one: [{ at: 1, value: 4 }] });
    for (const [shape, message] of [
      ["dict", 'metric m: compute gives no "c"; it gives a, b'],
      ["number", 'metric m: compute gives no "c"; it gives one value, which has no keys'],
    ] as const) {
      const error = await caught(() =>
        measured(batches, torchmetric("m", maxError(shape), { keys: ["a", "c"].slice(shape === "dict" ? 0 : 1) })),
      );
      expect([error.code, error.message]).toEqual(["MISUSE", expect.stringContaining(`: ${message}`)]);
    }
    expect(() => torchmetric("m", maxError(), unchecked({ keys: 3 }))).toThrow(/keys.*a key, or an array of keys/);
  });

  test("may give a float, a dict, an array, or None", async () => {
    const learner = await measured(
      batches,
      ...["float", "dict", "array", "none"].map((shape) => torchmetric(shape, maxError(shape))),
    );
    const { loss: _, ...history } = learner.state.metricsEpoch["validation"]!;
    expect(history).toEqual({
      float: [{ at: 1, value: 4 }],
      "dict/a": [{ at: 1, value: 4 }],
      "dict/b": [{ at: 1, value: 2 }],
    });
    const array = { dtype: "float64", shape: [2], data: Float64Array.of(4, 4) };
    expect(learner.state.metricsTable["validation"]).toEqual({ array: { at: 1, value: array } });
  });

  test("cost nothing in a step, and together one message at the end of an epoch; what is made for one is freed after it", async () => {
    const learner = lineLearner({
      data: { training: line() },
      metrics: [
        torchmetric("worst", maxError(), { steps: true }),
        auc({ phase: ValidationPhase }),
        confusionMatrix({ threshold: 0.5 }),
      ],
    });
    await learner.fit(1);
    const before = await countsOf(worker);
    await learner.fit(2);
    const after = await countsOf(worker);
    // The last count is one itself; one sets the model to training mode.
    expect(after.roundTrips - before.roundTrips - 1).toBe(0);
    expect(after.batches - before.batches - 1).toBe(2 * (16 + 2));
    // Fewer too: what earlier tests left may be freed meanwhile.
    expect(after.worker.objects).toBeLessThanOrEqual(before.worker.objects);
    expect(learner.explain()).toContain("steps in flight: 3, by the option window");
  });

  test("of an area in bins the value is off by no more than is said", async () => {
    const random = Array.from({ length: 400 }, (_, i) => Math.sin(i * i));
    const ys = random.map((x, i) => (x + Math.cos(7 * i) > 0 ? 1 : 0));
    const data = [0, 250].map((start, i) => ({
      xs: float32(random.slice(start, [250, 400][i])),
      ys: int64(ys.slice(start, [250, 400][i])),
    }));
    const probability = (x: number): number => 1 / (1 + Math.exp(-x));
    const positives = ys.filter((y) => y === 1).length;
    const found: number[] = [];
    for (const bins of [4, 16, 1000]) {
      const learner = await measured(data, auc(), auc({ name: "binned", bins }));
      const counts = Array.from({ length: bins }, () => [0, 0]);
      for (const [i, x] of random.entries()) counts[Math.floor(probability(x) * bins)]![ys[i]!]!++;
      const bound = counts.reduce((sum, [n, p]) => sum + n! * p!, 0) / (2 * positives * (400 - positives));
      const [exact, binned] = ["auc", "binned"].map((name) => epochsOf(learner, name)![0]!.value);
      found.push(binned!);
      expect(Math.abs(exact! - binned!)).toBeLessThanOrEqual(bound);
      expect(exact).toBeGreaterThan(0.7);
    }
    // The fewer the bins, the coarser.
    expect(found[0]).not.toBe(found[2]);
    const classes = await measured(
      [{ xs: float32([3, 0, 0, 0, 3, 1, 0, 0, 3], 3, 3), ys: int64([0, 1, 2]) }],
      auc({ bins: 100, average: "weighted" }),
    );
    expect(epochsOf(classes, "auc")).toEqual([{ at: 1, value: 1 }]);
  });
});

describe("a fit that ends in the middle of an epoch", () => {
  const stopAt = (step: number, phase = "training", epoch = 2): Callback =>
    callback({
      name: "Stop",
      access: { control: "write" },
      on: {
        stepEnd: ({ index, control, phase: { name }, epoch: now }) =>
          void (index === step && name === phase && now === epoch && control.cancel("fit", "enough")),
      },
    });
  const cancelAt = (event: "fitBegin" | "epochBegin" | "stepBegin"): Callback =>
    new CustomCallback(event, ({ control }) => control.cancel("fit"), { name: event, access: { control: "write" } });
  const own = (): Metric => new Metric((yhat) => yhat.mean(), { name: "mean", mean: "steps" });

  /** The printed table, row by row. */
  class Paper {
    text = "";
    write(text: string): void {
      this.text += text;
    }
    get rows(): string[][] {
      return this.text
        .trim()
        .split("\n")
        .map((line) => line.trim().split(/  +/));
    }
  }

  test("leaves the part that was done, and the row of it is printed", async () => {
    const paper = new Paper();
    const learner = lineLearner({
      metrics: [own()],
      callbacks: [stopAt(3), new MetricsPrinter({ output: paper })],
    });
    const report = await learner.fit(3);
    expect(report).toMatchObject({ status: "stopped", epochs: 1, steps: 20 });
    const steps = stepsOf(learner, "mean", "training")!.slice(16);
    expect(steps).toHaveLength(4);
    const [whole, partial] = report.history["training"]!["mean"]!;
    expect(whole).toEqual({ at: 1, value: expect.any(Number) });
    expect(partial).toEqual({ at: 1.25, value: steps.reduce((a, b) => a + b) / 4, partial: true });
    expect(report.history["training"]!["loss"]!.map(({ at }) => at)).toEqual([1, 1.25]);
    expect(paper.rows.map(([epoch, phase]) => `${epoch} ${phase}`)).toEqual([
      "epoch phase",
      "1 training",
      "1 validation",
      "1.25 training",
    ]);
    expect(paper.rows.at(-1)).toHaveLength(5);
  });

  test("in validation: of that phase", async () => {
    const paper = new Paper();
    const learner = lineLearner({ callbacks: [stopAt(2, "validation", 1), new MetricsPrinter({ output: paper })] });
    const { history } = await learner.fit(2);
    expect(history["training"]!["loss"]!.map(({ at }) => at)).toEqual([1]);
    expect(history["validation"]!["loss"]).toMatchObject([{ at: 0.75, partial: true }]);
    expect(paper.rows.at(-1)!.slice(0, 2)).toEqual(["0.75", "validation"]);
  });

  test("of data of unknown length: as if the epoch had ended, and a plus in the table", async () => {
    const training: Data = { [Symbol.iterator]: () => line()[Symbol.iterator]() };
    const paper = new Paper();
    const learner = lineLearner({
      data: { training },
      callbacks: [stopAt(3), new MetricsPrinter({ output: paper })],
    });
    const { history } = await learner.fit(3);
    expect(history["training"]!["loss"]).toMatchObject([{ at: 1 }, { at: 2, partial: true }]);
    expect(paper.rows.at(-1)!.slice(0, 2)).toEqual(["1+", "training"]);
  });

  test("with a value of what is in the worker", async () => {
    const close = (yhat: AnyRef, ys: AnyRef): object => yhat.sub(ys).abs().lt(1);
    const learner = lineLearner({
      metrics: [confusionMatrix({ threshold: 0.5 }), auc(), new Metric((a, b) => close(a, b) && 1, { name: "one" })],
      callbacks: [stopAt(3, "validation", 1)],
    });
    // The areas are of targets that are numbers: above a half is a yes.
    await learner.fit(1);
    const { at, value, partial } = learner.state.metricsTable["validation"]!["confusionMatrix"]!;
    expect([at, partial, [...value.data].reduce((a, b) => Number(a) + Number(b), 0)]).toEqual([1, true, 32]);
    expect(epochsOf(learner, "auc")).toMatchObject([{ at: 1, partial: true }]);
  });

  test.each<[string, (stop: AbortController) => { training?: BatchLike[]; callbacks?: Callback[] }, object]>([
    [
      "by an interruption",
      (stop) => ({
        callbacks: [new CustomCallback("stepEnd", ({ index }) => void (index === 7 && stop.abort("now")))],
      }),
      { status: "interrupted" },
    ],
    [
      "by an observer",
      () => ({
        callbacks: [
          callback({
            name: "Watch",
            access: { control: "write" },
            observe: { stepEnd: ({ index, control }) => void (index === 5 && control.cancel("fit")) },
          }),
        ],
      }),
      { status: "stopped" },
    ],
  ])("%s", async (_, make, ending) => {
    const stop = new AbortController();
    const learner = lineLearner({ ...make(stop), window: 3 });
    const report = await learner.fit(2, { signal: stop.signal });
    expect(report).toMatchObject({ ...ending, epochs: 0 });
    const { stepsEpoch } = report.phases["training"]!;
    expect(stepsEpoch).toBe(8);
    const steps = stepsOf(learner, "loss", "training")!;
    expect(report.history["training"]!["loss"]).toEqual([
      { at: 0.5, value: steps.reduce((a, b) => a + b) / 8, partial: true },
    ]);
  });

  test("by a loss that is NaN: of the steps before it", async () => {
    const paper = new Paper();
    const targets = Array.from({ length: 8 }, () => Number.NaN);
    const training = line().with(12, { xs: float32(targets, 8, 1), ys: float32(targets, 8, 1) });
    const learner = lineLearner({
      data: { training },
      callbacks: [new StopOnNaNLoss(), new MetricsPrinter({ output: paper })],
    });
    const report = await learner.fit(2);
    expect(report).toMatchObject({ status: "stopped", by: "StopOnNaNLoss", epochs: 0 });
    expect(report.history["training"]!["loss"]).toEqual([{ at: 0.75, value: expect.any(Number), partial: true }]);
    expect(paper.rows.at(-1)!.slice(0, 2)).toEqual(["0.75", "training"]);
  });

  test("by what fails: what is known is there, and the error is told as it is", async () => {
    const paper = new Paper();
    const failing = new CustomCallback("backwardBegin", ({ index }) => {
      if (index === 4) throw new Error("no more");
    });
    // An object whose worker has ended behaves like this.
    const gone = statefulMetric("gone", {
      start: () => ({ add: () => undefined, compute: () => Promise.reject(new Error("gone")) }),
    });
    const learner = lineLearner({
      metrics: [gone, own()],
      callbacks: [failing, new MetricsPrinter({ output: paper })],
    });
    expect((await caught(() => learner.fit(1))).message).toContain("no more");
    for (const name of ["loss", "mean"])
      expect(epochsOf(learner, name, "training")).toMatchObject([{ at: 0.25, partial: true }]);
    expect(paper.rows.at(-1)!.slice(0, 2)).toEqual(["0.25", "training"]);
  });

  test("before its first step: there is nothing, and nothing of before is said again", async () => {
    const paper = new Paper();
    const learner = lineLearner({ callbacks: [stopAt(3, "training", 1), new MetricsPrinter({ output: paper })] });
    await learner.fit(1);
    const [before, text] = [structuredClone(learner.state.metricsEpoch), paper.text];
    for (const event of ["fitBegin", "epochBegin", "stepBegin"] as const) {
      learner.addCallback(cancelAt(event));
      expect((await learner.fit(1)).status).toBe("stopped");
      learner.removeCallback(event);
    }
    expect((await learner.fit(1, { signal: AbortSignal.abort() })).status).toBe("interrupted");
    expect(learner.state.metricsEpoch).toEqual(before);
    expect(paper.text).toBe(text);
  });

  test("is no epoch that was run by itself, and cancelled", async () => {
    const paper = new Paper();
    const learner = lineLearner({ callbacks: [stopAt(3, "training", 1), new MetricsPrinter({ output: paper })] });
    await expect(learner.epoch(new TrainingPhase())).rejects.toThrow("enough");
    learner.addCallback(cancelAt("fitBegin"));
    await learner.fit(1);
    expect(learner.state.metricsEpoch).toEqual({});
    expect(paper.text).toBe("");
  });

  test("is no epoch for those that come after it", async () => {
    const learner = lineLearner({ callbacks: [stopAt(3, "validation", 1)] });
    await learner.fit(1);
    expect(epochsOf(learner, "loss")).toMatchObject([{ at: 1, partial: true }]);
    // All its steps were done, so that its place is that of the epoch that comes now: one that gives no value.
    const events = learner.events();
    class Nothing extends AbstractValidationPhase {
      readonly name = "validation";
      step(): never {
        throw new Error("there is none");
      }
    }
    await learner.runEpoch(new Nothing(), async () => undefined);
    await events.next();
    const { value: end } = await events.next();
    expect(end).toMatchObject({ type: "epochEnd", phase: "validation" });
    expect(end.metrics).toEqual({});
    await events.return?.();
    const { loss } = await learner.validate();
    expect(epochsOf(learner, "loss")!.at(-1)).toEqual({ at: 2, value: loss });
  });

  test("an epoch that is cancelled by itself ends, and has its value", async () => {
    const cancel = new CustomCallback(
      "stepEnd",
      ({ index, control }) => void (index === 3 && control.cancel("epoch")),
      {
        access: { control: "write" },
        phase: TrainingPhase,
      },
    );
    const learner = lineLearner({ callbacks: [cancel] });
    const { history } = await learner.fit(2);
    expect(history["training"]!["loss"]).toEqual([1, 2].map((at) => ({ at, value: expect.any(Number) })));
  });
});

describe("misuse is said at once", () => {
  const message = (make: () => unknown): string => {
    try {
      make();
    } catch (error) {
      expect(error).toMatchObject({ code: "MISUSE" });
      return (error as Error).message;
    }
    throw new Error("nothing was thrown");
  };

  test.each<[string, () => unknown, string]>([
    [
      "an option that there is not",
      () => f1(unchecked({ averag: "macro" })),
      'f1 has no option "averag"; it has name, ',
    ],
    [
      "an average that there is not",
      () => f1(unchecked({ average: "mean" })),
      "average is 'mean'; it must be \"binary\"",
    ],
    ["a mean that there is not", () => topK(2, unchecked({ mean: "batches" })), 'it must be "samples" or "steps"'],
    ["the same of one's own", () => metric("own", unchecked({ mean: 1 })), 'it must be "samples" or "steps"'],
    ["and of the loss", () => new MeanLoss(unchecked({ mean: "no" })), 'it must be "samples" or "steps"'],
    ["k that is none", () => topK(0), "topK: k is 0; it must be a whole number from 1"],
    ["bins that are none", () => auc({ bins: 1 }), "bins is 1; it must be a whole number from 2"],
    ["a phase that is an object", () => f1(unchecked({ phase: new ValidationPhase() })), "it must be a class"],
    ["the same of one's own", () => metric("own", unchecked({ phase: "validation" })), "it must be a class"],
    ["a beta of 1", () => new SmoothLoss(1), "it must be at least 0 and below 1"],
    ["a function without a name", () => new Metric((yhat) => yhat.mean()), "the function has no name; give one"],
    ["a function of the worker without a name", () => new Metric(torch.dist), "the function has no name; give one"],
    ["what is no function", () => new Metric(unchecked(3)), "3 is not a function of outputs and targets"],
    ["an object that is not in the worker", () => torchmetric("own", {}), "{} is not a reference"],
    ["a metric that was not called", () => new Metrics(unchecked(f1)), "call it, as in new Metrics(f1())"],
    ["an array of metrics", () => new Metrics(unchecked([accuracy])), "one by one"],
    ["an object of the worker", () => new Metrics(unchecked(torch)), 'torchmetric("name", object)'],
    ["two of one name", () => new Metrics(f1(), f1({ average: "macro" })), 'two metrics called "f1"'],
  ])("%s", (_, make, said) => {
    expect(message(make)).toContain(said);
  });

  test.each<[string, Metric, BatchLike, string]>([
    [
      "shapes that would be broadcast",
      rootMeanSquaredError(),
      { xs: float32([1, 2], 2, 1), ys: float32([1, 2]) },
      "outputs of shape [2, 1] and targets of shape [2] cannot be compared one by one",
    ],
    [
      "classes that are not where they are looked for",
      accuracy,
      { xs: float32([1, 2, 3, 4, 5, 6], 2, 3), ys: int64([1, 2, 0, 1], 2, 2) },
      "outputs of shape [2, 3], with the classes along axis 1, ask for targets of shape [2], not [2, 2]",
    ],
    ["an axis that there is not", accuracy, { xs: float32([1, 2]), ys: int64([1, 0]) }, "have no axis 1"],
    [
      "too few classes",
      topK(3),
      { xs: float32([1, 2], 1, 2), ys: int64([1]) },
      "there are 2 classes, too few for the 3 largest scores",
    ],
    [
      "a positive class among three",
      f1(),
      { xs: float32([1, 2, 3], 1, 3), ys: int64([1]) },
      'there are 3 classes, which have no positive one: choose average: "macro"',
    ],
    [
      "a function whose value has axes",
      new Metric((yhat) => yhat.mul(2), { name: "twice" }),
      { xs: float32([1, 2]), ys: float32([1, 2]) },
      "metric twice: the function gave a tensor with axes; it must return one number",
    ],
    [
      "a function that is async",
      new Metric(
        unchecked(async () => 1),
        { name: "late" },
      ),
      { xs: float32([1]), ys: float32([1]) },
      "metric late: the function gave a Promise; it must return a number or a reference to one",
    ],
    [
      "a value of an epoch that is none",
      statefulMetric("odd", { start: () => ({ add: () => undefined, compute: unchecked(() => "1") }) }),
      { xs: float32([1]), ys: float32([1]) },
      "metric odd: its value is '1'; it must be a number",
    ],
  ])("when it is seen: %s", async (_, odd, batch, said) => {
    expect((await caught(() => measured([batch], odd))).message).toContain(said);
  });
});

test("MetricsPrinter: what one phase alone measures has a column of its own, blank in the rows of the other, and one heading", async () => {
  let text = "";
  const output = { write: (more: string) => void (text += more) };
  const pair = { xs: float32([1, 2], 2, 1), ys: float32([1, 2], 2, 1) };
  const learner = new Learner(torch.nn.Linear(1, 1), mse(), {
    data: { training: [pair], validation: [pair] },
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks: [
      new Recorder(),
      new Metrics(new Metric((yhat) => yhat.mean(), { name: "level", phase: ValidationPhase })),
      new MetricsPrinter({ output }),
    ],
  });
  await learner.fit(3);
  const lines = text.trimEnd().split("\n");
  // The first row has the loss alone, the next the level too: from then on every row has both columns.
  expect(lines.map((line) => line.trim().split(/ {2,}/).length)).toEqual([4, 4, 5, 5, 4, 5, 4, 5]);
  expect(lines.filter((line) => line.includes("epoch"))).toHaveLength(2);
  expect(new Set(lines.slice(2).map(({ length }) => length)).size).toBe(1);
});
