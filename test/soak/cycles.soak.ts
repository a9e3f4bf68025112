/**
 * Workers that come and go, in order and by SIGKILL: nothing of them is left, not a process, a descriptor, a thread or
 * a file.
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Worker } from "torchwire";
import { runClient } from "../fixtures/life/script.ts";
import { poll, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { testWorker } from "../worker.ts";

let runtime: Runtime;
let temporary: string;
let before: string | undefined;

beforeEach(() => {
  runtime = privateRuntime();
  temporary = join(runtime.folder, "tmp");
  mkdirSync(temporary);
  before = process.env["TMPDIR"];
  process.env["TMPDIR"] = temporary;
});
afterEach(() => {
  if (before === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = before;
  runtime.remove();
});

const own = (): { descriptors: number; threads: number; shared: string[] } => ({
  descriptors: readdirSync("/proc/self/fd").length,
  threads: readdirSync("/proc/self/task").length,
  shared: readdirSync("/dev/shm").toSorted(),
});

/** PyTorch's compiler has a folder there, and so has tsx, which runs the clients: one for all processes. */
const CACHES = /^(torchinductor_|tsx-)/;

/** Every running process and every file of these workers, after two seconds at most. */
const left = (workers: readonly number[]): Promise<(number | string)[]> =>
  poll(
    2000,
    () => [
      ...workers.flatMap(processesOf),
      ...runtime.entries(),
      ...readdirSync(temporary).filter((name) => !CACHES.test(name)),
    ],
    ({ length }) => length === 0,
  );

const resident = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);

describe.each(["ipc", "tcp"] as const)("over %s", (transport) => {
  /** The workers that have come and gone. */
  async function cycles(n: number, end: (worker: Worker) => Promise<void>): Promise<number> {
    const workers: number[] = [];
    const cycle = async (): Promise<void> => {
      const worker = await testWorker({ transport });
      expect(await worker.tensor([1, 2]).sum().item()).toBe(3);
      workers.push(worker.pid);
      await end(worker);
      expect(await left([worker.pid])).toEqual([]);
    };
    // The first ones start what stays: libzmq's and libuv's threads.
    for (let i = 0; i < 3; i++) await cycle();
    const [start, memory] = [own(), resident()];
    for (let i = 0; i < n; i++) await cycle();
    const stayed = await poll(2000, own, ({ descriptors }) => descriptors <= start.descriptors);
    console.log(transport, n, "cycles:", start, stayed, `${Math.round((resident() - memory) / n)} KiB a cycle`);
    expect(stayed.descriptors).toBeLessThanOrEqual(start.descriptors);
    expect(stayed.threads).toBeLessThanOrEqual(start.threads);
    expect(stayed.shared).toEqual(start.shared);
    expect(await left(workers)).toEqual([]);
    return new Set(workers).size;
  }

  test("100 workers are closed", async () => {
    expect(await cycles(100, (worker) => worker.close())).toBe(103);
  });

  test("25 workers are killed", async () => {
    const killed = cycles(25, async (worker) => {
      process.kill(worker.pid, "SIGKILL");
      const value = (async () => await worker.import("torch").ones(1).sum().item())();
      await expect(value).rejects.toMatchObject({ code: "WORKER_GONE" });
      await worker.close();
    });
    expect(await killed).toBe(28);
  });

  test("25 clients are killed", async () => {
    for (let i = 0; i < 25; i++) {
      const script = runClient("idle", {
        ...runtime.env,
        TMPDIR: temporary,
        TORCHWIRE_TRANSPORT: transport,
      });
      const { worker } = await script.said();
      process.kill(script.pid, "SIGKILL");
      await script.ended;
      expect(await left([worker])).toEqual([]);
    }
  });
});
