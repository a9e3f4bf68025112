/** Logs follow a fit that is resumed: each step stands in them once, as in those of the undisturbed fit. */
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rename, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";
import { ensurePython, type Callback, type Worker } from "torchwire";
import { jsonLines, LogHistograms, LogMetrics, RunFolder, tensorBoard, type LoggerBackend } from "torchwire/logging";
import { digits, fitted, kinds, type Data, type Outcome, type Setting } from "../../fixtures/resume/fits.ts";
import { lines, loggers } from "../../fixtures/resume/logs.ts";
import { testPackages } from "../../python-packages.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
let python: string;
let env: { PYTHONPATH: string };
const plain = kinds["plain"]!;
let warnings: MockInstance<typeof process.emitWarning>;

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
  python = (await ensurePython()).executable;
  env = { PYTHONPATH: await testPackages() };
}, 120_000);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "logs-"));
  warnings = vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const script = (name: string): string => fileURLToPath(new URL(`../../fixtures/logging/${name}`, import.meta.url));
const told = (): string => warnings.mock.calls.map(([message]) => String(message)).join("\n");

interface Program {
  readonly seed?: number;
  /** The run's folder, with its checkpoints. */
  readonly path: string;
  readonly callbacks?: (path: string) => Callback[];
  /** The training step of this program at which it is interrupted, or fails: then no checkpoint is written. */
  readonly stopAt?: number;
  readonly failAt?: number;
}

function program({ seed = 1, path, callbacks = loggers, stopAt, failAt }: Program): Promise<Outcome> {
  const interrupt = new AbortController();
  const setting: Setting = {
    kind: { ...plain, callbacks: () => callbacks(path) },
    seed,
    data,
    options: { resume: { folder: join(path, "checkpoints"), every: 4 }, signal: interrupt.signal },
    atStep: (phase, step) => {
      if (phase !== "training") return;
      if (step === stopAt) interrupt.abort("stopped");
      if (step === failAt) throw new Error("a mistake");
    },
  };
  return fitted(worker, setting);
}

/** What TensorBoard's own reader finds in folders, without the times. */
async function boards(...paths: string[]): Promise<unknown[]> {
  const { stdout } = await execa(python, [script("read_events.py"), ...paths], { env });
  return stdout.split("\n").map((line) => {
    const { scalars, images, histograms, hparams } = JSON.parse(line.replaceAll("NaN", "null")) as {
      [what: string]: { [tag: string]: any };
    };
    const numbers = Object.entries(scalars!).map(([tag, all]) => [
      tag,
      all.map(([step, value]: [number, number]) => [step, value]),
    ]);
    return {
      scalars: Object.fromEntries(numbers) as object,
      images,
      histograms,
      settings: hparams!["_hparams_/session_start_info"].sessionStartInfo.hparams as object,
    };
  });
}

test("each step stands once in every log, also of a run that moved, and after a failed step", async () => {
  const [whole, parts, moved] = ["whole", "parts", "moved"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await program({ path: whole });
  await program({ path: parts, stopAt: 14 });
  const { started } = JSON.parse(await readFile(join(parts, "config.json"), "utf8")) as { started: string };
  await rename(parts, moved);
  // One ends before its first checkpoint, and one leaves steps, an epoch and a validation behind its last.
  await expect(program({ path: moved, seed: 5, failAt: 3 })).rejects.toThrow("a mistake");
  await expect(program({ path: moved, seed: 2, failAt: 9 })).rejects.toThrow("a mistake");
  await program({ path: moved, seed: 3, stopAt: 1 });
  await program({ path: moved, seed: 4 });
  expect(told()).toBe("");
  expect(await lines(moved)).toEqual(await lines(whole));
  expect(JSON.parse(await readFile(join(moved, "config.json"), "utf8"))).toMatchObject({ started });
  const [resumed, undisturbed] = await boards(moved, whole);
  expect(resumed).toEqual(undisturbed);
  expect(undisturbed).toMatchObject({
    scalars: { "Step/training/Metrics/loss": { length: 27 }, "Epoch/validation/Metrics/loss": { length: 3 } },
  });
});

test("a reader of TensorBoard's that stays open drops what the resumed fit does again", async () => {
  const path = join(folder, "run");
  const callbacks = (): Callback[] => [new LogMetrics(tensorBoard(path)), new LogHistograms(tensorBoard(path))];
  await expect(program({ path, callbacks, failAt: 15 })).rejects.toThrow("a mistake");
  const reader = execa(python, [script("watch_events.py"), path], { env, stderr: "ignore" });
  const found = createInterface(reader.stdout)[Symbol.asyncIterator]();
  const read = async (): Promise<{ readonly [tag: string]: readonly [number, number][] }> => {
    reader.stdin.write("\n");
    return JSON.parse((await found.next()).value) as Awaited<ReturnType<typeof read>>;
  };
  const steps = async (): Promise<number[]> => (await read())["Step/training/Metrics/loss"]!.map(([step]) => step);
  expect((await steps()).at(-1)).toBeGreaterThan(12);
  const { report } = await program({ path, callbacks, seed: 2 });
  expect(report.resumed).toMatchObject({ steps: 12 });
  expect(await steps()).toEqual(Array.from({ length: 27 }, (_, i) => i + 1));
  reader.stdin.end();
  await once(reader, "exit");
});

test("a log that was cut off or is gone is told, and the fit goes on", async () => {
  const path = join(folder, "run");
  const undisturbed = await program({ path: join(folder, "whole") });
  await program({ path, stopAt: 14 });
  await truncate(join(path, "log.csv"), 10);
  await rm(join(path, "log.jsonl"));
  const events = (await readdir(path)).filter((name) => name.includes("tfevents"));
  for (const name of events) await rm(join(path, name));
  const { weights, state } = await program({ path, seed: 2 });
  expect({ weights, metrics: (state as { metricsStep: object }).metricsStep }).toEqual({
    weights: undisturbed.weights,
    metrics: (undisturbed.state as { metricsStep: object }).metricsStep,
  });
  expect(told()).toMatch(/log\.csv has \d+ bytes, and \d+ had been written at the checkpoint: the fit goes on/);
  expect(told()).toMatch(/log\.jsonl .*had been written at the checkpoint/);
  for (const name of events) expect(told()).toContain(`${name} is gone, and `);
});

test("files that others have in the folder stay", async () => {
  const path = join(folder, "run");
  await program({ path: join(folder, "other"), stopAt: 3 });
  await program({ path, stopAt: 14 });
  const others = (await readdir(join(folder, "other"))).filter((name) => name.includes("tfevents"));
  for (const name of others) await cp(join(folder, "other", name), join(path, name));
  await program({ path, seed: 2, stopAt: 2 });
  expect(await readdir(path)).toEqual(expect.arrayContaining(others));
});

describe("what cannot be cut back is refused before the fit", () => {
  const backend = (path: string): LoggerBackend => {
    const { state: _, ...rest } = jsonLines(path);
    return { ...rest, name: "mine", log: () => undefined, close: () => undefined };
  };
  test.each<[string, (path: string) => Callback, RegExp]>([
    ["a new folder for each program", (path) => new RunFolder(path), /RunFolder makes a new folder.*numbered: false/],
    ["a backend without a state", (path) => new LogMetrics(backend(path)), /LogMetrics logs to mine, which has no/],
  ])("%s", async (_, callback, message) => {
    const path = join(folder, "run");
    await expect(program({ path, callbacks: () => [callback(path)] })).rejects.toMatchObject({
      code: "MISUSE",
      message: expect.stringMatching(message) as unknown,
    });
  });
});
