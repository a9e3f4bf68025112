import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";

/** Asked again and again, it says true the first time and every `freq`-th time from there. `who` is named in the error for a `freq` that is none. */
export function every(who: string, freq: number): () => boolean {
  whole(who, "freq", freq);
  let asked = 0;
  return () => asked++ % freq === 0;
}

/** Throws MISUSE for what is no whole number from 1. */
export function whole(who: string, option: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new TorchwireError("MISUSE", `${who}: ${option} is ${described(value)}; it is to be a whole number from 1`);
}
