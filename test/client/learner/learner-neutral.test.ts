/** Watching a fit changes nothing: the final weights are, bit for bit, those of an unwatched fit. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  accuracy,
  callback,
  Checkpointer,
  crossEntropy,
  DataLoader,
  EarlyStopping,
  image,
  kw,
  Learner,
  metric,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  StopOnNaNLoss,
  ValidationPhase,
  Worker,
  type Callback,
  type NDArray,
  type TrainEvent,
} from "torchwire";
import {
  AveragedWeights,
  CustomCallback,
  EMA,
  GarbageCollect,
  ReduceOnPlateau,
  SanityCheck,
  SWA,
  throttle,
  Traces,
} from "torchwire/callbacks";
import {
  csv,
  jsonLines,
  LogHistograms,
  LogHyperParams,
  LogMetrics,
  LogTraces,
  LogVisualization,
  RunFolder,
  tensorBoard,
} from "torchwire/logging";
import { auc, confusionMatrix, f1, Metric, perplexity, SmoothLoss, topK } from "torchwire/metrics";
import { Hyper } from "torchwire/optim";
import * as stopping from "torchwire/stopping";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { entries } from "../../entries.ts";
import { acts, looks, makes } from "../../looks.ts";
import { caught, untyped } from "../../observed.ts";
import { rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

const BATCH = 16;
const TRAINING = 90;
const VALIDATION = 40;
const EPOCHS = 2;
/** Batches of an epoch of both phases. */
const STEPS = Math.ceil(TRAINING / BATCH) + Math.ceil(VALIDATION / BATCH);

let worker: Worker;
let torch: AnyRef;
let images: { readonly xs: NDArray; readonly ys: NDArray };
let folder: string;
let unwatched: string;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  images = await rgbDigits(TRAINING + VALIDATION);
  folder = await mkdtemp(join(tmpdir(), "neutral-"));
  unwatched = await weightsAfter({});
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function rows({ dtype, shape: [, ...rest], data }: NDArray, start: number, end: number): NDArray {
  const size = rest.reduce((product, length) => product * length, 1);
  return { dtype, shape: [end - start, ...rest], data: data.subarray(start * size, end * size) };
}

const part = (start: number, end: number): { xs: NDArray; ys: NDArray } => ({
  xs: rows(images.xs, start, end),
  ys: rows(images.ys, start, end),
});

interface Watched {
  readonly callbacks?: readonly Callback[];
  readonly defaultCallbacks?: boolean;
  /** Runs beside the fit, until `isOver()`. */
  readonly beside?: (learner: Learner, isOver: () => boolean) => Promise<unknown>;
}

/**
 * The result of a fit that shows any disturbance of the random numbers (dropout), the mode (dropout, batch norm), the
 * gradients and the order.
 */
async function weightsAfter({ callbacks = [], defaultCallbacks = false, beside }: Watched): Promise<string> {
  torch.manual_seed(0);
  const { nn } = torch;
  const model = nn.Sequential(
    nn.Conv2d(3, 8, 3, kw({ padding: 1 })),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.MaxPool2d(4),
    nn.Dropout(0.25),
    nn.Flatten(),
    nn.Linear(8 * 7 * 7, 10),
  );
  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(part(0, TRAINING), { batchSize: BATCH, shuffle: true }),
      validation: new DataLoader(part(TRAINING, TRAINING + VALIDATION), { batchSize: BATCH }),
    },
    optimizer: sgd({ lr: 0.05, momentum: 0.9 }),
    callbacks,
    defaultCallbacks,
  });
  let over = false;
  const [report] = await Promise.all([
    learner.fit(EPOCHS).finally(() => {
      over = true;
    }),
    beside?.(learner, () => over),
  ]);
  expect(report.status).toBe("completed");
  return weightsHash(worker, model);
}

