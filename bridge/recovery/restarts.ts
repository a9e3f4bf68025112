/** How often a body may run again, and how long it waits before. */
import { TorchwireError } from "../errors/errors.ts";
import { millisecondsOf } from "../runtime/time.ts";
import { lossIn, stepOf } from "./loss.ts";

export interface RestartOptions {
  /** Default 3. */
  readonly times?: number;
  /** A time such as "30s", "10min", "1h". Default "10min". */
  readonly within?: string;
}

export const FIRST_WAIT_MS = 1000;
export const LONGEST_WAIT_MS = 30_000;

export class Restarts {
  readonly times: number;
  /** As the program has said it. */
  readonly within: string;
  readonly withinMs: number;
  /** How many there were, in all. */
  count = 0;
  /** When the last ones were, in milliseconds. */
  #recent: number[] = [];
  readonly #steps = new Set<string>();

  /** @throws MISUSE */
  constructor(given: number | RestartOptions) {
    const options = typeof given === "number" ? { times: given } : given;
    const { times = 3, within = "10min" } = isRecord(options) ? options : {};
    const withinMs = millisecondsOf(within);
    const fits =
      isRecord(options) && Object.keys(options).every((name) => name === "times" || name === "within") && withinMs;
    if (!fits || !(Number.isSafeInteger(times) && times >= 0))
      throw new TorchwireError(
        "MISUSE",
        `withWorker: restarts is ${typeof given === "object" ? JSON.stringify(given) : String(given)}; it must be a whole number from 0, or { times: 3, within: "10min" }`,
      );
    this.times = times;
    this.within = within;
    this.withinMs = withinMs;
  }

  /**
   * Counts a loss. Returns which restart comes now, of those in `within`, and the milliseconds to wait for it. Throws
   * WORKER_GONE where there is none: the same step has lost a worker twice, or there were too many of late.
   */
  after(error: unknown): { readonly number: number; readonly waitMs: number } {
    const loss = lossIn(error)!;
    const step = stepOf(loss);
    if (step !== undefined && this.#steps.has(step))
      throw new TorchwireError(
        "WORKER_GONE",
        `withWorker: the same step has lost its worker twice, so that a third time would be no better. ${loss.message}\n` +
          "Look at the samples of this batch, at the memory that it takes, and at what is called in this step: in C or C++, nothing may end the process.",
        { cause: error },
      );
    if (step !== undefined) this.#steps.add(step);
    const now = performance.now();
    this.#recent = this.#recent.filter((time) => now - time < this.withinMs);
    if (this.#recent.length >= this.times)
      throw new TorchwireError(
        "WORKER_GONE",
        `withWorker: the worker was lost again, after ${this.times} restarts within ${this.within}: ${loss.message}`,
        { cause: error },
      );
    const waitMs = Math.min(FIRST_WAIT_MS * 2 ** this.#recent.length, LONGEST_WAIT_MS);
    this.#recent.push(now);
    this.count++;
    return { number: this.#recent.length, waitMs };
  }
}

const isRecord = (value: unknown): value is object => typeof value === "object" && value !== null;
