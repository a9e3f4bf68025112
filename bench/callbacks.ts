/** The cost of each callback: epochs of a small CNN with the default callbacks, and with one more. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  accuracy,
  adam,
  Checkpointer,
  crossEntropy,
  EarlyStopping,
  image,
  Learner,
  Metrics,
  MetricsPrinter,
  oneCycle,
  ProgressPrinter,
  Scheduler,
  TrainingPhase,
  type Callback,
  type Worker,
} from "torchwire";
import { EMA, GarbageCollect, Traces } from "torchwire/callbacks";
import { csv, jsonLines, LogHistograms, LogHyperParams, LogMetrics, tensorBoard } from "torchwire/logging";
import { confusionMatrix, f1, SmoothLoss } from "torchwire/metrics";
import { makeTraining } from "../test/training.ts";
import type { Contest, Variant } from "./rounds.ts";
import { again, LEARNING_RATES, some, type Images } from "./torchwire-loop.ts";

const BATCH = 64;
const silent = { write: (): boolean => true };

export interface Priced extends Contest {
  readonly close: () => Promise<void>;
}

export async function prices(worker: Worker, images: Images, runSeconds: number): Promise<Priced> {
  const folder = await mkdtemp(join(tmpdir(), "torchwire-bench-"));
  const place = (name: string): string => join(folder, name);
  const many: { readonly [name: string]: () => readonly Callback[] } = {
    "the default ones and accuracy": () => [],
    "and F1, a confusion matrix and the smooth loss": () => [
      new Metrics(accuracy, f1({ average: "macro" }), confusionMatrix(), new SmoothLoss()),
    ],
    "and Scheduler": () => [new Scheduler({ lr: oneCycle(10_000, 1e-3) })],
    "and EMA": () => [new EMA({ decay: 0.99 })],
    "and Traces": () => [new Traces({ index: ({ index }) => index })],
    "and GarbageCollect, every 100 steps": () => [new GarbageCollect(100)],
    "and EarlyStopping, Checkpointer": () => [
      new EarlyStopping(1000),
      new Checkpointer(place("checkpoints"), { keep: 1 }),
    ],
    "and LogMetrics, as JSON lines, CSV and for TensorBoard": () => [
      new LogMetrics([jsonLines(place("json")), csv(place("csv")), tensorBoard(place("board"))]),
    ],
    "and LogHyperParams of a Scheduler": () => [
      new Scheduler({ lr: oneCycle(10_000, 1e-3) }),
      new LogHyperParams(tensorBoard(place("hyper"))),
    ],
    "and LogHistograms, every 100 steps": () => [new LogHistograms(tensorBoard(place("histograms")), { freq: 100 })],
  };
  const phase = new TrainingPhase();
  const runs = Object.entries(many).map(([name, callbacks]) => {
    const { model } = makeTraining(worker, "cnn", LEARNING_RATES.cnn);
    const own = callbacks();
    const learner = new Learner(model, crossEntropy(), {
      input: image(),
      optimizer: adam({ lr: LEARNING_RATES.cnn }),
      callbacks: [
        ...own,
        ...(own.some((one) => one instanceof Metrics) ? [] : [new Metrics(accuracy)]),
        new ProgressPrinter({ output: silent }),
        new MetricsPrinter({ output: silent }),
      ],
    });
    const batches = again(images, BATCH);
    return { name, run: (steps: number) => learner.epoch(phase, some(batches, steps)) };
  });
  const timed = async (run: (steps: number) => Promise<unknown>, steps: number): Promise<number> => {
    const start = performance.now();
    await run(steps);
    return (performance.now() - start) / steps;
  };
  for (let i = 0; i < 3; i++) for (const { run } of runs) await timed(run, 5);
  const steps = Math.max(5, Math.round((3000 * runSeconds) / (await timed(runs[0]!.run, 5))));
  for (const { run } of runs) await timed(run, steps);
  return {
    name: `callbacks, cnn, batch ${BATCH}: an epoch with one more`,
    primary: "ms/step",
    better: "lower",
    reference: runs[0]!.name,
    columns: ["ms/step"],
    variants: runs.map(({ name, run }): Variant => ({
      name,
      run: async () => ({ "ms/step": await timed(run, steps) }),
    })),
    facts: { "steps in a run": steps },
    close: () => rm(folder, { recursive: true }),
  };
}
