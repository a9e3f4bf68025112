/** The trainings that are disturbed: four epochs of five batches, with a validation of two after each. */
import {
  accuracy,
  adamW,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  Metrics,
  oneCycle,
  py,
  PyTorchBackend,
  Scheduler,
  sgd,
  type AnyRef,
  type Callback,
  type LearnerData,
  type NDArray,
  type Worker,
} from "torchwire";
import { EMA, ReduceOnPlateau } from "torchwire/callbacks";
import { same } from "torchwire/formats";
import { csv, jsonLines, LogHyperParams, LogMetrics, tensorBoard, type LoggerBackend } from "torchwire/logging";
import { f1, SmoothLoss } from "torchwire/metrics";
import { Dice } from "../fixtures/dice.ts";

export const EPOCHS = 4;
export const BATCHES = 5;
const BATCH = 8;
const CLASSES = 4;

export interface Kind {
  readonly name: string;
  /** Batches of an update. */
  readonly accumulate: number;
  /** Whether a checkpoint is written at the ends of epochs only. */
  readonly hasNoPosition: boolean;
  /** Whose disk the checkpoints are on. */
  readonly on: "client" | "worker";
  readonly model: (nn: AnyRef) => AnyRef;
  readonly optimizer: () => ReturnType<typeof sgd>;
  readonly callbacks: (files: readonly LoggerBackend[]) => Callback[];
  readonly data: (worker: Worker) => LearnerData;
}

const data: { training: Samples; validation: Samples } = { training: samples(1, 40), validation: samples(2, 16) };

interface Samples {
  readonly xs: NDArray;
  readonly ys: NDArray;
}

/** Noise, with a square that is brighter for each class. */
function samples(seed: number, count: number): Samples {
  const dice = new Dice(seed);
  const ys = Uint8Array.from({ length: count }, () => dice.below(CLASSES));
  const xs = Float32Array.from({ length: count * 64 }, (_, i) => dice.next() + (i % 64 < 8 ? ys[i >> 6]! / 4 : 0));
  return {
    xs: { dtype: "float32", shape: [count, 1, 8, 8], data: xs },
    ys: { dtype: "uint8", shape: [count], data: ys },
  };
}

const loaders = (shuffle: false | { readonly seed: number }): LearnerData => ({
  training: new DataLoader(data.training, { batchSize: BATCH, shuffle }),
  validation: new DataLoader(data.validation, { batchSize: BATCH }),
});

/** Two torch.utils.data.DataLoader. */
function inWorker(worker: Worker): LearnerData {
  const { utils } = worker.import("torch") as unknown as AnyRef;
  const of = ({ xs, ys }: Samples, shuffle: boolean): AnyRef =>
    utils.data.DataLoader(
      utils.data.TensorDataset(worker.tensor(xs), worker.tensor(ys).long()),
      kw({ batch_size: BATCH, shuffle }),
    );
  return { training: of(data.training, true), validation: of(data.validation, false) };
}

const plainModel = (nn: AnyRef): AnyRef => nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 4));

/** It has layers that depend on random numbers, on the mode, and on all batches before. */
const noisyModel = (nn: AnyRef): AnyRef =>
  nn.Sequential(
    nn.Conv2d(1, 4, 3, kw({ padding: 1 })),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(py.float(0.25)),
    nn.Flatten(),
    nn.Linear(64, 4),
  );

const base: Kind = {
  name: "plain",
  accumulate: 1,
  hasNoPosition: false,
  on: "client",
  model: plainModel,
  optimizer: () => sgd({ lr: 0.05, momentum: 0.9 }),
  callbacks: () => [],
  data: () => loaders(false),
};

export const kinds: readonly Kind[] = [
  base,
  {
    ...base,
    name: "rich",
    accumulate: 2,
    model: noisyModel,
    optimizer: () => adamW({ lr: 1e-2 }),
    callbacks: (files) => [
      new Scheduler({ lr: oneCycle("run", 1e-2) }),
      new LogHyperParams(files),
      new EMA({ decay: 0.9 }),
      new PyTorchBackend({ accumulate: 2, clipGradNorm: 1, amp: "bf16" }),
      new Metrics(accuracy, f1({ average: "macro" }), new SmoothLoss(0.9)),
    ],
    data: () => loaders({ seed: 7 }),
  },
  {
    ...base,
    name: "plateau, on the worker's disk",
    on: "worker",
    model: noisyModel,
    optimizer: () => adamW({ lr: 1e-2 }),
    // A one-cycle schedule and a plateau cannot both have the rate.
    callbacks: (files) => [
      new ReduceOnPlateau({ patience: 0, threshold: 0.5, factor: 0.5 }),
      new LogHyperParams(files),
      new Metrics(accuracy),
    ],
    data: () => loaders({ seed: 7 }),
  },
  {
    ...base,
    name: "worker's data",
    hasNoPosition: true,
    model: noisyModel,
    optimizer: () => adamW({ lr: 1e-2 }),
    data: inWorker,
  },
];

export const kindOf = (name: string): Kind => kinds.find((kind) => kind.name === name)!;

/** Updates that are made after so many training steps. */
export function updatesAt(steps: number, { accumulate }: Kind): number {
  const groups = (batches: number): number => Math.ceil(batches / accumulate);
  return Math.floor(steps / BATCHES) * groups(BATCHES) + groups(steps % BATCHES);
}

/** The learner of a program, which logs to a folder. The same seed gives the same first weights. */
export function learnerOf(kind: Kind, worker: Worker, logs: string, more: readonly Callback[]): Learner<AnyRef> {
  const torch = worker.import("torch") as unknown as AnyRef;
  torch.manual_seed(1);
  const files = [jsonLines(logs), csv(logs), tensorBoard(logs)];
  const learner = new Learner(kind.model(torch.nn), crossEntropy(), {
    input: same,
    data: kind.data(worker),
    optimizer: kind.optimizer(),
    callbacks: [...kind.callbacks(files), new LogMetrics(files), ...more],
  });
  learner.removeCallback("ProgressPrinter");
  learner.removeCallback("MetricsPrinter");
  return learner;
}
