import { arrive, depart, stay } from "../values/lend.ts";

/**
 * Buffers for what is on its way to the worker, used again once it has answered: to allocate them anew for every step costs
 * page faults and garbage collections. What is lent goes out by itself.
 */
export class FramePool {
  readonly #free = new Map<number, Uint8Array[]>();
  #bytes = 0;

  /** `bytes` to be sent: themselves where their memory is lent, else a copy. */
  frameOf(bytes: Uint8Array): Uint8Array {
    if (depart(bytes.buffer)) return bytes;
    const buffer = this.#free.get(bytes.length)?.pop();
    if (buffer === undefined) return new Uint8Array(bytes);
    this.#bytes -= buffer.length;
    buffer.set(bytes);
    return buffer;
  }

  /** The batch with `frames` has been answered. */
  takeBack(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      if (arrive(frame.buffer)) continue;
      if (frame.length < WORTHWHILE || this.#bytes + frame.length > MOST_BYTES) continue;
      const same = this.#free.get(frame.length);
      if (same === undefined) this.#free.set(frame.length, [frame]);
      else same.push(frame);
      this.#bytes += frame.length;
    }
  }

  /** `frames` were made and will not be sent. */
  discard(frames: readonly Uint8Array[]): void {
    for (const frame of frames) stay(frame.buffer);
  }
}

const WORTHWHILE = 4096;
const MOST_BYTES = 64 * 2 ** 20;
