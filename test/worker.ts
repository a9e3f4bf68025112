/** Workers for tests: deterministic, seeded, and on one thread: PyTorch's threads spin, and tests share few cores. */
import { spawnWorker, type SpawnOptions, type Worker } from "torchwire";

export function testWorker(options: SpawnOptions = {}): Promise<Worker> {
  return spawnWorker({ device: "cpu", seed: 0, deterministic: true, threads: 1, ...options });
}
