import type { CallSite } from "../errors/site.ts";
import type { BatchSites } from "../errors/sites.ts";
import type { ContextLayer } from "./context.ts";
import type { Fetched } from "../reference/fetched.ts";
import type { Generation } from "./lane.ts";
import type { Reference } from "../reference/ref.ts";

/** Operation codes, first in each operation's array. A position in the log, and so an id, goes to every link and every result. */
export const Op = {
  /** [0, module] */
  import: 0,
  /** [1, target, [name, …]]: a chain of attributes; each link has an id. */
  get: 1,
  /** [2, target, [name, …], args, kwargs]: a chain, then a call; each link has an id, and so has the result. */
  call: 2,
  /** [3, target, name, value] */
  set: 3,
  /** [4, target, name] */
  del: 4,
  /** [5, target, key] */
  getItem: 5,
  /** [6, target, key, value] */
  setItem: 6,
  /** [7, target, key] */
  delItem: 7,
  /** [8, target, FetchMode] */
  fetch: 8,
  /** [9, [first, last, first, last, …]]: ranges of ids; run whatever failed before. */
  release: 9,
} as const;

export const FetchMode = {
  /** A number, string, boolean, bigint or null; of anything else only what it is. */
  settle: 0,
  /** Containers converted, tensors as arrays. */
  js: 1,
  /** A tensor or NumPy array, as an array. */
  ndarray: 2,
} as const;
export type FetchMode = (typeof FetchMode)[keyof typeof FetchMode];

export interface PendingFetch {
  readonly promise: Fetched<unknown>;
  readonly target: Reference;
  readonly mode: FetchMode;
}

export type Operation = [code: number, ...rest: unknown[]];

/** Operations that follow each other in the log, in one lane and one context: sent, run and answered together. */
export interface Batch {
  readonly generation: Generation;
  readonly contexts: readonly ContextLayer[];
  /** The id of its first position; the others follow without a gap. */
  readonly first: number;
  readonly operations: Operation[];
  readonly sites: BatchSites;
  /** From where the program has called the part of the library that makes it, where one does. */
  readonly caller: CallSite | undefined;
  readonly frames: Uint8Array[];
  readonly fetches: Map<number, PendingFetch>;
  bytes: number;
  /** Those of its frames, as they were when it got them. */
  frameBytes: number;
  /** How much of what a message may hold it fills, by the nearest of the limits: 0 to 1. */
  share: number;
  /** Somebody awaits one of its values. */
  urgent: boolean;
  sent: boolean;
  /** The attribute chain at its end, while nothing was queued behind it: it can still grow, or become a call. */
  chain: { readonly operation: Operation; lastId: number } | undefined;
}
