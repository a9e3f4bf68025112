/**
 * The ordered log of operations. Operations are built without waiting; those that follow each other in one lane and one
 * context make a batch. A position in the log is the name of what the operation there makes.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { notAnswered } from "./answer.ts";
import type { Batch, Operation } from "./batch.ts";
import { contextLayer, type ContextLayer, type ContextOptions } from "./context.ts";
import { asError, TorchwireError } from "../errors/errors.ts";
import { isPromise } from "../runtime/kinds.ts";
import { Fetched } from "../reference/fetched.ts";
import { FramePool } from "./frame-pool.ts";
import { isKw } from "../reference/kw.ts";
import { Lane, type Generation } from "./lane.ts";
import { PythonError } from "../errors/python-error.ts";
import { inner, isPythonName, Reference, type Origin, type RefOwner } from "../reference/ref.ts";
import { idsIn, Scope, toRanges } from "./scope.ts";
import { callerSite, captureSite, formatSite, locate, metHere, shortSite, type CallSite } from "../errors/site.ts";
import { SitePredictor } from "../errors/sites.ts";
import { Encoder } from "./encoder.ts";
import { FetchMode, FIRST_ID, Op, WELL_KNOWN } from "../wire/codes.ts";
import { defaultLimits, exceeded, type Limits } from "../wire/limits.ts";

/** A batch is sent when it has grown past one of these, whatever else. */
const MOST_OPERATIONS = 256;
const MOST_BYTES = 4 * 2 ** 20;

/** What goes out with the next batch, whatever lane it is of. */
export interface Departures {
  /** Ranges of ids whose references were garbage-collected. */
  readonly finalised: number[];
  /** Contexts that have ended. */
  readonly contexts: number[];
}

export interface LogPort {
  send(batch: Batch, departures: Departures): void;
  /** Throws where so much is in flight that a program which never awaits must be told; what `asks` for a value may still go. */
  admit(asks: boolean): void;
  /** The error with which everything is refused once the worker is gone. */
  readonly ended: Error | undefined;
}

interface Ambient {
  readonly lane: Lane;
  readonly scope: Scope | undefined;
  readonly contexts: readonly ContextLayer[];
}

export class Log implements RefOwner {
  readonly mainLane: Lane = new Lane(0);
  limits: Limits = defaultLimits;
  readonly #port: LogPort;
  readonly #ambient = new AsyncLocalStorage<Ambient>();
  readonly #root: Ambient = { lane: this.mainLane, scope: undefined, contexts: [] };
  readonly #wellKnown: Generation = new Lane(-1).generation;
  readonly #sites = new SitePredictor();
  readonly #pool = new FramePool();
  readonly #nameOf = (reference: Reference): number => this.#use(reference);
  #immediate = false;
  #batch: Batch | undefined;
  #nextId = FIRST_ID;
  #nextLane = 1;
  #nextContext = 1;
  #finalised: number[] = [];
  #endedContexts: number[] = [];
  readonly #registry = new FinalizationRegistry<number>((id) => this.#finalise(id));

  constructor(port: LogPort) {
    this.#port = port;
  }

  // --- what a program does ---

  import(name: string): object {
    return this.#make((encoder) => [Op.import, nameOf(encoder, name, "import")]);
  }

