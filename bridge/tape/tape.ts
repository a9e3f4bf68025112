/**
 * What was sent to a worker, from its start, so that another process can run it again up to an operation that failed.
 *
 * It is short because it is cut at each checkpoint: what was sent before it is kept only where it made something that is
 * still used. Without a fit that asks for it, it is a list of messages that were made anyway, and ends at a few mebibytes.
 */
import type { Batch } from "../log/batch.ts";
import { metaIn } from "../wire/meta.ts";
import type { WireFailure } from "../wire/schema.ts";
import { readsOf, trafficOf, type BatchMeta } from "./traffic.ts";

/** A batch as it was sent. */
export interface Entry {
  readonly order: number;
  /** Its header and meta. */
  readonly head: Uint8Array;
  readonly first: number;
  readonly last: number;
  /** The call of Python's whose log it is of, or 0. */
  readonly call: number;
  /** The batch in which Python made that call. */
  readonly within: Entry | undefined;
  /** A copy of each frame, or the number of its bytes where they were left out. */
  frames: readonly (Uint8Array | number)[];
  bytes: number;
  /** How many of the references that it made are in use. */
  alive: number;
  failure: WireFailure | undefined;
  isAnswered: boolean;
}

/** A place in the tape at which nothing is under way. */
export interface Mark {
  readonly order: number;
  /** The entries before it that are needed to go on from it. */
  readonly needed: ReadonlySet<Entry>;
}

/** A checkpoint that is on the disk. */
export interface Checkpoint {
  readonly steps: number;
  readonly files: readonly { readonly name: string; readonly path: string; readonly sha256: string }[];
  /** The ids of what it puts back. */
  readonly objects: readonly unknown[];
}

/** The tape, as a file has it. */
export interface Taped {
  readonly entries: readonly Entry[];
  /** The checkpoint, and the place of the entry before which it is put back. */
  readonly restore: { readonly before: number; readonly checkpoint: Checkpoint } | undefined;
  /** Whether entries between the checkpoint and the last ones were dropped. */
  readonly isCut: boolean;
}

/** In bytes, and in batches, as long as no fit has asked for more. */
const BEFORE = 16 * 2 ** 20;
const MOST_BEFORE = 4096;
/** The bytes of an entry's own objects, roughly. */
const BESIDE = 256;
/** So many failures are remembered: a program may go on after each. */
const MOST_FAILURES = 16;

export class Tape {
  readonly #flush: () => void;
  #entries: Entry[] = [];
  #alive: Map<number, Entry> | undefined;
  readonly #callers = new Map<number, Entry>();
  #failures: Entry[] = [];
  #order = 0;
  #bytes = 0;
  #budget = BEFORE;
  #hasData = true;
  #keepsFrames = true;
  #restore: { readonly order: number; readonly checkpoint: Checkpoint } | undefined;
  /** Entries before it were dropped to save memory. */
  #cutAt = 0;
  #isClosed = false;

  /** `flush` sends what is queued. */
  constructor(flush: () => void) {
    this.#flush = flush;
  }

  /** It has grown too long, and nothing can be run again. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The batches that failed since `begin`. */
  get failures(): readonly Entry[] {
    return this.#failures;
  }

  /** The batches that the worker has not answered. */
  get unanswered(): readonly Entry[] {
    return this.#entries.filter(({ isAnswered }) => !isAnswered);
  }

