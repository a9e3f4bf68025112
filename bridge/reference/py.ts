/** `py`: everything that needs a reference, and no worker object. */
import { TorchwireError } from "../errors/errors.ts";
import { isUint8Array } from "../runtime/kinds.ts";
import { PyBytesLiteral, PyFloatLiteral, PySliceLiteral, PyTupleLiteral } from "./literals.ts";
import type { NDArray } from "../values/ndarray.ts";
import { inner, type Reference, type RefOwner } from "./ref.ts";
import type { AnyRef, Is, TupleOf } from "../types/core.ts";
import { checkText } from "../values/check.ts";
import { FetchMode, type WELL_KNOWN } from "../wire/codes.ts";

/** The functions of Python's `operator` module, by the signs of its operators. */
const OPERATORS = {
  "+": "add",
  "-": "sub",
  "*": "mul",
  "/": "truediv",
  "//": "floordiv",
  "%": "mod",
  "**": "pow",
  "@": "matmul",
  "&": "and_",
  "|": "or_",
  "^": "xor",
  "<<": "lshift",
  ">>": "rshift",
  "==": "eq",
  "!=": "ne",
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
  in: "contains",
  is: "is_",
} as const;
export type Operator = keyof typeof OPERATORS;

/** Any reference, typed or not. */
export type AnyReference = object;

/**
 * The value as plain JavaScript: numbers, strings, containers (a dict with string keys → object, else Map), tensors →
 * NDArray.
 */
function js(ref: AnyReference): Promise<unknown> {
  return fetch(ref, FetchMode.js);
}

/** The elements of a tensor or NumPy array, on whatever device it is. */
function ndarray(ref: AnyReference): Promise<NDArray> {
  return fetch(ref, FetchMode.ndarray) as Promise<NDArray>;
}

/** `str(ref)`. */
function str(ref: AnyReference): Promise<string> {
  return builtin("str", ref) as Promise<string>;
}

/** `repr(ref)`. */
function repr(ref: AnyReference): Promise<string> {
  return builtin("repr", ref) as Promise<string>;
}

/**
 * The source of a function, class or module, as `inspect.getsource` gives it: also that of a function which
 * `worker.function` has made. Rejects with Python's error where there is none.
 */
function source(ref: AnyReference): Promise<string> {
  return value(wellKnownCall(ref, "helpers", "source", [ref])) as Promise<string>;
}

/** `len(ref)`. */
function len(ref: AnyReference): Promise<number> {
  return builtin("len", ref) as Promise<number>;
}

/** `type(ref)`: the class. */
function type(ref: AnyReference): AnyRef {
  return wellKnownCall(ref, "builtins", "type", [ref]);
}

/** `isinstance(ref, cls)`. */
function isInstance(ref: AnyReference, cls: AnyReference): Promise<boolean> {
  return value(wellKnownCall(ref, "builtins", "isinstance", [ref, cls])) as Promise<boolean>;
}

/** `hasattr(ref, name)`. */
function has(ref: AnyReference, name: string): Promise<boolean> {
  return value(wellKnownCall(ref, "builtins", "hasattr", [ref, name])) as Promise<boolean>;
}

/** `getattr(ref, name)`, also for names that JavaScript reserves: `py.get(future, "then")`. */
function get(ref: AnyReference, name: string): AnyRef {
  const reference = known(ref);
  return ownerOf(reference).get(reference, checkText(name, "attribute")) as AnyRef;
}

/** `setattr(ref, name, value)`; resolves when the worker has done it. */
function set(ref: AnyReference, name: string, value: unknown): Promise<void> {
  const reference = known(ref);
  ownerOf(reference).set(reference, checkText(name, "attribute"), value);
  return done(ref);
}

/** `delattr(ref, name)`; resolves when the worker has done it. */
function del(ref: AnyReference, name: string): Promise<void> {
  const reference = known(ref);
  ownerOf(reference).delete(reference, checkText(name, "attribute"));
  return done(ref);
}

/** `ref[index]`; several indices are a tuple, as in Python: `py.at(x, py.slice(1, 3), 0)`. */
function at(ref: AnyReference, ...index: unknown[]): AnyRef {
  const reference = known(ref);
  return ownerOf(reference).item(reference, indexOf(index)) as AnyRef;
}

/** `ref[index] = value`; give several indices as `py.tuple(...)`. */
function setAt(ref: AnyReference, index: unknown, value: unknown): void {
  const reference = known(ref);
  ownerOf(reference).setItem(reference, index, value);
}

/** `del ref[index]`. */
function delAt(ref: AnyReference, index: unknown): void {
  const reference = known(ref);
  ownerOf(reference).deleteItem(reference, index);
}

/** `a @ b` and the like: `py.op("@", a, b)`. For `in`, as in Python: `py.op("in", x, container)`. */
function op(operator: Operator, a: unknown, b: unknown): AnyRef {
  const reference = inner(a) ?? inner(b);
  if (reference === undefined)
    throw new TorchwireError(
      "MISUSE",
      `py.op("${operator}", a, b): neither a nor b is a reference; use JavaScript's own`,
    );
  return wellKnownCall(reference.proxy, "operator", OPERATORS[operator], operator === "in" ? [b, a] : [a, b]);
}

