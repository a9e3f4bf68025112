/**
 * The call sites of a batch's operations. Taking a stack costs ten times what the rest of an operation does, so a batch that
 * begins where an earlier one began, and goes on as that one did, takes one stack instead of one for each operation.
 */
import { captureSite, stackPosition, type CallSite } from "./site.ts";

/** What was seen in a batch that began at some place: of each position, what it was and where it was written. */
interface Recording {
  readonly keys: readonly string[];
  readonly sites: readonly CallSite[];
}

const MOST_RECORDINGS = 1000;

export class SitePredictor {
  /** By the place where the batch began; undefined for one that was seen only once. */
  readonly #recordings = new Map<string, Recording | undefined>();

  begin(): BatchSites {
    const anchor = stackPosition();
    const seen = this.#recordings.has(anchor);
    const recording = this.#recordings.get(anchor);
    return new BatchSites(recording, (keys, sites) => {
      if (this.#recordings.size >= MOST_RECORDINGS) this.#recordings.clear();
      // Formatted when it is kept, because an unformatted stack keeps every frame's objects alive.
      if (seen) for (const site of sites) void site.stack;
      this.#recordings.set(anchor, seen ? { keys, sites } : undefined);
    });
  }
}

export class BatchSites {
  readonly sites: CallSite[] = [];
  readonly #keys: string[] = [];
  #expected: Recording | undefined;
  readonly #record: (keys: readonly string[], sites: readonly CallSite[]) => void;

  constructor(expected: Recording | undefined, record: (keys: readonly string[], sites: readonly CallSite[]) => void) {
    this.#expected = expected;
    this.#record = record;
  }

  /** Notes where the next position was written; `key` says what it is, `site` where it is known already. */
  add(key: string, site?: CallSite): void {
    const i = this.#keys.length;
    this.#keys.push(key);
    if (this.#expected?.keys[i] !== key) this.#expected = undefined;
    this.sites.push(site ?? this.#expected?.sites[i] ?? captureSite());
  }

  end(): void {
    if (this.#expected === undefined) this.#record(this.#keys, this.sites);
  }
}
