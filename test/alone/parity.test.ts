/** The same answer as PyTorch: every loss and the final weights, bit for bit those of the plain Python loop. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { py, type Worker } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { allBatches, float32Bits, makeTraining, mnist, rgbDigits, weightsHash, type ModelName } from "../training.ts";
import { testWorker } from "../worker.ts";

const STEPS = 30;
const BATCH = 16;
const SEED = 0;
const THREADS = 2;

// Rates at a tie: their float64 neighbours round to another float32, so that one ulp must show.
const cases = [
  { name: "cnn", optimizer: "adam", lr: 0.0010000000242143866 },
  { name: "resnet18", optimizer: "sgd", lr: 0.01000000024214387 },
] as const;

interface Result {
  readonly loss_bits: readonly string[];
  readonly weights_sha256: string;
}

async function native(name: ModelName, optimizer: string, lr: number, fault?: string): Promise<Result> {
  const { executable } = await findPython();
  const folder = await mkdtemp(join(tmpdir(), "parity-"));
  const out = join(folder, "out.json");
  const script = fileURLToPath(new URL("../native/train.py", import.meta.url));
  const options = {
    model: name,
    optimizer,
    lr,
    steps: STEPS,
    "batch-size": BATCH,
    seed: SEED,
    threads: THREADS,
    data: mnist,
    out,
  };
  const flags = Object.entries({ ...options, ...(fault === undefined ? {} : { fault }) }).flatMap(([key, value]) => [
    `--${key}`,
    String(value),
  ]);
  try {
    await execa(executable, [script, ...flags]);
    return JSON.parse(await readFile(out, "utf8")) as Result;
  } finally {
    await rm(folder, { recursive: true });
  }
}

type Fault = "lr-ulp" | "skip-zero-grad" | "swap-batches";

/** The loop written by hand in TypeScript; `fault` makes it do one thing differently. */
async function throughTorchwire(name: ModelName, lr: number, fault?: Fault): Promise<Result> {
  worker.import("torch").manual_seed(SEED);
  const { model, step } = makeTraining(worker, name, fault === "lr-ulp" ? nextFloat64(lr) : lr);
  const data = allBatches(await rgbDigits(STEPS * BATCH), BATCH, SEED);
  if (fault === "swap-batches") data.splice(4, 2, data[5]!, data[4]!);
  const losses = data.map((batch, i) =>
    worker.scope(() => py.js(step(batch, !(fault === "skip-zero-grad" && i === 10)).item())),
  );
  const bits = (await Promise.all(losses)).map((loss) => float32Bits(loss as number));
  return { loss_bits: bits, weights_sha256: await weightsHash(worker, model) };
}

function nextFloat64(value: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  view.setBigUint64(0, view.getBigUint64(0) + 1n);
  return view.getFloat64(0);
}

let worker: Worker;
beforeAll(async () => {
  worker = await testWorker({ seed: SEED, threads: THREADS });
});
afterAll(() => worker.close());

for (const { name, optimizer, lr } of cases) {
  test(`${name} with ${optimizer}: ${STEPS} losses and all weights are the bits of plain PyTorch, and any deviation shows`, async () => {
    const reference = await native(name, optimizer, lr);
    const ours = await throughTorchwire(name, lr);
    expect(ours.loss_bits).toHaveLength(STEPS);
    expect(ours.loss_bits).toEqual(reference.loss_bits);
    expect(ours.weights_sha256).toBe(reference.weights_sha256);

    for (const fault of ["lr-ulp", "skip-zero-grad", "swap-batches"] as const) {
      const faulty = await throughTorchwire(name, lr, fault);
      expect.soft(faulty.weights_sha256, `weights with ${fault}`).not.toBe(reference.weights_sha256);
      if (fault === "lr-ulp") continue;
      expect.soft(faulty.loss_bits, `losses with ${fault}`).not.toEqual(reference.loss_bits);
    }
  });
}
