/** Deterministic, seeded workers for tests. They use one thread: PyTorch's threads spin, and tests share few cores. */
import { spawnWorker, type SpawnOptions, type Worker } from "torchwire";

export function testWorker(options: SpawnOptions = {}): Promise<Worker> {
  return spawnWorker({ device: "cpu", seed: 0, deterministic: true, threads: 1, ...options });
}

const WARM = Symbol.for("torchwire.test.warm");
const shared = globalThis as { [WARM]?: Promise<Worker> };

/**
 * The worker that the test files of one process share, one after the other: starting one costs more than most files do.
 * Each file gets it in the state of `testWorker()`: with the same seed, default dtype and modes. It ends with the
 * process. A file that closes its worker, or changes other state, needs a worker of its own.
 */
export async function warmWorker(): Promise<Worker> {
  const worker = await (shared[WARM] ??= testWorker());
  await reset(worker, { seed: 0, deterministic: true });
  return worker;
}

/** Gives it the state of a worker that has just been spawned with these options. */
export async function reset(worker: Worker, options: { seed: number; deterministic: boolean }): Promise<void> {
  const builtins = worker.import("builtins");
  const set = `seed, deterministic = ${options.seed}, ${options.deterministic ? "True" : "False"}\n`;
  await builtins.exec(set + RESET, builtins.dict());
}

const RESET = `
import random
import numpy, torch
random.seed(seed)
numpy.random.seed(seed)
torch.manual_seed(seed)
torch.set_default_dtype(torch.float32)
torch.use_deterministic_algorithms(deterministic)
`;