  wellKnown(name: keyof typeof WELL_KNOWN): Reference {
    return new Reference(this, WELL_KNOWN[name], this.#wellKnown, undefined);
  }

  get(target: Reference, name: string): object {
    const batch = this.#open();
    if (batch === undefined) return this.#refused();
    const chain = batch.chain?.lastId === target.id ? batch.chain : undefined;
    if (chain === undefined)
      return this.#make((encoder) => [Op.get, this.#use(target), [nameOf(encoder, name, "a name")]]);
    if (!isUsual(name)) this.#encoded(batch, (encoder) => nameOf(encoder, name, "a name"));
    (chain.operation[2] as string[]).push(name);
    chain.lastId = this.#place(batch, name);
    return this.#reference(chain.lastId, batch.generation);
  }

  call(target: Reference, args: readonly unknown[]): object {
    const batch = this.#open();
    if (batch === undefined) return this.#refused();
    const chain = batch.chain?.lastId === target.id ? batch.chain : undefined;
    if (chain === undefined) return this.callPath(target, [], args);
    const encoded = this.#encoded(batch, (encoder) => encodeCall(encoder, args));
    chain.operation[0] = Op.call;
    chain.operation.push(...encoded);
    batch.chain = undefined;
    const id = this.#place(batch, "()");
    this.#sendIfFull(batch);
    return this.#reference(id, batch.generation);
  }

  /** Calls `target.a.b(...)` as one operation. */
  callPath(target: Reference, path: readonly string[], args: readonly unknown[]): object {
    const result = this.#make((encoder) => [Op.call, this.#use(target), [...path], ...encodeCall(encoder, args)]);
    const { id, origin } = inner(result)!;
    // Each link is an object over there too, and has nobody else to free it.
    if (id !== 0) for (let i = path.length; i > 0; i--) this.#reference(id - i, origin);
    return result;
  }

  set(target: Reference, name: string, value: unknown): void {
    this.#write((encoder) => [
      Op.set,
      this.#use(target),
      nameOf(encoder, name, "a name"),
      encoder.encode(value, `value of .${name}`),
    ]);
  }

  delete(target: Reference, name: string): void {
    this.#write((encoder) => [Op.del, this.#use(target), nameOf(encoder, name, "a name")]);
  }

  item(target: Reference, key: unknown): object {
    return this.#make((encoder) => [Op.getItem, this.#use(target), encoder.encode(key, "index")]);
  }

  setItem(target: Reference, key: unknown, value: unknown): void {
    this.#write((encoder) => [
      Op.setItem,
      this.#use(target),
      encoder.encode(key, "index"),
      encoder.encode(value, "value"),
    ]);
  }

  deleteItem(target: Reference, key: unknown): void {
    this.#write((encoder) => [Op.delItem, this.#use(target), encoder.encode(key, "index")]);
  }

  settle(target: Reference, site?: CallSite): Fetched<unknown> {
    if (target.scalar !== undefined || target.settledAs !== undefined) {
      const known = new Fetched(() => undefined);
      known.resolve(target.scalar === undefined ? target.proxy : target.scalar.value);
      return known;
    }
    return this.fetch(target, FetchMode.settle, site);
  }

  awaitedAt(): CallSite | undefined {
    return this.#batch?.sites.expects("fetch") === true ? undefined : captureSite();
  }

  fetch(target: Reference, mode: FetchMode, site?: CallSite): Fetched<unknown> {
    let batch: Batch | undefined;
    const promise = new Fetched<unknown>(() => {
      if (batch === undefined || batch.sent) return;
      batch.urgent = true;
      this.#flushSoon(batch);
    });
    const here = this.#here().lane.generation;
    const refuse = (origin: Origin): Fetched<unknown> => {
      // Another lane's failure is told here too, but only its own lane's await can forgive it.
      const whenThrown = origin === here ? () => origin.hasBeenThrown() : undefined;
      promise.reject(origin.errorFor(target.id), whenThrown);
      return promise;
    };
    if (target.id === 0 || target.origin.lacks(target.id)) return refuse(target.origin);
    try {
      batch = this.#open(true);
      if (batch === undefined) return refuse(here);
      const token: Operation = [Op.fetch, this.#use(target), mode];
      batch.fetches.set(this.#nextId, { promise, target, mode });
      this.#append(batch, token, site);
      this.#sendIfFull(batch);
    } catch (error) {
      promise.reject(error);
    }
    return promise;
  }

  async *iterate(target: Reference): AsyncGenerator<unknown, void> {
    const iterator = this.callPath(this.wellKnown("builtins"), ["iter"], [target.proxy]);
    for (;;) {
      const chunk = inner(this.callPath(this.wellKnown("helpers"), ["take"], [iterator, 64]))!;
      const length = (await this.settle(
        inner(this.callPath(this.wellKnown("builtins"), ["len"], [chunk.proxy]))!,
      )) as number;
      if (length === 0) return;
      const items = Array.from({ length }, (_, i) => this.item(chunk, i));
      this.release(chunk);
      const settled = items.map((item) => this.settle(inner(item)!));
      for (const item of settled) yield await item;
    }
  }

  release(target: Reference): void {
    if (target.gone !== undefined) return;
    target.gone = "it was disposed";
    this.#registry.unregister(target);
    if (target.id !== 0 && this.#port.ended === undefined) this.#releaseRanges([target.id, target.id]);
  }

  keep(target: Reference): void {
    if (target.scope === undefined) return;
    target.scope = undefined;
    this.#registry.register(target.proxy, target.id, target);
  }

  // --- where it does it ---

  /** Runs `fn` as a lane of its own: what fails in it stops nothing else, and nothing else stops it. */
  async lane<T>(fn: () => T | PromiseLike<T>, finished: (generation: Generation) => Promise<void>): Promise<T> {
    const lane = new Lane(this.#nextLane++);
    const { generation } = lane;
    let result: T;
    try {
      result = await this.#ambient.run({ ...this.#here(), lane }, async () => await fn());
    } finally {
      if (this.#batch?.generation === generation) this.flush();
    }
    await finished(generation);
    if (!generation.thrown) this.#throwFailure(generation);
    return result;
  }

  /**
   * Runs `fn` at once, as a lane of its own, and waits for nothing: what is queued in it fails alone. Of the generation that is returned, whoever uses what was
   * made asks what became of it.
   */
  apart<T>(fn: () => T): readonly [value: T, generation: Generation] {
    const lane = new Lane(this.#nextLane++);
    return [this.#ambient.run({ ...this.#here(), lane }, fn), lane.generation];
  }

  /** Runs `fn`; at its end what it made is freed, in the batch that its last operations are in, and the batch is sent. */
  scope<T>(fn: () => T, credit: () => Promise<void> | undefined): T {
    const scope = new Scope();
    const ambient = { ...this.#here(), scope };
    const free = (): void => {
      const ranges = scope.end();
      if (this.#port.ended !== undefined) return;
      this.#ambient.run(ambient, () => {
        if (ranges.length > 0) this.#releaseRanges(ranges);
        this.flush();
      });
    };
    const tellFailure = (): void => {
      const { id, generation } = ambient.lane;
      // Lane 0 opens again right after its error was thrown; any other lane is over, and a loop in it must hear of it.
      if (id !== 0 || !generation.thrown) this.#throwFailure(generation);
    };
    let result: T;
    try {
      result = this.#ambient.run(ambient, fn);
    } catch (error) {
      free();
      throw error;
    }
    // A value that is on its way was asked for inside; nothing is left to run.
    if (isPromise(result) && !(result instanceof Fetched))
      return this.#finishScope(result, free, tellFailure, credit) as T;
    free();
    tellFailure();
    return result;
  }

  async #finishScope<T>(
    result: Promise<T>,
    free: () => void,
    tellFailure: () => void,
    credit: () => Promise<void> | undefined,
  ): Promise<T> {
    let value: T;
    try {
      value = await result;
    } finally {
      free();
    }
    tellFailure();
    await credit();
    return value;
  }

  /** Runs `fn` with `options` as the worker's ambient state, for the operations made inside and for no others. */
  async context<T>(options: ContextOptions, fn: () => T | PromiseLike<T>): Promise<T> {
    const outer = this.#here();
    const layer = contextLayer(this.#nextContext++, options, (module, path) => {
      const reference = inner(module);
      if (reference === undefined)
        throw new TorchwireError("MISUSE", `context: ${path} is not a reference to a module`);
      return this.#checked(reference);
    });
    try {
      return await this.#ambient.run({ ...outer, contexts: [...outer.contexts, layer] }, async () => await fn());
    } finally {
      this.#endedContexts.push(layer.wire.id);
    }
  }

  /** Sends what waits, where it is of `generation`. */
  flushOf(generation: Generation): void {
    if (this.#batch?.generation === generation) this.flush();
  }

  get generation(): Generation {
    return this.#here().lane.generation;
  }

  // --- how it goes out ---

  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    this.#send(batch);
  }

  /** To be called when `batch` has been answered: its buffers can be used again. */
  answered(batch: Batch): void {
    this.#pool.takeBack(batch.frames);
  }

  /** Rejects what was built and will never be sent. */
  abandon(error: Error): void {
    for (const { promise } of this.#batch?.fetches.values() ?? []) promise.reject(error);
    this.#batch = undefined;
  }

  #send(batch: Batch): void {
    batch.sent = true;
    batch.chain = undefined;
    batch.sites.end();
    // A quarter of a message, as an operation has: what is past that goes with the next one.
    const most = Math.floor(this.limits.metaBytes / 4 / 18);
    const freed = this.#finalised.slice(0, most);
    const contexts = this.#endedContexts.slice(0, most);
    try {
      // (What is lent is not copied.)
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
   * A batch that cannot be sent fails its lane, as an operation that fails in the worker does: its awaits reject, and no other lane hears of it. Who
   * sends is a timer, a microtask, or the first operation of another lane; nothing may be thrown there.
   */
  #unsent(batch: Batch, cause: unknown): void {
    const { generation, first, operations, sites, fetches, frames } = batch;
    this.#pool.discard(frames);
    const site = formatSite(sites.sites[0]);
    const where = site === undefined ? "" : `, the first of them at ${shortSite(site)},`;
    const error = new TorchwireError(
      cause instanceof TorchwireError ? cause.code : "NOT_SENDABLE",
      `${operations.length} operations${where} could not be sent: ${asError(cause).message}`,
      { cause },
    );
    generation.failure ??= { error, id: first, last: first + sites.sites.length };
    for (const [id, fetch] of fetches) notAnswered(generation, id, fetch);
    // What cleans up is never discarded.
    for (const [code, ranges] of operations)
      if (code === Op.release) this.#finalised.push(...idsIn(ranges as number[]));
  }

  /** Two microtasks on: a Promise.all of references, or the scope that ends right here, comes along. */
  #flushSoon(batch: Batch): void {
    const flush = (): void => {
      if (!batch.sent) this.flush();
    };
    queueMicrotask(() => queueMicrotask(flush));
  }

  #here(): Ambient {
    return this.#ambient.getStore() ?? this.#root;
  }

  /** The batch that the next operation here belongs to, or undefined where its lane has failed. */
  #open(asks = false): Batch | undefined {
    if (this.#port.ended !== undefined) throw metHere(this.#port.ended);
    const { lane, contexts } = this.#here();
    if (lane.generation.failure !== undefined) return undefined;
    // Freeing is not asked whether it may: only what is added here.
    this.#port.admit(asks);
    return this.#batchFor(lane.generation, contexts);
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
      sites: this.#sites.begin(),
      caller: callerSite(),
      frames: [],
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

  /** Appends `operation`, which takes a position for each link of its path and one for itself; the id of the last. */
  #append(batch: Batch, operation: Operation, site?: CallSite): number {
    batch.operations.push(operation);
    batch.chain = undefined;
    const [code, , path] = operation;
    if (code === Op.call) for (const name of path as string[]) this.#place(batch, name, site);
    return this.#place(batch, KEYS[code]!(operation), site);
  }

  #place(batch: Batch, key: string, site?: CallSite): number {
    batch.sites.add(key, site);
    batch.bytes += 16;
    return this.#nextId++;
  }

  #sendIfFull(batch: Batch): void {
    const { operations, bytes, share } = batch;
    if (operations.length >= Math.min(MOST_OPERATIONS, this.limits.ops) || bytes >= MOST_BYTES || share >= 0.5)
      this.flush();
  }

  #make(build: (encoder: Encoder) => Operation): object {
    const batch = this.#open();
    if (batch === undefined) return this.#refused();
    const operation = this.#encoded(batch, build);
    const id = this.#append(batch, operation);
    if (operation[0] === Op.get) batch.chain = { operation, lastId: id };
    this.#sendIfFull(batch);
    return this.#reference(id, batch.generation);
  }

  #reference(id: number, origin: Origin): object {
    const { scope } = this.#here();
    const reference = new Reference(this, id, origin, scope);
    if (scope !== undefined) scope.add(reference);
    else if (id !== 0) this.#registry.register(reference.proxy, id, reference);
    return reference.proxy;
  }

  /** What an operation gives in a lane that has failed: it was not queued, and an await of it says why. */
  #refused(): object {
    return this.#reference(0, this.#here().lane.generation);
  }

  #write(build: (encoder: Encoder) => Operation): void {
    const batch = this.#open();
    if (batch === undefined) return;
    this.#append(batch, this.#encoded(batch, build));
    this.#sendIfFull(batch);
  }

  /** Encodes the arguments of one operation; where that throws, nothing of it is left behind. */
  #encoded<T>(batch: Batch, encode: (encoder: Encoder) => T): T {
    const before = batch.frames.length;
    const encoder = new Encoder(batch.frames, this.#pool, this.limits, this.#nameOf);
    try {
      const value = encode(encoder);
      const { frameBytes, metaBytes } = encoder;
      const arrays = batch.frames.length - before;
      // A quarter each, so that a batch, which is sent once it is half full, always has room for one more operation.
      quarter("bytes of arrays", frameBytes, "messageBytes", this.limits);
      quarter("frames of arrays", arrays, "frames", this.limits);
      quarter("bytes beside its arrays", metaBytes, "metaBytes", this.limits);
      const { messageBytes, frames, metaBytes: mostMeta } = this.limits;
      batch.share += Math.max(frameBytes / messageBytes, arrays / frames, metaBytes / mostMeta);
      batch.bytes += frameBytes + metaBytes;
      batch.frameBytes += frameBytes;
      return value;
    } catch (error) {
      this.#pool.discard(batch.frames.splice(before));
      // (What comes from Python names its own line, and belongs to others too.)
      if (error instanceof TorchwireError && !(error instanceof PythonError)) locate(error);
      throw error;
    }
  }

  /** A reference as an operation of the batch that is open names it. */
  #use(reference: Reference): number {
    return nameIn(this.#batch!, this.#checked(reference));
  }

  /** The id of a reference that is about to be used, here. */
  #checked(reference: Reference): number {
    if (reference.owner !== this)
      throw new TorchwireError(
        "MISUSE",
        `${reference.tag} belongs to another worker; fetch its value there, e.g. with py.ndarray, and send that`,
      );
    if (reference.gone !== undefined)
      throw new TorchwireError("NO_VALUE", `${reference.tag} cannot be used any more: ${reference.gone}`);
    if (reference.origin.lacks(reference.id) || reference.id === 0) throw reference.origin.errorFor(reference.id);
    return reference.id;
  }

  /** Freeing is never refused: it goes out even where the lane has failed. */
  #releaseRanges(ranges: number[]): void {
    const { lane, contexts } = this.#here();
    // Pairs, of which one operation has no more than its share of a message holds.
    const most = 2 * Math.floor(this.limits.metaBytes / 4 / 18);
    for (let i = 0; i < ranges.length; i += most) {
      const some = ranges.slice(i, i + most);
      const batch = this.#batchFor(lane.generation, contexts);
      this.#append(batch, [Op.release, some.map((id) => nameIn(batch, id))]);
      batch.share += (9 * some.length) / this.limits.metaBytes;
      this.#sendIfFull(batch);
    }
  }

  #finalise(id: number): void {
    this.#finalised.push(id);
    // They travel with whatever goes next; only a quiet program needs a batch for them alone.
    if (this.#finalised.length === 1) setTimeout(() => this.#sendFinalised(), 1000).unref();
  }

  #sendFinalised(): void {
    while (this.#finalised.length > 0 && this.#port.ended === undefined) {
      const before = this.#finalised.length;
      if (this.#batch === undefined) this.#batchFor(this.mainLane.generation, []);
      this.flush();
      if (this.#finalised.length >= before) return;
    }
  }

  #throwFailure(generation: Generation): void {
    if (generation.failure === undefined) return;
    generation.hasBeenThrown();
    throw generation.failure.error;
  }
}

