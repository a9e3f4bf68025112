/**
 * The ordered log of operations. Operations are built without waiting; those that follow each other in one lane and one
 * context make a batch. A position in the log is the name of what the operation there makes.
 */
import { TorchwireError } from "../errors/errors.ts";
import { captureSite, type CallSite } from "../errors/site.ts";
import { Fetched } from "../reference/fetched.ts";
import { inner, Reference, type Origin, type RefOwner } from "../reference/ref.ts";
import { decodeValue } from "../values/decode.ts";
import { FetchMode, Op, WELL_KNOWN } from "../wire/codes.ts";
import { Ambient } from "./ambient.ts";
import type { Batch, Operation } from "./batch.ts";
import { waitsForItself } from "./call.ts";
import { Calls } from "./calls.ts";
import { isUsual, type Encoder } from "./encoder.ts";
import { Lane, type Generation } from "./lane.ts";
import { Outbox, type LogPort } from "./outbox.ts";
import { Thrown } from "./thrown.ts";

export class Log implements RefOwner {
  readonly outbox: Outbox;
  readonly ambient: Ambient;
  readonly thrown: Thrown = new Thrown();
  readonly calls: Calls;
  /** They make the operations that are still to be made, when the worker is about to be closed. */
  readonly beforeClose: Set<() => void> = new Set();
  readonly #wellKnown: Generation = new Lane(-1).generation;
  readonly #registry = new FinalizationRegistry<number>((id) => this.outbox.finalise(id));

  constructor(port: LogPort) {
    this.outbox = new Outbox(port, this);
    this.ambient = new Ambient(this.outbox, (reference) => this.#adopt(reference));
    const { outbox, ambient, thrown } = this;
    this.calls = new Calls({
      outbox,
      ambient,
      functions: outbox.functions,
      thrown,
      referTo: (id, { lane, scope }) => {
        const reference = new Reference(this, id, lane.generation, scope);
        scope?.add(reference);
        return reference;
      },
      decode: (token) => decodeValue(token, [], outbox.limits),
    });
  }

  import(name: string): object {
    return this.#make((encoder) => [Op.import, encoder.name(name, "import")]);
  }

  wellKnown(name: keyof typeof WELL_KNOWN): Reference {
    return new Reference(this, WELL_KNOWN[name], this.#wellKnown, undefined);
  }

  /** A chain of attributes is one operation, as long as nothing is queued between its links. */
  get(target: Reference, name: string): object {
    const batch = this.outbox.open(this.ambient.here);
    if (batch === undefined) return this.#refused();
    const chain = batch.chain?.lastId === target.id ? batch.chain : undefined;
    if (chain === undefined)
      return this.#make((encoder) => [Op.get, encoder.target(target), [encoder.name(name, "a name")]]);
    if (!isUsual(name)) this.outbox.encoded(batch, (encoder) => encoder.name(name, "a name"));
    (chain.operation[2] as string[]).push(name);
    chain.lastId = this.outbox.place(batch, name);
    return this.#reference(chain.lastId, batch.generation);
  }

  call(target: Reference, args: readonly unknown[]): object {
    const batch = this.outbox.open(this.ambient.here);
    if (batch === undefined) return this.#refused();
    const chain = batch.chain?.lastId === target.id ? batch.chain : undefined;
    if (chain === undefined) return this.callPath(target, [], args);
    const encoded = this.outbox.encoded(batch, (encoder) => encoder.call(args));
    chain.operation[0] = Op.call;
    chain.operation.push(...encoded);
    batch.chain = undefined;
    const id = this.outbox.place(batch, "()");
    this.outbox.sendIfFull(batch);
    return this.#reference(id, batch.generation);
  }

  callPath(target: Reference, path: readonly string[], args: readonly unknown[]): object {
    const result = this.#make((encoder) => [Op.call, encoder.target(target), [...path], ...encoder.call(args)]);
    const { id, origin } = inner(result)!;
    // Each link is an object over there too, and has nobody else to free it.
    if (id !== 0) for (let i = path.length; i > 0; i--) this.#reference(id - i, origin);
    return result;
  }

  set(target: Reference, name: string, value: unknown): void {
    this.#write((encoder) => [
      Op.set,
      encoder.target(target),
      encoder.name(name, "a name"),
      encoder.encode(value, `value of .${name}`),
    ]);
  }

