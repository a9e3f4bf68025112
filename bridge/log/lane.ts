/**
 * A lane is one logical thread of TypeScript. When one of its operations fails, the later ones are not run: fail-stop.
 * Lane 0 opens again, as a new generation, once user code has been given the error; every other lane stays closed.
 */
import { TorchwireError } from "../errors/errors.ts";
import { PythonError } from "../errors/python-error.ts";
import type { Origin } from "../reference/ref.ts";
import { messageOf } from "../runtime/kinds.ts";
import type { Call } from "./call.ts";

export interface Failure {
  /**
   * Python's error; or this side's, where a batch could not be sent; or what a function of the program has thrown into
   * Python, which may be anything.
   */
  readonly error: unknown;
  /** Python's error where `error` is the program's own. */
  readonly python?: PythonError | undefined;
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
  /** The number of its batches that are not answered yet. */
  inFlight = 0;

  constructor(lane: Lane, number: number) {
    this.lane = lane;
    this.number = number;
  }

  lacks(id: number): boolean {
    return this.failure !== undefined && id >= this.failure.id;
  }

  hasBeenThrown(): void {
    this.thrown = true;
    // This runs before the await that is being rejected goes on.
    queueMicrotask(() => this.lane.reopen(this));
  }

  throwFailure(): void {
    if (this.failure === undefined) return;
    this.hasBeenThrown();
    throw this.failure.error;
  }

  /** The failed operation has its own error. A later one was not run because of it. */
  errorFor(id: number): unknown {
    const { error, python, id: first, last } = this.failure!;
    if (id >= first && id <= last) return error;
    const raised = python ?? error;
    if (raised instanceof PythonError) return raised.notRun();
    return new TorchwireError(
      "NOT_RUN",
      `not run, because operations before it could not be sent: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

export class Lane {
  readonly id: number;
  /** The call of Python's whose function runs in it. */
  readonly call: Call | undefined;
  generation: Generation;

  constructor(id: number, call?: Call) {
    this.id = id;
    this.call = call;
    this.generation = new Generation(this, 0);
  }

  reopen(failed: Generation): void {
    if (this.id === 0 && this.generation === failed && failed.failure !== undefined)
      this.generation = new Generation(this, failed.number + 1);
  }
}
