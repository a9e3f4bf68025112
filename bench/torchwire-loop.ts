/** The same training loop through torchwire, written as a user writes it: by hand, and as a Learner. */
import {
  adam,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  MetricsPrinter,
  ProgressPrinter,
  py,
  sgd,
  spawnWorker,
  TrainingPhase,
  type BatchLike,
  type Callback,
  type Data,
  type NDArray,
  type Worker,
} from "torchwire";
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
const silent = { write: (): boolean => true };

export interface Ran {
  readonly readings: Readings;
  readonly loss: number;
}

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
   * Runs `steps` steps, `window` of them in flight (by default in bursts), and reads the loss of each. It returns, with
   * the last loss, when all losses have arrived.
   */
  run(steps: number, window?: number): Promise<Ran> {
    const worker = this.#worker;
    const issue = (batch: Images): Promise<unknown>[] => [py.js(this.#step(batch).item())];
    return measured(worker, steps, async () => {
      const [loss] = await runByHand(worker, issue, this.#batches, steps, window);
      return loss as number;
    });
  }

  close(): Promise<void> {
    return this.#worker.close();
  }
}

/** The same training by a Learner with its default callbacks, in a worker of its own. */
export class LearnerLoop {
  readonly threads: number;
  readonly #worker: Worker;
  readonly #learner: Learner;
  readonly #batches: AsyncGenerator<Images, never>;
  readonly #phase = new TrainingPhase();

  private constructor(worker: Worker, threads: number, { model: name, batch, images }: LoopOptions) {
    this.threads = threads;
    this.#worker = worker;
    this.#batches = again(images, batch);
    this.#learner = learnerOf(worker, name);
  }

  static async start(python: string, options: LoopOptions): Promise<LearnerLoop> {
    const worker = await spawnWorker({ python, device: "cpu", seed: SEED });
    return new LearnerLoop(worker, await worker.import("torch").get_num_threads(), options);
  }

  get pid(): number {
    return this.#worker.pid;
  }

  run(steps: number): Promise<Ran> {
    return measured(this.#worker, steps, async () => {
      await this.#learner.epoch(this.#phase, some(this.#batches, steps));
      return this.#learner.state.metricsStep["training"]!["loss"]!.at(-1)!.value;
    });
  }

  close(): Promise<void> {
    return this.#worker.close();
  }
}

/** A learner with the default callbacks, which prints nothing. */
export function learnerOf(worker: Worker, name: ModelName, callbacks: readonly Callback[] = []): Learner {
  const lr = LEARNING_RATES[name];
  return new Learner(makeTraining(worker, name, lr).model, crossEntropy(), {
    input: image(),
    optimizer: name === "resnet18" ? sgd({ lr, momentum: 0.9 }) : adam({ lr }),
    callbacks: [...callbacks, new ProgressPrinter({ output: silent }), new MetricsPrinter({ output: silent })],
  });
}

async function measured(worker: Worker, steps: number, run: () => Promise<number>): Promise<Ran> {
  const before = usageOf(worker.pid);
  const waitedBefore = waitedSeconds(worker.pid);
  const client = process.cpuUsage();
  const switches = process.resourceUsage().voluntaryContextSwitches;
  const start = performance.now();

  const loss = await run();

  const milliseconds = performance.now() - start;
  const { user, system } = process.cpuUsage(client);
  const after = usageOf(worker.pid);
  const waited = waitedSeconds(worker.pid);
  const own = (user + system) / 1000;
  const readings: Record<string, number> = {
    "ms/step": milliseconds / steps,
    "client CPU ms/step": own / steps,
    // A thread of Node's that waits for something is woken once.
    "client wakes/step": (process.resourceUsage().voluntaryContextSwitches - switches) / steps,
  };
  if (before !== undefined && after !== undefined) {
    readings["CPU ms/step"] = (1000 * (after.cpuSeconds - before.cpuSeconds) + own) / steps;
    readings["faults/step"] = (after.minorFaults - before.minorFaults) / steps;
  }
  if (waitedBefore !== undefined && waited !== undefined)
    readings["waited ms/step"] = (1000 * (waited - waitedBefore)) / steps;
  return { readings, loss };
}

/** The loop as a user writes it. Returns the values that the last step asked for, when all have arrived. */
export async function runByHand(
  worker: Worker,
  issue: (batch: Images) => Promise<unknown>[],
  batches: AsyncGenerator<Images, never>,
  steps: number,
  window?: number,
): Promise<unknown[]> {
  let last: Promise<unknown[]> | undefined;
  const pace = worker.pace(window === undefined ? {} : { window });
  for (let i = 0; i < steps; i++) {
    const batch = (await batches.next()).value;
    last = Promise.all(worker.scope(() => issue(batch)));
    await pace.add(last);
  }
  await pace.end();
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
