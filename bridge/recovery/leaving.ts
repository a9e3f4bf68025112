/** Workers that their program wants to leave for others. */
import type { Worker } from "../worker.ts";

const leaving = new WeakMap<Worker, AbortSignal>();

/** Must be called for each worker that a program may leave. Returns how it is left. */
export function mayLeave(worker: Worker): AbortController {
  const controller = new AbortController();
  leaving.set(worker, controller.signal);
  return controller;
}

/**
 * Aborts when the program wants to leave `worker`: a loop that can go on with another one ends then, and rejects with
 * the signal's reason. Undefined where it has no other.
 */
export const leaveOf = (worker: Worker): AbortSignal | undefined => leaving.get(worker);
