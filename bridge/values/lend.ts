/** Lends memory to workers: it is sent without a copy, and comes back once the worker has it. */
import { TorchwireError } from "../errors/errors.ts";
import { isGone, isSharedArrayBuffer } from "../runtime/kinds.ts";
import type { NDArray } from "./ndarray.ts";

interface Loan {
  /** The number of frames over this memory whose batches are not answered yet, by any worker. */
  underway: number;
  /** A batch that carried it has been answered. */
  sent: boolean;
  readonly onReturned: (() => void) | undefined;
}

/** By memory and not by array: views of it, and the same elements in another shape, are lent too. */
const loans = new WeakMap<ArrayBufferLike, Loan>();
const reclaimed = new WeakSet<ArrayBufferLike>();

/**
 * From now on `array` is sent as it lies in memory. (Without this, every send copies it first.) Gives `array` back.
 *
 * In return its elements must not change while an operation that has it is on its way. `onReturned` is called when the
 * worker has answered every batch that carried it: then they may change. After another send it is called again. It is
 * never called for an array that was not sent, nor where a worker has ended before it answered: that memory is not used
 * again.
 *
 * Lending twice is lending once. Throws MISUSE where `array` does not fill its memory from end to end (a `subarray`, a
 * small Buffer: all that shares that memory would be lent with it), and where the memory is a SharedArrayBuffer, can be
 * resized, or was lent before with another `onReturned`.
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
 * Takes the memory of a lent array, so that it can be filled anew. From then on `array.data` has no elements, and
 * sending it is an error that says so. Gives undefined where the array was never sent, or is still on its way.
 */
export function reclaim(array: NDArray): ArrayBuffer | undefined {
  const { buffer } = array.data;
  const loan = loans.get(buffer);
  if (loan === undefined || !loan.sent || loan.underway > 0) return undefined;
  loans.delete(buffer);
  reclaimed.add(buffer);
  // This moves the memory, in a microsecond whatever its size, and leaves the old buffer without any.
  return structuredClone(buffer as ArrayBuffer, { transfer: [buffer as ArrayBuffer] });
}

/**
 * Throws MISUSE where the memory of `data` was taken back, NOT_SENDABLE where it is gone in another way. `what` names
 * the array in the error. (An array without its memory claims to have no elements, and would be sent as an empty one.)
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

/** Whether the memory of `data` is lent. */
export const isLent = ({ buffer }: ArrayBufferView): boolean => loans.has(buffer);

/** Must be called when a batch is about to carry `buffer`. False where `buffer` is not lent. */
export function depart(buffer: ArrayBufferLike): boolean {
  const loan = loans.get(buffer);
  if (loan !== undefined) loan.underway++;
  return loan !== undefined;
}

/** Must be called when a batch that carries `buffer` has been answered. False where `buffer` is not lent. */
export function arrive(buffer: ArrayBufferLike): boolean {
  const loan = loans.get(buffer);
  if (loan === undefined) return false;
  loan.underway--;
  loan.sent = true;
  // Later, because an error of the callback must not reach the socket's loop.
  if (loan.underway === 0 && loan.onReturned !== undefined)
    queueMicrotask(() => {
      if (loan.underway === 0) loan.onReturned?.();
    });
  return true;
}

/** Must be called where a batch will not carry `buffer` after all. */
export function stay(buffer: ArrayBufferLike): void {
  const loan = loans.get(buffer);
  if (loan !== undefined) loan.underway--;
}
