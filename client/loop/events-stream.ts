/** A stream of events for readers outside, each at its own pace. */
import type { TrainEvent } from "../training/events.ts";

/** The most events that wait for a reader. The oldest go when there are more. */
const MOST_WAITING = 1024;

export class EventStream {
  readonly #readers = new Set<Reader>();

  emit(event: TrainEvent): void {
    for (const reader of this.#readers) reader.push(event);
  }

  /** Gives the events from now on, until the reader breaks out of its loop. */
  read(): AsyncIterableIterator<TrainEvent> {
    const reader = new Reader(() => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }
}

class Reader implements AsyncIterableIterator<TrainEvent> {
  readonly #waiting: TrainEvent[] = [];
  readonly #asking: ((result: IteratorResult<TrainEvent>) => void)[] = [];
  readonly #leave: () => void;
  #over = false;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  push(event: TrainEvent): void {
    const asking = this.#asking.shift();
    if (asking !== undefined) return asking({ done: false, value: event });
    this.#waiting.push(event);
    if (this.#waiting.length > MOST_WAITING) this.#waiting.shift();
  }

  next(): Promise<IteratorResult<TrainEvent>> {
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
