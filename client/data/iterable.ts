/** The data of a phase: it must be iterable once for each epoch. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import { workerOf } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { DataLoader } from "./loader.ts";
import { overReference } from "./remote.ts";
import type { Data } from "./types.ts";

/** Data that lies in the worker becomes iterable here. Throws MISUSE where data can be iterated only once. */
export function iterableAgain(data: Data | PyObject, name: string): Data {
  if (isReference(data)) return overReference(data);
  if (typeof data !== "object" || data === null)
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data is ${described(data)}: give a DataLoader, or an array of batches`,
    );
  if (typeof (data as { next?: unknown }).next === "function")
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data can be iterated only once (it is a generator or another iterator): give a DataLoader, an array, or { [Symbol.asyncIterator]() { … } }`,
    );
  if (!(Symbol.asyncIterator in data) && !(Symbol.iterator in data))
    throw new TorchwireError(
      "MISUSE",
      `the ${name} data cannot be iterated: give a DataLoader, or an array of batches`,
    );
  return data as Data;
}

/**
 * Throws BAD_DATA, before the first epoch, for validation data without batches, where that is known. It is async only
 * for data in the worker, so that a fit over other data takes the worker at once.
 */
export function refuseEmpty(data: Data | PyObject): Promise<void> | undefined {
  if (isReference(data)) return lengthOf(data as PyObject).then((length) => refuse(data, length));
  refuse(data, (data as Data).length);
  return undefined;
}

/** The number of batches of data in the worker; -1 where it is unknown. */
async function lengthOf(data: PyObject): Promise<number> {
  const worker = workerOf(data)!;
  return (await worker.scope(() => py.js(worker.import("operator").length_hint(data, -1)))) as number;
}

function refuse(data: Data | PyObject, length: number | undefined): void {
  if (length !== 0) return;
  const why =
    data instanceof DataLoader && data.samples > 0
      ? `its ${data.samples} samples are less than a batch of ${data.batchSize}, and dropLast leaves them out`
      : "leave it out where there is none";
  throw new TorchwireError("BAD_DATA", `the validation data has no batches: ${why}`);
}
