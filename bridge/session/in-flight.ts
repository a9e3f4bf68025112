/**
 * The batches that were sent and are not answered. Each log (the program's, and that of each call) is answered in its
 * order, so the first one of a log is asked for with every answer: it is known, and not looked for among thousands.
 */
import { Queue } from "../runtime/queue.ts";

export class InFlight<Flight extends { readonly call: number }> {
  /** By number, ascending. Those behind the order to end have negative ones, and are not sent. */
  readonly #all = new Map<number, Flight>();
  /** The numbers of those that were sent, by the call whose log they are of, or 0. */
  readonly #logs = new Map<number, Queue<number>>();

  get size(): number {
    return this.#all.size;
  }

  add(seq: number, flight: Flight): void {
    this.#all.set(seq, flight);
    if (seq < 0) return;
    let log = this.#logs.get(flight.call);
    if (log === undefined) this.#logs.set(flight.call, (log = new Queue()));
    log.push(seq);
  }

  get(seq: number): Flight | undefined {
    return this.#all.get(seq);
  }

  /** The number of the batch that is answered next in the log of `call`. */
  firstOf(call: number): number | undefined {
    return this.#logs.get(call)?.first;
  }

  /** The oldest batch of all that were sent. */
  get oldest(): Flight | undefined {
    let oldest = Infinity;
    for (const { first } of this.#logs.values()) if (first !== undefined) oldest = Math.min(oldest, first);
    return this.#all.get(oldest);
  }

  /** Takes out the first batch of the log of `call`. */
  takeFirstOf(call: number): void {
    const log = this.#logs.get(call)!;
    this.#all.delete(log.shift()!);
    // (The program's own log comes and goes all the time, and stays. Calls are many.)
    if (log.length === 0 && call !== 0) this.#logs.delete(call);
  }

  clear(): void {
    this.#all.clear();
    this.#logs.clear();
  }

  entries(): IterableIterator<[number, Flight]> {
    return this.#all.entries();
  }

  values(): IterableIterator<Flight> {
    return this.#all.values();
  }
}
