/** Turns the result of `measure` into plain values. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { Fetched } from "../../bridge/reference/fetched.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { isRefusedPromise, lookAfter } from "../../bridge/reference/refused.ts";
import { numbersIn } from "../data/plain-numbers.ts";
import type { Measured } from "./callback.ts";

interface Values {
  [name: string]: unknown;
}

/**
 * Whether `value` can be measured: a number, a reference, or a value on its way, as `py.len` gives it. All of them
 * travel with the step. Any other promise would begin to wait in the middle of it, and send its first half at once.
 */
export const isMeasurable = (value: unknown): value is object | number =>
  typeof value === "number" || value instanceof Fetched || inner(value) !== undefined;

/** What `value` is, which cannot be measured, and what to write. Where it is a promise, its rejection is caught. */
export function unmeasurable(value: unknown): string {
  return isRefusedPromise(value)
    ? "a Promise, and a step waits for nothing: give the reference itself, or what py.len(x), py.js(x) or py.ndarray(x) returns, without await, async or .then; the value comes when the step is done"
    : "neither a reference nor a number";
}

/** Asks for every value at once, and returns a function that waits for them. A tensor without axes is a number. */
export function ask(measured: Measured): () => Values | Promise<Values> {
  if (typeof measured !== "object" || measured === null)
    throw new TorchwireError("MISUSE", "measure must return a record of references or numbers");
  if (isRefusedPromise(measured))
    throw new TorchwireError(
      "MISUSE",
      "measure must not be async: return references, and their values come to observe.stepEnd",
    );
  const asked = Object.entries(measured).map(([name, value]) => {
    if (!isMeasurable(value)) {
      lookAfter(measured);
      throw new TorchwireError("MISUSE", `measure: ${name} is ${unmeasurable(value)}`);
    }
    return [name, inner(value) === undefined ? value : py.js(value as object)] as const;
  });
  // Awaits nothing before: what a step awaits is sent for at once.
  return () => collect(asked);
}

function collect(asked: readonly (readonly [string, unknown])[]): Values | Promise<Values> {
  const values: Values = {};
  for (const [name, value] of asked) {
    if (value instanceof Fetched && value.here === undefined) return collectSlowly(asked);
    values[name] = numberOr(value instanceof Fetched ? value.here!.value : value, name);
  }
  return values;
}

async function collectSlowly(asked: readonly (readonly [string, unknown])[]): Promise<Values> {
  const values: Values = {};
  for (const [name, promise] of asked) values[name] = numberOr(await promise, name);
  return values;
}

function numberOr(value: unknown, name: string): unknown {
  return isNDArray(value) && value.shape.length === 0 ? numbersIn(value, name)[0] : value;
}
