/** The cost of checkpoints: a fit of ResNet-18 with `resume`, against the same fit without it. */
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  accuracy,
  callback,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  py,
  sgd,
  spawnWorker,
  type Worker,
} from "torchwire";
import { makeTraining, rgbDigits } from "../test/training.ts";
import { measure, type Measured, type Opened, type Readings, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { LEARNING_RATES, type Images } from "./torchwire-loop.ts";
import { peakBytes, watchPeak } from "./usage.ts";

const BATCH = 64;
const STARTS = 2;
const STEPS = 60;
/** The checkpoint comes half-way, and is written in the steps that are left. Another one, at the end, is not timed. */
const EVERY = STEPS / 2;
const MEBIBYTE = 2 ** 20;
const silent = { write: (): boolean => true };

export async function measureResume(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(STEPS * BATCH);
  return measure(
    () => open(surroundings, images),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`resume: ${text}`),
  );
}

async function open({ python, sawVersions }: Surroundings, images: Images): Promise<Opened> {
  const worker = await spawnWorker({ python, device: "cpu", seed: 0 });
  sawVersions(worker.versions);
  const parent = await mkdtemp(join(tmpdir(), "torchwire-bench-"));
  const fit = fitter(worker, images);
  const inFolder = async (): Promise<Fitted> => {
    const folder = await mkdtemp(join(parent, "run-"));
    const fitted = await fit(folder);
    await rm(folder, { recursive: true });
    return fitted;
  };
  // Memory that was used once stays with the worker: the fit without checkpoints comes first.
  const variants: Variant[] = [];
  let bytes = 0;
  for (const [name, run] of [
    ["without resume", () => fit()],
    [`a checkpoint in ${STEPS} steps`, inFolder],
  ] as const) {
    await watchPeak(worker.pid);
    await watchPeak(process.pid);
    ({ bytes } = await run());
    const peaks = {
      "worker's peak MiB": (peakBytes(worker.pid) ?? NaN) / MEBIBYTE,
      "client's peak MiB": (peakBytes(process.pid) ?? NaN) / MEBIBYTE,
    };
    variants.push({ name, run: async () => ({ ...(await run()).readings, ...peaks }) });
  }
  return {
    contests: [
      {
        name: `resnet18, batch ${BATCH}`,
        primary: "ms/step",
        better: "lower",
        reference: variants[0]!.name,
        columns: [
          "ms/step",
          "ms a checkpoint",
          "ms to copy",
          "s to the disk",
          "worker's peak MiB",
          "client's peak MiB",
        ],
        variants,
        facts: { "steps in a run": STEPS, "MiB in a checkpoint": Math.round(bytes / MEBIBYTE) },
      },
    ],
    pids: [worker.pid],
    async close() {
      await worker.close();
      await rm(parent, { recursive: true });
    },
  };
}

interface Fitted {
  readonly readings: Readings;
  /** The files of the checkpoint among the steps. */
  readonly bytes: number;
}

function fitter(worker: Worker, images: Images): (folder?: string) => Promise<Fitted> {
  const { model } = makeTraining(worker, "resnet18", LEARNING_RATES.resnet18);
  // The beginning, and the end of each step.
  let times: number[] = [];
  let atCheckpoint = 0;
  const clock = callback({
    name: "Clock",
    state: "none",
    observe: {
      epochBegin: () => void (times = [performance.now()]),
      stepEnd: ({ index }) => {
        times.push(performance.now());
        if (index === EVERY - 1) atCheckpoint = Date.now();
      },
    },
  });
  const learner = new Learner(model, crossEntropy(), {
    data: { training: new DataLoader(images, { batchSize: BATCH, shuffle: true }) },
    input: image(),
    optimizer: sgd({ lr: LEARNING_RATES.resnet18, momentum: 0.9 }),
    callbacks: [
      new Metrics(accuracy),
      new ProgressPrinter({ output: silent }),
      new MetricsPrinter({ output: silent }),
      clock,
    ],
  });
  return async (folder) => {
    await learner.fit(1, folder === undefined ? {} : { resume: { folder, every: EVERY, keep: 3 } });
    const [begin, middle, end] = [times[0]!, times[EVERY]!, times[STEPS]!];
    const perStep = (end - begin) / STEPS;
    if (folder === undefined) return { readings: { "ms/step": perStep }, bytes: 0 };

    const written = join(folder, `step-${String(EVERY).padStart(8, "0")}-1`);
    const { files } = JSON.parse(await readFile(join(written, "manifest.json"), "utf8")) as {
      files: Record<string, { bytes: number }>;
    };
    const start = performance.now();
    const copy = worker.import("torchwire_worker.helpers.resuming").Point(learner.model, learner.optimizer, {});
    await py.settle(copy);
    const toCopy = performance.now() - start;
    copy[Symbol.dispose]();
    return {
      readings: {
        "ms/step": perStep,
        // Nothing is in flight at the beginning, half-way, and at the end: both halves do the same but for the checkpoint.
        "ms a checkpoint": end - middle - (middle - begin),
        "ms to copy": toCopy,
        // A checkpoint gets its name when all of it is on the disk.
        "s to the disk": ((await stat(written)).ctimeMs - atCheckpoint) / 1000,
      },
      bytes: Object.values(files).reduce((sum, file) => sum + file.bytes, 0),
    };
  };
}
