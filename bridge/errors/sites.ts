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
/**
 * So many ways are known in which batches of one place go on. A step of more operations than a batch holds makes
 * several, which often begin in one line: of a loop, all full ones and the last.
 */
const MOST_WAYS = 4;

export class SitePredictor {
  /** By the place where the batch began, the last one first; empty for a place that was seen only once. */
  readonly #recordings = new Map<string, readonly Recording[]>();
  #last: readonly Recording[] | undefined;
  #trusted = 0;

  begin(): BatchSites {
    if (this.#last !== undefined && this.#trusted++ < MOST_TRUSTED) {
      return new BatchSites(this.#last, true, (keys, sites, followed) => {
        if (!followed) this.#last = undefined;
      });
    }
    this.#trusted = 0;
    const anchor = stackPosition();
    if (anchor === undefined) return new BatchSites();
    const ways = this.#recordings.get(anchor);
    return new BatchSites(ways, false, (keys, sites, followed) => {
      this.#last = followed ? ways : undefined;
      if (followed) return;
      if (this.#recordings.size >= MOST_RECORDINGS) this.#recordings.clear();
      // An unformatted stack keeps every frame's objects alive, so it is formatted before it is kept.
      if (ways !== undefined) for (const site of sites) void textOf(site);
      const before = this.#recordings.get(anchor) ?? [];
      this.#recordings.set(anchor, ways === undefined ? [] : [{ keys, sites }, ...before].slice(0, MOST_WAYS));
    });
  }
}

type OnEnd = (keys: readonly string[], sites: readonly CallSite[], followed: boolean) => void;

export class BatchSites {
  readonly sites: CallSite[] = [];
  readonly #keys: string[] = [];
  #expected: Recording | undefined;
  /** The other ways in which it may go on. */
  readonly #others: Recording[];
  /** It was only trusted to begin where the last one did. */
  #doubts: boolean;
  readonly #onEnd: OnEnd;

  /** Without arguments, it takes a stack for each position. */
  constructor(known: readonly Recording[] = [], trusting = false, onEnd: OnEnd = () => undefined) {
    [this.#expected, ...this.#others] = known;
    this.#doubts = trusting;
    this.#onEnd = onEnd;
  }

  /**
   * Notes the line that writes the next position. `key` says what the position is; `site` is its line, if that is known
   * already.
   */
  add(key: string, site?: CallSite): void {
    const i = this.#keys.length;
    if (this.#expected !== undefined && this.#expected.keys[i] !== key) this.#expected = this.#takeOther(key);
    this.#keys.push(key);
    if (this.#expected !== undefined) {
      this.sites.push(site ?? this.#expected.sites[i]!);
      return;
    }
    const here = site ?? captureSite();
    // The batch did not begin where the last one did, after all: this is the nearest place that is known.
    if (this.#doubts) this.sites.fill(here);
    this.#doubts = false;
    this.sites.push(here);
  }

  /** Whether the next position will be `key`, if the batch goes on as an earlier one did. */
  expects(key: string): boolean {
    const i = this.#keys.length;
    if (this.#expected?.keys[i] === key) return true;
    return this.#expected !== undefined && this.#others.some((other) => this.#agrees(other) && other.keys[i] === key);
  }

  end(): void {
    const { length } = this.#keys;
    const isWhole = (way: Recording): boolean => way.keys.length === length;
    const followed =
      this.#expected !== undefined &&
      (isWhole(this.#expected) || this.#others.some((other) => isWhole(other) && this.#agrees(other)));
    this.#onEnd(this.#keys, this.sites, followed);
  }

  /** Takes out the first other way that the batch has gone so far, and that goes on with `key`. */
  #takeOther(key: string): Recording | undefined {
    const i = this.#keys.length;
    const at = this.#others.findIndex((other) => other.keys[i] === key && this.#agrees(other));
    return at < 0 ? undefined : this.#others.splice(at, 1)[0];
  }

  /** Whether the batch has gone the way of `other` so far. */
  #agrees(other: Recording): boolean {
    return this.#keys.every((key, i) => other.keys[i] === key);
  }
}
