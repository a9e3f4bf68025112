/** Half of the most steps that a loop has in flight: it asks for so many batches at once, at most. */
const DEEPEST = 16;

/**
 * How many batches a loader makes before they are asked for: a number that is given, or one that follows the loop. A
 * loop that issues its steps in bursts asks for several batches at once, and for none in between. If it has to wait for
 * one though reading stood still before, twice as many are made ahead from then on. Where reading never stands still,
 * the data is the slower side, and more ahead would be no help.
 */
export class Depth {
  readonly #isGiven: boolean;
  #batches: number;
  #stoodStill = false;

  constructor(given?: number) {
    this.#isGiven = given !== undefined;
    this.#batches = given ?? 2;
  }

  get batches(): number {
    return this.#batches;
  }

  /** Must be called when a pass begins: its first batch is always waited for. */
  begins(): void {
    this.#stoodStill = false;
  }

  /** Must be called when everything has been read that may be. */
  standsStill(): void {
    this.#stoodStill = true;
  }

  /** Must be called when a batch is asked for that is not there. */
  waits(): void {
    if (this.#stoodStill && !this.#isGiven) this.#batches = Math.min(2 * this.#batches, DEEPEST);
    this.#stoodStill = false;
  }
}
