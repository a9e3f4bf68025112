/** A worker has one loop at a time: two would train with each other's random numbers. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Worker } from "../../bridge/worker.ts";

const NAMES = { epoch: "an epoch", fit: "a fit", toPython: "toPython" } as const;
const holders = new WeakMap<Worker, { readonly what: keyof typeof NAMES; readonly since: Date }>();

/** Takes the worker, and returns a function that gives it free. Throws BUSY where another loop has it. */
export function claim(worker: Worker, what: keyof typeof NAMES): () => void {
  const holder = holders.get(worker);
  if (holder !== undefined)
    throw new TorchwireError(
      "BUSY",
      `this worker is busy with ${NAMES[holder.what]}, since ${holder.since.toISOString()}: await it first, or spawn another worker`,
    );
  const mine = { what, since: new Date() };
  holders.set(worker, mine);
  return () => holders.delete(worker);
}