/** The items of something iterable that has exactly `n`: `const [out, h] = py.unpack(lstm(x), 2)`. */
function unpack(ref: AnyReference, n: number): AnyRef[] {
  const items = inner(wellKnownCall(ref, "helpers", "unpack", [ref, n]))!;
  const log = ownerOf(items);
  return Array.from({ length: n }, (_, i) => log.item(items, i) as AnyRef);
}

/** Waits until the reference has its value, and gives the reference, even where `await ref` would give a number. */
async function settle<T extends AnyReference>(ref: T): Promise<Awaited<T>> {
  const reference = known(ref);
  const scalar = await ownerOf(reference).settle(reference);
  reference.settledAs ??= typeof scalar;
  return ref as Awaited<T>;
}

/** Keeps a reference beyond the end of its scope, until it is disposed or garbage-collected. */
function keep<T extends AnyReference>(ref: T): T {
  const reference = known(ref);
  ownerOf(reference).keep(reference);
  return ref;
}

// The types of literals are those of references, whose members exist for the compiler alone: hence the casts.

/** A float, even where the number is whole: `py.float(1)` is 1.0. */
function float(value: number): Is<"float"> {
  if (typeof value !== "number")
    throw new TorchwireError("MISUSE", `py.float: ${String(value)} is not a number; convert it, e.g. with Number(x)`);
  return new PyFloatLiteral(value) as unknown as Is<"float">;
}

/** An int, even where the number is past 2^53. */
function int(value: number | bigint): bigint {
  if (typeof value === "bigint") return value;
  if (!Number.isInteger(value))
    throw new TorchwireError(
      "MISUSE",
      `py.int: ${String(value)} is not a whole number; round it, e.g. with Math.round(x)`,
    );
  return BigInt(value);
}

/** A tuple. (An array is a list.) */
function tuple<T extends readonly unknown[]>(...items: T): TupleOf<T[number]> {
  return new PyTupleLiteral(items) as unknown as TupleOf<T[number]>;
}

/** Bytes. (A Uint8Array by itself is a tensor.) */
function bytes(data: Uint8Array): Is<"bytes"> {
  if (!isUint8Array(data))
    throw new TorchwireError(
      "MISUSE",
      `py.bytes: ${shown(data)} is no Uint8Array; give one over its bytes, as new Uint8Array(buffer) or Buffer.from(text)`,
    );
  return new PyBytesLiteral(data) as unknown as Is<"bytes">;
}

/** `slice(start, stop, step)`, for `py.at`: `py.at(x, py.slice(1, 3))` is `x[1:3]`. */
function slice(start?: number | null, stop?: number | null, step?: number | null): PySliceLiteral {
  return new PySliceLiteral(start, stop, step);
}

export const py: {
  js: typeof js;
  ndarray: typeof ndarray;
  str: typeof str;
  repr: typeof repr;
  source: typeof source;
  len: typeof len;
  type: typeof type;
  isInstance: typeof isInstance;
  has: typeof has;
  get: typeof get;
  set: typeof set;
  del: typeof del;
  at: typeof at;
  setAt: typeof setAt;
  delAt: typeof delAt;
  op: typeof op;
  unpack: typeof unpack;
  settle: typeof settle;
  keep: typeof keep;
  float: typeof float;
  int: typeof int;
  tuple: typeof tuple;
  bytes: typeof bytes;
  slice: typeof slice;
} = {
  js,
  ndarray,
  str,
  repr,
  source,
  len,
  type,
  isInstance,
  has,
  get,
  set,
  del,
  at,
  setAt,
  delAt,
  op,
  unpack,
  settle,
  keep,
  float,
  int,
  tuple,
  bytes,
  slice,
};

function known(ref: unknown): Reference {
  const reference = inner(ref);
  if (reference === undefined)
    throw new TorchwireError(
      "MISUSE",
      `${shown(ref)} is not a reference to a Python object; a value of JavaScript needs no py`,
    );
  return reference;
}

const shown = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? typeof value));

const ownerOf = (reference: Reference): RefOwner => reference.owner;

function fetch(ref: AnyReference, mode: FetchMode): Promise<unknown> {
  const reference = known(ref);
  return ownerOf(reference).fetch(reference, mode);
}

function value(ref: AnyReference): Promise<unknown> {
  const reference = known(ref);
  return ownerOf(reference).settle(reference);
}

const indexOf = (index: readonly unknown[]): unknown => (index.length === 1 ? index[0] : new PyTupleLiteral(index));

function wellKnownCall(ref: AnyReference, module: keyof typeof WELL_KNOWN, name: string, args: unknown[]): AnyRef {
  const log = ownerOf(known(ref));
  return log.callPath(log.wellKnown(module), [name], args) as AnyRef;
}

function builtin(name: string, ref: AnyReference): Promise<unknown> {
  return value(wellKnownCall(ref, "builtins", name, [ref]));
}

/** Waits for an answer from this place in the log. */
function done(ref: AnyReference): Promise<void> {
  const reference = known(ref);
  return ownerOf(reference).passed(reference);
}