  /** Records a batch that is sent as `parts`, in the log of `call`. */
  sent(batch: Batch, finalised: readonly number[], parts: readonly Uint8Array[], call: number): Entry | undefined {
    if (this.#isClosed) return undefined;
    const { first, operations, frameBytes } = batch;
    const head = parts[0]!;
    const bytes = head.length + BESIDE;
    const keeps = this.#keepsFrames && this.#bytes + bytes + frameBytes <= this.#budget;
    const entry: Entry = {
      order: this.#order++,
      head,
      first,
      last: first + batch.sites.sites.length - 1,
      call,
      within: call === 0 ? undefined : this.#callers.get(call),
      frames: parts.length === 1 ? NONE : framesOf(parts, keeps),
      bytes: keeps ? bytes + frameBytes : bytes,
      alive: 0,
      failure: undefined,
      isAnswered: false,
    };
    if (!keeps && frameBytes > 0) this.#keepsFrames = false;
    this.#bytes += entry.bytes;
    this.#entries.push(entry);
    if (this.#alive !== undefined) this.#track(this.#alive, entry, operations, finalised);
    else if (this.#entries.length > MOST_BEFORE) this.#close();
    if (this.#bytes > this.#budget) this.#makeRoom();
    return entry;
  }

  /** Python has called a function of the program's, in the middle of `entry`. */
  called(call: number, entry: Entry | undefined): void {
    if (entry !== undefined && this.#alive !== undefined) this.#callers.set(call, entry);
  }

  /** The worker has answered what was sent as `parts`. */
  answered(entry: Entry | undefined, parts: readonly Uint8Array[], failure: WireFailure | null): void {
    if (entry === undefined) return;
    entry.isAnswered = true;
    if (failure === null || this.#alive === undefined) return;
    entry.failure = failure;
    this.#failures = [...this.#failures.slice(1 - MOST_FAILURES), entry];
    this.#complete(entry, parts);
  }

  /** The worker is gone, and will not answer this. */
  lost(entry: Entry | undefined, parts: readonly Uint8Array[]): void {
    if (entry !== undefined && this.#alive !== undefined) this.#complete(entry, parts);
  }

  /** From here on, up to `bytes` are kept from one checkpoint to the next; without `data` no frames. */
  begin(bytes: number, data: boolean): void {
    this.#budget = Math.max(bytes, BEFORE);
    this.#hasData = this.#keepsFrames = data;
    this.#failures = [];
    if (this.#alive !== undefined) return;
    const alive = (this.#alive = new Map());
    for (const entry of this.#entries) {
      const { operations, finalised } = metaIn(entry.head) as unknown as BatchMeta;
      entry.alive = 0;
      this.#track(alive, entry, operations, finalised);
    }
  }

  /** No fit needs it now. */
  end(): void {
    this.#budget = BEFORE;
    this.#hasData = true;
    this.#alive = undefined;
    this.#callers.clear();
    this.#failures = [];
    if (this.#bytes > BEFORE) for (const entry of this.#entries) this.#leaveOut(entry);
    if (this.#bytes > BEFORE) this.#close();
  }

  /** Notes this place. Nothing must be in flight that a checkpoint would not hold. */
  mark(): Mark {
    this.#flush();
    this.#keepsFrames = this.#hasData;
    return { order: this.#order, needed: this.#neededFrom(this.#order) };
  }

  /** A checkpoint of `mark` is there: what led to it is dropped, but for what is still used. */
  cut({ order, needed }: Mark, checkpoint: Checkpoint): void {
    this.#restore = { order, checkpoint };
    this.#keep((entry) => entry.order >= order || needed.has(entry));
  }

  /** All up to `last`. */
  upTo(last: Entry): Taped {
    // (A batch of a call is sent after the one that waits for it, and after others that wait for that.)
    const { order: to } = outermost(last);
    const entries = this.#entries.filter((entry) => outermost(entry).order <= to);
    const { order: from = 0, checkpoint } = this.#restore ?? {};
    const before = entries.findIndex(({ order }) => order >= from);
    return { entries, restore: checkpoint && { before, checkpoint }, isCut: this.#cutAt > from };
  }

  #track(
    alive: Map<number, Entry>,
    entry: Entry,
    operations: Parameters<typeof trafficOf>[1],
    finalised: readonly number[] | undefined,
  ): void {
    const { made, freed } = trafficOf(entry.first, operations, finalised);
    for (const id of made) alive.set(id, entry);
    entry.alive = made.length;
    for (let i = 0; i < freed.length; i += 2)
      for (let id = freed[i]!; id <= freed[i + 1]!; id++) {
        const maker = alive.get(id);
        if (maker === undefined) continue;
        maker.alive--;
        alive.delete(id);
      }
  }

  /** Copies the frames that were left out. */
  #complete(entry: Entry, parts: readonly Uint8Array[]): void {
    if (this.#isClosed || !this.#hasData || !entry.frames.some((frame) => typeof frame === "number")) return;
    entry.frames = framesOf(parts, true);
    const bytes = entry.head.length + BESIDE + entry.frames.reduce<number>((sum, frame) => sum + sizeOf(frame), 0);
    this.#bytes += bytes - entry.bytes;
    entry.bytes = bytes;
  }

  /** The steps before those in flight go. What is left is not enough for the same bits. */
  #makeRoom(): void {
    if (this.#alive === undefined) return this.#close();
    const { order } = this.#entries.find(({ isAnswered }) => !isAnswered)!;
    // (A failure may be what the fit ends with.)
    const needed = this.#neededFrom(order, this.#failures);
    this.#keep((entry) => entry.order >= order || needed.has(entry));
    this.#cutAt = order;
    this.#keepsFrames = false;
    if (this.#bytes > this.#budget / 2) for (const entry of this.#entries) this.#leaveOut(entry);
    // It would be cut again and again.
    if (this.#bytes > this.#budget / 2) this.#close();
  }

  #leaveOut(entry: Entry): void {
    entry.frames = entry.frames.map(sizeOf);
    this.#bytes -= entry.bytes;
    entry.bytes = entry.head.length + BESIDE;
    this.#bytes += entry.bytes;
  }

  /** `roots`, and the entries before `order` that made what is used, or what one of them reads, or one from `order` on. */
  #neededFrom(order: number, roots: readonly Entry[] = []): Set<Entry> {
    const needed = new Set<Entry>();
    const calls = new Map<Entry, Entry[]>();
    for (const entry of this.#entries)
      if (entry.within !== undefined) {
        const others = calls.get(entry.within);
        if (others === undefined) calls.set(entry.within, [entry]);
        else others.push(entry);
      }
    const rest: Entry[] = [];
    const add = (entry: Entry | undefined): void => {
      if (entry === undefined || entry.order >= order || needed.has(entry)) return;
      needed.add(entry);
      rest.push(entry);
    };
    const addRead = (entry: Entry): void => {
      for (const id of readsOf(metaIn(entry.head) as unknown as BatchMeta)) add(this.#makerOf(id));
    };
    roots.forEach(add);
    for (const entry of this.#entries)
      if (entry.order >= order) addRead(entry);
      else if (entry.alive > 0) add(entry);
    for (let entry = rest.pop(); entry !== undefined; entry = rest.pop()) {
      addRead(entry);
      // A call runs as a whole.
      add(entry.within);
      calls.get(entry)?.forEach(add);
    }
    return needed;
  }

  /** The entry with the position `id`. (Positions ascend.) */
  #makerOf(id: number): Entry | undefined {
    let [low, high] = [0, this.#entries.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const entry = this.#entries[middle]!;
      if (id < entry.first) high = middle - 1;
      else if (id > entry.last) low = middle + 1;
      else return entry;
    }
    return undefined;
  }

  #keep(isKept: (entry: Entry) => boolean): void {
    this.#entries = this.#entries.filter((entry) => {
      const keeps = isKept(entry);
      if (!keeps) this.#bytes -= entry.bytes;
      return keeps;
    });
    for (const [call, entry] of this.#callers) if (entry.isAnswered) this.#callers.delete(call);
  }

  #close(): void {
    this.#isClosed = true;
    this.#entries = [];
    this.#failures = [];
    this.#alive = undefined;
    this.#bytes = 0;
  }
}

const NONE: readonly Uint8Array[] = [];

/** (The memory of a frame is used again once the worker has answered.) */
function framesOf(parts: readonly Uint8Array[], copies: boolean): readonly (Uint8Array | number)[] {
  const frames: (Uint8Array | number)[] = [];
  for (let i = 1; i < parts.length; i++) frames.push(copies ? Buffer.from(parts[i]!) : parts[i]!.length);
  return frames;
}

export const sizeOf = (frame: Uint8Array | number): number => (typeof frame === "number" ? frame : frame.length);

function outermost(entry: Entry): Entry {
  let outer = entry;
  while (outer.within !== undefined) outer = outer.within;
  return outer;
}
