/** Training steps on a GPU: torchwire's Learner against plain PyTorch that is written for speed. */
import { fileURLToPath } from "node:url";
import {
  adamW,
  callback,
  crossEntropy,
  image,
  kw,
  Learner,
  MetricsPrinter,
  ProgressPrinter,
  py,
  PyTorchBackend,
  sgd,
  spawnWorker,
  StopOnNaNLoss,
  TrainingPhase,
  type NDArray,
  type Network,
  type Worker,
} from "torchwire";
import type { AnyRef } from "../bridge/types/core.ts";
import { startAsked } from "./asked.ts";
import { measure, type Contest, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { again, some, type Images } from "./torchwire-loop.ts";

export interface GpuCase {
  readonly model: "resnet50" | "cifar" | "mlp";
  readonly batch: number;
  /** The number of images, and the pixels along each side. */
  readonly images: number;
  readonly size: number;
}

const cases: readonly GpuCase[] = [
  { model: "resnet50", batch: 128, images: 512, size: 224 },
  { model: "cifar", batch: 128, images: 10_000, size: 32 },
  { model: "mlp", batch: 128, images: 10_000, size: 32 },
];
const STARTS = 4;
/** Steps before the warm-up. Their losses tell whether all sides train the same thing. */
const FIRST_STEPS = 5;
const FEWEST_STEPS = 10;
const CLASSES = 10;
const silent = { write: (): boolean => true };

export async function measureGpu(surroundings: Surroundings): Promise<Measured[]> {
  if (surroundings.gpu === null) {
    console.log("On a GPU: skipped, because PyTorch finds no CUDA device here\n");
    return [];
  }
  const measured: Measured[] = [];
  for (const one of cases) {
    const name = nameOf(one);
    let steps: number | undefined;
    const open = async (): Promise<Opened> => {
      const opened = await openGpu(one, "cuda", surroundings, steps);
      ({ steps } = opened);
      return opened;
    };
    measured.push(
      ...(await measure(open, surroundings.quick ? 1 : STARTS, surroundings, (text) =>
        surroundings.progress(`gpu, ${name}: ${text}`),
      )),
    );
  }
  return measured;
}

const nameOf = ({ model, batch, size }: GpuCase): string =>
  `${model}, batch ${batch} of ${size} × ${size}${model === "mlp" ? "" : ", bf16, channels last"}`;

interface Runner {
  readonly name: string;
  readonly run: (steps: number) => Promise<{ readonly readings: Readings; readonly loss: number }>;
}
type Readings = Readonly<Record<string, number>>;

/** All sides of a case, on a device of PyTorch's. */
export async function openGpu(
  one: GpuCase,
  device: string,
  { python, runSeconds, sawVersions }: Pick<Surroundings, "python" | "runSeconds" | "sawVersions">,
  knownSteps?: number,
): Promise<Opened & { readonly steps: number }> {
  const native = startAsked(python, fileURLToPath(new URL("../test/native/gpu_loop.py", import.meta.url)));
  const [worker, about] = await Promise.all([
    spawnWorker({ python, device: device === "cuda" ? "cuda" : "cpu", seed: 0 }),
    native.ask<{ device: string }>({ cmd: "init", device, ...one }),
  ]);
  sawVersions(worker.versions);
  const images = imagesOf(one);
  const runners: readonly Runner[] = [
    { name: "native", run: nativeRun(native.ask, false) },
    { name: "native, each loss read in its step", run: nativeRun(native.ask, true) },
    { name: "torchwire", run: learnerRun(worker, one, device, images, true) },
    { name: "torchwire, each loss looked at before the update", run: learnerRun(worker, one, device, images, false) },
  ];
  // (The two native runners share a model.)
  const first: number[] = [];
  for (const { run } of runners.slice(1)) first.push((await run(FIRST_STEPS)).loss);
  const steps = knownSteps ?? (await stepsFor(runSeconds, runners[0]!));
  for (let i = 0; i < 2; i++) for (const { run } of runners) await run(steps);

  const contest: Contest = {
    name: nameOf(one),
    primary: "ms/step",
    better: "lower",
    reference: "native",
    columns: ["ms/step", "client CPU ms/step"],
    variants: runners.map(({ name, run }): Variant => ({ name, run: async () => (await run(steps)).readings })),
    facts: {
      device: about.device,
      "steps in a run": steps,
      [`all sides have the same loss after ${FIRST_STEPS} steps`]: first.every((loss) => loss === first[0]),
    },
  };
  return {
    steps,
    contests: [contest],
    pids: [worker.pid, native.pid],
    async close() {
      await Promise.all([worker.close(), native.close()]);
    },
  };
}

async function stepsFor(runSeconds: number, { run }: Runner): Promise<number> {
  await run(FEWEST_STEPS);
  const { readings } = await run(FEWEST_STEPS);
  return Math.max(FEWEST_STEPS, Math.round((1000 * runSeconds) / readings["ms/step"]!));
}

const nativeRun =
  (ask: <T>(message: object) => Promise<T>, item: boolean): Runner["run"] =>
  async (steps) => {
    const { seconds, loss } = await ask<{ seconds: number; loss: number }>({ cmd: "run", steps, item });
    return { readings: { "ms/step": (1000 * seconds) / steps }, loss };
  };

/** A learner with a model of its own, which has the same first weights as every other. */
function learnerRun(worker: Worker, one: GpuCase, device: string, images: Images, late: boolean): Runner["run"] {
  const isConv = one.model !== "mlp";
  worker.import("torch").manual_seed(0);
  let loss = Number.NaN;
  const last = callback({
    name: "LastLoss",
    access: {},
    observe: { stepEnd: ({ values }) => void (loss = values.loss) },
  });
  const learner = new Learner(modelOf(worker, one), crossEntropy(), {
    input: image(),
    optimizer: one.model === "resnet50" ? sgd({ lr: 1e-3, momentum: 0.9, fused: true }) : adamW({ fused: true }),
    callbacks: [
      new PyTorchBackend({ device, ...(isConv && { amp: "bf16", channelsLast: true }) }),
      new StopOnNaNLoss({ late }),
      new ProgressPrinter({ output: silent }),
      new MetricsPrinter({ output: silent }),
      last,
    ],
  });
  const batches = again(images, one.batch);
  const phase = new TrainingPhase();
  return async (steps) => {
    const client = process.cpuUsage();
    const start = performance.now();
    await learner.epoch(phase, some(batches, steps));
    // (The native side also waits for what the device does behind the last loss.)
    if (device === "cuda") await py.js(worker.import("torch").cuda.synchronize());
    const milliseconds = performance.now() - start;
    const { user, system } = process.cpuUsage(client);
    const readings = { "ms/step": milliseconds / steps, "client CPU ms/step": (user + system) / 1000 / steps };
    return { readings, loss };
  };
}

/** The counterpart of test/native/gpu_loop.py. */
function modelOf(worker: Worker, { model, size }: GpuCase): Network {
  const { nn } = worker.import("torch");
  if (model === "resnet50")
    return worker.import("torchvision").models.resnet50(kw({ weights: null, num_classes: CLASSES }));
  if (model === "mlp")
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 512), nn.ReLU(), nn.Linear(512, CLASSES));
  const block = (inputs: number, outputs: number): AnyRef[] =>
    [
      nn.Conv2d(inputs, outputs, 3, kw({ padding: 1, bias: false })),
      nn.BatchNorm2d(outputs),
      nn.ReLU(),
    ] as unknown as AnyRef[];
  return (nn as unknown as AnyRef).Sequential(
    ...block(3, 64),
    nn.MaxPool2d(2),
    ...block(64, 128),
    nn.MaxPool2d(2),
    ...block(128, 256),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(256, CLASSES),
  );
}

/** Bytes that are the same in every language. */
function imagesOf({ images, size }: GpuCase): Images {
  const pixels = new Uint8Array(images * size * size * 3);
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.imul(i, 2654435761) >>> 13;
  const xs: NDArray = { dtype: "uint8", shape: [images, size, size, 3], data: pixels };
  const ys: NDArray = {
    dtype: "uint8",
    shape: [images],
    data: Uint8Array.from({ length: images }, (_, i) => i % CLASSES),
  };
  return { xs, ys };
}
