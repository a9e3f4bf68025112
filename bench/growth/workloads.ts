/** What grows: for each size, a run that measures the time of one unit. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  adamW,
  crossEntropy,
  Learner,
  MetricsPrinter,
  oneCycle,
  ProgressPrinter,
  py,
  PyTorchBackend,
  Scheduler,
  sgd,
  spawnWorker,
  TrainingPhase,
  type AnyRef,
  type BatchLike,
  type Callback,
  type NDArray,
  type Worker,
} from "torchwire";
import { EMA } from "torchwire/callbacks";
import type { Readings } from "../rounds.ts";
import type { Surroundings } from "../section.ts";
import { stream } from "../stream.ts";
import { some } from "../torchwire-loop.ts";
import { residentBytes } from "../usage.ts";

export interface Growing {
  readonly pids: readonly number[];
  /** One for each size. */
  readonly runs: readonly (() => Promise<Readings>)[];
  readonly facts?: Readonly<Record<string, string>>;
  readonly close: () => Promise<void>;
}

const MEBIBYTE = 2 ** 20;
/** Scopes in flight. */
const WINDOW = 4;
const silent = { write: (): boolean => true };

async function started({ python, sawVersions }: Surroundings): Promise<Worker> {
  const worker = await spawnWorker({ python, device: "cpu", seed: 0 });
  sawVersions(worker.versions);
  return worker;
}

const close = (workers: readonly Worker[]) => async (): Promise<void> => {
  await Promise.all(workers.map((worker) => worker.close()));
};

/** A chain of additions, each of the result before it, in a scope. */
function chainOn(worker: Worker): (length: number) => Promise<unknown> {
  const { add } = worker.import("operator");
  const zero: AnyRef = worker.import("builtins").int(0);
  return (length) =>
    worker.scope(() => {
      let x = zero;
      for (let i = 0; i < length; i++) x = add(x, 1);
      return py.js(x);
    });
}

/** Runs `request` for a while, and divides the time by `units` of each. Long ones need a longer while. */
async function timed(seconds: number, units: number, request: () => Promise<unknown>): Promise<number> {
  const { count, seconds: took } = await stream(units >= 10_000 ? 3 * seconds : seconds, WINDOW, request);
  return (1e6 * took) / (count * units);
}

export async function operations(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const worker = await started(surroundings);
  const chain = chainOn(worker);
  const runs = sizes.map((size) => async () => {
    return { "us an operation": await timed(surroundings.runSeconds, size, () => chain(size)) };
  });
  for (const run of runs) await run();
  return { pids: [worker.pid], runs, close: close([worker]) };
}

export async function tensors(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const worker = await started(surroundings);
  const data = new Float32Array(64);
  const batch = (size: number): Promise<unknown> =>
    worker.scope(() => {
      let last: AnyRef | undefined;
      for (let i = 0; i < size; i++) last = worker.tensor(data) as unknown as AnyRef;
      return py.js(last!.numel());
    });
  const runs = sizes.map((size) => async () => {
    return { "us a tensor": await timed(surroundings.runSeconds, size, () => batch(size)) };
  });
  for (const run of runs) await run();
  return { pids: [worker.pid], runs, close: close([worker]) };
}

const phase = new TrainingPhase();

const learnerOf = (model: AnyRef, optimizer: ReturnType<typeof sgd>, ...callbacks: Callback[]): Learner =>
  new Learner(model, crossEntropy(), {
    optimizer,
    callbacks: [new ProgressPrinter({ output: silent }), new MetricsPrinter({ output: silent }), ...callbacks],
  });

/** The same batch again and again. */
async function* always<T>(batch: T): AsyncGenerator<T, never> {
  for (;;) yield batch;
}

const ofRows = (rows: number, columns: number): { xs: NDArray; ys: NDArray } => ({
  xs: { dtype: "float32", shape: [rows, columns], data: new Float32Array(rows * columns).fill(0.5) },
  ys: { dtype: "uint8", shape: [rows], data: new Uint8Array(rows) },
});

/** Steps for a while; gives the microseconds of one. */
async function stepping(learner: Learner, batches: AsyncGenerator<BatchLike, never>, steps: number): Promise<number> {
  const start = performance.now();
  await learner.epoch(phase, some(batches, steps));
  return (1000 * (performance.now() - start)) / steps;
}

export async function parameters(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const worker = await started(surroundings);
  const { nn } = worker.import("torch");
  const batches = always(ofRows(4, 8));
  const runs: (() => Promise<Readings>)[] = [];
  for (const size of sizes) {
    // A layer has two: its weight and its bias.
    const model = nn.Sequential(...Array.from({ length: size / 2 }, () => nn.Linear(8, 8)));
    const learner = learnerOf(
      model as unknown as AnyRef,
      adamW({ lr: 1e-3 }),
      new PyTorchBackend({ clipGradNorm: 1 }),
      new Scheduler({ lr: oneCycle(100_000, 1e-3) }),
      new EMA({ decay: 0.99 }),
    );
    const first = await stepping(learner, batches, 5);
    const count = Math.max(3, Math.round((1e6 * surroundings.runSeconds) / first));
    await stepping(learner, batches, count);
    runs.push(async () => ({ "us a parameter": (await stepping(learner, batches, count)) / size }));
  }
  return { pids: [worker.pid], runs, close: close([worker]) };
}

