/** How many steps a loop keeps in flight. It knows no worker: it is told what happens. */
import { TorchwireError } from "../errors/errors.ts";

/** So much work is in flight, in milliseconds. Answers come so much later than they could. */
export const WORK_MS = 25;
/** With so many, the worker never waits for a loop on the same machine. */
export const FEWEST = 3;
/** So many are in flight at most, however short they are. */
export const MOST = 32;
/** The part of a new measurement in the mean over those before it. */
const WEIGHT = 0.3;

/**
 * A number of steps in flight that is given, or one that makes some 25 ms of work, behind the step that is run.
 *
 * Node and its threads are woken for each answer, with cold caches, beside PyTorch's threads: that costs more than the
 * message. So a loop of short steps goes in bursts: it waits until half of its steps are answered, and then issues the
 * next half in one turn.
 */
export class Window {
  readonly #fixed: number | undefined;
  #most: number;
  #stepMs: number | undefined;
  /** The time of a question and its answer, in milliseconds. Steps on the line come on top of those that are run. */
  #latencyMs: number | undefined;
  /** The loop went on last at this time. */
  #since: number | undefined;
  #answered = 0;

  /** Throws MISUSE unless `fixed` is a whole number from 1, or undefined. */
  constructor(fixed?: number) {
    checkWindow(fixed);
    this.#fixed = fixed;
    this.#most = fixed ?? FEWEST;
  }

  /** With so many steps in flight a loop waits. */
  get most(): number {
    return this.#most;
  }

  /** With so many left, a loop that waits goes on. */
  get enough(): number {
    return this.#fixed === undefined && this.#most > FEWEST ? this.#most >> 1 : this.#most - 1;
  }

  /** Notes how long an answer is on its way. The shortest counts. */
  hears(latencyMs: number): void {
    this.#latencyMs = Math.min(this.#latencyMs ?? latencyMs, latencyMs);
  }

  /** Must be called for each step that is answered. */
  answered(): void {
    this.#answered++;
  }

  /** Must be called when the loop has waited, and goes on. Steps were in flight all the time since the call before. */
  goesOn(now: number): void {
    if (this.#fixed !== undefined) return;
    if (this.#since !== undefined && this.#answered > 0) this.#measured((now - this.#since) / this.#answered);
    this.#since = now;
    this.#answered = 0;
  }

  /** Must be called when no step is in flight: the time until the next one is nobody's. */
  rests(): void {
    this.#since = undefined;
    this.#answered = 0;
  }

  #measured(stepMs: number): void {
    const before = this.#stepMs;
    this.#stepMs = before === undefined ? stepMs : before + WEIGHT * (stepMs - before);
    // Half of the steps are in flight while a burst is on its way: they must last for as long as that takes.
    const wanted = 1 + Math.ceil((WORK_MS + 2 * (this.#latencyMs ?? 0)) / this.#stepMs);
    // One measurement that is far off must not flood the worker.
    this.#most = Math.max(FEWEST, Math.min(wanted, 2 * this.#most, MOST));
  }
}

/** Throws MISUSE unless `given` is a whole number from 1, or undefined. */
export function checkWindow(given: number | undefined): void {
  if (given !== undefined && (!Number.isSafeInteger(given) || given < 1))
    throw new TorchwireError("MISUSE", `window must be a whole number from 1, not ${String(given)}`);
}
