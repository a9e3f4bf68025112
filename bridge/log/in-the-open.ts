import { currentRecorder, inner } from "../reference/ref.ts";
import { Log } from "./log.ts";

/**
 * Whether the program is in no context, in no function that Python calls and in no recorded function. Then its place
 * says nothing of how its operations run, and they may as well be made at another one. `reference` names the worker.
 */
export function isInTheOpen(reference: unknown): boolean {
  const log = inner(reference)?.home;
  if (!(log instanceof Log) || currentRecorder() !== undefined) return false;
  const { contexts, lane } = log.ambient.here;
  return contexts.length === 0 && lane.call === undefined;
}
