/** `npm start`: what it learns, and the controls that show that it is learning. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readIdx, type Worker } from "torchwire";
import { makeModel, trainMnist, type Data } from "../examples/mnist/train.ts";
import { mnist, parametersHash } from "./training.ts";
import { testWorker } from "./worker.ts";

let worker: Worker;
let training: Data;
let testing: Data;

beforeAll(async () => {
  worker = await testWorker({ threads: 2 });
  training = await read("train", 1024);
  testing = await read("t10k", 500);
});
afterAll(() => worker.close());

async function read(name: string, n: number): Promise<Data> {
  const images = await readIdx(join(mnist, `${name}-images-idx3-ubyte`));
  const labels = await readIdx(join(mnist, `${name}-labels-idx1-ubyte`));
  return {
    xs: { dtype: "uint8", shape: [n, 28, 28, 1], data: images.data.subarray(0, n * 784) },
    ys: { dtype: "uint8", shape: [n], data: labels.data.subarray(0, n) },
  };
}

async function accuracyAfter(data: Data): Promise<number> {
  worker.import("torch").manual_seed(0);
  const settings = { epochs: 2, batchSize: 64, lr: 1e-3, seed: 0 };
  const { history } = await trainMnist(worker, { training: data, test: testing }, settings, () => undefined);
  return history.at(-1)!.accuracy;
}

test("it learns from right labels, and stays at chance with labels in a wrong order", async () => {
  const labels = training.ys.data as Uint8Array;
  const wrong = labels.map((_, i) => labels[(i * 547 + 311) % labels.length]!);
  const right = await accuracyAfter(training);
  const shuffled = await accuracyAfter({ ...training, ys: { ...training.ys, data: wrong } });
  expect(right).toBeGreaterThan(0.5);
  expect(shuffled).toBeLessThan(0.25);
});

test("with learning rate 0 the weights are the same bits as before", async () => {
  const torch = worker.import("torch");
  torch.manual_seed(0);
  const before = await parametersHash(worker, makeModel(worker));
  torch.manual_seed(0);
  const few = {
    xs: { ...training.xs, shape: [128, 28, 28, 1], data: training.xs.data.subarray(0, 128 * 784) },
    ys: { ...training.ys, shape: [128], data: training.ys.data.subarray(0, 128) },
  };
  const still = { epochs: 1, batchSize: 64, lr: 0, seed: 0 };
  const { model } = await trainMnist(worker, { training: few, test: testing }, still, () => undefined);
  expect(await parametersHash(worker, model)).toBe(before);

  torch.manual_seed(0);
  const { model: moved } = await trainMnist(
    worker,
    { training: few, test: testing },
    { ...still, lr: 1e-3 },
    () => undefined,
  );
  expect(await parametersHash(worker, moved)).not.toBe(before);
});

const root = fileURLToPath(new URL("..", import.meta.url));
const npmStart = (...options: string[]) =>
  execa("tsx", ["--conditions=torchwire-source", "examples/mnist/main.ts", ...options], {
    cwd: root,
    preferLocal: true,
    reject: false,
  });

test("npm start prints progress and a table, and writes weights that plain Python can load", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mnist-"));
  try {
    const out = join(folder, "weights.safetensors");
    const { exitCode, stdout } = await npmStart(
      "--samples",
      "128",
      "--test-samples",
      "100",
      "--batch-size",
      "32",
      "--out",
      out,
    );
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/epoch 1\/1 \[#+\] 128\/128 {2}\d+ images\/s {2}loss \d\.\d+ {2}0 s left/);
    expect(stdout).toMatch(/test accuracy.*wall time/);
    const weights = await readFile(out);
    const header = JSON.parse(weights.subarray(8, 8 + Number(weights.readBigUInt64LE(0))).toString()) as Record<
      string,
      { shape: number[] }
    >;
    expect(header["fc.weight"]?.shape).toEqual([10, 512]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("npm start says what can be chosen, and refuses what cannot be", async () => {
  const help = await npmStart("--help");
  expect(help.exitCode).toBe(0);
  for (const option of ["--epochs", "--batch-size", "--device", "--lr", "--samples", "--seed"])
    expect(help.stdout).toContain(option);
  const wrong = await npmStart("--epochs", "none");
  expect(wrong.exitCode).toBe(2);
  expect(wrong.stderr).toContain('--epochs cannot be "none"');
  expect((await npmStart("--epoch", "1")).exitCode).toBe(2);
});