  delete(target: Reference, name: string): void {
    this.#write((encoder) => [Op.del, encoder.target(target), encoder.name(name, "a name")]);
  }

  item(target: Reference, key: unknown): object {
    return this.#make((encoder) => [Op.getItem, encoder.target(target), encoder.encode(key, "index")]);
  }

  setItem(target: Reference, key: unknown, value: unknown): void {
    this.#write((encoder) => [
      Op.setItem,
      encoder.target(target),
      encoder.encode(key, "index"),
      encoder.encode(value, "value"),
    ]);
  }

  deleteItem(target: Reference, key: unknown): void {
    this.#write((encoder) => [Op.delItem, encoder.target(target), encoder.encode(key, "index")]);
  }

  async passed(target: Reference): Promise<void> {
    await this.settle(inner(this.callPath(this.wellKnown("builtins"), ["id"], [target.proxy]))!);
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
    return this.outbox.expects("fetch") ? undefined : captureSite();
  }

  fetch(target: Reference, mode: FetchMode, site?: CallSite): Fetched<unknown> {
    let batch: Batch | undefined;
    const promise = new Fetched<unknown>(() => {
      if (batch === undefined) return undefined;
      if (waitsForItself(this.ambient.here.lane.call, batch.generation.lane.call)) return waitsForItselfError();
      if (batch.sent) return undefined;
      batch.urgent = true;
      this.outbox.flushSoon(batch);
      return undefined;
    });
    const { here } = this.ambient;
    const refuse = (origin: Origin): Fetched<unknown> => {
      // Another lane's failure is told here too, but only its own lane's await can forgive it.
      const whenThrown = origin === here.lane.generation ? () => origin.hasBeenThrown() : undefined;
      promise.reject(origin.errorFor(target.id), whenThrown);
      return promise;
    };
    if (target.id === 0 || target.origin.lacks(target.id)) return refuse(target.origin);
    try {
      batch = this.outbox.open(here, true);
      if (batch === undefined) return refuse(here.lane.generation);
      const operation: Operation = [Op.fetch, this.outbox.nameOf(target), mode];
      batch.fetches.set(this.outbox.append(batch, operation, site), { promise, target, mode });
      this.outbox.sendIfFull(batch);
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
    if (target.id !== 0 && !this.outbox.isOver) this.outbox.release([target.id, target.id], this.ambient.here);
  }

  keep(target: Reference): void {
    if (target.scope === undefined) return;
    target.scope = undefined;
    this.#adopt(target);
  }

  /** Leaves a reference that belongs to no scope to the garbage collector. */
  #adopt(target: Reference): void {
    if (target.id !== 0) this.#registry.register(target.proxy, target.id, target);
  }

  #make(build: (encoder: Encoder) => Operation): object {
    const batch = this.outbox.open(this.ambient.here);
    if (batch === undefined) return this.#refused();
    const operation = this.outbox.encoded(batch, build);
    const id = this.outbox.append(batch, operation);
    if (operation[0] === Op.get) batch.chain = { operation, lastId: id };
    this.outbox.sendIfFull(batch);
    return this.#reference(id, batch.generation);
  }

  #write(build: (encoder: Encoder) => Operation): void {
    const batch = this.outbox.open(this.ambient.here);
    if (batch === undefined) return;
    this.outbox.append(batch, this.outbox.encoded(batch, build));
    this.outbox.sendIfFull(batch);
  }

  #reference(id: number, origin: Origin): object {
    const scope = this.ambient.here.scope?.nearest;
    const reference = new Reference(this, id, origin, scope);
    if (scope === undefined) this.#adopt(reference);
    else scope.add(reference);
    return reference.proxy;
  }

  /** An operation in a lane that has failed is not queued. An await of its result says why. */
  #refused(): object {
    return this.#reference(0, this.ambient.here.lane.generation);
  }
}

const waitsForItselfError = (): TorchwireError =>
  new TorchwireError(
    "MISUSE",
    "a function that Python calls cannot await this: it comes from an operation that waits for the function itself, or stands behind one; ask for the value inside of the function",
  );
