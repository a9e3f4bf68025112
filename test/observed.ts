/** Observations for tests: the error that something ends with, and the operations that something costs. */
import { py, type PythonError, type TorchwireError, type Worker } from "torchwire";
import type { WorkerStats } from "torchwire/bridge";
import type { AnyRef } from "../bridge/types/core.ts";

/** A module as AnyRef, for tests of behaviour and not of types. */
export const untyped = (worker: Worker, module: string): AnyRef => worker.import(module);

/** The error that `run` throws or rejects with. Throws where there is none. */
export async function caught(run: () => unknown): Promise<TorchwireError & Partial<PythonError>> {
  try {
    await run();
  } catch (error) {
    return error as TorchwireError & Partial<PythonError>;
  }
  throw new Error("nothing was thrown");
}

const anchors = new WeakMap<Worker, AnyRef>();

/** The counts after every operation so far has run. It costs one operation and one round trip, and makes no object. */
export async function countsOf(worker: Worker): Promise<WorkerStats> {
  let anchor = anchors.get(worker);
  if (anchor === undefined) {
    anchor = worker.import("builtins").list() as AnyRef;
    anchors.set(worker, await anchor);
  }
  await py.js(anchor);
  return worker.stats();
}

/**
 * The operations that `construct` queues, now or in the turn after it. Its result is awaited only where it is a
 * Promise.
 */
export async function operationsOf(worker: Worker, construct: () => unknown): Promise<number> {
  const before = await countsOf(worker);
  const result = construct();
  if (result instanceof Promise) await result;
  await new Promise((resolve) => setImmediate(resolve));
  const after = await countsOf(worker);
  return after.operations - before.operations - 1;
}

/** The file and line of the statement after the call: `references.test.ts:31`. */
export function nextLine(): string {
  const frame = new Error().stack!.split("\n")[2]!;
  const [, file, line] = /([^/\\]+\.ts):(\d+):\d+/.exec(frame)!;
  return `${file}:${Number(line) + 1}`;
}
