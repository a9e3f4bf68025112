/** What ends a fit from outside: an AbortSignal, or Ctrl-C. */
import type { BatchLike, Data } from "./data/types.ts";

/** How long a handler that is under way, or a data set, may still take. */
const GRACE_MS = 2000;

class Interrupted extends Error {
  override name = "Interrupted";
}

export class Interruption {
  #reason: string | undefined;
  #whoHangs: ((error: Interrupted) => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  get reason(): string | undefined {
    return this.#reason;
  }

  is(error: unknown): error is Error {
    return error instanceof Interrupted;
  }

  /** The loop ends at its next step. */
  interrupt(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#timer = setTimeout(() => {
      for (const reject of this.#whoHangs.splice(0)) reject(new Interrupted(reason));
    }, GRACE_MS);
  }

  check(): void {
    if (this.#reason !== undefined) throw new Interrupted(this.#reason);
  }

  /** `promise`, but no longer than the grace after an interruption. */
  async waitFor<T>(promise: PromiseLike<T>, who: string): Promise<T> {
    let hangs!: (error: Interrupted) => void;
    const interrupted = new Promise<never>((_, reject) => {
      hangs = (error) =>
        reject(new Interrupted(`${error.message}; ${who} had not returned after ${GRACE_MS / 1000} s`));
    });
    this.#whoHangs.push(hangs);
    try {
      return await Promise.race([promise, interrupted]);
    } finally {
      this.#whoHangs = this.#whoHangs.filter((one) => one !== hangs);
    }
  }

  /** Listens to `signal`, and to Ctrl-C where this is a terminal and nobody else listens. Returns what ends the listening. */
  listen(signal: AbortSignal | undefined): () => void {
    const abort = (): void => this.interrupt(reasonOf(signal!));
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    const isOurs = process.stdin.isTTY && process.stderr.isTTY && process.listenerCount("SIGINT") === 0;
    // The second one is Node's own again: it ends the program.
    const onInterrupt = (): void => this.interrupt("Ctrl-C");
    if (isOurs) process.once("SIGINT", onInterrupt);
    return () => {
      signal?.removeEventListener("abort", abort);
      process.removeListener("SIGINT", onInterrupt);
      clearTimeout(this.#timer);
    };
  }

  /** Iterates `data`; ends the waiting for it when interrupted. */
  async *guard(data: Data): AsyncGenerator<BatchLike> {
    const iterator =
      Symbol.asyncIterator in data ? data[Symbol.asyncIterator]() : (data as Iterable<BatchLike>)[Symbol.iterator]();
    let over = false;
    try {
      for (;;) {
        this.check();
        const next = iterator.next();
        const result = next instanceof Promise ? await this.waitFor(next, "the data") : next;
        if (result.done) {
          over = true;
          return;
        }
        yield result.value;
      }
    } finally {
      // Not waited for: where it hangs, so would this.
      if (!over) (async () => iterator.return?.())().catch(() => undefined);
    }
  }
}

function reasonOf({ reason }: AbortSignal): string {
  return reason instanceof Error && reason.name !== "AbortError" ? reason.message : "aborted by its signal";
}