/** The text that `output` was given, as a terminal or as a file. */
class Paper {
  readonly isTTY: boolean;
  text = "";
  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

/**
 * A metric of each kind: counted, gathered in the worker, a tensor with axes, of the loss, and one in validation only.
 */
const metrics = (): Metrics =>
  new Metrics(
    accuracy,
    f1({ average: "macro" }),
    topK(3),
    perplexity(),
    auc(),
    confusionMatrix(),
    new SmoothLoss(),
    new Metric((yhat) => yhat.std(), { name: "spread", phase: ValidationPhase }),
    metric("largest", { update: (yhat) => ({ sum: yhat.max() }), compute: ({ sum }) => sum }),
    metric("classes", {
      update: (yhat) => ({ found: yhat.argmax(1).bincount(kw({ minlength: 10 })) }),
      compute: ({ found }) => found.data.reduce((a: number, b: number) => a + b, 0),
    }),
  );

const reader = (): Callback =>
  callback({
    name: "Reader",
    access: { step: { loss: "read", yhat: "read" } },
    on: {
      lossBegin: async ({ step }) => void (await step.yhat.detach().mean().item()),
      backwardEnd: async ({ step }) => void (await step.loss.item()),
    },
  });

const measurer = (): Callback =>
  callback({
    name: "Measurer",
    access: { step: { yhat: "use", xs: "use" } },
    measure: ({ step }) => ({ spread: step.yhat.detach().std(), brightness: step.xs.mean() }),
    observe: { stepEnd: async ({ values }) => void (await Promise.resolve(values)) },
  });

const everywhere = (): Callback[] =>
  (
    ["fitBegin", "epochBegin", "stepBegin", "lossBegin", "backwardBegin", "backwardEnd", "stepEnd", "epochEnd"] as const
  ).map(
    (event) =>
      new CustomCallback(event, () => new Promise((resolve) => setImmediate(resolve)), { name: `At ${event}` }),
  );

const printers = (): Callback[] => [
  new ProgressPrinter({ output: new Paper(true) }),
  new MetricsPrinter({ output: new Paper(false) }),
];

/** One of each included callback that watches a fit, in a folder of its own. */
const watching: { readonly [name: string]: (place: string) => Callback[] } = {
  EarlyStopping: () => [new Recorder(), new Metrics(), new EarlyStopping(stopping.never())],
  Checkpointer: (place) => [new Recorder(), new Metrics(), new Checkpointer(place, { keep: 1 })],
  SanityCheck: () => [new SanityCheck()],
  Traces: () => [new Recorder(), new Traces({ norm: ({ model }) => model[6].weight.norm() })],
  GarbageCollect: () => [new GarbageCollect(2)],
  "throttle of one": () => [throttle(new Recorder(), "stepEnd", { freq: 2 })],
  EMA: () => [new EMA({ decay: 0.9 })],
  SWA: () => [new SWA({ start: 1, validate: true })],
  "a Scheduler that changes nothing": () => [new Scheduler({ lr: () => 0.05 })],
  "all that log": (place) => {
    const run = new RunFolder(place, { freq: 2 });
    const backends = [tensorBoard(run.path), jsonLines(run.path), csv(run.path)];
    return [
      new Recorder(),
      new Metrics(accuracy),
      new Traces({ index: ({ index }) => index }),
      new Scheduler({ lr: () => 0.05 }),
      run,
      new LogMetrics(backends),
      new LogTraces(backends),
      new LogHyperParams(backends),
      new LogHistograms(tensorBoard(run.path), { freq: 2 }),
      new LogVisualization(({ xs }) => xs.narrow(0, 0, 2), tensorBoard(run.path), { freq: 2, format: image() }),
    ];
  },
};

describe("the included callbacks that watch: the weights are those of a fit without them, and three steps stay in flight", () => {
  test.each(Object.entries(watching))("%s", async (name, callbacks) => {
    const made = callbacks(join(folder, name));
    const beside = async (learner: Learner): Promise<void> => {
      expect(learner.explain()).toContain("steps in flight: 3 to 32");
      await Promise.resolve();
    };
    expect(await weightsAfter({ callbacks: made, beside })).toBe(unwatched);
  });
});

describe("callbacks", () => {
  test.each<[string, () => Watched]>([
    ["Recorder", () => ({ callbacks: [new Recorder()] })],
    ["Metrics", () => ({ callbacks: [new Recorder(), new Metrics()] })],
    ["Metrics with metrics", () => ({ callbacks: [new Recorder(), metrics()] })],
    ["StopOnNaNLoss", () => ({ callbacks: [new StopOnNaNLoss()] })],
    ["StopOnNaNLoss, late", () => ({ callbacks: [new StopOnNaNLoss({ late: true })] })],
    ["ProgressPrinter on a terminal", () => ({ callbacks: [new ProgressPrinter({ output: new Paper(true) })] })],
    ["ProgressPrinter elsewhere", () => ({ callbacks: [new ProgressPrinter({ output: new Paper(false) })] })],
    ["MetricsPrinter", () => ({ callbacks: [new Recorder(), new Metrics(), ...printers().slice(1)] })],
    ["PyTorchBackend, given", () => ({ callbacks: [new PyTorchBackend()] })],
    ["CustomCallback, at every event", () => ({ callbacks: everywhere() })],
    ["one that reads values in line", () => ({ callbacks: [reader()] })],
    ["one that measures", () => ({ callbacks: [measurer()] })],
    ["the default ones", () => ({ callbacks: printers(), defaultCallbacks: true })],
    [
      "all of them together",
      () => ({
        callbacks: [...printers(), metrics(), reader(), measurer(), ...everywhere()],
        defaultCallbacks: true,
      }),
    ],
  ])("%s", async (_, watched) => {
    expect(await weightsAfter(watched())).toBe(unwatched);
  });
});

describe("beside the fit", () => {
  /** The events of one fit, each taken `wait` later. */
  async function read(learner: Learner, wait: () => Promise<unknown>): Promise<TrainEvent[]> {
    const seen: TrainEvent[] = [];
    for await (const event of learner.events()) {
      seen.push(event);
      if (event.type === "fitEnd") break;
      await wait();
    }
    return seen;
  }

  test("readers of events(), fast and slow, who see the same", async () => {
    let seen: TrainEvent[][] = [];
    const beside = async (learner: Learner): Promise<void> => {
      const slow = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
      seen = await Promise.all([read(learner, async () => undefined), read(learner, slow)]);
    };
    expect(await weightsAfter({ beside })).toBe(unwatched);
    expect(seen[0]!.filter(({ type }) => type === "stepEnd")).toHaveLength(EPOCHS * STEPS);
    expect(seen[1]).toEqual(seen[0]);
  });

  test("ten tasks that predict", async () => {
    const some = rows(images.xs, 0, 10);
    let predictions = 0;
    const beside = async (learner: Learner, isOver: () => boolean): Promise<void> => {
      const task = async (): Promise<void> => {
        while (!isOver()) {
          const found = await learner.predict(some, { topK: 2 });
          expect(found.map(({ top }) => top.length)).toEqual(Array.from({ length: 10 }, () => 2));
          predictions++;
        }
      };
      await Promise.all(Array.from({ length: 10 }, task));
    };
    expect(await weightsAfter({ beside })).toBe(unwatched);
    expect(predictions).toBeGreaterThanOrEqual(20);
  });

  test("all that one may do besides: predict, save, summary, lanes of one's own, and what fails or is refused", async () => {
    let done = 0;
    const again = (isOver: () => boolean, what: () => Promise<unknown>): Promise<void> =>
      (async () => {
        while (!isOver()) {
          await what();
          done++;
        }
      })();
    const beside = (learner: Learner, isOver: () => boolean): Promise<unknown> =>
      Promise.all([
        again(isOver, () => learner.predict(rows(images.xs, 0, 4))),
        again(isOver, async () => expect(await caught(() => learner.predict(rows(images.ys, 0, 4)))).toBeDefined()),
        expect(learner.validate()).rejects.toMatchObject({ code: "BUSY" }),
        again(isOver, () => learner.save(join(folder, "weights.safetensors"))),
        again(isOver, () => learner.summary({ input: [2, 3, 28, 28] })),
        again(isOver, async () => {
          const error = await caught(() => worker.lane(() => py.js(torch.no_such_thing)));
          expect(error.code).toBe("PYTHON");
        }),
        // Random numbers of one's own are drawn in a fork.
        again(isOver, () =>
          worker.lane(() => worker.context({ rng: "fork" }, () => py.js(torch.rand(3).sum().item()))),
        ),
      ]);
    expect(await weightsAfter({ callbacks: printers(), defaultCallbacks: true, beside })).toBe(unwatched);
    expect(done).toBeGreaterThan(12);
  });
});

describe("what is not neutral is seen", () => {
  test.each<[string, () => Watched]>([
    [
      "a handler that draws a random number",
      () => ({ callbacks: [new CustomCallback("stepEnd", ({ index }) => void (index === 2 && torch.rand(1)))] }),
    ],
    [
      "a handler that looks at the model in training mode",
      () => ({
        callbacks: [
          new CustomCallback("stepBegin", ({ index, model }) => void (index === 2 && model(torch.ones(2, 3, 28, 28))), {
            access: { model: "use" },
          }),
        ],
      }),
    ],
    [
      "a lane beside it that draws a random number outside of a fork",
      () => ({ beside: () => worker.lane(() => py.js(torch.rand(1).item())) }),
    ],
    ["clipped gradients", () => ({ callbacks: [new PyTorchBackend({ clipGradNorm: 0.1 })] })],
  ])("%s", async (_, watched) => {
    expect(await weightsAfter(watched())).not.toBe(unwatched);
  });
});

/** Everything in the worker that a fit depends on, or changes, tensor by tensor. */
const DIGEST = `
import hashlib, pickle, random
import numpy, torch

def digest(value):
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().numpy().tobytes()
        return hashlib.sha256(raw).hexdigest()[:16] + repr((value.dtype, value.shape, value.requires_grad, value.is_inference()))
    if isinstance(value, dict):
        return {str(k): digest(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(v) for v in value]
    return repr(value)

def looked(model, optimizer, averages, loader):
    hooks = [name for name in vars(model) if name.endswith("hooks")]
    return {
        "parameters": digest(dict(model.named_parameters(remove_duplicate=False))),
        "buffers": digest(dict(model.named_buffers(remove_duplicate=False))),
        "gradients": digest([p.grad for p in model.parameters()]),
        "modes": [m.training for m in model.modules()],
        "hooks": [[len(getattr(m, name)) for name in hooks] for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "optimizer": digest(optimizer.state_dict()),
        "averages": [digest(dict(one.named_parameters())) for one in averages],
        "loader": digest(loader.generator.get_state()),
        "torch": digest(torch.get_rng_state()),
        "python": hashlib.sha256(pickle.dumps(random.getstate())).hexdigest(),
        "numpy": hashlib.sha256(pickle.dumps(numpy.random.get_state())).hexdigest(),
        "grad": torch.is_grad_enabled(),
    }

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, i):
        random.random(), numpy.random.rand()
        return torch.rand(3, 28, 28), i % 10

def theirs():
    return torch.utils.data.DataLoader(Noisy(), batch_size=8, shuffle=True, generator=torch.Generator())
`;

describe("what only looks, between two fits", () => {
  test("each export, and each member of what is there, is in one of the lists", () => {
    const classes = { Learner, DataLoader, AveragedWeights, Hyper, Worker, Checkpointer, EarlyStopping };
    const members = Object.entries(classes).flatMap(([name, { prototype }]) =>
      Object.getOwnPropertyNames(prototype).flatMap((key) => (key === "constructor" ? [] : [`${name}.${key}`])),
    );
    const exported = new Set(Object.values(entries).flatMap((entry) => Object.keys(entry)));
    const listed = [...Object.keys(looks), ...acts, ...makes];
    expect(listed.toSorted()).toEqual([...exported, ...members].toSorted());
  });

  test("it leaves everything as it was, and the fit after it is the one that it would have been", async () => {
    const main = untyped(worker, "__main__");
    untyped(worker, "builtins").exec(DIGEST, main.__dict__);
    const run = async (look: boolean): Promise<object> => {
      torch.manual_seed(0);
      untyped(worker, "random").seed(0);
      untyped(worker, "numpy").random.seed(0);
      const { nn } = torch;
      const model: AnyRef = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(4),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 10),
      );
      const averages = [new EMA({ decay: 0.9, validate: true }), new SWA({ start: 1 })];
      const training = new DataLoader(part(0, 48), { batchSize: BATCH, shuffle: true });
      const validation = new DataLoader(part(48, 80), { batchSize: BATCH, shuffle: true });
      const learner = new Learner<AnyRef>(model, crossEntropy(), {
        data: { training, validation },
        input: image(),
        optimizer: sgd({ lr: 0.05, momentum: 0.9 }),
        defaultCallbacks: false,
        callbacks: [
          new Recorder(),
          new Metrics(accuracy),
          ...averages,
          new ReduceOnPlateau({ patience: 0, threshold: 1e9 }),
          new Checkpointer(join(folder, `looks ${look}`)),
          new EarlyStopping(stopping.never()),
          new SanityCheck(),
        ],
      });
      const theirs: AnyRef = main.theirs();
      const state = async (): Promise<object> => ({
        positions: [training.position, validation.position],
        ...((await worker.scope(() =>
          py.js(
            main.looked(
              model,
              learner.optimizer,
              averages.map((one) => one.model),
              theirs,
            ),
          ),
        )) as object),
      });
      const changed: string[] = [];
      await learner.fit(1);
      // A user who froze a parameter still has it frozen.
      model[1].eval();
      if (look) {
        await learner.save(join(folder, "same.safetensors"));
        const before = await state();
        for (const [name, what] of Object.entries(looks)) {
          await what({ worker, learner, xs: part(0, 4).xs, theirs, folder });
          const after = await state();
          if (JSON.stringify(after) !== JSON.stringify(before)) changed.push(name);
        }
      }
      await learner.fit(2);
      const losses = learner.state.metricsEpoch;
      const last = (phase: string): number[] => losses[phase]!["loss"]!.slice(-2).map(({ value }) => value);
      return { changed, ...(await state()), training: last("training"), validation: last("validation") };
    };
    expect(await run(true)).toEqual({ ...(await run(false)), changed: [] });
  });
});
