import type { CallSite } from "../errors/site.ts";
import type { BatchSites } from "../errors/sites.ts";
import type { ContextLayer } from "./context.ts";
import type { Fetched } from "../reference/fetched.ts";
import type { Generation } from "./lane.ts";
import type { Reference } from "../reference/ref.ts";
import type { FetchMode } from "../wire/codes.ts";
import type { Passed } from "./functions.ts";

export interface PendingFetch {
  readonly promise: Fetched<unknown>;
  readonly target: Reference;
  readonly mode: FetchMode;
}

export type Operation = [code: number, ...rest: unknown[]];

const KEYS: readonly ((operation: Operation) => string)[] = [
  ([, module]) => String(module),
  ([, , names]) => (names as string[]).at(-1)!,
  () => "()",
  ([, , name]) => `=${String(name)}`,
  ([, , name]) => `-${String(name)}`,
  () => "[]",
  () => "[]=",
  () => "-[]",
  () => "fetch",
  () => "release",
  () => "argument",
  () => "return",
  () => "raise",
];

/** Tells an operation from another one that could stand in its place, for the prediction of call sites. */
export const keyOf = (operation: Operation): string => KEYS[operation[0]]!(operation);

/**
 * Operations that follow each other in the log, in one lane and one context. They are sent, run and answered together.
 */
export interface Batch {
  readonly generation: Generation;
  readonly contexts: readonly ContextLayer[];
  /** The id of its first position; the others follow without a gap. */
  readonly first: number;
  readonly operations: Operation[];
  readonly sites: BatchSites;
  /** The program's call of the library that makes this batch; undefined where the program makes it itself. */
  readonly caller: CallSite | undefined;
  readonly frames: Uint8Array[];
  /** The functions among the arguments. An argument names one by its place here. */
  readonly functions: Passed[];
  readonly fetches: Map<number, PendingFetch>;
  bytes: number;
  /** The bytes of its frames, counted when they were added. */
  frameBytes: number;
  /** The share of a message that it fills, by the nearest of the limits: 0 to 1. */
  share: number;
  /** Somebody awaits one of its values. */
  urgent: boolean;
  sent: boolean;
  /** The attribute chain at its end, as long as nothing was queued behind it: it can still grow, or become a call. */
  chain: { readonly operation: Operation; lastId: number } | undefined;
}

/**
 * How an operation of `batch` names `id`. The ids that the batch makes itself are counted from its first position, -1,
 * -2, …: so the next step of a loop is the same bytes again, by which the worker recognises it.
 */
export function nameIn(batch: Batch, id: number): number {
  return id < batch.first ? id : batch.first - id - 1;
}