/**
 * How an operation of `batch` names `id`: what the batch makes itself is counted from its first position, -1, -2, …, so that
 * the next step of a loop is the same bytes again. The worker knows them by that.
 */
function nameIn(batch: Batch, id: number): number {
  return id < batch.first ? id : batch.first - id - 1;
}

/** Throws LIMIT where an operation has more than its share of a message. */
function quarter(what: string, found: number, name: keyof Limits, limits: Limits): void {
  const share = Math.floor(limits[name] / 4);
  if (found > share) throw exceeded(`one operation has ${found} ${what}`, name, limits, share);
}

/** What tells an operation from another one that could stand in its place, for the prediction of call sites. */
const KEYS: readonly ((operation: Operation) => string)[] = [
  ([, module]) => String(module),
  ([, , names]) => (names as string[]).at(-1)!,
  () => "()",
  ([, , name]) => `=${String(name)}`,
  ([, , name]) => `-${String(name)}`,
  () => "[]",
  () => "[]=",
  () => "-[]",
  () => "fetch",
  () => "release",
];

/** A name that is in place as it is: most are asked for again and again, and known to be text and short. */
const isUsual = (name: string): boolean => name.length <= 64 && isPythonName(name);

/** A name is as long as text may be, and counts as text does. */
const nameOf = (encoder: Encoder, name: string, what: string): string =>
  isUsual(name) ? name : (encoder.encode(name, what) as string);

const NO_KEYWORDS: ReadonlyMap<string, unknown> = new Map();
/** Their paths in errors, made once. */
const ARGUMENTS = Array.from({ length: 8 }, (_, i) => `args[${i}]`);

function encodeCall(encoder: Encoder, args: readonly unknown[]): [unknown[], ReadonlyMap<string, unknown>] {
  const last = args.at(-1);
  const count = isKw(last) ? args.length - 1 : args.length;
  const positional: unknown[] = [];
  for (let i = 0; i < count; i++) positional.push(encoder.encode(args[i], ARGUMENTS[i] ?? `args[${i}]`));
  if (!isKw(last)) return [positional, NO_KEYWORDS];
  // A Map, in which every name is one like any other: an object's "__proto__" is none, and its "toJSON" or "constructor" msgpackr would look at.
  const keywords = new Map<string, unknown>();
  for (const [name, value] of Object.entries(last.values)) {
    keywords.set(nameOf(encoder, name, "a name in kw"), encoder.encode(value, `kw.${name}`));
    encoder.metaBytes += name.length;
  }
  return [positional, keywords];
}
