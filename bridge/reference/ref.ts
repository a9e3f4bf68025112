/** A reference to a Python object: the proxy that users hold, and the effect of every JavaScript construct on it. */
import { inspect } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { captureSite, isPrinter, type CallSite } from "../errors/site.ts";
import type { AnyRef, PyObject } from "../types/core.ts";
import type { FetchMode, WELL_KNOWN } from "../wire/codes.ts";

/** The log that a reference belongs to. All that a program does to the reference becomes an operation there. */
export interface RefOwner {
  get(target: Reference, name: string): object;
  set(target: Reference, name: string, value: unknown): void;
  delete(target: Reference, name: string): void;
  call(target: Reference, args: readonly unknown[]): object;
  /** Calls `target.a.b(…)` as one operation. */
  callPath(target: Reference, path: readonly string[], args: readonly unknown[]): object;
  item(target: Reference, key: unknown): object;
  setItem(target: Reference, key: unknown, value: unknown): void;
  deleteItem(target: Reference, key: unknown): void;
  wellKnown(name: keyof typeof WELL_KNOWN): Reference;
  /** Resolves when the worker has come to this place of the log. */
  passed(target: Reference): Promise<void>;
  settle(target: Reference, site?: CallSite): Promise<unknown>;
  fetch(target: Reference, mode: FetchMode): Promise<unknown>;
  /** The line that awaits a value now; undefined where the log knows it without a look. */
  awaitedAt(): CallSite | undefined;
  iterate(target: Reference): AsyncGenerator<unknown, void>;
  release(target: Reference): void;
  keep(target: Reference): void;
  /** The error for a construct that it does not support. It is about to be thrown. */
  refused?(message: string): Error;
}

/** It gets all that the program does to references, as long as it records a function. */
let recorder: RefOwner | undefined;

/** Runs `fn`. Until it has returned, every operation of the program goes to `owner`, whatever reference it is on. */
export function recordedBy<T>(owner: RefOwner, fn: () => T): T {
  const before = recorder;
  recorder = owner;
  try {
    return fn();
  } finally {
    recorder = before;
  }
}

export const currentRecorder = (): RefOwner | undefined => recorder;

/**
 * The generation of a lane in which a reference was made. After a failure in it, some of its references have no value.
 */
export interface Origin {
  /** Whether `id`, which was made here, never got its value. */
  lacks(id: number): boolean;
  /** The error with which an await of `id` rejects. */
  errorFor(id: number): unknown;
  /** Must be called when user code is about to get that error. */
  hasBeenThrown(): void;
}

const INNER = Symbol("torchwire.reference");

export class Reference implements ProxyHandler<object> {
  readonly proxy: object;
  /** The log that made it. */
  readonly home: RefOwner;
  /** Its position in the log, which is its name in the worker; 0 where it has none, because its lane had failed. */
  readonly id: number;
  readonly origin: Origin;
  /** The scope whose end frees it. */
  scope: object | undefined;
  /** The type that the worker has given. From then on it is no longer thenable. */
  settledAs: string | undefined;
  /**
   * Its value, where that is a number, string, boolean, bigint or null. These are immutable, so it is asked for once.
   */
  scalar: { readonly value: unknown } | undefined;
  /** The reason why it cannot be used any more. */
  gone: string | undefined;

  constructor(owner: RefOwner, id: number, origin: Origin, scope: object | undefined) {
    this.home = owner;
    this.id = id;
    this.origin = origin;
    this.scope = scope;
    this.proxy = new Proxy(TARGET, this);
  }

  /** Who takes an operation on it: its log, or what records a function now. */
  get owner(): RefOwner {
    return recorder ?? this.home;
  }

  get tag(): string {
    return `[PyRef #${this.id}${this.settledAs === undefined ? "" : ` ${this.settledAs}`}]`;
  }

  get(_target: object, key: string | symbol): unknown {
    if (typeof key === "symbol") return this.#symbol(key);
    if (key === "then" || key === "catch" || key === "finally") return this.#promiseMethod(key);
    if (RESERVED.has(key)) return this.#reserved(key);
    if (INTEGER.test(key)) return this.owner.item(this, Number(key));
    // A test matcher names anything that looks like a function. That must not queue an operation, which could fail.
    if ((key === "name" || key === "length") && isPrinter(captureSite())) return undefined;
    if (isPythonName(key)) return this.owner.get(this, key);
    // Nothing but a program asks for such a name. (Tools ask for others that Python does not have.)
    return DOTTED.test(key) ? misuse(`"${key}" is no attribute; an item is py.at(ref, "${key}")`) : undefined;
  }

  set(_target: object, key: string | symbol, value: unknown): boolean {
    if (typeof key === "symbol") return misuse(`a symbol cannot be set on a Python object`);
    if (INTEGER.test(key)) this.owner.setItem(this, Number(key), value);
    else if (DOTTED.test(key)) misuse(`"${key}" is no attribute; an item is set by py.setAt(ref, "${key}", value)`);
    else if (RESERVED.has(key) || !isPythonName(key))
      misuse(`"${key}" is not a Python attribute here; use py.set(ref, "${key}", value)`);
    else this.owner.set(this, key, value);
    return true;
  }

  deleteProperty(_target: object, key: string | symbol): boolean {
    if (typeof key === "string" && INTEGER.test(key)) return misuse(`an item is deleted by py.delAt(ref, ${key})`);
    if (typeof key === "symbol" || RESERVED.has(key) || !isPythonName(key))
      return misuse(`${String(key)} is not a Python attribute here; use py.del(ref, name)`);
    this.owner.delete(this, key);
    return true;
  }

