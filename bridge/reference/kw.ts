/** Keyword arguments. They are a class of their own, because a plain object is a dict. */
import { inspect } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { isPlainObject } from "../runtime/kinds.ts";
import { lookAfter } from "./refused.ts";
import type { KwFunction } from "../types/core.ts";

/** Names and values at the time of the call: a frozen shallow copy, without the names whose value is undefined. */
export class KwArguments {
  readonly values: Readonly<Record<string, unknown>>;

  constructor(options: object) {
    this.values = Object.freeze(Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)));
    Object.freeze(this);
  }
}

/**
 * Passes arguments by name, as the last argument of a call: `torch.nn.Linear(3, 4, kw({ bias: false }))`.
 *
 * A name whose value is undefined is left out, so that Python's default holds. null is None.
 * Throws a TorchwireError with code MISUSE for anything but a plain object.
 */
export const kw: KwFunction = ((options: unknown): KwArguments => {
  if (typeof options !== "object" || options === null || !isPlainObject(options)) {
    lookAfter(options);
    throw new TorchwireError(
      "MISUSE",
      `kw takes an object of names and values, as in kw({ lr: 0.1 }); it was given ${inspect(options, { depth: 0 })}`,
    );
  }
  return new KwArguments(options);
  // The type of the result has members that exist for the compiler alone.
}) as unknown as KwFunction;

export function isKw(value: unknown): value is KwArguments {
  return value instanceof KwArguments;
}
