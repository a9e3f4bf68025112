/** For a loop by hand: the steps that it has in flight, and when it may issue the next one. */
import type { Window } from "./window.ts";

/**
 * Keeps steps in flight, so that the worker never waits for the loop, and the loop runs at most some 25 ms ahead of
 * it. Made by `worker.pace()`.
 *
 *     const pace = worker.pace();
 *     for (const batch of data) {
 *       const loss = worker.scope(() => py.js(step(batch).item()));
 *       await pace.add(loss.then((value) => console.log(value)));
 *     }
 *     await pace.end();
 */
export class Pace {
  readonly #window: Window;
  readonly #inFlight: PromiseLike<unknown>[] = [];

  constructor(window: Window) {
    this.#window = window;
  }

  /** Steps in flight. */
  get inFlight(): number {
    return this.#inFlight.length;
  }

  /**
   * Adds a step that was issued, by the promise of its answer. Resolves when the next step may be issued. Rejects with
   * the first answer that failed.
   */
  async add(answer: PromiseLike<unknown>): Promise<void> {
    // Somebody hears of a failure when it is this step's turn.
    answer.then(undefined, () => undefined);
    this.#inFlight.push(answer);
    if (this.#inFlight.length < this.#window.most) return;
    while (this.#inFlight.length > this.#window.enough) await this.#oldest();
    this.#window.goesOn(performance.now());
  }

  /** Resolves when all steps are answered. Rejects with the first answer that failed. */
  async end(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#oldest();
    this.#window.rests();
  }

  async #oldest(): Promise<void> {
    try {
      await this.#inFlight[0];
    } catch (error) {
      // The steps behind it were issued in vain.
      this.#inFlight.length = 0;
      this.#window.rests();
      throw error;
    }
    this.#inFlight.shift();
    this.#window.answered();
  }
}
