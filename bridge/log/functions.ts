/** Functions of the program that Python holds. Each is known by an id as long as Python has not freed it. */
import { AsyncResource } from "node:async_hooks";
import { isPythonName } from "../reference/ref.ts";

export type AnyFunction = (...args: unknown[]) => unknown;

/** A function among the arguments of a batch. */
export interface Passed {
  readonly fn: AnyFunction;
  /** Names this passing of it: Python tells when it needs it no more. */
  readonly id: number;
  /** Names the function itself: passed again, it is the same object in Python. */
  readonly number: number;
  readonly name: string;
}

interface Held {
  readonly fn: AnyFunction;
  /** The asynchronous context in which the program passed it. */
  readonly context: AsyncResource;
}

export class Functions {
  readonly #held = new Map<number, Held>();
  readonly #numbers = new WeakMap<AnyFunction, number>();
  readonly #calls = new Map<string, number>();
  #passings = 0;
  #functions = 0;

  /** The place of a function among those that a batch passes. It gets one where it has none. */
  placeIn(passed: Passed[], fn: AnyFunction): number {
    const index = passed.findIndex((each) => each.fn === fn);
    return index < 0 ? passed.push(this.#pass(fn)) - 1 : index;
  }

  #pass(fn: AnyFunction): Passed {
    const id = ++this.#passings;
    let number = this.#numbers.get(fn);
    if (number === undefined) this.#numbers.set(fn, (number = ++this.#functions));
    this.#held.set(id, { fn, context: new AsyncResource("TorchwireFunction", { requireManualDestroy: true }) });
    return { fn, id, number, name: nameOf(fn) };
  }

  /** Calls the function in the context in which it was passed. */
  run<T>(id: number, call: (fn: AnyFunction | undefined) => T): T {
    const held = this.#held.get(id);
    if (held !== undefined) this.#count(nameOf(held.fn));
    return held === undefined ? call(undefined) : held.context.runInAsyncScope(() => call(held.fn));
  }

  /** Must be called when Python has freed what these ids name. */
  forget(ids: Iterable<number>): void {
    for (const id of ids) this.#held.delete(id);
  }

  /** Must be called where a batch will not be sent. */
  drop(passed: readonly Passed[]): void {
    this.forget(passed.map(({ id }) => id));
  }

  /** Must be called when the worker is gone. */
  clear(): void {
    this.#held.clear();
  }

  /** How many functions Python holds. */
  get size(): number {
    return this.#held.size;
  }

  /** How often Python has called the functions of each name. */
  get calls(): ReadonlyMap<string, number> {
    return this.#calls;
  }

  #count(name: string): void {
    const known = this.#calls.has(name) || this.#calls.size < MOST_NAMES ? name : "others";
    this.#calls.set(known, (this.#calls.get(known) ?? 0) + 1);
  }
}

const MOST_NAMES = 64;

function nameOf(fn: AnyFunction): string {
  const name: unknown = Object.getOwnPropertyDescriptor(fn, "name")?.value;
  return typeof name === "string" && name.length <= 64 && isPythonName(name) ? name : "function";
}
