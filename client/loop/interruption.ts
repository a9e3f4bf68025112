/** Ends a fit from outside, by an AbortSignal or by a signal of the system. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isError } from "../../bridge/runtime/kinds.ts";
import { hearSignals } from "./signals.ts";

/** The time that a handler that is under way, or a data set, may still take. */
const GRACE_MS = 2000;
/** The same at "fitEnd", where a callback may save something large. */
const LAST_GRACE_MS = 15_000;

class Interrupted extends Error {
  override name = "Interrupted";
}

export class Interruption {
  #reason: string | undefined;
  #signal: NodeJS.Signals | undefined;
  /** Has a function for each promise that is waited for, which starts its grace. */
  readonly #waiting = new Set<() => void>();

  get reason(): string | undefined {
    return this.#reason;
  }

  /** The system's signal that came first, where one has interrupted the fit. */
  get signal(): NodeJS.Signals | undefined {
    return this.#signal;
  }

  is(error: unknown): error is Error {
    return error instanceof Interrupted;
  }

  /** Ends the loop at its next step. */
  interrupt(reason: string, signal?: NodeJS.Signals): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#signal = signal;
    for (const startGrace of this.#waiting) startGrace();
  }

  check(): void {
    if (this.#reason !== undefined) throw new Interrupted(this.#reason);
  }

  /**
   * Waits for `promise`, but no longer than the grace after an interruption, or after the call where that was before.
   */
  waitFor<T>(promise: PromiseLike<T>, who: string, isLast = false): Promise<T> {
    const grace = isLast ? LAST_GRACE_MS : GRACE_MS;
    // (One promise, and no race of several: each batch is waited for.)
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const hangs = (): void =>
        reject(new Interrupted(`${this.#reason!}; ${who} had not returned after ${grace / 1000} s`));
      const startGrace = (): void => void (timer = setTimeout(hangs, grace));
      const isOver = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(startGrace);
      };
      if (this.#reason === undefined) this.#waiting.add(startGrace);
      else startGrace();
      promise.then(
        (value) => {
          isOver();
          resolve(value);
        },
        (error: unknown) => {
          isOver();
          reject(error);
        },
      );
    });
  }

  /** Listens to `signal`, and to the system's signals as `hearSignals` does. Returns a function that ends it. */
  listen(signal: AbortSignal | undefined, isInFolder: boolean): () => void {
    checkSignal(signal, "fit");
    const abort = (): void => this.interrupt(reasonOf(signal!));
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    const stopHearing = hearSignals(isInFolder, (reason, name) => this.interrupt(reason, name));
    return () => {
      signal?.removeEventListener("abort", abort);
      stopHearing();
    };
  }
}

/** Throws MISUSE for anything else than an AbortSignal or undefined. */
export function checkSignal(signal: unknown, who: string): void {
  if (signal !== undefined && !isSignal(signal))
    throw new TorchwireError(
      "MISUSE",
      `${who}: signal is no AbortSignal: give that of an AbortController, controller.signal`,
    );
}

/** Goes by its members, because a page that a test runner simulates has an AbortSignal class of its own. */
const isSignal = (signal: unknown): boolean =>
  typeof signal === "object" && signal !== null && "aborted" in signal && "addEventListener" in signal;

function reasonOf({ reason }: AbortSignal): string {
  if (typeof reason === "string") return reason;
  return isError(reason) && reason.name !== "AbortError" ? reason.message : "aborted by its signal";
}
