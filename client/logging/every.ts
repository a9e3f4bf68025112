import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { KeptState } from "../callback/callback.ts";
import { described } from "../options/keywords.ts";

/** Says true at its first call and at every `freq`-th call from there. */
export interface Every {
  (): boolean;
  readonly state: KeptState<number>;
}

/** Errors about `freq` name `who`. */
export function every(who: string, freq: number): Every {
  whole(who, "freq", freq);
  let asked = 0;
  const state: KeptState<number> = { save: () => asked, load: (saved) => void (asked = saved) };
  return Object.assign(() => asked++ % freq === 0, { state });
}

/** Throws MISUSE unless `value` is a whole number from 1. */
export function whole(who: string, option: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new TorchwireError("MISUSE", `${who}: ${option} is ${described(value)}; it must be a whole number from 1`);
}
