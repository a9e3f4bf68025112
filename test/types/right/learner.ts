/** Learner, callbacks, metrics and data as a program writes them; among it the code of the design, as it stands. */
import {
  AbstractTrainingPhase,
  accuracy,
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  forward,
  image,
  imageFolder,
  imagenet,
  kw,
  Learner,
  metric,
  Metrics,
  MetricsPrinter,
  mse,
  ProgressPrinter,
  PyTorchBackend,
  Recorder,
  sgd,
  spawnWorker,
  StopOnNaNLoss,
  TrainingPhase,
  ValidationPhase,
  type BatchLike,
  type Callback,
  type Data,
  type Dataset,
  type NDArray,
  type Report,
  type Step,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { same as unchanged } from "torchwire/formats";
import {
  auc,
  epochSeconds,
  f1 as f1Score,
  MeanLoss,
  Metric,
  SmoothLoss,
  statefulMetric,
  topK,
  torchmetric,
  type SumArray,
} from "torchwire/metrics";
import { ownLoss } from "torchwire/losses";
import { classify, outputs, type Prediction } from "torchwire/model";
import { same, worker, type AnyRef } from "../worker.ts";

declare module "torchwire" {
  interface CallbackState {
    best: number;
  }
  interface StepKeys {
    fake: AnyRef;
  }
  interface Events {
    fakeEnd: "xs" | "fake";
  }
}

/** Section 4 of the design. */
export async function photographs(): Promise<void> {
  await using worker = await spawnWorker({ device: "auto", seed: 0 });
  const torch = worker.import("torch");
  const torchvision = worker.import("torchvision");
  const photos = await imageFolder("photos/", { size: 224 });
  const [training, validation] = photos.split(0.8, { seed: 0 });

  const model = torchvision.models.resnet18(kw({ weights: "DEFAULT" }));
  model.fc = torch.nn.Linear(model.fc.in_features, photos.classes.length);

  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(training, { batchSize: 64, shuffle: true }),
      validation: new DataLoader(validation, { batchSize: 64 }),
    },
    input: image(imagenet),
    optimizer: adamW({ lr: 1e-3, groups: { head: { params: (m) => m.fc.parameters(), lr: 1e-2 } } }),
    callbacks: [new Metrics(accuracy)],
  });
  const report = await learner.fit(10);
  const [prediction] = await learner.predict(await photos.read(["cat.jpg"]), { classes: photos.classes, topK: 1 });
  await learner.save("photos.safetensors");

  same<typeof report, Report>(true);
  same<typeof prediction, Prediction | undefined>(true);
}

export const stopOnNaN = (): Callback =>
  callback({
    name: "StopOnNaN",
    access: { step: { loss: "read" }, control: "write" },
    on: {
      backwardEnd: async ({ step, control }) => {
        if (Number.isNaN(await step.loss.item())) control.cancel("fit", "loss is NaN");
      },
    },
    observe: { stepEnd: ({ index, values }) => void [index, values.loss] },
  });

export const f1: Metric = metric("f1", {
  update: (yhat, ys) => {
    const found = yhat.argmax(1);
    return { tp: found.mul(ys).sum(), fp: found.mul(ys.neg().add(1)).sum(), fn: found.neg().add(1).mul(ys).sum() };
  },
  compute: ({ tp, fp, fn }) => (2 * tp) / (2 * tp + fp + fn),
});

// --- callbacks ---

/** A step's place in its group is a part of the step, which has an access of its own. */
export const groups: readonly Callback[] = [
  callback({
    name: "Updates",
    access: { step: { group: "use" } },
    on: { stepEnd: ({ step }) => same<typeof step.group.isLast, boolean>(true) },
  }),
  callback({
    name: "Steps",
    access: { step: "use" },
    on: { stepBegin: ({ step }) => same<typeof step.group.size, number>(true) },
  }),
];

/** State of its own, by augmentation: typed where it is written, read only where it is read. */
export const best: Callback = callback({
  name: "Best",
  access: { state: { best: "write", metricsEpoch: "read", history: "read" } },
  init: (learner) => {
    learner.state.best = Infinity;
  },
  observe: {
    epochEnd: ({ phase, epoch, index, batches, state }) => {
      const values = state.metricsEpoch[phase.name]?.["loss"] ?? [];
      state.best = Math.min(state.best, ...values.map(({ value }) => value));
      same<typeof epoch, number>(true);
      same<typeof index, number>(true);
      same<typeof batches, number | undefined>(true);
    },
  },
});

