/** Values of JavaScript in a recorded function, as expressions that the worker writes in Python. */
import { isKw } from "../reference/kw.ts";
import { PyBytesLiteral, PyFloatLiteral, PySliceLiteral, PyTupleLiteral } from "../reference/literals.ts";
import { inner, type Reference } from "../reference/ref.ts";
import { lookAfter } from "../reference/refused.ts";
import { classOf, isMap, isPlainObject, isPromise } from "../runtime/kinds.ts";
import { isNDArray } from "../values/ndarray.ts";

export type Expression = readonly [kind: string, ...parts: unknown[]];

/** What an expression may come from, beside plain values. */
export interface Sources {
  reference(reference: Reference): Expression;
  tensor(array: unknown): Expression;
  refuse(path: string, why: string): never;
}

/** The nesting of a literal. Each level takes two of a message's. */
const MOST_DEPTH = 24;

/** The arguments of a call, by position and by name. */
export function argumentsOf(
  args: readonly unknown[],
  sources: Sources,
): [positional: Expression[], named: ReadonlyMap<string, Expression>] {
  const last = args.at(-1);
  const positional = (isKw(last) ? args.slice(0, -1) : args).map((arg, i) => expressionOf(arg, `args[${i}]`, sources));
  const named = isKw(last) ? Object.entries(last.values) : [];
  return [positional, new Map(named.map(([name, value]) => [name, expressionOf(value, `kw.${name}`, sources)]))];
}

/** `path` names the value in errors: `args[1].transform`. */
export function expressionOf(value: unknown, path: string, sources: Sources, depth = 0): Expression {
  const reference = inner(value);
  if (reference !== undefined) return sources.reference(reference);
  switch (typeof value) {
    case "undefined":
      return ["constant", null];
    case "boolean":
    case "string":
    case "number":
    case "bigint":
      return ["constant", value];
    case "function":
      return sources.refuse(path, "a JavaScript function inside of a recorded one: record it too, worker.function(fn)");
    case "object":
      return value === null ? ["constant", null] : objectOf(value, path, sources, depth + 1);
    default:
      return sources.refuse(path, `a ${typeof value} has no counterpart in Python`);
  }
}

function objectOf(value: object, path: string, sources: Sources, depth: number): Expression {
  if (depth > MOST_DEPTH) return sources.refuse(path, `it is nested more than ${MOST_DEPTH} deep, or contains itself`);
  const of = (part: unknown, key: string): Expression => expressionOf(part, `${path}${key}`, sources, depth);
  const list = (items: readonly unknown[]): Expression[] => Array.from(items, (item, i) => of(item, `[${i}]`));
  const dict = (entries: Iterable<readonly [unknown, unknown]>): Expression => [
    "dict",
    ...Array.from(entries, ([key, part]) => [of(key, " (a key)"), of(part, `[${String(key)}]`)]),
  ];
  if (Array.isArray(value)) return ["list", ...list(value)];
  if (ArrayBuffer.isView(value) || isNDArray(value)) return sources.tensor(value);
  if (value instanceof PyFloatLiteral || value instanceof PyBytesLiteral) return ["constant", value];
  if (value instanceof PyTupleLiteral) return ["tuple", ...list(value.items)];
  if (value instanceof PySliceLiteral) return ["slice", ...list([value.start, value.stop, value.step])];
  if (isMap(value)) return dict(Map.prototype.entries.call(value) as Iterable<[unknown, unknown]>);
  if (isKw(value)) return sources.refuse(path, "kw({...}) must be the last argument of a call");
  if (isPlainObject(value)) return dict(Object.entries(value));
  lookAfter(value);
  if (isPromise(value)) return sources.refuse(path, "a Promise has no value yet; await it before the function");
  return sources.refuse(path, `a ${classOf(value)} has no counterpart in Python; give its parts as plain values`);
}
