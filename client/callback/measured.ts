/** Turns the result of `measure` into plain values. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isNDArray } from "../../bridge/values/ndarray.ts";
import { py } from "../../bridge/reference/py.ts";
import { inner } from "../../bridge/reference/ref.ts";
import { isRefusedPromise, lookAfter } from "../../bridge/reference/refused.ts";
import { numbersIn } from "../data/plain-numbers.ts";
import type { Measured } from "./callback.ts";

/** Asks for every value at once, and returns a function that waits for them. A tensor without axes is a number. */
export function ask(measured: Measured): () => Promise<{ [name: string]: unknown }> {
  if (typeof measured !== "object" || measured === null)
    throw new TorchwireError("MISUSE", "measure must return a record of references or numbers");
  if (isRefusedPromise(measured))
    throw new TorchwireError(
      "MISUSE",
      "measure must not be async: return references, and their values come to observe.stepEnd",
    );
  const asked = Object.entries(measured).map(([name, value]) => {
    if (typeof value === "number") return [name, value] as const;
    if (inner(value) === undefined) {
      lookAfter(measured);
      throw new TorchwireError("MISUSE", `measure: ${name} is neither a reference nor a number`);
    }
    return [name, py.js(value)] as const;
  });
  // Awaits nothing before: what a step awaits is sent for at once.
  return () => collect(asked);
}

async function collect(asked: readonly (readonly [string, unknown])[]): Promise<{ [name: string]: unknown }> {
  const values: { [name: string]: unknown } = {};
  for (const [name, promise] of asked) values[name] = numberOr(await promise, name);
  return values;
}

function numberOr(value: unknown, name: string): unknown {
  return isNDArray(value) && value.shape.length === 0 ? numbersIn(value, name)[0] : value;
}
