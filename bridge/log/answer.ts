/** Settles the promises of a batch that the worker has answered. */
import type { Batch, PendingFetch } from "./batch.ts";
import { TorchwireError } from "../errors/errors.ts";
import type { Failure, Generation } from "./lane.ts";
import { PythonError } from "../errors/python-error.ts";
import { formatSite } from "../errors/site.ts";
import { decodeValue } from "../values/decode.ts";
import { FetchMode, Tag } from "../wire/codes.ts";
import type { Limits } from "../wire/limits.ts";
import { malformed, type WireFailure, type WireReply } from "../wire/schema.ts";

/**
 * Reads an answer to `batch`, and gives a function that settles its promises. Throws PROTOCOL, before anything is
 * settled, where the answer does not fit the batch: a value too many or too few, or a failure of an operation that is
 * not in it.
 */
export function readAnswer(
  batch: Batch,
  { values, failure }: WireReply,
  frames: readonly Uint8Array[],
  limits: Limits,
): () => void {
  const { generation, fetches, first, sites } = batch;
  const end = first + sites.sites.length;
  // (A batch that failed in leaving a context failed past its last operation.)
  if (failure !== null && !(first <= failure.id && failure.id <= failure.last && failure.last <= end))
    malformed(`a failure of #${failure.id} to #${failure.last}, in a batch of #${first} to #${end - 1}`);
  const failed = Math.min(failure?.id ?? Infinity, generation.failure?.id ?? Infinity);
  const settlements: (() => void)[] = [];
  let answered = 0;
  for (const [id, fetch] of fetches) {
    const isAnswered = values.has(id);
    if (isAnswered !== id < failed)
      malformed(`#${fetch.target.id} was ${isAnswered ? "answered, and had not been run" : "left unanswered"}`);
    if (!isAnswered) {
      settlements.push(() => notAnswered(generation, id, fetch));
      continue;
    }
    answered++;
    settlements.push(settlement(fetch, values.get(id), frames, limits));
  }
  if (answered < values.size) malformed("a value that was not asked for");
  return () => {
    if (failure !== null) generation.failure ??= failureOf(failure, batch);
    for (const settle of settlements) settle();
  };
}

function failureOf(failed: WireFailure, batch: Batch): Failure {
  const { id, last, original } = failed;
  const python = new PythonError(failed, failed.operation, formatSite(batch.sites.sites[id - batch.first]));
  return { error: original === undefined ? python : original.error, python, id, last };
}

/** Rejects a fetch that was not run: it failed itself, or its target has no value. */
export function notAnswered(generation: Generation, id: number, { promise, target }: PendingFetch): void {
  const { id: first, last } = generation.failure!;
  const isItsOwn = id >= first && id <= last;
  promise.reject(generation.errorFor(isItsOwn ? id : target.id), () => generation.hasBeenThrown());
}

function settlement(
  { promise, target, mode }: PendingFetch,
  token: unknown,
  frames: readonly Uint8Array[],
  limits: Limits,
): () => void {
  if (mode === FetchMode.settle && Array.isArray(token) && token[0] === Tag.reference) {
    const type: unknown = token[1];
    if (typeof type !== "string" || token.length !== 2) return malformed("a settled reference without its type");
    return () => {
      target.settledAs = type;
      promise.resolve(target.proxy);
    };
  }
  let value: unknown;
  try {
    value = decodeValue(token, frames, limits);
  } catch (error) {
    if (error instanceof TorchwireError && error.code === "PROTOCOL") throw error;
    // This side cannot hold this value, or may not. The other values are as good as before.
    return () => promise.reject(error);
  }
  return () => {
    if (mode === FetchMode.settle) target.scalar = { value };
    promise.resolve(value);
  };
}
