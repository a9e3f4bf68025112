import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described, keywordsOf, type Kinds } from "../options/keywords.ts";
import { wholeFrom, yesOrNo } from "../options/kinds.ts";

export interface CrashOptions {
  /** False leaves the bytes of arrays out: batches, and weights that the program sent. Default true. */
  readonly data?: boolean;
  /**
   * Mebibytes of this program's memory for what was sent since the last checkpoint, from 16. Where that is more, the
   * file has only the last steps, and does not give the same bits. Default 256.
   */
  readonly memory?: number;
}

const KINDS: Kinds<CrashOptions> = { data: yesOrNo, memory: wholeFrom(16) };

export interface CrashSettings {
  readonly data: boolean;
  /** In bytes. */
  readonly memory: number;
}

/** Undefined for `false`. Throws MISUSE for options that make no sense. */
export function crashOptions(given: boolean | CrashOptions): CrashSettings | undefined {
  if (given === false) return undefined;
  if (given !== true && (typeof given !== "object" || given === null))
    throw new TorchwireError(
      "MISUSE",
      `fit: crash is ${described(given)}; it must be true, false, or { data, memory }`,
    );
  const options = given === true ? {} : given;
  keywordsOf("fit: crash", KINDS, options);
  const { data = true, memory = 256 } = options;
  return { data, memory: memory * 2 ** 20 };
}
