/** The folder of a fit on the disk of the client, and on that of the worker. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, open, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";
import { callback, py, type AnyRef, type Worker } from "torchwire";
import { digits, fitted, kinds, type Data, type Outcome, type Setting } from "../../fixtures/resume/fits.ts";
import { untyped } from "../../observed.ts";
import { Wiretap } from "../../wiretap.ts";
import { testWorker } from "../../worker.ts";

const tap = new Wiretap();
let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
let whole: Outcome;
const kind = kinds["plain"]!;
let warnings: MockInstance<typeof process.emitWarning>;

// The worker's current folder, limits and environment change here.
beforeAll(async () => {
  worker = await testWorker();
  data = await digits();
  whole = await fitted(worker, { kind, seed: 1, data });
});
afterAll(() => worker?.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "disks-"));
  warnings = vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

type On = "client" | "worker";

/** A program in the folder, that is interrupted at a training step. */
function program(on: On, setting: Partial<Setting> & { stopAt?: number; in?: string } = {}): Promise<Outcome> {
  const interrupt = new AbortController();
  const { stopAt, in: where = folder, atStep, ...more } = setting;
  return fitted(worker, {
    kind,
    seed: 1,
    data,
    options: { resume: { folder: where, every: 4, on }, signal: interrupt.signal },
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

/** The bytes of a batch, which are such a tensor as well. */
const BATCH = 8 * 28 * 28 * 3;

/** The points of a run of which the worker holds a copy, and the bytes of large tensors in them. */
async function held(): Promise<{ points: number; bytes: number }> {
  const { eval: evaluate } = untyped(worker, "builtins");
  const objects = "__import__('gc').get_objects()";
  const isRaw = `type(one) is torch.Tensor and one.dtype is torch.uint8 and one.dim() == 1 and 256 < len(one) != ${BATCH}`;
  const [points, bytes] = (await py.js(
    evaluate!(
      `[sum(type(one).__name__ == 'Point' for one in ${objects}), sum(len(one) for one in ${objects} if ${isRaw})]`,
      new Map([["torch", worker.import("torch")]]),
    ) as AnyRef,
  )) as [number, number];
  return { points, bytes };
}

test.each([
  ["client", "travel"],
  ["worker", "stay"],
] as const)("on the %s's disk, the tensors %s", async (on, way) => {
  const sent = await tap.during(async () => {
    await program(on, { stopAt: 14 });
    await program(on, { seed: 2 });
  });
  const operations = sent.flatMap((batch) => batch.operations);
  // Pieces that are fetched, and pieces that are sent back.
  expect(operations.some((one) => /\.read\(\d+\)/.test(one))).toBe(way === "travel");
  expect(operations.some((one) => /\.write\(array\(/.test(one))).toBe(way === "travel");
});

describe.each(["client", "worker"] as const)("while a checkpoint is written to the %s's disk", (on) => {
  test("the fit goes on, one copy of the state is alive at most, and what is written is freed", async () => {
    const pipe = join(folder, "latest.json-1.tmp");
    await promisify(execFile)("mkfifo", [pipe]);
    const points: number[] = [];
    const idle = await held();
    let hanging: unknown;
    let released: Promise<void> | undefined;
    const emptied = async (): Promise<void> => {
      const reader = await open(pipe, "r");
      await reader.readFile();
      await reader.close();
      await rm(pipe);
    };
    const { weights } = await program(on, {
      atStep: async (phase, step) => {
        if (phase !== "training") return;
        if (step < 10) points.push((await held()).points);
        if (step !== 7) return;
        // The checkpoint after step 4 has its name. Whoever writes the pointer hangs in the pipe.
        while (!(await checkpoints()).includes("step-00000004-1")) await sleep(5);
        hanging = await held();
        // The next checkpoint is due after step 8, and waits.
        released = sleep(300).then(emptied);
      },
    });
    await released;
    expect(hanging).toEqual({ points: 1, bytes: idle.bytes });
    expect(Math.max(...points)).toBe(1);
    expect(await held()).toEqual(idle);
    expect(weights).toBe(whole.weights);
    expect(await checkpoints()).toEqual(["step-00000024-1", "step-00000027-1"]);
  });
});

describe("the worker's folder", () => {
  test("is relative to the worker's current folder, by any name, and through a link", async () => {
    const os = untyped(worker, "os");
    const before = (await os.getcwd!()) as unknown as string;
    await mkdir(join(folder, "a disk"));
    await symlink(join(folder, "a disk"), join(folder, "link"));
    await py.settle(os.chdir!(join(folder, "link")) as AnyRef);
    try {
      await program("worker", { stopAt: 14, in: "the runs/ü 1" });
      const { weights, report } = await program("worker", { seed: 2, in: "the runs/ü 1" });
      expect(report.resumed).toMatchObject({ from: join(folder, "a disk", "the runs", "ü 1", "step-00000014-1") });
      expect(weights).toBe(whole.weights);
    } finally {
      await py.settle(os.chdir!(before) as AnyRef);
    }
  });

  test("may be below the home of the worker's user", async () => {
    const { environ } = untyped(worker, "os");
    const before = (await environ!.get!("HOME")) as unknown as string;
    await py.settle(environ!.update!(new Map([["HOME", folder]])) as AnyRef);
    try {
      await program("worker", { in: "~/run", stopAt: 5 });
      expect(await readdir(join(folder, "run"))).toContain("step-00000005-1");
    } finally {
      await py.settle(environ!.update!(new Map([["HOME", before]])) as AnyRef);
    }
  });

  test("cannot be made: the fit does not begin", async () => {
    const file = join(folder, "file");
    await writeFile(file, "");
    await expect(program("worker", { in: file })).rejects.toMatchObject({
      code: "NOT_SAVED",
      message: expect.stringMatching(
        /a checkpoint cannot be written to \S+file in the worker: \[Errno 17\] File exists/,
      ) as unknown,
    });
  });

  test("is on a full disk: that is told, the fit goes on, and writes again where there is room", async () => {
    const { setrlimit, getrlimit, RLIMIT_FSIZE } = untyped(worker, "resource");
    const [soft, hard] = (await py.js(getrlimit!(RLIMIT_FSIZE) as AnyRef)) as [number, number];
    const limit = (most: number): Promise<unknown> =>
      py.settle(setrlimit!(RLIMIT_FSIZE, py.tuple(most, hard)) as AnyRef);
    const there: string[][] = [];
    const { weights } = await program("worker", {
      atStep: async (phase, step) => {
        if (phase !== "training") return;
        if (step === 2) await limit(1000);
        // The next checkpoint has waited for this one.
        if (step === 9) there.push(await checkpoints());
        if (step === 9) await limit(soft);
      },
    });
    expect(told()).toMatch(/a checkpoint cannot be written to \S+ in the worker: \[Errno 27\] File too large/);
    expect(there).toEqual([[]]);
    expect(await checkpoints()).toEqual(["step-00000024-1", "step-00000027-1"]);
    expect(weights).toBe(whole.weights);
  });

  test("takes what is longer than a text of the wire may be", async () => {
    const note = "ä".repeat(9 * 2 ** 20);
    const loaded: string[] = [];
    const noting = callback({
      name: "noting",
      state: { save: () => note, load: (saved: string) => void loaded.push(saved) },
    });
    await program("worker", { stopAt: 2, more: [noting] });
    await program("worker", { stopAt: 1, more: [noting] });
    expect(told()).toBe("");
    expect(loaded.map((one) => one === note)).toEqual([true]);
  });

  test("has a broken checkpoint, which is passed over", async () => {
    await program("worker", { stopAt: 14 });
    await truncate(join(folder, "step-00000014-1", "training.safetensors"), 1000);
    const { weights, report } = await program("worker", { seed: 2 });
    expect(told()).toMatch(/step-00000014-1 is passed over: training.safetensors has 1000 bytes, and \d+ were written/);
    expect(report.resumed).toMatchObject({ from: join(folder, "step-00000012-1"), steps: 12 });
    expect(weights).toBe(whole.weights);
  });

  test("belongs to a successor: this program writes there no more", async () => {
    await program("worker", {
      atStep: async (phase, step) => {
        if (phase === "training" && step === 10) await writeFile(join(folder, "incarnation-9.json"), "{}");
      },
    });
    expect(told()).toContain("in the worker belongs to another program now, its number 9; this one is number 1");
    expect((await checkpoints()).filter((name) => name > "step-00000008-1")).toEqual([]);
  });
});
