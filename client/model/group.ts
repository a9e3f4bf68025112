/** Requests for the outputs of one model, which can be one batch. */
import { PythonError } from "../../bridge/errors/python-error.ts";
import type { Inputs } from "../data/types.ts";
import { joinedInputs, type Joinable } from "./joinable.ts";

/** How a batch is run, and how its answer is taken apart. */
export interface Kind<T> {
  /** Requests of one key are of one kind. */
  readonly key: string;
  /** The most samples in a batch. */
  readonly batchSize: number;
  /** How long a request waits for others, in milliseconds. */
  readonly wait: number;
  readonly run: (xs: Inputs) => Promise<T>;
  /** All of an answer but its number of rows; undefined where it has not a row for each sample. */
  readonly formOf: (answer: T, rows: number) => string | undefined;
  readonly partsOf: (answer: T, rows: readonly number[]) => T[];
}

export interface Request<T> extends Joinable {
  /** Runs it where it was asked for, so that an error names that line. */
  readonly alone: () => Promise<T>;
  /** Ends the wait. Then it does not run. */
  readonly signal: AbortSignal | undefined;
  readonly resolve: (answer: T) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A first axis that is as long as the batch need not count samples. So the first request runs alone, and requests are
 * joined from the second one on. An answer is taken apart once two different numbers of samples have given outputs of
 * one form with as many rows.
 */
export class Group<T> {
  waiting: Request<T>[] = [];
  readonly kind: Kind<T>;
  #inFlight = 0;
  /** The outputs of the first batch. */
  #first: { readonly rows: number; readonly form: string } | undefined;
  #isSure = false;
  #runsApart = false;
  #joined = 0;
  #failed = 0;

  constructor(kind: Kind<T>) {
    this.kind = kind;
  }

  get isIdle(): boolean {
    return this.waiting.length === 0 && this.#inFlight === 0;
  }

  get isFull(): boolean {
    let rows = 0;
    return this.waiting.some((request) => (rows += request.rows) >= this.kind.batchSize);
  }

  /** Takes the requests of the next batch, oldest first. None where it has to learn from one that is under way. */
  take(): Request<T>[] {
    if (!this.#isSure && this.#inFlight > 0) return [];
    this.#dropAborted();
    return this.#next();
  }

  /** Takes all that wait. */
  takeAll(): Request<T>[] {
    this.#dropAborted();
    return this.waiting.splice(0);
  }

  #next(): Request<T>[] {
    return this.waiting.splice(0, this.#runsApart || this.#first === undefined ? 1 : this.#fitting());
  }

  #dropAborted(): void {
    const isAborted = ({ signal }: Request<T>): boolean => signal?.aborted === true;
    if (!this.waiting.some(isAborted)) return;
    for (const request of this.waiting.filter(isAborted)) request.reject(request.signal!.reason);
    this.waiting = this.waiting.filter((request) => !isAborted(request));
  }

  /** How many of those that wait make one batch. */
  #fitting(): number {
    let rows = 0;
    let count = 0;
    for (const request of this.waiting) {
      if (count > 0 && rows + request.rows > this.kind.batchSize) break;
      rows += request.rows;
      count++;
    }
    // It would teach nothing.
    return !this.#isSure && count > 1 && rows === this.#first?.rows ? count - 1 : count;
  }

  /** Runs the requests of a batch. Resolves when each is settled. */
  async run(batch: readonly Request<T>[]): Promise<void> {
    const [joined, failed] = [this.#joined, this.#failed];
    this.#inFlight++;
    await this.#settle(batch);
    this.#inFlight--;
    // The model takes only one at a time.
    if (batch.length > 1 && this.#joined === joined && this.#failed === failed) this.#runsApart = true;
  }

  async #settle(batch: readonly Request<T>[]): Promise<void> {
    if (batch.length === 1) return this.#settleAlone(batch[0]!);
    const rows = batch.map((request) => request.rows);
    let answer: T;
    try {
      answer = await this.kind.run(joinedInputs(batch));
    } catch (error) {
      // One of them may be the reason. It is found by halves, and the others get their answers.
      const half = Math.ceil(batch.length / 2);
      const parts =
        error instanceof PythonError ? [batch.slice(0, half), batch.slice(half)] : batch.map((one) => [one]);
      for (const part of parts) await this.#settle(part);
      return;
    }
    const total = rows.reduce((sum, one) => sum + one, 0);
    if (this.#isBySamples(answer, total)) {
      this.#joined++;
      for (const [i, part] of this.kind.partsOf(answer, rows).entries()) batch[i]!.resolve(part);
    } else for (const request of batch) await this.#settleAlone(request);
  }

  async #settleAlone(request: Request<T>): Promise<void> {
    try {
      const answer = await request.alone();
      this.#isBySamples(answer, request.rows);
      request.resolve(answer);
    } catch (error) {
      this.#failed++;
      request.reject(error);
    }
  }

  /** Learns from an answer. Returns whether it is certain that the rows of such answers are those of samples. */
  #isBySamples(answer: T, rows: number): boolean {
    const form = this.kind.formOf(answer, rows);
    if (form === undefined || (this.#first !== undefined && form !== this.#first.form)) {
      this.#runsApart = true;
      return false;
    }
    this.#first ??= { rows, form };
    this.#isSure ||= rows !== this.#first.rows;
    return this.#isSure;
  }
}
