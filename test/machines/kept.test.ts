/**
 * Samples that a worker keeps, where links are cut, workers are lost and sessions follow each other: the bits are those of
 * a fit whose batches travel, and each sample is sent once.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  adam,
  callback,
  connectWorker,
  crossEntropy,
  DataLoader,
  Learner,
  spawnWorker,
  withWorker,
  type AnyRef,
  type Callback,
  type FitOptions,
  type NDArray,
  type Worker,
} from "torchwire";
import type { DataLoaderOptions } from "torchwire/data";
import { findPython } from "../../bridge/environment/find.ts";
import { Dice } from "../fixtures/dice.ts";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { scheduleOf } from "../fixtures/faults/schedule.ts";
import { serve, type Served } from "../fixtures/served.ts";
import { untyped } from "../observed.ts";
import { weightsHash } from "../training.ts";
import { testWorker } from "../worker.ts";

const cli = fileURLToPath(new URL("../../bridge/cli.ts", import.meta.url));
const SAMPLES = 96;
const BATCH = 8;
const EPOCHS = 3;
const settings = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;

let root: string;
let plain: Worker;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kept-"));
  plain = await testWorker();
  vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterAll(async () => {
  await plain.close();
  await rm(root, { recursive: true, force: true });
});

function samples(seed: number): { xs: NDArray; ys: NDArray } {
  const dice = new Dice(seed);
  return {
    xs: {
      dtype: "float32",
      shape: [SAMPLES, 64],
      data: Float32Array.from({ length: SAMPLES * 64 }, () => dice.next()),
    },
    ys: { dtype: "uint8", shape: [SAMPLES], data: Uint8Array.from({ length: SAMPLES }, () => dice.below(10)) },
  };
}

interface Setting {
  readonly seed: number;
  readonly keep?: DataLoaderOptions["keep"];
  readonly callbacks?: readonly Callback[];
  readonly options?: FitOptions;
  readonly epochs?: number;
}

/** The weights after a fit. */
async function trained(worker: Worker, setting: Setting): Promise<string> {
  const { seed, keep, callbacks = [], options = {}, epochs = EPOCHS } = setting;
  const torch = untyped(worker, "torch");
  await torch.manual_seed(seed);
  const { nn } = torch;
  const model: AnyRef = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.1), nn.Linear(32, 10));
  const loader = (): DataLoader =>
    new DataLoader(samples(seed), { batchSize: BATCH, shuffle: { seed }, ...(keep && { keep }) });
  const learner = new Learner(model, crossEntropy(), {
    data: { training: loader(), validation: loader() },
    optimizer: adam({ lr: 1e-2 }),
    defaultCallbacks: false,
    callbacks,
  });
  await learner.fit(epochs, options);
  return weightsHash(worker, model as never);
}

/** What a worker was sent of samples that it keeps. */
const kept = async (worker: Worker): Promise<{ samples: number; cached: number }> => {
  const { samples, cached } = (await worker.stats()).kept;
  return { samples, cached };
};

test("a link that is cut again and again loses nothing, and nothing is sent twice", async () => {
  const served: Served = await serve();
  const proxy = await FaultProxy.open(served.port);
  const worker = await connectWorker(proxy.address, { ...settings, timeout: 30_000 });
  try {
    let ups = 0;
    worker.onLink(({ state }) => void (state === "up" && ups++));
    let happened = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const before = await kept(worker);
      proxy.arm(scheduleOf(seed, 40_000));
      const weights = await trained(worker, { seed, keep: "worker" });
      happened += proxy.happened.length;
      proxy.disarm();
      expect({ seed, weights }).toEqual({ seed, weights: await trained(plain, { seed }) });
      const stats = await worker.stats();
      expect(stats.kept.samples - before.samples).toBe(SAMPLES);
      expect(stats.worker.batches).toBe(stats.batches);
    }
    expect(happened).toBeGreaterThan(8);
    expect(ups).toBeGreaterThan(4);
    await worker.close();
  } finally {
    await proxy[Symbol.asyncDispose]();
    await served[Symbol.asyncDispose]();
  }
});

