/** Predictions of many requests: those that wait at the same time run as one batch. */
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { beforeClose } from "../../bridge/log/before-close.ts";
import { isPlainObject } from "../../bridge/runtime/kinds.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";
import { Group, type Kind, type Request } from "./group.ts";
import type { Joinable } from "./joinable.ts";

export interface TogetherOptions {
  /**
   * How long a request waits for others, in milliseconds from 0 to 1,000, where no batch is full before. Default 0: for
   * those of the same turn of the event loop only.
   */
  readonly wait?: number;
}

/** The worker has one at work and one at hand. A fit beside it has its turn after these. */
const MOST_IN_FLIGHT = 2;
/** So many kinds of requests for one model are remembered. */
const MOST_GROUPS = 256;
const outside = AsyncLocalStorage.snapshot();
const queues = new WeakMap<Worker, Requests>();

/** The requests for one worker. */
export class Requests {
  /** By the model, and by the kind. A model that the program has forgotten goes with its groups. */
  readonly #groups = new WeakMap<object, Map<string, Group<any>>>();
  /** Those with requests that have waited long enough. Each has its turn. */
  readonly #due = new Set<Group<any>>();
  readonly #timers = new Map<Group<any>, NodeJS.Timeout | NodeJS.Immediate>();
  #inFlight = 0;

  /** Those for the worker of `model`. */
  static of(worker: Worker, model: PyObject): Requests {
    let queue = queues.get(worker);
    if (queue === undefined) {
      const made = (queue = new Requests());
      queues.set(worker, made);
      beforeClose(model, () => outside(() => made.#sendAll()));
    }
    return queue;
  }

  /** The answer to `inputs`, which others may join. `signal` ends its wait. */
  ask<T>(model: PyObject, kind: Kind<T>, inputs: Joinable, signal: AbortSignal | undefined): Promise<T> {
    const group = this.#groupOf(model, kind);
    const here = new AsyncResource("TORCHWIRE_REQUEST");
    const alone = (): Promise<T> => here.runInAsyncScope(kind.run, undefined, inputs.xs);
    return new Promise((resolve, reject) => {
      group.waiting.push({ ...inputs, alone, signal, resolve, reject });
      // What waits for one request must not be where another one was asked for.
      outside(() => this.#plan(group));
    });
  }

  #groupOf<T>(model: PyObject, kind: Kind<T>): Group<T> {
    let groups = this.#groups.get(model);
    if (groups === undefined) this.#groups.set(model, (groups = new Map()));
    const known = groups.get(kind.key);
    if (known !== undefined) return known;
    if (groups.size >= MOST_GROUPS) for (const [key, { isIdle }] of groups) if (isIdle) groups.delete(key);
    const group = new Group<T>({ ...kind, run: (xs) => outside(kind.run, xs) });
    groups.set(kind.key, group);
    return group;
  }

  #plan(group: Group<any>): void {
    if (this.#due.has(group)) return;
    const { wait } = group.kind;
    const begin = (): void => this.#begin(group);
    if (group.isFull) begin();
    else if (!this.#timers.has(group))
      this.#timers.set(group, wait === 0 ? setImmediate(begin) : setTimeout(begin, wait));
  }

  #begin(group: Group<any>): void {
    this.#fallDue(group);
    this.#next();
  }

  #fallDue(group: Group<any>): void {
    this.#timers.get(group)?.[Symbol.dispose]();
    this.#timers.delete(group);
    this.#due.add(group);
  }

  #next(): void {
    while (this.#inFlight < MOST_IN_FLIGHT) {
      const next = this.#take();
      if (next === undefined) return;
      this.#send(next.group, next.batch);
    }
  }

  #send(group: Group<any>, batch: readonly Request<any>[]): void {
    this.#inFlight++;
    void group.run(batch).finally(() => {
      this.#inFlight--;
      // Answers that come one upon the other would keep the event loop in this turn.
      for (const one of this.#timers.keys()) if (one.kind.wait === 0) this.#fallDue(one);
      this.#next();
    });
  }

  /**
   * What has been asked for before the worker is closed is answered. Each request runs alone: of a batch that fails,
   * nothing could run again.
   */
  #sendAll(): void {
    for (const group of new Set([...this.#due, ...this.#timers.keys()]))
      for (const request of group.takeAll()) this.#send(group, [request]);
  }

  /** The next batch, of the group whose turn it is. */
  #take(): { readonly group: Group<any>; readonly batch: readonly Request<any>[] } | undefined {
    for (const group of this.#due) {
      const batch = group.take();
      if (batch.length > 0 || group.waiting.length === 0) this.#due.delete(group);
      if (batch.length === 0) continue;
      if (group.waiting.length > 0) this.#due.add(group);
      return { group, batch };
    }
    return undefined;
  }
}

/** How long a request waits, where it may be joined with others; else undefined. */
export function waitOf(together: boolean | TogetherOptions | undefined): number | undefined {
  if (together === undefined || typeof together === "boolean") return together ? 0 : undefined;
  const { wait = 0, ...others } = isPlainObject(together) ? together : { wait: NaN };
  if (typeof wait === "number" && wait >= 0 && wait <= 1000 && Object.keys(others).length === 0) return wait;
  throw new TorchwireError(
    "MISUSE",
    `predict: together is ${described(together)}; it must be true, false, or { wait } of 0 to 1000 milliseconds`,
  );
}

const names = new WeakMap<object, number>();
let last = 0;

/** A name for `value`, which no other one has. */
export function nameOf(value: unknown): string {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return JSON.stringify(value) ?? "";
  if (!names.has(value)) names.set(value, ++last);
  return `#${names.get(value)!}`;
}