export async function steps(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const workers: Worker[] = [];
  const runs: (() => Promise<Readings>)[] = [];
  const heaps: string[] = [];
  const batches = always(ofRows(4, 4));
  for (const [i, size] of sizes.entries()) {
    const worker = await started(surroundings);
    workers.push(worker);
    const learner = learnerOf(worker.import("torch").nn.Linear(4, 4) as unknown as AnyRef, sgd({ lr: 1e-3 }));
    const isLast = i === sizes.length - 1;
    let done = 0;
    for (const until of isLast ? sizes : [size]) {
      await stepping(learner, batches, until - done);
      done = until;
      if (isLast) heaps.push((heapBytes() / MEBIBYTE).toFixed(1));
    }
    const count = Math.min(500, Math.max(20, Math.round((1e6 * surroundings.runSeconds) / 600)));
    runs.push(async () => ({
      "us a step": await stepping(learner, batches, count),
      "worker's MiB": residentBytes(worker.pid) / MEBIBYTE,
    }));
  }
  const facts = { "the client's heap after so many steps, MiB": heaps.join(", ") };
  return { pids: workers.map(({ pid }) => pid), runs, facts, close: close(workers) };
}

export async function kept(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const LENGTH = 100;
  const workers: Worker[] = [];
  const runs: (() => Promise<Readings>)[] = [];
  const [made, freed]: [string[], string[]] = [[], []];
  /** Nobody may collect them. */
  const held: object[][] = [];
  for (const size of sizes) {
    const worker = await started(surroundings);
    workers.push(worker);
    const { add } = worker.import("operator");
    const one: AnyRef = worker.import("builtins").int(1);
    const make = async (count: number): Promise<object[]> => {
      const references: object[] = [];
      while (references.length < count) {
        for (let i = 0; i < 1000; i++) references.push(add(one, i) as object);
        await py.js(references.at(-1)!);
      }
      return references;
    };
    const each = async (count: number, work: () => Promise<unknown>): Promise<string> => {
      const start = performance.now();
      await work();
      return ((1000 * (performance.now() - start)) / count).toFixed(1);
    };
    let references: object[] = [];
    made.push(await each(size, async () => (references = await make(size))));
    // Every second one goes, so that no two of them are neighbours, and as many come again.
    const half = references.filter((_, i) => i % 2 === 0);
    freed.push(
      await each(half.length, async () => {
        for (const [i, reference] of half.entries()) {
          (reference as Disposable)[Symbol.dispose]();
          if (i % 1000 === 999) await py.js(one);
        }
        await py.js(one);
      }),
    );
    held.push(references, await make(half.length));
    const chain = chainOn(worker);
    const run = async (): Promise<Readings> => ({
      "us an operation": await timed(surroundings.runSeconds, LENGTH, () => chain(LENGTH)),
      "worker's MiB": residentBytes(worker.pid) / MEBIBYTE,
    });
    await run();
    runs.push(run);
  }
  const facts = { "us to make one": made.join(", "), "us to free one": freed.join(", ") };
  const closed = close(workers);
  return {
    pids: workers.map(({ pid }) => pid),
    runs,
    facts,
    async close() {
      held.length = 0;
      await closed();
    },
  };
}

export async function predictions(sizes: readonly number[], surroundings: Surroundings): Promise<Growing> {
  const worker = await started(surroundings);
  const { nn } = worker.import("torch");
  const model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)) as unknown as AnyRef;
  const learner = learnerOf(model, sgd({ lr: 1e-3 }));
  const batches = always(ofRows(32, 784));
  const { xs } = ofRows(1, 784);
  const stop = new AbortController();
  let done = 0;
  const endless = {
    async *[Symbol.asyncIterator]() {
      while (!stop.signal.aborted) {
        done++;
        yield (await batches.next()).value;
      }
    },
  };
  const fit = learner.epoch(phase, endless);
  const runs = sizes.map((size) => async (): Promise<Readings> => {
    const [start, before] = [performance.now(), done];
    const seconds = (): number => (performance.now() - start) / 1000;
    let count = 0;
    do {
      await Promise.all(Array.from({ length: size }, () => learner.predict(xs, { together: true })));
      count += size;
    } while (seconds() < surroundings.runSeconds);
    return { "us a prediction": (1e6 * seconds()) / count, "steps/s of the fit": (done - before) / seconds() };
  });
  for (const run of runs) await run();
  return {
    pids: [worker.pid],
    runs,
    async close() {
      stop.abort();
      await fit;
      await worker.close();
    },
  };
}

/** The bytes that are in use after a garbage collection. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