  apply(_target: object, _this: unknown, args: readonly unknown[]): object {
    return this.owner.call(this, args);
  }

  construct(_target: object, args: readonly unknown[]): object {
    return this.owner.call(this, args);
  }

  has(_target: object, key: string | symbol): boolean {
    if (key === INNER) return true;
    if (key === "then") return this.settledAs === undefined;
    if (typeof key === "symbol") return false;
    return misuse(
      `"${key}" in a reference cannot be answered at once; use await py.has(ref, "${key}")`,
      `"${key}" in a reference cannot be answered while a function is recorded: ${ONCE}. Python answers it then: builtins.hasattr(x, "${key}"), with worker.import("builtins")`,
    );
  }

  ownKeys(): [] {
    return [];
  }

  getOwnPropertyDescriptor(): undefined {
    return undefined;
  }

  defineProperty(): boolean {
    return misuse("a property cannot be defined on a reference; assign it: ref.name = value");
  }

  setPrototypeOf(): boolean {
    return misuse("a reference has no prototype to set");
  }

  preventExtensions(): boolean {
    return misuse("a reference cannot be frozen or sealed; freeze what holds it: Object.freeze({ ref })");
  }

  #symbol(key: symbol): unknown {
    switch (key) {
      case INNER:
        return this;
      case Symbol.toPrimitive:
        return (hint: string): string =>
          hint === "string"
            ? this.tag
            : misuse(
                `${this.tag} is not a number here: await it first, e.g. (await x.item()) + 1`,
                `${this.tag} is not a number while its function is recorded: ${ONCE}. Compute with py.op("+", x, 1), compare with py.op(">", x, 0), and choose with torch.where(condition, a, b)`,
              );
      case Symbol.iterator:
        return (): never =>
          misuse(
            "a reference cannot be iterated at once; use for await (const x of ref), or py.unpack(ref, n)",
            `${this.tag} has no items while its function is recorded: ${ONCE}. Take a known number of items with py.unpack(x, n); for any number write builtins.map(worker.function((item) => …), x), with worker.import("builtins")`,
          );
      case Symbol.asyncIterator:
        return () => this.owner.iterate(this);
      case Symbol.hasInstance:
        return (): never => misuse("instanceof knows JavaScript's classes; use await py.isInstance(ref, cls)");
      case Symbol.dispose:
        return () => this.owner.release(this);
      case Symbol.asyncDispose:
        return () => Promise.resolve(this.owner.release(this));
      case Symbol.toStringTag:
        return "PyRef";
      default:
        return undefined;
    }
  }

  /** `await` reads `then` in the user's stack, and calls it later from an empty one. So the call site is taken here. */
  #promiseMethod(key: "then" | "catch" | "finally"): unknown {
    if (this.settledAs !== undefined) return undefined;
    const site = this.owner.awaitedAt();
    const settle = (): Promise<unknown> => this.owner.settle(this, site);
    if (key === "then") return (ok?: Fulfilled, failed?: Rejected) => settle().then(ok, failed);
    if (key === "catch") return (failed?: Rejected) => settle().catch(failed);
    return (done?: () => void) => settle().finally(done);
  }

  #reserved(key: string): unknown {
    if (key === "toString" || key === "toJSON") return () => this.tag;
    if (key === "valueOf") return () => this.proxy;
    if (key === "constructor") return Object;
    return undefined;
  }
}

type Fulfilled = (value: unknown) => unknown;
type Rejected = (reason: unknown) => unknown;

/** The handler behind a proxy of ours; undefined for anything else. */
export function inner(value: unknown): Reference | undefined {
  return typeof value === "function" && INNER in value ? (value[INNER] as Reference) : undefined;
}

export const isReference = (value: unknown): value is AnyRef => inner(value) !== undefined;

/** The same reference, without its type. A cast needs `unknown` in between, because AnyRef has every member. */
export const untyped = (reference: PyObject): AnyRef => reference as unknown as AnyRef;

// All proxies have one target: a function without names of its own, so that proxies can be called. It is bound, because
// a bound function has no `prototype`, about which a proxy would have to tell the truth.
// oxlint-disable-next-line no-extra-bind
const TARGET: object = function target() {}.bind(null);
Reflect.deleteProperty(TARGET, "length");
Reflect.deleteProperty(TARGET, "name");
Object.defineProperty(TARGET, inspect.custom, {
  configurable: true,
  // console.log looks through the proxy at its target, but calls this with the proxy as `this` (except with showProxy).
  value(this: unknown): string {
    return inner(this)?.tag ?? "[PyRef]";
  },
});

/**
 * JavaScript, and the tools that print and compare values, read these names from every value. They are never Python's.
 */
const RESERVED = new Set(
  (
    "then catch finally toJSON toString valueOf constructor prototype " +
    "asymmetricMatch nodeType hasAttribute _isMockFunction tagName outerHTML"
  ).split(" "),
);

const INTEGER = /^(?:0|-?[1-9]\d{0,15})$/;
/** A key of a state_dict: `fc.weight`. */
const DOTTED = /^\w+(?:\.\w+)+$/;
const PYTHON_NAME = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const pythonNames = new Map<string, boolean>();

export function isPythonName(key: string): boolean {
  let known = pythonNames.get(key);
  if (known === undefined) pythonNames.set(key, (known = PYTHON_NAME.test(key)));
  return known;
}

/** Why nothing has a value in a function that is being recorded. */
export const ONCE = "it runs here once, and in Python later, for every value";

/** `recorded` is the message while a function is recorded, where other advice is right. */
function misuse(message: string, recorded: string = message): never {
  throw recorder?.refused?.(recorded) ?? new TorchwireError("MISUSE", message);
}
