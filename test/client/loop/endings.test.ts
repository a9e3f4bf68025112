/** However a fit ends, its last epoch is printed, logged and saved, and the report says how and by whom. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  Checkpointer,
  EarlyStopping,
  Learner,
  loadWeights,
  Metrics,
  MetricsPrinter,
  mse,
  ProgressPrinter,
  sgd,
  type Callback,
  type LearnerData,
  type Report,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import { jsonLines, LogMetrics, RunFolder } from "torchwire/logging";
import * as stopping from "torchwire/stopping";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { untyped } from "../../observed.ts";
import { pair, pairs } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let folder: string;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  folder = await mkdtemp(join(tmpdir(), "endings-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

interface Ended {
  readonly report: Report;
  readonly printed: readonly string[];
  /** Phase and number of each epoch that was logged. */
  readonly logged: readonly string[];
  readonly saved: readonly string[];
  /** The weight at the end, and that of the last file. */
  readonly weights: readonly [number, number];
}

const weightOf = async (model: AnyRef): Promise<number> => (await model.weight.item()) as number;

async function ended(
  name: string,
  how: { callbacks?: Callback[]; data?: LearnerData; signal?: AbortSignal },
): Promise<Ended> {
  const place = join(folder, name);
  const run = new RunFolder(place, { name: "run" });
  let text = "";
  const silent = { write: () => undefined };
  const model = torch.nn.Linear(1, 1, false);
  model.weight.data.zero_();
  const saver = new Checkpointer(join(place, "checkpoints"));
  const learner = new Learner(model, mse(), {
    data: how.data ?? { training: pairs(4), validation: pairs(2) },
    optimizer: sgd({ lr: 0.001 }),
    callbacks: [
      ...(how.callbacks ?? []),
      new Metrics(),
      run,
      new LogMetrics(jsonLines(join(place, "log"))),
      saver,
      new ProgressPrinter({ output: silent }),
      new MetricsPrinter({ output: { write: (more) => void (text += more) } }),
    ],
  });
  const report = await learner.fit(3, how.signal === undefined ? {} : { signal: how.signal });
  const lines = (await readFile(join(run.path, "metrics.jsonl"), "utf8")).trimEnd().split("\n");
  const events = lines.map((line) => JSON.parse(line) as { [key: string]: unknown });
  const { status, reason, by } = report;
  expect(events.at(-1)).toMatchObject({ type: "fitEnd", status, reason, ...(by === undefined ? {} : { by }) });
  const saved = (await readdir(join(place, "checkpoints"))).filter((file) => file.endsWith(".safetensors")).toSorted();
  const copy = torch.nn.Linear(1, 1, false);
  await loadWeights(copy, learner.state.checkpoints.at(-1)!.path);
  return {
    report,
    printed: text
      .trimEnd()
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/).slice(0, 2).join(" "))
      .filter((row) => row !== "epoch phase"),
    logged: events
      .filter(({ type }) => type === "epoch")
      .map(({ phase, epoch }) => `${String(epoch)} ${String(phase)}`),
    saved,
    weights: [await weightOf(model), await weightOf(copy)],
  };
}

const inTraining = (
  event: "stepEnd" | "epochEnd",
  at: (epoch: number, index: number) => boolean,
  act: (cancel: (reason: string) => void) => void,
): Callback =>
  new CustomCallback(
    event,
    ({ phase, epoch, index, control }) => {
      if (phase instanceof AbstractTrainingPhase && at(epoch, index)) act((reason) => control.cancel("fit", reason));
    },
    { name: "Ends", access: { control: "write" } },
  );

describe("the last epoch is printed, logged and saved", () => {
  test("early stopping", async () => {
    const { report, printed, logged, saved, weights } = await ended("early", {
      callbacks: [new EarlyStopping(stopping.numberLimit(2))],
    });
    expect(report).toMatchObject({ status: "stopped", by: "EarlyStopping", epochs: 2 });
    expect(report.reason).toContain("NumberLimit(2)");
    expect(printed).toEqual(["1 training", "1 validation", "2 training", "2 validation"]);
    expect(logged).toEqual(printed);
    expect(saved).toHaveLength(2);
    expect(weights[1]).toBe(weights[0]);
  });

  test("NaN in the second epoch", async () => {
    let passes = 0;
    const training = {
      length: 4,
      *[Symbol.iterator]() {
        passes++;
        yield* passes === 2 ? [pair(1), pair(2), pair(Number.NaN), pair(3)] : pairs(4);
      },
    };
    const { report, printed, logged, saved, weights } = await ended("nan", {
      data: { training, validation: pairs(2) },
    });
    expect(report).toMatchObject({ status: "stopped", by: "StopOnNaNLoss", epochs: 1, steps: 6 });
    expect(printed).toEqual(["1 training", "1 validation", "1.5 training"]);
    expect(logged).toHaveLength(3);
    expect(logged.at(-1)).toMatch(/ training$/);
    expect(saved).toHaveLength(2);
    expect(weights[1]).toBe(weights[0]);
    expect(weights[0]).not.toBeNaN();
  });

  test("cancelled in mid-epoch by a callback", async () => {
    const ends = inTraining(
      "stepEnd",
      (epoch, index) => epoch === 2 && index === 0,
      (cancel) => cancel("enough"),
    );
    const { report, printed, logged, saved, weights } = await ended("cancelled", { callbacks: [ends] });
    expect(report).toMatchObject({ status: "stopped", by: "Ends", reason: "enough", epochs: 1, steps: 5 });
    expect(printed).toEqual(["1 training", "1 validation", "1.25 training"]);
    expect(logged).toHaveLength(3);
    expect(saved).toHaveLength(2);
    expect(weights[1]).toBe(weights[0]);
  });

  test("cancelled at the end of an epoch", async () => {
    const ends = inTraining(
      "epochEnd",
      (epoch) => epoch === 2,
      (cancel) => cancel("enough"),
    );
    const { report, printed, logged, saved, weights } = await ended("at-end", { callbacks: [ends] });
    expect(report).toMatchObject({ status: "stopped", by: "Ends", epochs: 2, steps: 8 });
    expect(printed).toEqual(["1 training", "1 validation", "2 training"]);
    expect(logged).toEqual(printed);
    expect(saved).toHaveLength(2);
    expect(weights[1]).toBe(weights[0]);
  });

  test("interrupted in mid-epoch", async () => {
    const controller = new AbortController();
    const ends = inTraining(
      "stepEnd",
      (epoch, index) => epoch === 2 && index === 1,
      () => controller.abort("lunch"),
    );
    const { report, printed, logged, saved, weights } = await ended("interrupted", {
      callbacks: [ends],
      signal: controller.signal,
    });
    expect(report).toMatchObject({ status: "interrupted", reason: "lunch", by: undefined, epochs: 1, steps: 6 });
    expect(printed).toEqual(["1 training", "1 validation", "1.5 training"]);
    expect(logged).toHaveLength(3);
    expect(saved).toHaveLength(2);
    expect(weights[1]).toBe(weights[0]);
  });
});
