/**
 * Those who wait until the worker has caught up. An answer looks only at those whose turn it may be, so that a thousand
 * lanes that wait cost no more than a thousand times one.
 */
import type { Generation } from "../log/lane.ts";

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Waiting {
  readonly #forGeneration = new Map<Generation, Waiter[]>();
  /** The generations of which nothing is in flight any more, and for which somebody waits. */
  #idle: Generation[] = [];
  #forCredit: Waiter[] = [];

  /** Waits until every batch of `generation` is answered. */
  forGeneration(generation: Generation): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      const others = this.#forGeneration.get(generation);
      if (others === undefined) this.#forGeneration.set(generation, [waiter]);
      else others.push(waiter);
    });
  }

  /** Waits until the worker has caught up. All who wait for that wait for the same. */
  forCredit(): Promise<void> {
    return new Promise((resolve, reject) => void this.#forCredit.push({ resolve, reject }));
  }

  /** Must be called when a batch of `generation` has been answered. */
  answered(generation: Generation): void {
    if (generation.inFlight === 0 && this.#forGeneration.has(generation)) this.#idle.push(generation);
  }

  /** Must be called behind the answers of a message. */
  caughtUp(hasCredit: () => boolean): void {
    for (const generation of this.#idle) {
      for (const { resolve } of this.#forGeneration.get(generation) ?? []) resolve();
      this.#forGeneration.delete(generation);
    }
    this.#idle = [];
    if (this.#forCredit.length === 0 || !hasCredit()) return;
    for (const { resolve } of this.#forCredit) resolve();
    this.#forCredit = [];
  }

  /** Rejects all of them. */
  end(error: Error): void {
    for (const waiters of [...this.#forGeneration.values(), this.#forCredit])
      for (const { reject } of waiters) reject(error);
    this.#forGeneration.clear();
    this.#idle = this.#forCredit = [];
  }
}
