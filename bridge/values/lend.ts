/** Memory that goes to a worker as it lies, without a copy, and comes back once the worker has it. */
import { TorchwireError } from "../errors/errors.ts";
import { isGone, isSharedArrayBuffer } from "../runtime/kinds.ts";
import type { NDArray } from "./ndarray.ts";

interface Loan {
  /** Frames over this memory whose batches are not answered yet, in whatever worker. */
  underway: number;
  /** It was in a batch that has been answered. */
  sent: boolean;
  readonly onReturned: (() => void) | undefined;
}

/** By the memory and not by the array, so that a view of it, or the same elements in another shape, are lent too. */
const loans = new WeakMap<ArrayBufferLike, Loan>();
const reclaimed = new WeakSet<ArrayBufferLike>();

/**
 * From now on `array` is sent as it lies in memory: without this, every send copies it first. Gives `array` back.
 *
 * In return its elements must not be changed while an operation that has it is on its way. `onReturned` is called when the worker has answered
 * every batch that carried it, which is then safe; after another send it is called again. It is never called for an array that was not sent, nor
 * where a worker that still had to answer has ended: that memory is not used again.
 *
 * Lending twice is lending once. Throws MISUSE where `array` does not fill its memory from end to end (a `subarray`, a small Buffer: what shares
 * that memory would be lent with it), or where the memory is a SharedArrayBuffer, can be resized, or was lent before with another `onReturned`.
 */
export function lend(array: NDArray, onReturned?: () => void): NDArray {
  checkMemory(array.data, "lend");
  const { buffer, byteLength } = array.data;
  if (isSharedArrayBuffer(buffer))
    throw new TorchwireError("MISUSE", "lend: a SharedArrayBuffer can be changed by others at any time; send a copy");
  if ((buffer as { resizable?: boolean }).resizable === true)
    throw new TorchwireError("MISUSE", "lend: this ArrayBuffer can be resized while it is on its way; send a copy");
  if (byteLength !== buffer.byteLength)
    throw new TorchwireError(
      "MISUSE",
      `lend: the array has ${byteLength} of the ${buffer.byteLength} bytes of its memory; lend one with memory of its own (array.data.slice())`,
    );
  const known = loans.get(buffer);
  if (known === undefined) loans.set(buffer, { underway: 0, sent: false, onReturned });
  else if (onReturned !== undefined && onReturned !== known.onReturned)
    throw new TorchwireError("MISUSE", "lend: this memory is lent already, with another onReturned");
  return array;
}

/**
 * Takes the memory of a lent array, to be filled anew: `array.data` has no elements from then on, and sending it is an error that says so.
 * Undefined where it was never sent, or is still on its way.
 */
export function reclaim(array: NDArray): ArrayBuffer | undefined {
  const { buffer } = array.data;
  const loan = loans.get(buffer);
  if (loan === undefined || !loan.sent || loan.underway > 0) return undefined;
  loans.delete(buffer);
  reclaimed.add(buffer);
  // Moves the memory, in a microsecond whatever its size, and leaves the old buffer without any.
  return structuredClone(buffer as ArrayBuffer, { transfer: [buffer as ArrayBuffer] });
}

/**
 * Throws MISUSE where the memory of `data` has been taken back, NOT_SENDABLE where it is gone in another way. `what` names the array in the error.
 * (An array without its memory says that it has no elements, and would be sent as an empty one.)
 */
export function checkMemory(data: ArrayBufferView, what: string): void {
  if (!isGone(data)) return;
  if (!reclaimed.has(data.buffer))
    throw new TorchwireError(
      "NOT_SENDABLE",
      `${what}: its memory is gone: the ArrayBuffer was transferred, or made smaller than the array; send it before, or keep a copy: x.slice()`,
    );
  throw new TorchwireError(
    "MISUSE",
    `${what}: this batch's memory has been used again for a later batch; to keep one, copy it while it is there: { ...xs, data: xs.data.slice() }`,
  );
}

/** A batch is about to carry the bytes of `buffer`; false where they are not lent. */
export function depart(buffer: ArrayBufferLike): boolean {
  const loan = loans.get(buffer);
  if (loan !== undefined) loan.underway++;
  return loan !== undefined;
}

/** A batch that carries `buffer` has been answered; false where it is not lent. */
export function arrive(buffer: ArrayBufferLike): boolean {
  const loan = loans.get(buffer);
  if (loan === undefined) return false;
  loan.underway--;
  loan.sent = true;
  // Not from here: what the callback throws must not reach the socket's loop.
  if (loan.underway === 0 && loan.onReturned !== undefined)
    queueMicrotask(() => {
      if (loan.underway === 0) loan.onReturned?.();
    });
  return true;
}

/** A batch was to carry `buffer` and will not. */
export function stay(buffer: ArrayBufferLike): void {
  const loan = loans.get(buffer);
  if (loan !== undefined) loan.underway--;
}
