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
  const refuse = (key: string | symbol): never => {
    throw new TorchwireError("MISUSE", `${path}.${String(key)} is read only for callback ${name}`);
  };
  const seen = (found: unknown, key: string | symbol): unknown =>
    isContainer(found) ? readOnly(found, name, `${path}.${String(key)}`) : found;
  const view: object = new Proxy(Object.isFrozen(value) ? copyOf(value) : value, {
    get(target, key) {
      const found: unknown = Reflect.get(value, key);
      if (typeof found === "function")
        return key === "constructor" || inner(found) !== undefined
          ? found
          : methodOf(value, found as Method, key, { refuse, seen, view });
      return isFixed(target, key) ? found : seen(found, key);
    },
    getOwnPropertyDescriptor(target, key) {
      const found = Reflect.getOwnPropertyDescriptor(target, key);
      if (found !== undefined && "value" in found && !isFixed(target, key)) found.value = seen(found.value, key);
      return found;
    },
    set: (_, key) => refuse(key),
    deleteProperty: (_, key) => refuse(key),
    defineProperty: (_, key) => refuse(key),
    setPrototypeOf: () => refuse("prototype"),
    preventExtensions: () => refuse("extensibility"),
  });
  return view;
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

interface Surroundings {
  readonly refuse: (key: string | symbol) => never;
  readonly seen: (found: unknown, key: string | symbol) => unknown;
  readonly view: object;
}

const CHANGES = new Set("set add delete clear push pop shift unshift splice sort reverse fill copyWithin".split(" "));

/**
 * Returns a method of `value`. Methods of arrays and of plain objects work on the view, and so return views. Methods of
 * all other classes know only the object itself.
 */
function methodOf(value: object, method: Method, key: string | symbol, around: Surroundings): Method {
  const { refuse, seen } = around;
  const isKeyed = isMap(value) || isSet(value);
  const isBinary = ArrayBuffer.isView(value);
  const isTime = isDate(value);
  const changes =
    typeof key === "string" &&
    (((isKeyed || isBinary || Array.isArray(value)) && CHANGES.has(key)) ||
      ((isTime || isBinary) && key.startsWith("set")));
  if (changes) return () => refuse(key);
  if (isKeyed) return keyedMethodOf(value, method, key, around);
  if (key === "subarray") return (...args) => seen(method.apply(value, args), key);
  return Array.isArray(value) || isPlainObject(value) ? method : method.bind(value);
}

function keyedMethodOf(
  value: Map<unknown, unknown> | Set<unknown>,
  method: Method,
  key: string | symbol,
  { seen, view }: Surroundings,
): Method {
  if (key === "get") return (at) => seen(method.call(value, at), String(at));
  if (key === "forEach")
    return (each, self) =>
      method.call(value, (one: unknown, at: unknown) => (each as Method).call(self, seen(one, String(at)), at, view));
  if (!["values", "keys", "entries", Symbol.iterator].includes(key)) return method.bind(value);
  // Each call makes its own pairs.
  const gives = key === "entries" || (key === Symbol.iterator && isMap(value)) ? "pairs" : "single ones";
  return function* () {
    for (const item of method.call(value) as Iterable<unknown>)
      yield gives === "pairs" ? (item as unknown[]).map((one) => seen(one, key)) : seen(item, key);
  };
}
