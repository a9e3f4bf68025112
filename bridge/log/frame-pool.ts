import { arrive, depart, stay } from "../values/lend.ts";

/**
 * Buffers for frames on their way to the worker, used again once it has answered: new buffers for every step would cost
 * page faults and garbage collections. Lent memory is sent itself, and needs none.
 */
export class FramePool {
  readonly #free = new Map<number, Uint8Array[]>();
  #bytes = 0;

  /** A frame with `bytes`: the bytes themselves where their memory is lent, else a copy. */
  frameOf(bytes: Uint8Array): Uint8Array {
    if (depart(bytes.buffer)) return bytes;
    const buffer = this.#free.get(bytes.length)?.pop();
    if (buffer === undefined) return new Uint8Array(bytes);
    this.#bytes -= buffer.length;
    buffer.set(bytes);
    return buffer;
  }

  /** Must be called when the batch with `frames` has been answered. */
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

  /** Must be called where `frames` will not be sent. */
  discard(frames: readonly Uint8Array[]): void {
    for (const frame of frames) stay(frame.buffer);
  }
}

const WORTHWHILE = 4096;
const MOST_BYTES = 64 * 2 ** 20;
