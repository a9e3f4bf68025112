/** A stream of events for readers outside, each at its own pace. */
import type { TrainEvent } from "../training/events.ts";
import { checkSignal } from "./interruption.ts";

/** The most events that wait for a reader. The oldest go when there are more. */
const MOST_WAITING = 1024;

export class EventStream {
  readonly #readers = new Set<Reader>();

  emit(event: TrainEvent): void {
    for (const reader of this.#readers) reader.push(event);
  }

  /**
   * Gives the events from now on, until the reader breaks out of its loop, or `signal` aborts: then it still gets what
   * has happened by then.
   */
  read(signal: AbortSignal | undefined): AsyncIterableIterator<TrainEvent> {
    checkSignal(signal, "events");
    const end = (): void => void reader.return();
    const reader = new Reader(() => {
      this.#readers.delete(reader);
      signal?.removeEventListener("abort", end);
    });
    this.#readers.add(reader);
    if (signal?.aborted) end();
    signal?.addEventListener("abort", end, { once: true });
    return reader;
  }
}

class Reader implements AsyncIterableIterator<TrainEvent> {
  readonly #waiting: TrainEvent[] = [];
  readonly #asking: ((result: IteratorResult<TrainEvent>) => void)[] = [];
  readonly #leave: () => void;
  /** Events that went before the reader came for them. */
  #missed = 0;
  #over = false;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  push(event: TrainEvent): void {
    const asking = this.#asking.shift();
    if (asking !== undefined) return asking({ done: false, value: event });
    this.#waiting.push(event);
    if (this.#waiting.length <= MOST_WAITING) return;
    this.#waiting.shift();
    this.#missed++;
  }

  next(): Promise<IteratorResult<TrainEvent>> {
    if (this.#missed > 0) {
      const missed = { type: "missed", events: this.#missed, time: Date.now() } as const;
      this.#missed = 0;
      return Promise.resolve({ done: false, value: missed });
    }
    const value = this.#waiting.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#over) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#asking.push(resolve));
  }

  return(): Promise<IteratorResult<TrainEvent>> {
    this.#over = true;
    this.#leave();
    for (const asking of this.#asking.splice(0)) asking({ done: true, value: undefined });
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
