/**
 * The batch that is open: operations are added to it, and it is sent. Later it is answered, or it could not be sent.
 */
import { asError, TorchwireError } from "../errors/errors.ts";
import { PythonError } from "../errors/python-error.ts";
import { callerSite, formatSite, locate, metHere, shortSite, type CallSite } from "../errors/site.ts";
import { BatchSites, SitePredictor } from "../errors/sites.ts";
import type { Reference, RefOwner } from "../reference/ref.ts";
import { FIRST_ID, Op } from "../wire/codes.ts";
import { checkQuarter, defaultLimits, type Limits } from "../wire/limits.ts";
import { notAnswered } from "./answer.ts";
import { keyOf, nameIn, type Batch, type Operation } from "./batch.ts";
import type { ContextLayer } from "./context.ts";
import { Encoder } from "./encoder.ts";
import { FramePool } from "./frame-pool.ts";
import { Functions, type AnyFunction } from "./functions.ts";
import { Lane, type Generation } from "./lane.ts";
import { idsIn, toRanges } from "./ranges.ts";

/** A batch is sent as soon as it has grown past one of these. */
const MOST_OPERATIONS = 256;
const MOST_BYTES = 4 * 2 ** 20;

/** These go out with the next batch, whatever lane it is of. */
export interface Departures {
  /** Ranges of ids whose references were garbage-collected. */
  readonly finalised: number[];
  /** Contexts that have ended. */
  readonly contexts: number[];
}

export interface LogPort {
  send(batch: Batch, departures: Departures): void;
  /** Throws TOO_FAR_AHEAD where too much is in flight; an operation that `asks` for a value gets a little more room. */
  admit(asks: boolean): void;
  /** The error that refuses everything once the worker is gone. */
  readonly ended: Error | undefined;
}

/** Operations of one lane under the same contexts may share a batch. */
export interface BatchPlace {
  readonly lane: Lane;
  readonly contexts: readonly ContextLayer[];
}