test("a fit goes on in the middle of an epoch with another worker, which is sent what it needs", async () => {
  const folder = join(root, "resume");
  const pids = new Set<number>();
  const found = await withWorker({ ...settings, restarts: 1 }, async (worker) => {
    pids.add(worker.pid);
    const isFirst = pids.size === 1;
    const dying = callback({
      name: "Dying",
      observe: {
        stepEnd: ({ index, epoch, phase }) => {
          if (isFirst && phase.data === "training" && epoch === 2 && index === 7) process.kill(worker.pid, "SIGKILL");
        },
      },
    });
    const options = { resume: { folder, every: 5 } };
    const weights = await trained(worker, { seed: 20, keep: "worker", callbacks: [dying], options });
    return { weights, ...(await kept(worker)) };
  });
  expect(pids.size).toBe(2);
  expect(found).toEqual({ weights: await trained(plain, { seed: 20 }), samples: SAMPLES, cached: 0 });
});

test("another session finds the samples in the cache, and a third where it was removed does not", async () => {
  const env = { TORCHWIRE_CACHE: join(root, "cache") };
  const weights = await trained(plain, { seed: 30 });
  const session = async (): Promise<{ weights: string; samples: number; cached: number }> => {
    await using worker = await spawnWorker({ ...settings, env });
    const found = await trained(worker, { seed: 30, keep: { cache: "photos" } });
    return { weights: found, ...(await kept(worker)) };
  };
  expect(await session()).toEqual({ weights, samples: SAMPLES, cached: 0 });
  expect(await session()).toEqual({ weights, samples: 0, cached: SAMPLES });
  expect(await readdir(join(root, "cache", "samples"))).toEqual(["photos"]);
  await rm(join(root, "cache", "samples"), { recursive: true });
  // Two at once: the slower one may find what the faster one has written.
  for (const one of await Promise.all([session(), session()])) {
    expect(one.weights).toBe(weights);
    expect(one.samples + one.cached).toBe(SAMPLES);
  }
  expect(await session()).toEqual({ weights, samples: 0, cached: SAMPLES });
});

test("the command lists caches and removes them, here and where a worker serves", async () => {
  const folder = join(root, "commanded");
  const { executable } = await findPython();
  await using worker = await spawnWorker({ ...settings, env: { TORCHWIRE_CACHE: folder } });
  for (const cache of ["photos", "sounds"]) await trained(worker, { seed: 31, epochs: 1, keep: { cache } });
  const command = (...args: string[]): Promise<{ readonly exitCode?: number; readonly all: string }> =>
    execa("npx", ["tsx", cli, "cache", ...args], { reject: false, all: true, env: { TORCHWIRE_CACHE: folder } });
  const python = ["--python", executable];
  const first = await command(...python);
  expect(first.all).toMatch(/^photos {18} +0\.0 MB   used \d{4}-\d\d-\d\d \d\d:\d\d\nsounds .*\nin .*samples$/);
  expect(await command("remove", "photos", ...python)).toMatchObject({ exitCode: 0, all: "removed photos: 0.0 MB" });
  expect((await command("list", ...python)).all).toMatch(/^sounds /);
  const outside = await command("remove", "../commanded", ...python);
  expect(outside).toMatchObject({ exitCode: 1, all: expect.stringContaining("is no name of a cache") as string });
  expect(await command("remove")).toMatchObject({ exitCode: 2 });
  for (const other of ["--ssh", "--python"])
    expect(await command("list", "--worker", "a", other, "b")).toMatchObject({
      exitCode: 2,
      all: expect.stringContaining(`--worker does not go with ${other}`) as string,
    });
  await using served = await serve();
  expect((await command("list", "--worker", served.address)).all).toContain("samples");
});

test("the file of a failed step has the samples that were sent long before", async () => {
  const folder = await mkdtemp(join(root, "crash-"));
  const failing = callback({
    name: "Failing",
    access: { step: { xs: "use" } },
    on: {
      lossBegin: ({ step, epoch, phase }) => {
        if (phase.data === "training" && epoch === 3) (step.xs as AnyRef).view(7, 7, 7);
      },
    },
  });
  await using worker = await testWorker();
  const options = { resume: { folder, every: 4 } };
  const failed = trained(worker, { seed: 40, keep: "worker", callbacks: [failing], options });
  await expect(failed).rejects.toThrow(/torchwire-crash/);
  const [file] = (await readdir(folder)).filter((name) => name.endsWith(".twr"));
  const { exitCode, stderr, stdout } = await execa(
    "npx",
    ["tsx", cli, "replay", "--trust", "--print", "xs", join(folder, file!)],
    { reject: false },
  );
  expect(stderr).toContain("the same error in the same operation");
  expect(stderr).not.toContain("zeros take their place");
  expect(stdout).toMatch(/xs = tensor/);
  expect(exitCode).toBe(0);
});