/** A key of a step and an event of one's own: they are there at every event, and the event at its keys only. */
export const fakes: Callback = callback({
  name: "Fakes",
  access: { step: { fake: "use", xs: "write" }, model: "use", optimizer: "read", lossFn: "use", data: "read" },
  on: {
    fakeEnd: ({ step, event }) => {
      step.xs = step.fake.add(step.xs);
      same<typeof event, "fakeEnd">(true);
    },
    stepBegin: ({ step, model, lossFn }) => void lossFn(model(step.fake), step.xs),
    epochBegin: ({ data }) => void data.training?.length,
  },
});

/** Every mode of the whole step; what is measured comes as values. */
export const whole: Callback[] = [
  callback({ name: "nothing" }),
  callback({
    name: "whole step",
    access: { step: "write" },
    on: {
      stepBegin: ({ step }) => {
        step.xs = step.ys;
      },
      lossBegin: ({ step }) => {
        step.yhat = step.yhat.mul(2);
      },
      stepEnd: async ({ step }) => void (await step.loss.item()),
    },
  }),
  callback({
    name: "measures",
    access: { step: { yhat: "use" } },
    phase: ValidationPhase,
    runAfter: ["Recorder"],
    measure: ({ step }) => ({ largest: step.yhat.max(), one: 1 }),
    observe: {
      stepEnd: ({ values: { loss, largest }, size }) => void [loss + size, largest],
      fitEnd: async () => undefined,
    },
  }),
  new CustomCallback("epochEnd", ({ epoch }) => console.log(epoch)),
  new CustomCallback("lossBegin", ({ step }) => void step.yhat.mean(), {
    name: "looks",
    access: { step: { yhat: "use" } },
    phase: TrainingPhase,
  }),
  new CustomCallback("fakeEnd", async ({ control }) => control.cancel("epoch"), { access: { control: "write" } }),
  new Recorder(),
  new Metrics(),
  new StopOnNaNLoss({ late: true }),
  new ProgressPrinter({ output: process.stdout }),
  new MetricsPrinter({ output: { write: (text) => text.length } }),
  new PyTorchBackend({ device: "cuda:1", clipGradNorm: 1, accumulate: 4, channelsLast: true }),
];

export const parts: Metric[] = [
  accuracy,
  metric("mean", {
    update: (yhat, ys) => ({ sum: yhat.sub(ys).sum(), all: ys.numel(), one: 1 }),
    compute: ({ sum, all }) => sum / all,
    phase: ValidationPhase,
  }),
  metric("largest", {
    update: (yhat) => ({ counts: yhat.argmax(1).bincount() }),
    merge: (one: { counts: SumArray }) => one,
    compute: ({ counts }: { counts: SumArray }) => Math.max(...counts.data),
  }),
  new Metric((yhat, ys) => yhat.sub(ys).abs().mean(), { name: "distance", phase: ValidationPhase, mean: "steps" }),
  statefulMetric("own", {
    start: () => ({
      update: (yhat) => ({ sum: yhat.sum() }),
      add: ({ sum }, { loss, size }) => (loss === undefined ? undefined : sum + loss / size),
      compute: async () => ({ a: 1 }),
    }),
  }),
  f1Score({ average: "macro", axis: -1, ignoreIndex: 255, zeroDivision: 1, mean: "steps" }),
  topK(5, { phase: ValidationPhase }),
  auc({ bins: 100, average: "weighted", logits: false }),
  torchmetric("kappa", worker.import("torch"), { steps: true, phase: ValidationPhase }),
  new SmoothLoss(0.9),
  new MeanLoss({ mean: "steps" }),
  epochSeconds,
];

// --- learners, phases, data ---

const torch = worker.import("torch");
const model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2));

/** A phase of one's own, with two models. */
class Adversarial extends AbstractTrainingPhase {
  readonly name = "adversarial";

  step(learner: Learner<{ generator: AnyRef; critic: AnyRef }>, batch: BatchLike): Promise<Step> {
    const { generator, critic } = learner.model;
    return learner.runStep(this, batch, async (step, handle) => {
      step.fake = forward(generator, step.xs);
      await handle("fakeEnd");
      step.loss = critic(step.fake).mean();
      step.loss.backward();
      learner.optimizer.generator.step();
    });
  }
}

