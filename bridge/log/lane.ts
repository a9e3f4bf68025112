/**
 * A lane is one logical thread of TypeScript. When one of its operations fails, the later ones are not run: fail-stop.
 * Lane 0 opens again, as a new generation, once user code has been given the error; every other lane stays closed.
 */
import { TorchwireError } from "../errors/errors.ts";
import { PythonError } from "../errors/python-error.ts";
import type { Origin } from "../reference/ref.ts";

export interface Failure {
  /** Python's; or this side's, where a batch could not be sent. */
  readonly error: TorchwireError;
  /** The first id that has no value… */
  readonly id: number;
  /** …and the last one of the operation that failed. */
  readonly last: number;
}

export class Generation implements Origin {
  readonly lane: Lane;
  readonly number: number;
  failure: Failure | undefined;
  /** User code has been given the failure. */
  thrown = false;
  /** Batches of it whose replies are not in. */
  inFlight = 0;

  constructor(lane: Lane, number: number) {
    this.lane = lane;
    this.number = number;
  }

  /** True where `id`, made in this generation, never got its value. */
  lacks(id: number): boolean {
    return this.failure !== undefined && id >= this.failure.id;
  }

  /** To be called when user code is about to have the error in hand. */
  hasBeenThrown(): void {
    this.thrown = true;
    // Ahead of the continuation of the await that is being rejected.
    queueMicrotask(() => this.lane.reopen(this));
  }

  throwFailure(): void {
    if (this.failure === undefined) return;
    this.hasBeenThrown();
    throw this.failure.error;
  }

  /** What an await of `id` rejects with: the failed operation's own error, or for a later one that it was not run. */
  errorFor(id: number): TorchwireError {
    const { error, id: first, last } = this.failure!;
    if (id >= first && id <= last) return error;
    if (error instanceof PythonError) return error.notRun();
    return new TorchwireError("NOT_RUN", `not run, because of what was to be sent before: ${error.message}`, {
      cause: error,
    });
  }
}

export class Lane {
  readonly id: number;
  generation: Generation;

  constructor(id: number) {
    this.id = id;
    this.generation = new Generation(this, 0);
  }

  reopen(failed: Generation): void {
    if (this.id === 0 && this.generation === failed && failed.failure !== undefined)
      this.generation = new Generation(this, failed.number + 1);
  }
}
