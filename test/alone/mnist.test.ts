/** `npm start`: what it learns, and the controls that show that it is learning. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Recorder, type Worker } from "torchwire";
import { readDigits, type Digits } from "../../examples/digits.ts";
import { makeLearner, makeModel } from "../../examples/mnist/train.ts";
import { parametersHash } from "../training.ts";
import { testWorker } from "../worker.ts";

let worker: Worker;
let training: Digits;
let testing: Digits;

beforeAll(async () => {
  worker = await testWorker({ threads: 2 });
  training = await readDigits("training", 1024);
  testing = await readDigits("test", 500);
});
afterAll(() => worker.close());

async function accuracyAfter(data: Digits): Promise<number> {
  worker.import("torch").manual_seed(0);
  const settings = { batchSize: 64, lr: 1e-3, seed: 0 };
  const learner = makeLearner(makeModel(worker), { training: data, test: testing }, settings, {
    defaultCallbacks: false,
    callbacks: [new Recorder()],
  });
  const { history } = await learner.fit(2);
  return history["validation"]!["accuracy"]!.at(-1)!.value;
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
  const few = {
    xs: { ...training.xs, shape: [128, 28, 28, 1], data: training.xs.data.subarray(0, 128 * 784) },
    ys: { ...training.ys, shape: [128], data: training.ys.data.subarray(0, 128) },
  };
  const fitted = async (lr: number): Promise<string> => {
    torch.manual_seed(0);
    const model = makeModel(worker);
    const data = { training: few, test: testing };
    await makeLearner(
      model,
      data,
      { batchSize: 64, lr, seed: 0 },
      { defaultCallbacks: false, callbacks: [new Recorder()] },
    ).fit(1);
    return parametersHash(worker, model);
  };
  expect(await fitted(0)).toBe(before);
  expect(await fitted(1e-3)).not.toBe(before);
});

const root = fileURLToPath(new URL("../..", import.meta.url));
const npmStart = (...options: string[]) =>
  execa(process.execPath, ["--import", "tsx", "--conditions=torchwire-source", "examples/mnist/main.ts", ...options], {
    cwd: root,
    reject: false,
  });

test("npm start prints progress and a table, writes weights that plain Python can load, and predicts with them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mnist-"));
  try {
    const out = join(folder, "weights.safetensors");
    const options = ["--samples", "128", "--test-samples", "100", "--batch-size", "32", "--out", out];
    const { exitCode, stdout, stderr } = await npmStart(...options);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/epoch 1 training {2}\[#+\] {2}4\/4 {2}[\d.]+ samples\/s {2}loss \d\.\d+ {2}0 s left/);
    expect(stdout).toMatch(
      /epoch +phase +loss +accuracy +time\n +1 +training( +[\d.]+){3} s\n +1 +validation( +[\d.]+){3} s\n/,
    );
    // Ten digits that were read from the file into another model, drawn, each with a probability.
    expect(stdout.match(/\d \(\d+\.\d %\)/g)).toHaveLength(10);
    expect(stdout).toMatch(/[@%#]{3}/);
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
