/**
 * The call sites of a batch's operations. Taking a stack costs ten times as much as the rest of an operation. So a
 * batch that begins where an earlier one began, and goes on as that one did, takes one stack instead of one for each
 * operation. In a loop, where batch after batch is the same, most batches take none.
 */
import { captureSite, stackPosition, type CallSite } from "./site.ts";
import { textOf } from "./stack.ts";

/** The positions of an earlier batch: the key of each, and the line that wrote it. */
interface Recording {
  readonly keys: readonly string[];
  readonly sites: readonly CallSite[];
}

const MOST_RECORDINGS = 1000;
/** So many batches in a row are trusted to begin where the one before began, as long as they go on as it did. */
const MOST_TRUSTED = 15;

export class SitePredictor {
  /** By the place where the batch began; undefined for a place that was seen only once. */
  readonly #recordings = new Map<string, Recording | undefined>();
  #last: Recording | undefined;
  #trusted = 0;

  begin(): BatchSites {
    if (this.#last !== undefined && this.#trusted++ < MOST_TRUSTED) {
      return new BatchSites(this.#last, true, (keys, sites, followed) => {
        if (!followed) this.#last = undefined;
      });
    }
    this.#trusted = 0;
    const anchor = stackPosition();
    if (anchor === undefined) return new BatchSites(undefined, false, () => undefined);
    const seen = this.#recordings.has(anchor);
    const recording = this.#recordings.get(anchor);
    return new BatchSites(recording, false, (keys, sites, followed) => {
      this.#last = followed ? recording : undefined;
      if (followed) return;
      if (this.#recordings.size >= MOST_RECORDINGS) this.#recordings.clear();
      // An unformatted stack keeps every frame's objects alive, so it is formatted before it is kept.
      if (seen) for (const site of sites) void textOf(site);
      this.#recordings.set(anchor, seen ? { keys, sites } : undefined);
    });
  }
}

type OnEnd = (keys: readonly string[], sites: readonly CallSite[], followed: boolean) => void;

export class BatchSites {
  readonly sites: CallSite[] = [];
  readonly #keys: string[] = [];
  #expected: Recording | undefined;
  readonly #trusting: boolean;
  readonly #onEnd: OnEnd;

  /** Without arguments, it takes a stack for each position. */
  constructor(expected?: Recording, trusting = false, onEnd: OnEnd = () => undefined) {
    this.#expected = expected;
    this.#trusting = trusting;
    this.#onEnd = onEnd;
  }

  /**
   * Notes the line that writes the next position. `key` says what the position is; `site` is its line, if that is known
   * already.
   */
  add(key: string, site?: CallSite): void {
    const i = this.#keys.length;
    this.#keys.push(key);
    if (this.#expected?.keys[i] === key) {
      this.sites.push(site ?? this.#expected.sites[i]!);
      return;
    }
    const here = site ?? captureSite();
    // The batch did not begin where the last one did, after all: this is the nearest place that is known.
    if (this.#expected !== undefined && this.#trusting) this.sites.fill(here);
    this.#expected = undefined;
    this.sites.push(here);
  }

  /** Whether the next position will be `key`, if the batch goes on as the earlier one did. */
  expects(key: string): boolean {
    return this.#expected?.keys[this.#keys.length] === key;
  }

  end(): void {
    const followed = this.#expected !== undefined && this.#keys.length === this.#expected.keys.length;
    this.#onEnd(this.#keys, this.sites, followed);
  }
}
