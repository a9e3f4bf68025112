/** Where the program is: its lane, scope and contexts, which all that it calls inherits, across awaits too. */
import { AsyncLocalStorage } from "node:async_hooks";
import { TorchwireError } from "../errors/errors.ts";
import { Fetched } from "../reference/fetched.ts";
import { inner, type Reference } from "../reference/ref.ts";
import { isPromise } from "../runtime/kinds.ts";
import type { Call } from "./call.ts";
import { contextLayer, type ContextOptions } from "./context.ts";
import { Lane, type Generation } from "./lane.ts";
import type { BatchPlace, Outbox } from "./outbox.ts";
import { Scope } from "./scope.ts";

export interface Here extends BatchPlace {
  readonly scope: Scope | undefined;
}

export class Ambient {
  readonly #storage = new AsyncLocalStorage<Here>();
  readonly #outbox: Outbox;
  readonly #root: Here;
  readonly #adopt: (reference: Reference) => void;
  #nextLane = 1;
  #nextContext = 1;

  /** `adopt` gets what a scope hands on where no scope is around it. */
  constructor(outbox: Outbox, adopt: (reference: Reference) => void) {
    this.#outbox = outbox;
    this.#adopt = adopt;
    this.#root = { lane: outbox.mainLane, scope: undefined, contexts: [] };
  }

  get here(): Here {
    return this.#storage.getStore() ?? this.#root;
  }

  /** A lane for the function of a call, or one that was opened in it. */
  newLane(call: Call | undefined): Lane {
    return new Lane(this.#nextLane++, call);
  }

  /** Runs `fn`, and all that it leads to, at `here`. */
  run<T>(here: Here, fn: () => T): T {
    return this.#storage.run(here, fn);
  }

  /** Runs `fn` as a lane of its own: what fails in it stops nothing else, and nothing else stops it. */
  async lane<T>(fn: () => T | PromiseLike<T>, finished: (generation: Generation) => Promise<void>): Promise<T> {
    const lane = this.newLane(this.here.lane.call);
    const { generation } = lane;
    let result: T;
    try {
      result = await this.#storage.run({ ...this.here, lane }, async () => await fn());
    } finally {
      this.#outbox.flushOf(generation);
    }
    await finished(generation);
    if (!generation.thrown) generation.throwFailure();
    return result;
  }

  /**
   * Runs `fn` at once, as a lane of its own, and waits for nothing: what is queued in it fails alone. The generation
   * that is returned knows what became of it.
   */
  apart<T>(fn: () => T): readonly [value: T, generation: Generation] {
    const lane = this.newLane(this.here.lane.call);
    return [this.#storage.run({ ...this.here, lane }, fn), lane.generation];
  }

  /**
   * Runs `fn`. Its end frees what it made, except what its result holds, in the batch that its last operations are in,
   * and sends the batch.
   */
  scope<T>(fn: () => T, credit: () => Promise<void> | undefined): T {
    const outer = this.here;
    const scope = new Scope(outer.scope);
    const here = { ...outer, scope };
    const free = (result?: unknown): void => {
      scope.hand(result, this.#adopt);
      const ranges = scope.end();
      if (this.#outbox.isOver) return;
      if (ranges.length > 0) this.#outbox.release(ranges, here);
      this.#outbox.flush();
    };
    const tellFailure = (): void => {
      const { id, generation } = here.lane;
      // Lane 0 opens again right after its error was thrown. Any other lane is over, and a loop in it must hear of it.
      if (id !== 0 || !generation.thrown) generation.throwFailure();
    };
    let result: T;
    let pending: Promise<unknown> | undefined;
    try {
      result = this.#storage.run(here, fn);
      // A value on its way was asked for inside: nothing is left to run.
      if (isThenable(result) && !(result instanceof Fetched))
        pending = this.#storage.run(here, () => Promise.resolve(result));
    } catch (error) {
      free();
      throw error;
    }
    if (pending !== undefined) return finishScope(pending, free, tellFailure, credit) as T;
    free(result);
    tellFailure();
    return result;
  }

  /** Runs `fn` with `options` as the worker's ambient state, for the operations made inside and for no others. */
  async context<T>(options: ContextOptions, fn: () => T | PromiseLike<T>): Promise<T> {
    const outer = this.here;
    const layer = contextLayer(this.#nextContext++, options, (module, path) => {
      const reference = inner(module);
      if (reference === undefined)
        throw new TorchwireError("MISUSE", `context: ${path} is not a reference to a module`);
      return this.#outbox.idOf(reference);
    });
    try {
      return await this.#storage.run({ ...outer, contexts: [...outer.contexts, layer] }, async () => await fn());
    } finally {
      this.#outbox.endContext(layer.wire.id);
    }
  }
}

async function finishScope<T>(
  result: Promise<T>,
  free: (result?: unknown) => void,
  tellFailure: () => void,
  credit: () => Promise<void> | undefined,
): Promise<T> {
  let value!: T;
  try {
    value = await result;
  } finally {
    free(value);
  }
  tellFailure();
  const room = credit();
  if (room !== undefined) await room;
  return value;
}

/** Whether `value` is a promise, or another object that can be awaited. A reference is none here: it is handed on. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (isPromise(value)) return true;
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return inner(value) === undefined && "then" in value && typeof value.then === "function";
}
