import { isPromise } from "../../bridge/runtime/kinds.ts";
import type { Interruption } from "./interruption.ts";
import { hold } from "../data/lent-batch.ts";
import type { BatchLike, Data } from "../data/types.ts";

/**
 * Data in groups of `size` batches. A group comes as a whole, because its first batch must know how many there are. An
 * interruption ends it, but not while it `goesOn`; data that is waited for is given up then.
 *
 * (It is no generator of generators: a step would pay for each of them by several promises.)
 */
export class Groups {
  readonly #iterator: Iterator<BatchLike> | AsyncIterator<BatchLike>;
  readonly #size: number;
  readonly #interruption: Interruption;
  readonly #goesOn: () => boolean;
  #isOver = false;

  constructor(data: Data, size: number, interruption: Interruption, goesOn: () => boolean) {
    this.#iterator =
      Symbol.asyncIterator in data ? data[Symbol.asyncIterator]() : (data as Iterable<BatchLike>)[Symbol.iterator]();
    this.#size = size;
    this.#interruption = interruption;
    this.#goesOn = goesOn;
  }

  /** The next group, or undefined at the end of the data. The last one may be smaller. */
  async next(): Promise<BatchLike[] | undefined> {
    const group: BatchLike[] = [];
    while (group.length < this.#size && !this.#isOver) {
      if (!this.#goesOn()) this.#interruption.check();
      const next = this.#iterator.next();
      const result = isPromise(next) ? await this.#interruption.waitFor(next, "the data") : next;
      if (result.done) this.#isOver = true;
      else {
        // (A list may hold promises of batches, as `for await` takes them.)
        const given: unknown = result.value;
        const batch = (isPromise(given) ? await this.#interruption.waitFor(given, "the data") : given) as BatchLike;
        hold(batch);
        group.push(batch);
      }
    }
    return group.length > 0 ? group : undefined;
  }

  /** Leaves the data, unless it is at its end. Does not wait for it: data that hangs would hang here, too. */
  leave(): void {
    if (!this.#isOver) (async () => this.#iterator.return?.())().catch(() => undefined);
  }
}