export class Outbox {
  readonly mainLane: Lane = new Lane(0);
  readonly functions: Functions = new Functions();
  limits: Limits = defaultLimits;
  /** A reference as an operation of the open batch names it. */
  readonly nameOf = (reference: Reference): number => nameIn(this.#batch!, this.idOf(reference));
  readonly #port: LogPort;
  readonly #owner: RefOwner;
  readonly #sites = new SitePredictor();
  readonly #pool = new FramePool();
  #batch: Batch | undefined;
  #nextId = FIRST_ID;
  #immediate = false;
  #finalised: number[] = [];
  #endedContexts: number[] = [];

  /** `owner` has the references that may be sent. */
  constructor(port: LogPort, owner: RefOwner) {
    this.#port = port;
    this.#owner = owner;
  }

  get isOver(): boolean {
    return this.#port.ended !== undefined;
  }

  /** The batch for the next operation, or undefined where the lane has failed. */
  open({ lane, contexts }: BatchPlace, asks = false): Batch | undefined {
    if (this.#port.ended !== undefined) throw metHere(this.#port.ended);
    if (lane.generation.failure !== undefined) return undefined;
    this.#port.admit(asks);
    return this.#batchFor(lane.generation, contexts);
  }

  /** Gives the batch at `place` to `append`, even where the lane has failed and where much is in flight. */
  force({ lane, contexts }: BatchPlace, append: (batch: Batch) => void): void {
    if (this.#port.ended !== undefined) throw this.#port.ended;
    append(this.#batchFor(lane.generation, contexts));
  }

  /** Encodes the arguments of one operation. Where that throws, it leaves nothing behind. */
  encoded<T>(batch: Batch, encode: (encoder: Encoder) => T): T {
    const before = batch.frames.length;
    const { frames, functions } = batch;
    const passed = functions.length;
    const pass = (fn: AnyFunction): number => this.functions.placeIn(functions, fn);
    const encoder = new Encoder(frames, this.#pool, this.limits, this.nameOf, pass);
    try {
      const value = encode(encoder);
      const { frameBytes, metaBytes } = encoder;
      const arrays = batch.frames.length - before;
      // A quarter each: a batch is sent once it is half full, so it always has room for one more operation.
      checkQuarter("bytes of arrays", frameBytes, "messageBytes", this.limits);
      checkQuarter("frames of arrays", arrays, "frames", this.limits);
      checkQuarter("bytes beside its arrays", metaBytes, "metaBytes", this.limits);
      const { messageBytes, frames, metaBytes: mostMeta } = this.limits;
      batch.share += Math.max(frameBytes / messageBytes, arrays / frames, metaBytes / mostMeta);
      batch.bytes += frameBytes + metaBytes;
      batch.frameBytes += frameBytes;
      return value;
    } catch (error) {
      this.#pool.discard(batch.frames.splice(before));
      this.functions.drop(functions.splice(passed));
      // (An error from Python names its own line, and belongs to others too.)
      if (error instanceof TorchwireError && !(error instanceof PythonError)) locate(error);
      throw error;
    }
  }

  /** Appends `operation`, which takes a position for each link of its path and one for itself. Gives the last id. */
  append(batch: Batch, operation: Operation, site?: CallSite): number {
    batch.operations.push(operation);
    batch.chain = undefined;
    const [code, count, path] = operation;
    if (code === Op.call) for (const name of path as string[]) this.place(batch, name, site);
    if (code === Op.arguments) for (let i = 1; i < (count as number); i++) this.place(batch, "argument", site);
    return this.place(batch, keyOf(operation), site);
  }

  /** Takes the next position in the log. */
  place(batch: Batch, key: string, site?: CallSite): number {
    batch.sites.add(key, site);
    batch.bytes += 16;
    return this.#nextId++;
  }

  sendIfFull(batch: Batch): void {
    const { operations, bytes, share } = batch;
    if (operations.length >= Math.min(MOST_OPERATIONS, this.limits.ops) || bytes >= MOST_BYTES || share >= 0.5)
      this.flush();
  }

  /** The id of a reference that is about to be used. Throws where it cannot be. */
  idOf(reference: Reference): number {
    if (reference.gone !== undefined)
      throw new TorchwireError("NO_VALUE", `${reference.tag} cannot be used any more: ${reference.gone}`);
    if (reference.home !== this.#owner)
      throw new TorchwireError(
        "MISUSE",
        `${reference.tag} belongs to another worker; fetch its value there, e.g. with py.ndarray, and send that`,
      );
    if (reference.origin.lacks(reference.id) || reference.id === 0) throw reference.origin.errorFor(reference.id);
    return reference.id;
  }

  /** Whether the next position will be `key`, if the open batch goes on as one before it did. */
  expects(key: string): boolean {
    return this.#batch?.sites.expects(key) === true;
  }

  /** Frees ids. This is never refused: it goes out even where the lane has failed. */
  release(ranges: readonly number[], { lane, contexts }: BatchPlace): void {
    // An even number, because ranges are pairs. One operation has no more than its share of a message holds.
    const most = 2 * Math.floor(this.limits.metaBytes / 4 / 18);
    for (let i = 0; i < ranges.length; i += most) {
      const some = ranges.slice(i, i + most);
      const batch = this.#batchFor(lane.generation, contexts);
      this.append(batch, [Op.release, some.map((id) => nameIn(batch, id))]);
      batch.share += (9 * some.length) / this.limits.metaBytes;
      this.sendIfFull(batch);
    }
  }

  /** Frees the id of a reference that was garbage-collected, with the next batch. */
  finalise(id: number): void {
    this.#finalised.push(id);
    // Only a quiet program needs a batch for them alone.
    if (this.#finalised.length === 1) setTimeout(() => this.#sendFinalised(), 1000).unref();
  }

  endContext(id: number): void {
    this.#endedContexts.push(id);
  }

  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#send(batch);
  }

  /** Sends the open batch where it is of `generation`. */
  flushOf(generation: Generation): void {
    if (this.#batch?.generation === generation) this.flush();
  }

  /** Sends `batch` two microtasks on: a Promise.all of references, or the scope that ends right here, comes along. */
  flushSoon(batch: Batch): void {
    const flush = (): void => {
      if (!batch.sent) this.flush();
    };
    queueMicrotask(() => queueMicrotask(flush));
  }

  /** Must be called when `batch` has been answered: its buffers can be used again. */
  answered(batch: Batch): void {
    batch.generation.inFlight--;
    this.#pool.takeBack(batch.frames);
  }

  /** Drops the open batch, and rejects what it asks for. */
  abandon(error: Error): void {
    for (const { promise } of this.#batch?.fetches.values() ?? []) promise.reject(error);
    this.#batch = undefined;
  }

  #batchFor(generation: Generation, contexts: readonly ContextLayer[]): Batch {
    const current = this.#batch;
    if (current !== undefined) {
      if (current.generation === generation && current.contexts === contexts) return current;
      this.flush();
    }
    const batch: Batch = {
      generation,
      contexts,
      first: this.#nextId,
      operations: [],
      // (Functions that Python calls all begin in the same lines of ours.)
      sites: generation.lane.call === undefined ? this.#sites.begin() : new BatchSites(),
      caller: callerSite(),
      frames: [],
      functions: [],
      fetches: new Map(),
      bytes: 0,
      frameBytes: 0,
      share: 0,
      urgent: false,
      sent: false,
      chain: undefined,
    };
    this.#batch = batch;
    if (!this.#immediate) {
      this.#immediate = true;
      setImmediate(() => {
        this.#immediate = false;
        this.flush();
      });
    }
    return batch;
  }

  #send(batch: Batch): void {
    batch.sent = true;
    batch.chain = undefined;
    batch.sites.end();
    // A quarter of a message, as for an operation. The rest goes with the next batch.
    const most = Math.floor(this.limits.metaBytes / 4 / 18);
    const freed = this.#finalised.slice(0, most);
    const contexts = this.#endedContexts.slice(0, most);
    try {
      // (Lent memory is not copied.)
      if (batch.frames.reduce((sum, frame) => sum + frame.length, 0) !== batch.frameBytes)
        throw new TorchwireError(
          "MISUSE",
          "the memory of an array that was lent has been transferred before it was sent",
        );
      this.#port.send(batch, { finalised: toRanges(freed.toSorted((a, b) => a - b)), contexts });
    } catch (error) {
      return this.#unsent(batch, error);
    }
    batch.generation.inFlight++;
    this.#finalised = this.#finalised.slice(most);
    this.#endedContexts = this.#endedContexts.slice(most);
  }

  /**
   * A batch that cannot be sent fails its lane, as an operation that fails in the worker does: its awaits reject, and
   * no other lane hears of it. Nothing may be thrown here: the sender is a timer, a microtask, or an operation of
   * another lane.
   */
  #unsent(batch: Batch, cause: unknown): void {
    const { generation, first, operations, sites, fetches, frames, functions } = batch;
    this.#pool.discard(frames);
    this.functions.drop(functions);
    const site = formatSite(sites.sites[0]);
    const where = site === undefined ? "" : `, the first of them at ${shortSite(site)},`;
    const error = new TorchwireError(
      cause instanceof TorchwireError ? cause.code : "NOT_SENDABLE",
      `${operations.length} operations${where} could not be sent: ${asError(cause).message}`,
      { cause },
    );
    generation.failure ??= { error, id: first, last: first + sites.sites.length };
    for (const [id, fetch] of fetches) notAnswered(generation, id, fetch);
    // Releases are never discarded.
    for (const [code, ranges] of operations)
      if (code === Op.release) this.#finalised.push(...idsIn(ranges as number[]));
  }

  #sendFinalised(): void {
    while (this.#finalised.length > 0 && !this.isOver) {
      const before = this.#finalised.length;
      if (this.#batch === undefined) this.#batchFor(this.mainLane.generation, []);
      this.flush();
      if (this.#finalised.length >= before) return;
    }
  }
}
