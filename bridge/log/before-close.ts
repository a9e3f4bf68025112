import { inner } from "../reference/ref.ts";
import { Log } from "./log.ts";

/** Calls `run` when the worker of `reference` is about to be closed: what it queues still runs. */
export function beforeClose(reference: unknown, run: () => void): void {
  const log = inner(reference)?.home;
  if (log instanceof Log) log.beforeClose.add(run);
}
