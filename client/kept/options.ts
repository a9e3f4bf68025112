import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described, keywordsOf, type Kinds } from "../options/keywords.ts";
import { kind, wholeFrom } from "../options/kinds.ts";

export interface KeepOptions {
  /**
   * Bytes of the worker's memory for samples; the others go to its disk, into a file that ends with the worker.
   * Default: a quarter of the memory of its machine.
   */
  readonly memory?: number;
  /**
   * Also keeps the samples on the worker's disk for sessions to come, under this name, which other programs of the same
   * user can use, too. Up to 64 letters, digits, dots, hyphens and underscores; it begins with a letter or a digit.
   * Default: none.
   */
  readonly cache?: string;
  /** About how many bytes that cache may have; what was used the longest ago goes first. Default: 20 GiB. */
  readonly cacheBytes?: number;
}

const KINDS: Kinds<KeepOptions> = {
  memory: wholeFrom(0),
  cache: kind(
    "a name of up to 64 letters, digits, dots, hyphens and underscores, which begins with a letter or a digit",
    (value) => typeof value === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value),
  ),
  cacheBytes: wholeFrom(1),
};

/** Throws MISUSE for options that make no sense. */
export function keepOptions(keep: "worker" | KeepOptions | undefined): KeepOptions | undefined {
  if (keep === undefined) return undefined;
  if (keep === "worker") return {};
  if (typeof keep !== "object" || keep === null)
    throw new TorchwireError("MISUSE", `DataLoader: keep is ${described(keep)}; it must be "worker", or options of it`);
  keywordsOf("DataLoader: keep", KINDS, keep);
  if (keep.cacheBytes !== undefined && keep.cache === undefined)
    throw new TorchwireError("MISUSE", "DataLoader: keep has cacheBytes, and no cache: give the cache a name");
  return keep;
}
