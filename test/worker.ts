/** Workers for tests: deterministic, seeded, with equal thread counts everywhere. */
import { spawnWorker, type SpawnOptions, type Worker } from "torchwire";

export const THREADS = 2;

export function testWorker(options: SpawnOptions = {}): Promise<Worker> {
  return spawnWorker({ device: "cpu", seed: 0, deterministic: true, threads: THREADS, ...options });
}
