/** Objects as callbacks see them that may only read them: they cannot be changed at any depth. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isDate, isMap, isPlainObject, isSet } from "../../bridge/runtime/kinds.ts";
import { inner } from "../../bridge/reference/ref.ts";

type Method = (this: unknown, ...args: unknown[]) => unknown;

const views = new WeakMap<object, Map<string, object>>();

/**
 * Returns a view of `value` for the callback `name`, which sees it at `path`. A change of it, or in it, throws MISUSE.
 */
export function readOnly(value: object, name: string, path: string): object {
  let known = views.get(value);
  if (known === undefined) views.set(value, (known = new Map()));
  let view = known.get(name);
  if (view === undefined) known.set(name, (view = viewOf(value, name, path)));
  return view;
}

/**
 * Whether others are in it. References are functions: they do not count, because nothing protects what is in the
 * worker.
 */
export const isContainer = (value: unknown): value is object => typeof value === "object" && value !== null;

function viewOf(value: object, name: string, path: string): object {
  const how = new ReadOnly(value, name, path);
  return (how.view = new Proxy(Object.isFrozen(value) ? copyOf(value) : value, how));
}

/** How a view behaves. (Its methods are the traps: a view with functions of its own would be one for each step.) */
class ReadOnly implements ProxyHandler<object> {
  view!: object;
  readonly #value: object;
  readonly #name: string;
  readonly #path: string;

  constructor(value: object, name: string, path: string) {
    this.#value = value;
    this.#name = name;
    this.#path = path;
  }

  refuse(key: string | symbol): never {
    throw new TorchwireError("MISUSE", `${this.#path}.${String(key)} is read only for callback ${this.#name}`);
  }

  seen(found: unknown, key: string | symbol): unknown {
    return isContainer(found) ? readOnly(found, this.#name, `${this.#path}.${String(key)}`) : found;
  }

  get(target: object, key: string | symbol): unknown {
    const value = this.#value;
    const found: unknown = Reflect.get(value, key);
    if (typeof found === "function")
      return key === "constructor" || inner(found) !== undefined ? found : methodOf(value, found as Method, key, this);
    if (!isContainer(found)) return found;
    return isFixed(target, key) ? found : this.seen(found, key);
  }

  getOwnPropertyDescriptor(target: object, key: string | symbol): PropertyDescriptor | undefined {
    const found = Reflect.getOwnPropertyDescriptor(target, key);
    if (found !== undefined && "value" in found && !isFixed(target, key)) found.value = this.seen(found.value, key);
    return found;
  }

  set(_: object, key: string | symbol): never {
    return this.refuse(key);
  }

  deleteProperty(_: object, key: string | symbol): never {
    return this.refuse(key);
  }

  defineProperty(_: object, key: string | symbol): never {
    return this.refuse(key);
  }

  setPrototypeOf(): never {
    return this.refuse("prototype");
  }

  preventExtensions(): never {
    return this.refuse("extensibility");
  }
}

/**
 * A proxy must return the target's own value where that can never change. So the target for a frozen object is a copy.
 */
function copyOf(value: object): object {
  return Array.isArray(value)
    ? Array.from<unknown>(value)
    : Object.assign(Object.create(Object.getPrototypeOf(value) as object | null) as object, value);
}

function isFixed(target: object, key: string | symbol): boolean {
  const own = Reflect.getOwnPropertyDescriptor(target, key);
  return own !== undefined && own.configurable === false && own.writable === false;
}

const CHANGES = new Set("set add delete clear push pop shift unshift splice sort reverse fill copyWithin".split(" "));

/**
 * Returns a method of `value`. Methods of arrays and of plain objects work on the view, and so return views. Methods of
 * all other classes know only the object itself.
 */
function methodOf(value: object, method: Method, key: string | symbol, how: ReadOnly): Method {
  const isKeyed = isMap(value) || isSet(value);
  const isBinary = ArrayBuffer.isView(value);
  const isTime = isDate(value);
  const changes =
    typeof key === "string" &&
    (((isKeyed || isBinary || Array.isArray(value)) && CHANGES.has(key)) ||
      ((isTime || isBinary) && key.startsWith("set")));
  if (changes) return () => how.refuse(key);
  if (isKeyed) return keyedMethodOf(value, method, key, how);
  if (key === "subarray") return (...args) => how.seen(method.apply(value, args), key);
  return Array.isArray(value) || isPlainObject(value) ? method : method.bind(value);
}

function keyedMethodOf(
  value: Map<unknown, unknown> | Set<unknown>,
  method: Method,
  key: string | symbol,
  how: ReadOnly,
): Method {
  if (key === "get") return (at) => how.seen(method.call(value, at), String(at));
  if (key === "forEach")
    return (each, self) =>
      method.call(value, (one: unknown, at: unknown) =>
        (each as Method).call(self, how.seen(one, String(at)), at, how.view),
      );
  if (!["values", "keys", "entries", Symbol.iterator].includes(key)) return method.bind(value);
  // Each call makes its own pairs.
  const gives = key === "entries" || (key === Symbol.iterator && isMap(value)) ? "pairs" : "single ones";
  return function* () {
    for (const item of method.call(value) as Iterable<unknown>)
      yield gives === "pairs" ? (item as unknown[]).map((one) => how.seen(one, key)) : how.seen(item, key);
  };
}
