import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";

/**
 * Returns a function that says true at its first call and at every `freq`-th call from there. Errors about `freq` name
 * `who`.
 */
export function every(who: string, freq: number): () => boolean {
  whole(who, "freq", freq);
  let asked = 0;
  return () => asked++ % freq === 0;
}

/** Throws MISUSE unless `value` is a whole number from 1. */
export function whole(who: string, option: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new TorchwireError("MISUSE", `${who}: ${option} is ${described(value)}; it must be a whole number from 1`);
}