const array: NDArray = { dtype: "float32", shape: [2, 4], data: new Float32Array(8) };
const dataset: Dataset = { length: 1, get: () => [array, 1] };
const generated: Data = {
  *[Symbol.iterator]() {
    yield { xs: array, ys: array } as const;
    yield [array, array] as const;
    yield { xs: [array, array], ys: { a: array } } as const;
    yield torch.ones(2, 2);
  },
};

export const learners: Learner[] = [
  new Learner(model, mse()),
  new Learner(model, (yhat, ys) => torch.nn.functional.mse_loss(yhat, ys), { window: 1, defaultCallbacks: false }),
  new Learner(model, torch.nn.MSELoss(), { optimizer: (m) => torch.optim.SGD(m.parameters(), 0.1) }),
  new Learner(model, mse(), {
    optimizer: torch.optim.SGD(model.parameters(), 0.1),
    input: unchanged,
    target: unchanged,
  }),
  new Learner(model, mse(), { data: { training: generated, validation: [[array, array]] } }),
  new Learner(model, mse(), { data: { training: worker.import("torch.utils.data").DataLoader([]) } }),
  new Learner({ generator: model, critic: model }, mse(), { optimizer: { generator: sgd(), critic: adamW() } }),
];

export async function used(learner: Learner): Promise<void> {
  const stop = new AbortController();
  const data = {
    training: new DataLoader(dataset, { batchSize: 2, seed: 3, dropLast: true, prefetch: 0, workers: 2 }),
  };
  const report: Report = await learner.fit(1, { signal: stop.signal, data, phases: { training: new Adversarial() } });
  const count: number = report.steps + report.epochs + (report.history["training"]?.["loss"]?.[0]?.value ?? 0);
  const text: string = `${report.status} ${report.reason} ${report.by} ${count}`;

  await learner.epoch(new TrainingPhase());
  await learner.epoch(new ValidationPhase(), generated);
  const { loss = Number.NaN } = await learner.validate();
  same<typeof loss, number>(true);
  await learner.runEpoch(new TrainingPhase(), async () => {
    const step: Step = await learner.runStep(new TrainingPhase(), [array, array], async (own) => {
      own.loss = learner.lossFn(own.xs, own.ys);
    });
    same<typeof step.index, number>(true);
  });

  const all = await learner.predict(array, { batchSize: 3 });
  same<typeof all, NDArray>(true);
  const classes = await learner.predict(array, { topK: 3 });
  const label: string = classes[0]!.top[0]!.label;
  const logits = await learner.predict(array, { select: (y) => y.logits });
  same<typeof logits, NDArray>(true);
  const several = await learner.predict(array, { select: (y: AnyRef) => ({ best: y, states: [y, y] as const }) });
  same<typeof several.best, NDArray>(true);
  same<typeof several.states, readonly [NDArray, NDArray]>(true);
  const states = await learner.predict<readonly NDArray[]>(array, { select: (y) => y.states });
  same<typeof states, readonly NDArray[]>(true);
  const likeliest = await learner.predict(array, { select: (y) => y.logits, topK: 3 });
  same<typeof likeliest, Prediction[]>(true);
  const own = new Learner(torch.nn.Linear(2, 2), ownLoss({ targets: "labels" }), {
    output: (y) => ({ a: y.logits, b: [y.loss] }),
  });
  await own.predict([array, array]);
  await learner.predict({ image: array, mask: torch.ones(2) });
  await learner.predict(new DataLoader({ xs: array, ys: array }, { batchSize: 1 }), { classes: ["a", "b"] });
  await outputs(model, array);
  await classify(model, new DataLoader({ xs: array, ys: array }, { batchSize: 4 }), { classes: ["a"] });
  await learner.load("x.safetensors", { strict: false });
  await learner.save("x.safetensors");
  console.log(text, label, String(await learner.summary()), learner.explain());

  for await (const event of learner.events({ signal: AbortSignal.timeout(1000) })) {
    if (event.type === "missed") console.log(event.events);
    if (event.type === "stepEnd") console.log(event.loss ?? 0, event.index, event.size);
    if (event.type === "epochEnd") console.log(event.metrics["loss"]);
    if (event.type === "fitEnd") break;
  }
  learner.addCallback(new CustomCallback("stepBegin", () => undefined));
  learner.state.best = (learner.getCallback(PyTorchBackend)?.accumulate ?? 0) + learner.state.best;
}
