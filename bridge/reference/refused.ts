/**
 * Promises where a value was expected. Nobody awaits such a promise, and its rejection would end the process. So we
 * catch it.
 */
import { Fetched } from "./fetched.ts";
import { inner } from "./ref.ts";

/**
 * Whether `value` is a promise, or thenable like one, and not a reference. Call this only to refuse it: its rejection
 * is caught.
 */
export function isRefusedPromise(value: unknown): boolean {
  if (inner(value) !== undefined) return false;
  try {
    const then = (value as { then?: unknown } | null | undefined)?.then;
    if (typeof then !== "function") return false;
    // (The lane catches the rejection of a value on its way.)
    if (!(value instanceof Fetched)) Promise.resolve(value).catch(() => undefined);
    return true;
  } catch {
    // A getter or a Proxy threw.
    return false;
  }
}

/** Catches the rejection of every promise in `value`, to some depth: `update` may give a record of promises. */
export function lookAfter(value: unknown, depth = 2): void {
  if (isRefusedPromise(value) || depth === 0 || typeof value !== "object" || value === null) return;
  try {
    for (const part of Object.values(value)) lookAfter(part, depth - 1);
  } catch {
    // A getter or a Proxy threw.
  }
}
