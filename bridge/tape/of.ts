import type { Limits } from "../wire/limits.ts";
import type { WireSettings } from "../wire/settings.ts";
import type { Tape } from "./tape.ts";

/** The tape of a worker, and what it was started with. */
export interface Recorded {
  readonly tape: Tape;
  readonly settings: WireSettings;
  readonly limits: Limits;
  /** torchwire's own version. */
  readonly version: string;
}

const recordings = new WeakMap<object, Recorded>();

export const noteRecorded = (worker: object, recorded: Recorded): void => void recordings.set(worker, recorded);

/** What was recorded of `worker`; undefined for one that was not made by an address or a process. */
export const recordedOf = (worker: object): Recorded | undefined => recordings.get(worker);
