/** The folder of a run in an unkind world: copied in part, emptied, claimed twice, with broken checkpoints in it. */
import { cpSync, rmSync, watch } from "node:fs";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test, vi, type MockInstance } from "vitest";
import type { Worker } from "torchwire";
import { digits, fitted, kinds, type Data, type Outcome, type Setting } from "../../fixtures/resume/fits.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
let whole: string;
const kind = kinds["plain"]!;
let warnings: MockInstance<typeof process.emitWarning>;

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
  whole = (await fitted(worker, { kind, seed: 1, data })).weights;
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "folder-"));
  warnings = vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Program extends Partial<Setting> {
  readonly stopAt?: number;
  readonly keep?: number;
  readonly in?: string;
}

/** A program in the folder, that is interrupted at a training step of its own. */
function program({ stopAt, keep = 2, in: where = folder, atStep, ...more }: Program = {}): Promise<Outcome> {
  const interrupt = new AbortController();
  return fitted(worker, {
    kind,
    seed: 1,
    data,
    options: { resume: { folder: where, every: 4, keep }, signal: interrupt.signal },
    atStep: async (phase, step) => {
      if (phase === "training" && step === stopAt) interrupt.abort("stopped");
      await atStep?.(phase, step);
    },
    ...more,
  });
}

const checkpoints = async (): Promise<string[]> =>
  (await readdir(folder)).filter((name) => name.startsWith("step-")).toSorted();
const told = (): string => warnings.mock.calls.map(([message]) => String(message)).join("\n");
const broken = (name: string): Promise<void> => truncate(join(folder, name, "training.safetensors"), 1000);

test("checkpoints that were copied without the files of their programs are older than all that comes", async () => {
  await program({ stopAt: 5 });
  await program({ seed: 2, stopAt: 5 });
  for (const name of await readdir(folder)) if (name.startsWith("incarnation-")) await rm(join(folder, name));
  await program({ seed: 3, keep: 1, stopAt: 5 });
  expect(await checkpoints()).toEqual(["step-00000015-3"]);
  const { report, weights } = await program({ seed: 4 });
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000015-3") });
  expect(weights).toBe(whole);
});

test("a broken checkpoint does not count as one that is kept", async () => {
  await program({ stopAt: 14 });
  await broken("step-00000014-1");
  await program({ seed: 2, stopAt: 2 });
  expect(await checkpoints()).toEqual(["step-00000012-1", "step-00000014-1", "step-00000014-2"]);
  await broken("step-00000014-2");
  const { report, weights } = await program({ seed: 3 });
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000012-1") });
  expect(weights).toBe(whole);
  expect(await checkpoints()).toHaveLength(2);
});

test("a manifest that names no files says nothing of them", async () => {
  await program({ stopAt: 14 });
  const path = join(folder, "step-00000014-1", "manifest.json");
  await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), files: {} }));
  await broken("step-00000014-1");
  const { report, weights } = await program({ seed: 2 });
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000012-1") });
  expect(weights).toBe(whole);
});

test("the predecessor writes one more, and removes the one before, while this program looks", async () => {
  await program({ stopAt: 14 });
  const other = join(folder, "other");
  await program({ stopAt: 16, in: other });
  await broken("step-00000014-1");
  warnings.mockImplementation(() => {
    cpSync(join(other, "step-00000016-1"), join(folder, "step-00000016-1"), { recursive: true });
    rmSync(join(folder, "step-00000012-1"), { recursive: true, force: true });
  });
  const { report, weights } = await program({ seed: 2 });
  expect(told()).toContain("step-00000014-1 is passed over");
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000016-1") });
  expect(weights).toBe(whole);
});

test("the folder is emptied in the middle of a fit: the next checkpoints are written there", async () => {
  await program({
    stopAt: 14,
    atStep: async (phase, step) => {
      if (phase !== "training" || step !== 10) return;
      for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
    },
  });
  expect(await checkpoints()).toEqual(["step-00000012-1", "step-00000014-1"]);
  const { report, weights } = await program({ seed: 2 });
  expect(report.resumed).toMatchObject({ from: join(folder, "step-00000014-1") });
  expect(weights).toBe(whole);
});

test("two programs that claim it at the same moment get two numbers, and what is there is whole", async () => {
  await using second = await testWorker();
  const setting = { kind, seed: 1, data, options: { resume: { folder, every: 2 } } };
  const both = await Promise.all([fitted(worker, setting), fitted(second, setting)]);
  expect(both.map(({ weights }) => weights)).toEqual([whole, whole]);
  expect(await readdir(folder)).toEqual(expect.arrayContaining(["incarnation-1.json", "incarnation-2.json"]));
  const { report, weights } = await program({ seed: 2 });
  expect(report.resumed).toMatchObject({ steps: 27 });
  expect(weights).toBe(whole);
});

test("a checkpoint loses its name before any of it is removed: a kill between leaves none that is half there", async () => {
  const seen: string[] = [];
  const watcher = watch(folder, (_, name) => {
    if (name?.endsWith("step-00000004-1") && seen.at(-1) !== name) seen.push(name);
  });
  try {
    await program({ stopAt: 14 });
    await expect.poll(() => seen).toEqual([".draft-step-00000004-1", "step-00000004-1", ".draft-step-00000004-1"]);
  } finally {
    watcher.close();
  }
  expect((await readdir(folder)).filter((name) => name.startsWith("."))).toEqual([]);
});
