/** `worker.function`: records a function, and makes it in the worker. */
import { inspect } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { captureSite, formatSite, shortSite } from "../errors/site.ts";
import type { Log } from "../log/log.ts";
import { currentRecorder, inner, recordedBy } from "../reference/ref.ts";
import { Recording } from "./recording.ts";

/** A reference to the function in Python. Within another function that is being recorded, it is one of its steps. */
export function functionOf(log: Log, fn: unknown): object {
  if (inner(fn) !== undefined)
    throw new TorchwireError("MISUSE", "worker.function: this is a reference to a Python object; call it as it is");
  if (typeof fn !== "function")
    throw new TorchwireError(
      "MISUSE",
      `worker.function takes a function of references, as in (x, y) => x.sub(y); it was given ${inspect(fn, { depth: 0 })}`,
    );
  const body = fn as (...args: any[]) => unknown;
  const around = currentRecorder();
  if (around instanceof Recording) {
    if (around.log !== log)
      throw around.refused("the function around this one is another worker's; record both in one worker");
    return around.nested(body);
  }
  const site = formatSite(captureSite());
  const recording = new Recording(log);
  try {
    const { name, parameters, steps, result } = recordedBy(recording, () => recording.run(body));
    const functions = inner(log.import("torchwire_worker.helpers.functions"))!;
    const outer = recording.outer.map((reference) => reference.proxy);
    const where = site === undefined ? "" : shortSite(site);
    return log.callPath(functions, ["make"], [name, parameters, steps, result, outer, where]);
  } finally {
    for (const made of recording.made) log.release(made);
  }
}

/** Refuses a method of the worker while a function is recorded. */
export function notRecorded(method: string, instead: string): void {
  const recorder = currentRecorder();
  if (recorder instanceof Recording)
    throw recorder.refused(`${method} has no place in a recorded function: ${instead}`);
}
