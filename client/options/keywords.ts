/** Turns options in camelCase, by tables, into the keywords of a Python function in snake_case. */
import { inspect } from "node:util";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isPromise } from "../../bridge/runtime/kinds.ts";
import { PyFloatLiteral } from "../../bridge/reference/literals.ts";
import { isNDArray, type NDArray, type TypedArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { lookAfter } from "../../bridge/reference/refused.ts";
import type { TensorLike } from "../../bridge/types/values.ts";

/** The value of a tensor option: numbers (float32), an array, or a reference to a tensor. */
export type TensorOption = readonly number[] | TypedArray | NDArray | TensorLike;

/** The values that an option may have, and how they are sent. */
export interface Kind {
  /** Completes "it must be …". */
  readonly is: string;
  /** Returns what is sent, or undefined for a value that the option cannot have. */
  readonly send: (value: unknown) => unknown;
}

/** A table: the kind of each option of `O`. */
export type Kinds<O> = { readonly [K in keyof O]-?: Kind };

const isInPython = (value: unknown): boolean => inner(value) !== undefined || value instanceof PyFloatLiteral;

/** An integral number is a float in Python, too: `lr: 1` is `lr=1.0`. */
export const float: Kind = {
  is: "a number",
  send: (value) => (typeof value === "number" ? py.float(value) : isInPython(value) ? value : undefined),
};

export const int: Kind = {
  is: "a whole number",
  send: (value) =>
    Number.isInteger(value) || typeof value === "bigint" || inner(value) !== undefined ? value : undefined,
};

export const flag: Kind = {
  is: "true or false",
  send: (value) => (typeof value === "boolean" || inner(value) !== undefined ? value : undefined),
};

const AMOUNTS = ["no", "one", "two", "three"];

/** A tuple of `length` floats; with `null` as the second argument, the first may be null. */
export function floats(length: number, none?: null): Kind {
  return {
    is: `an array of ${AMOUNTS[length]} numbers${none === null ? ", the first of which may be null" : ""}`,
    send(value) {
      if (inner(value) !== undefined) return value;
      if (!Array.isArray(value) || value.length !== length) return undefined;
      const items = value.map((item, i) => (item === null && i === 0 && none === null ? null : float.send(item)));
      return items.includes(undefined) ? undefined : py.tuple(...items);
    },
  };
}

/** Any reference. */
export const reference: Kind = {
  is: "a reference",
  send: (value) => (inner(value) === undefined ? undefined : value),
};

export function oneOf(...names: readonly string[]): Kind {
  return {
    is: names.map((name) => JSON.stringify(name)).join(" or "),
    send: (value) => (names.includes(value as string) || inner(value) !== undefined ? value : undefined),
  };
}

/** It is sent as it is; code that has a worker makes a tensor of it. */
export const tensor: Kind = {
  is: "an array of numbers or a reference to a tensor",
  send: (value) => (inner(value) !== undefined || isTensorData(value) ? value : undefined),
};

/** Whether an option of the kind `tensor` is data of this process, and no reference yet. */
export function isTensorData(value: unknown): value is number[] | TypedArray | NDArray {
  return isNDArray(value) || ArrayBuffer.isView(value) || (Array.isArray(value) && value.every(isNumber));
}

const isNumber = (value: unknown): boolean => typeof value === "number";

/**
 * Returns the keywords of the options that were given, under Python's names (`weightDecay` is `weight_decay`). `what`
 * names the function in errors. An option whose value is undefined was not given.
 *
 * Throws MISUSE for an unknown option, naming the known ones, and for a value of a wrong kind.
 */
export function keywordsOf<O extends object>(what: string, kinds: Kinds<O>, options: O): Record<string, unknown> {
  if (typeof options !== "object" || options === null || Array.isArray(options))
    throw new TorchwireError(
      "MISUSE",
      `${what} takes an object of options, not ${described(options)}` +
        // A loop has called with outputs what the program should have called before.
        (inner(options) === undefined ? "" : `; give the learner ${what}(), not ${what}`),
    );
  const keywords: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(kinds, name))
      throw new TorchwireError("MISUSE", `${what} has no option "${name}"; it has ${Object.keys(kinds).join(", ")}`);
    if (value === undefined) continue;
    const kind = kinds[name as keyof O];
    const sent = kind.send(value);
    if (sent === undefined)
      throw new TorchwireError("MISUSE", `${what}: ${name} is ${described(value)}; it must be ${kind.is}`);
    keywords[snakeCase(name)] = sent;
  }
  return keywords;
}

/** Throws MISUSE for an option that `what` has not: a slip of the pen would count for nothing. */
export function onlyOptions<O extends object>(what: string, names: Readonly<Record<keyof O, true>>, options: O): void {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(names, name));
  if (unknown !== undefined)
    throw new TorchwireError("MISUSE", `${what} has no option "${unknown}"; it has ${Object.keys(names).join(", ")}`);
}

export const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const camelCase = (name: string): string =>
  name.replaceAll(/_([a-z\d])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Shows a value in an error message, short and on one line. Such values are refused, so it handles a promise in them.
 */
export function described(value: unknown): string {
  lookAfter(value);
  // Node would show its own bookkeeping.
  if (isPromise(value)) return "a Promise";
  return (
    inner(value)?.tag ?? inspect(value, { depth: 0, breakLength: Infinity, maxArrayLength: 4, maxStringLength: 60 })
  );
}
