/** Promises that are refused. Nobody awaits one, and its rejection would end the process: who refuses it looks after it. */
import { Fetched } from "./fetched.ts";
import { inner } from "./ref.ts";

/** Whether `value` is a promise, or is awaited as one; a reference, whose value would be fetched, is none. It is looked after: to be called by who refuses it. */
export function isRefusedPromise(value: unknown): boolean {
  if (inner(value) !== undefined) return false;
  try {
    const then = (value as { then?: unknown } | null | undefined)?.then;
    if (typeof then !== "function") return false;
    // (A value on its way is looked after by its lane.)
    if (!(value instanceof Fetched)) Promise.resolve(value).catch(() => undefined);
    return true;
  } catch {
    // A getter, or a Proxy.
    return false;
  }
}

/** Looks after every promise that is a part of `value`, to some depth: `update` may give a record of them. */
export function lookAfter(value: unknown, depth = 2): void {
  if (isRefusedPromise(value) || depth === 0 || typeof value !== "object" || value === null) return;
  try {
    for (const part of Object.values(value)) lookAfter(part, depth - 1);
  } catch {
    // As above.
  }
}
