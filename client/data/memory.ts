import { lend, reclaim } from "../../bridge/values/lend.ts";
import { type DType, fromBytes, itemSize, type NDArray, sizeOf } from "../../bridge/values/ndarray.ts";

/** The memory of a loader's batches: how many blocks were made, and how often one was used again. */
export interface MemoryCounts {
  readonly made: number;
  readonly reused: number;
}

/** Memory of batches. A block is lent with a batch, and used again once the worker has it and the loop has gone on. */
export class BatchMemory {
  readonly #free: ArrayBuffer[] = [];
  #bytes = 0;
  #made = 0;
  #reused = 0;

  get counts(): MemoryCounts {
    return { made: this.#made, reused: this.#reused };
  }

  lease(): Lease {
    return new Lease(this);
  }

  /** `bytes` of memory, not cleared. */
  take(bytes: number): ArrayBuffer {
    const at = this.#free.findIndex(({ byteLength }) => byteLength === bytes);
    const [block] = at < 0 ? [] : this.#free.splice(at, 1);
    if (block === undefined) {
      this.#made++;
      return new ArrayBuffer(bytes);
    }
    this.#reused++;
    this.#bytes -= bytes;
    return block;
  }

  giveBack(block: ArrayBuffer): void {
    this.#free.push(block);
    this.#bytes += block.byteLength;
    // Batches of many sizes would pile up: drop the oldest block.
    while (this.#bytes > MOST_BYTES) this.#bytes -= this.#free.shift()!.byteLength;
  }
}

/** The memory of one batch. */
export class Lease {
  readonly #memory: BatchMemory;
  readonly #arrays: NDArray[] = [];
  #over = false;

  constructor(memory: BatchMemory) {
    this.#memory = memory;
  }

  /** An array that the caller must fill from end to end: its memory is not cleared. */
  array(dtype: DType, shape: readonly number[]): NDArray {
    const bytes = sizeOf(shape) * itemSize(dtype);
    if (bytes < WORTHWHILE) return fromBytes(dtype, shape, new Uint8Array(bytes));
    const array = fromBytes(dtype, shape, new Uint8Array(this.#memory.take(bytes)));
    this.#arrays.push(lend(array, () => this.#over && this.#takeBack(array)));
    return array;
  }

  /** The loop has gone on to the next batch: take the memory back as soon as the worker has it. */
  end(): void {
    this.#over = true;
    for (const array of this.#arrays) this.#takeBack(array);
  }

  #takeBack(array: NDArray): void {
    const block = reclaim(array);
    if (block !== undefined) this.#memory.giveBack(block);
  }
}

/** Below this many bytes, a copy costs less than lending. */
const WORTHWHILE = 4096;
const MOST_BYTES = 512 * 2 ** 20;
