/** What a function of the program picks out of the outputs of a model. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isRefusedPromise, lookAfter } from "../../bridge/reference/refused.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import { described } from "../options/keywords.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { mapTree } from "./tree.ts";

/** A reference, or references by position or by name. */
export type Picked = PyObject | readonly Picked[] | { readonly [name: string]: Picked };

/** Calls `pick`. Throws MISUSE where it does not return references, at once. `name` stands in the error. */
export function pickedBy<T extends Picked>(name: string, pick: (yhat: any) => T, yhat: unknown): T {
  const found = pick(yhat);
  if (!isReference(found))
    mapTree(found, name, isPart, same, (part, path) => {
      lookAfter(found);
      throw new TorchwireError("MISUSE", `${path} gave ${described(part)}; ${advice(part)}`);
    });
  return found;
}

/** The same with each reference changed. */
export const mapPicked = (picked: Picked, change: (part: PyObject) => unknown): unknown =>
  isReference(picked) ? change(picked) : mapTree(picked, "", isPart, change, (part) => part as never);

const isPart = (part: unknown): part is PyObject => isReference(part);
const same = (part: PyObject): PyObject => part;

/** @throws MISUSE where `pick` is given, and is no function of TypeScript's. */
export function checkPick(name: string, pick: unknown): void {
  if (pick !== undefined && (typeof pick !== "function" || isReference(pick))) {
    lookAfter(pick);
    throw new TorchwireError(
      "MISUSE",
      `${name} is ${described(pick)}; it must be a function of the model's output, such as (y) => y.logits`,
    );
  }
}

function advice(part: unknown): string {
  if (isRefusedPromise(part)) return "it must return references at once: leave async and await out";
  if (part === undefined) return "it must return a part of the model's output: is a return missing?";
  return "it must return a reference, or an array or a record of some, such as (y) => y.logits";
}
