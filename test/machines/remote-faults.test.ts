/**
 * A worker behind a network that is as bad as fifty seeds say: what it trains is what it would have trained, to the
 * bit, and every batch ran once.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectWorker, type Worker } from "torchwire";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { kinds, scheduleOf, type Fault } from "../fixtures/faults/schedule.ts";
import { trainings, type Trained } from "../fixtures/faults/trainings.ts";
import { serve, type Served } from "../fixtures/served.ts";
import { testWorker } from "../worker.ts";

const SCHEDULES = 50;
const STEPS = 24;
/** Seeds of trainings: schedule `n` has the one that is left when this divides it. */
const TRAININGS = 4;
const kindOf = (schedule: number): keyof typeof trainings => (schedule % 2 === 0 ? "by hand" : "by a learner");
const silent = (schedule: readonly Fault[]): boolean => schedule.some(({ kind }) => kind === "silent");

let served: Served;
let lines: Remote[];
let undisturbed: Trained[];

/** A session with a worker, by way of a proxy. */
interface Remote {
  readonly proxy: FaultProxy;
  readonly worker: Worker;
  /** How often its link has come up. */
  ups: number;
}

async function remote(port: number): Promise<Remote> {
  const proxy = await FaultProxy.open(port);
  const settings = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;
  const worker = await connectWorker(proxy.address, { ...settings, timeout: 30_000 });
  const one: Remote = { proxy, worker, ups: 0 };
  worker.onLink(({ state }) => {
    if (state === "up") one.ups++;
  });
  return one;
}

const train = (worker: Worker, schedule: number): Promise<Trained> =>
  trainings[kindOf(schedule)](worker, { seed: schedule % TRAININGS, steps: STEPS });

beforeAll(async () => {
  const plain = async (): Promise<Trained[]> => {
    await using worker = await testWorker();
    const all: Trained[] = [];
    for (let i = 0; i < TRAININGS; i++) all.push(await train(worker, i));
    return all;
  };
  [served, undisturbed] = await Promise.all([serve({ workers: 2 }), plain()]);
  lines = await Promise.all([remote(served.port), remote(served.port + 2)]);
});
afterAll(async () => {
  try {
    for (const { worker } of lines ?? []) await worker.close();
  } finally {
    for (const { proxy } of lines ?? []) await proxy[Symbol.asyncDispose]();
    await served?.[Symbol.asyncDispose]();
  }
});

describe("a training behind a proxy", () => {
  test("without a fault is the one without a proxy", async () => {
    const [{ proxy, worker }] = lines as [Remote];
    for (let i = 0; i < TRAININGS; i++) expect(await train(worker, i)).toEqual(undisturbed[i]);
    expect(undisturbed[0]!.ran).toEqual(Array.from({ length: STEPS }, (_, i) => i));
    expect(new Set(undisturbed.map(({ weights }) => weights)).size).toBe(TRAININGS);
    expect(proxy.passed("data", "up")).toBeGreaterThan(TRAININGS * STEPS * 16 * 256 * 4);
  });

  test(`with ${SCHEDULES} schedules of faults is that one, and every batch ran once`, async () => {
    const happened: Fault[] = [];
    const bytes = lines[0]!.proxy.passed("data", "up") / TRAININGS;
    const schedules = Array.from({ length: SCHEDULES }, (_, i) => scheduleOf(i, bytes));
    const run = async ({ proxy, worker }: Remote, numbers: readonly number[]): Promise<void> => {
      for (const i of numbers) {
        proxy.arm(schedules[i]!);
        const trained = await train(worker, i);
        expect({ schedule: i, ...trained }).toEqual({ schedule: i, ...undisturbed[i % TRAININGS] });
        happened.push(...proxy.happened);
        proxy.disarm();
        const stats = await worker.stats();
        expect({ schedule: i, ran: stats.worker.batches }).toEqual({ schedule: i, ran: stats.batches });
      }
    };
    // Silence is noticed by heartbeats alone, which takes seconds: meanwhile the others go on.
    const numbers = [...schedules.keys()];
    await Promise.all([
      run(
        lines[0]!,
        numbers.filter((i) => !silent(schedules[i]!)),
      ),
      run(
        lines[1]!,
        numbers.filter((i) => silent(schedules[i]!)),
      ),
    ]);
    const count = (kind: string): number => happened.filter((fault) => fault.kind === kind).length;
    console.log(
      Object.fromEntries(kinds.map((kind) => [kind, count(kind)])),
      "links:",
      lines.map(({ ups }) => ups),
    );
    for (const kind of kinds) expect({ kind, enough: count(kind) >= 3 }).toEqual({ kind, enough: true });
    expect(lines[0]!.ups).toBeGreaterThan(SCHEDULES);
  });
});
