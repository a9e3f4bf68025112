/** The same training loop through torchwire, written as a user writes it. */
import { DataLoader, py, spawnWorker, type BatchLike, type Data, type NDArray, type Worker } from "torchwire";
import { makeTraining, type ModelName, type Training } from "../test/training.ts";
import type { Readings } from "./rounds.ts";
import { usageOf, waitedSeconds } from "./usage.ts";

export interface Images {
  readonly xs: NDArray;
  readonly ys: NDArray;
}

export interface LoopOptions {
  readonly model: ModelName;
  readonly batch: number;
  readonly images: Images;
}

/** The same rates as in test/native/bench_loop.py. */
export const LEARNING_RATES = { cnn: 1e-3, mlp: 1e-3, resnet18: 0.01 } as const;
const SEED = 0;

export class TorchwireLoop {
  readonly threads: number;
  readonly #worker: Worker;
  readonly #step: Training["step"];
  readonly #batches: AsyncGenerator<Images, never>;

  private constructor(worker: Worker, threads: number, step: Training["step"], images: Images, batch: number) {
    this.threads = threads;
    this.#worker = worker;
    this.#step = step;
    this.#batches = again(images, batch);
  }

  static async start(python: string, options: LoopOptions): Promise<TorchwireLoop> {
    const worker = await spawnWorker({ python, device: "cpu", seed: SEED });
    return TorchwireLoop.on(worker, await worker.import("torch").get_num_threads(), options);
  }

  /** A loop on a worker that has started with this many threads. */
  static on(worker: Worker, threads: number, { model, batch, images }: LoopOptions): TorchwireLoop {
    const { step } = makeTraining(worker, model, LEARNING_RATES[model]);
    return new TorchwireLoop(worker, threads, step, images, batch);
  }

  get pid(): number {
    return this.#worker.pid;
  }

  get versions(): Readonly<Record<string, string>> {
    return this.#worker.versions;
  }

  /**
   * Runs `steps` steps, `window` of them in flight, and reads the loss of each. It returns, with the last loss, when
   * all losses have arrived.
   */
  async run(steps: number, window: number): Promise<{ readonly readings: Readings; readonly loss: number }> {
    const worker = this.#worker;
    const step = this.#step;
    const before = usageOf(worker.pid);
    const waitedBefore = waitedSeconds(worker.pid);
    const client = process.cpuUsage();
    const start = performance.now();

    const issue = (batch: Images): Promise<unknown>[] => [py.js(step(batch).item())];
    const [loss] = (await runByHand(worker, issue, this.#batches, steps, window)) as [number];

    const milliseconds = performance.now() - start;
    const { user, system } = process.cpuUsage(client);
    const after = usageOf(worker.pid);
    const waited = waitedSeconds(worker.pid);
    const own = (user + system) / 1000;
    const readings: Record<string, number> = { "ms/step": milliseconds / steps, "client CPU ms/step": own / steps };
    if (before !== undefined && after !== undefined) {
      readings["CPU ms/step"] = (1000 * (after.cpuSeconds - before.cpuSeconds) + own) / steps;
      readings["faults/step"] = (after.minorFaults - before.minorFaults) / steps;
    }
    if (waitedBefore !== undefined && waited !== undefined)
      readings["waited ms/step"] = (1000 * (waited - waitedBefore)) / steps;
    return { readings, loss };
  }

  close(): Promise<void> {
    return this.#worker.close();
  }
}

/** The loop as a user writes it. Returns the values that the last step asked for, when all have arrived. */
export async function runByHand(
  worker: Worker,
  issue: (batch: Images) => Promise<unknown>[],
  batches: AsyncGenerator<Images, never>,
  steps: number,
  window: number,
): Promise<unknown[]> {
  let last: Promise<unknown[]> | undefined;
  const inFlight: Promise<unknown[]>[] = [];
  for (let i = 0; i < steps; i++) {
    const batch = (await batches.next()).value;
    last = Promise.all(worker.scope(() => issue(batch)));
    inFlight.push(last);
    if (inFlight.length >= window) await inFlight.shift();
  }
  for (const values of inFlight) await values;
  return last!;
}

/** Repeats the epoch. The native loop has the same order in each epoch, so neither side shuffles within a run. */
export async function* again(images: Images, batchSize: number): AsyncGenerator<Images, never> {
  const loader = new DataLoader(images, { batchSize, shuffle: { seed: SEED }, dropLast: true });
  for (;;) yield* loader as AsyncIterable<Images>;
}

/** The next `n` of `batches`, as data. */
export function some(batches: AsyncGenerator<BatchLike, never>, n: number): Data {
  return {
    length: n,
    async *[Symbol.asyncIterator]() {
      for (let i = 0; i < n; i++) yield (await batches.next()).value;
    },
  };
}
