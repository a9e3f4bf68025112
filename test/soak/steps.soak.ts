/** 100,000 steps, after a warm-up, of an MLP at batch 8: what grows in either process, in bytes a step. */
import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  adam,
  crossEntropy,
  DataLoader,
  kw,
  Learner,
  ProgressPrinter,
  py,
  Recorder,
  StopOnNaNLoss,
  type Worker,
} from "torchwire";
import { batches } from "torchwire/data";
import { testWorker } from "../worker.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const STEPS = 140_000;
/** Before these, V8 enlarges its young generation and compiles, PyTorch fills its caches, and malloc its arenas. */
const WARM_UP = 40_000;
const EVERY = 4000;
const MOST_BYTES_A_STEP = 20;

let worker: Worker;
beforeEach(async () => {
  worker = await testWorker();
});
afterEach(() => worker.close());

interface Sample {
  readonly heap: number;
  readonly node: number;
  readonly python: number;
  readonly objects: number;
  readonly descriptors: number;
}

async function sample(): Promise<Sample> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  // References that were just collected are freed by the next batch.
  await worker.tensor([0]).sum().item();
  const { objects, rss: python } = (await worker.stats()).worker;
  const { heapUsed, external, rss: node } = process.memoryUsage();
  const descriptors = readdirSync("/proc/self/fd").length + readdirSync(`/proc/${worker.pid}/fd`).length;
  return { heap: heapUsed + external, node, python, objects, descriptors };
}

/** By least squares: single samples jump by whole arenas. */
function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let [above, below] = [0, 0];
  for (const [i, value] of values.entries()) {
    above += (i - middle) * (value - mean);
    below += (i - middle) ** 2;
  }
  return above / below / EVERY;
}

function expectFlat(what: string, samples: readonly Sample[]): void {
  const slopes = Object.fromEntries(
    (["heap", "node", "python"] as const).map((key) => [key, slope(samples.map((each) => each[key]))]),
  );
  const [first, last] = [samples[0]!, samples.at(-1)!];
  console.log(what, "bytes a step:", slopes, "first:", first, "last:", last);
  for (const bytes of Object.values(slopes)) expect(bytes).toBeLessThan(MOST_BYTES_A_STEP);
  // A few references wait for the garbage collector at any time.
  expect(last.objects).toBeLessThanOrEqual(first.objects + 10);
  expect(last.descriptors).toBeLessThanOrEqual(first.descriptors);
}

const ROWS = 8 * EVERY;
const data = {
  xs: {
    dtype: "float32",
    shape: [ROWS, 32],
    data: Float32Array.from({ length: ROWS * 32 }, (_, i) => Math.sin(i * i)),
  },
  ys: { dtype: "uint8", shape: [ROWS], data: Uint8Array.from({ length: ROWS }, (_, i) => i % 10) },
} as const;

test("of a loop written by hand", async () => {
  const torch = worker.import("torch");
  const { nn, optim } = torch;
  const model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10));
  const optimizer = optim.Adam(model.parameters(), kw({ lr: 1e-3 }));
  const samples: Sample[] = [];
  for (let steps = 0, epoch = 0; steps < STEPS; epoch++) {
    const losses: Promise<unknown>[] = [];
    for (const { xs, ys } of batches(data, { batchSize: 8, shuffle: { seed: 0, epoch } })) {
      losses.push(
        worker.scope(() => {
          const loss = nn.functional.cross_entropy(model(worker.tensor(xs)), worker.tensor(ys).long());
          optimizer.zero_grad();
          loss.backward();
          optimizer.step();
          return py.js(loss.item());
        }),
      );
      if (losses.length === 3) await losses.shift();
      steps++;
    }
    await Promise.all(losses);
    if (steps >= WARM_UP) samples.push(await sample());
  }
  expect(samples.length).toBeGreaterThan(10);
  expectFlat("by hand", samples);
});

test("of a learner", async () => {
  const { nn } = worker.import("torch");
  const model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10));
  const output = { write: () => true };
  const learner = new Learner(model, crossEntropy(), {
    data: { training: new DataLoader(data, { batchSize: 8, shuffle: true }) },
    optimizer: adam({ lr: 1e-3 }),
    // Without Metrics, which keeps the loss of every step for those who ask for it.
    defaultCallbacks: false,
    callbacks: [new Recorder(), new StopOnNaNLoss(), new ProgressPrinter({ output })],
  });
  const samples: Sample[] = [];
  for (let steps = 0; steps < STEPS; steps += EVERY) {
    expect(await learner.fit(1)).toMatchObject({ status: "completed", steps: EVERY });
    if (steps >= WARM_UP) samples.push(await sample());
  }
  expectFlat("learner", samples);
});
