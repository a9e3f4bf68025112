/** One conversation with a worker: batches go out, replies come in, and some are in flight between them. */
import { readAnswer } from "../log/answer.ts";
import type { Batch } from "../log/batch.ts";
import { openCall } from "../log/call.ts";
import { Tape, type Entry } from "../tape/tape.ts";
import { TorchwireError } from "../errors/errors.ts";
import { Log } from "../log/log.ts";
import type { Transport } from "../link/transport.ts";
import type { Departures, LogPort } from "../log/outbox.ts";
import type { Generation } from "../log/lane.ts";
import { Warnings } from "../log/warnings.ts";
import { MessageType, URGENT } from "../wire/header.ts";
import { decodeMessage, encodeMessage } from "../wire/meta.ts";
import { fatal } from "./fatal.ts";
import { InFlight } from "./in-flight.ts";
import { Waiting } from "./waiting.ts";
import { defaultLimits, type Limits } from "../wire/limits.ts";
import {
  malformed,
  readCall,
  readReplies,
  readWelcome,
  type WireCall,
  type WireReply,
  type WireWelcome,
} from "../wire/schema.ts";

/**
 * A loop that awaits credit (an async scope, a lane) is held back past these. A loop that never awaits gets an error
 * past `limits`.
 */
const CREDIT = { operations: 10_000, bytes: 64 * 2 ** 20 };

export interface SessionHandlers {
  /** The worker has answered our greeting, the first one or a later one. */
  onWelcome(welcome: WireWelcome): void;
  /** The worker has run everything, and ends. */
  onClosed(): void;
}

interface Flight {
  readonly batch: Batch;
  readonly parts: readonly Uint8Array[];
  /** The call whose log it is of, or 0. */
  readonly call: number;
  readonly entry: Entry | undefined;
}

/** A reply of so many bytes is acknowledged at once, so that the worker need not keep it. */
const LARGE = 2 ** 20;

/** The counts of this side. `roundTrips` counts the batches that went out because somebody awaited a value in them. */
export interface Counts {
  readonly batches: number;
  readonly operations: number;
  readonly roundTrips: number;
  /** Batches that are not answered yet. */
  readonly inFlight: number;
  /** Bytes of the batches, each counted once. */
  readonly bytesSent: number;
  /** Calls of the program's functions by Python. Each is a round trip, and counts there too. */
  readonly calls: number;
}

export class Session implements LogPort {
  readonly log: Log = new Log(this);
  readonly warnings: Warnings = new Warnings();
  readonly tape: Tape = new Tape(() => this.log.outbox.flush());
  ended: Error | undefined;
  limits: Limits = defaultLimits;
  readonly #transport: Transport;
  readonly #inFlight = new InFlight<Flight>();
  readonly #flying = { operations: 0, bytes: 0 };
  readonly #waiting = new Waiting();
  readonly #counts = { batches: 0, operations: 0, roundTrips: 0, bytesSent: 0, calls: 0 };
  readonly #handlers: SessionHandlers;
  #seq = 0;
  #late = 0;
  #lastCall = 0;
  /** The batch that was answered last. (Those of a call are answered before the one that waits for it.) */
  #answered = 0;
  /** The worker has said what it has received, so that batches can go. */
  #ready = true;
  #close: { readonly seq: number; readonly parts: readonly Uint8Array[] } | undefined;

  constructor(transport: Transport, handlers: SessionHandlers) {
    this.#transport = transport;
    this.#handlers = handlers;
  }

  /** The last batch whose reply is here. */
  get answeredSeq(): number {
    return this.#answered;
  }

  /** The number of batches that were sent and are not answered. (Batches after the order to end are not sent.) */
  get unanswered(): number {
    // (A call of another thread of Python's does not count: the worker ends without its answer.)
    let count = 0;
    for (const [seq, { call }] of this.#inFlight.entries()) if (seq > 0 && call === 0) count++;
    return count;
  }

  /**
   * Whether answers would be lost if the session ended now. After the order to end, only values that somebody asks for
   * count.
   */
  get losesAnswers(): boolean {
    if (this.unanswered > 0) return true;
    return [...this.#inFlight.values()].some(({ batch, call }) => call === 0 && batch.fetches.size > 0);
  }

  get counts(): Counts {
    return { ...this.#counts, inFlight: this.#inFlight.size };
  }

  send(batch: Batch, departures: Departures): void {
    const { generation, first, operations, frames, functions } = batch;
    const call = openCall(generation.lane.call)?.id ?? 0;
    // What was to run before the end may still call functions.
    const isLate = this.#close !== undefined && call === 0;
    const seq = isLate ? 0 : this.#seq + 1;
    // Empty fields and zeros are left out: ZeroMQ copies a short message, but a long one must be released when it is
    // sent.
    const meta: Record<string, unknown> = { first, operations };
    if (generation.lane.id !== 0) meta["lane"] = generation.lane.id;
    if (generation.number !== 0) meta["generation"] = generation.number;
    if (batch.contexts.length > 0) meta["contexts"] = batch.contexts.map((layer) => layer.wire);
    if (departures.finalised.length > 0) meta["finalised"] = departures.finalised;
    if (departures.contexts.length > 0) meta["ended_contexts"] = departures.contexts;
    if (functions.length > 0) meta["functions"] = functions.map(({ id, number, name }) => [id, number, name]);
    const flags = batch.urgent ? URGENT : 0;
    const parts = encodeMessage(
      { type: MessageType.batch, flags, parentCall: call, seq, ack: this.#answered, meta, frames },
      this.limits,
    );
    // Nothing below throws: a batch that cannot be encoded is not counted, and leaves no gap.
    if (!isLate) this.#seq = seq;
    this.#counts.batches++;
    this.#counts.operations += operations.length;
    for (const { length } of parts) this.#counts.bytesSent += length;
    if (batch.urgent) this.#counts.roundTrips++;
    this.#flying.operations += operations.length;
    this.#flying.bytes += batch.bytes;
    // A worker with two batches to run need not be woken for this one.
    const urgent = batch.urgent || call !== 0 || this.#inFlight.size < 2;
    const entry = isLate ? undefined : this.tape.sent(batch, departures.finalised, parts, call);
    this.#inFlight.add(isLate ? --this.#late : seq, { batch, parts, call, entry });
    if (this.#ready && !isLate) this.#transport.send(parts, urgent);
  }

  admit(asks: boolean): void {
    const { operations, bytes } = this.#flying;
    // The error advises to await something: there must be room for that. A function that Python calls gets more: what
    // is in flight may wait for it.
    const times = openCall(this.log.ambient.here.lane.call) === undefined ? (asks ? 1.1 : 1) : 2;
    const { inFlightOps, inFlightBytes } = this.limits;
    if (operations < times * inFlightOps && bytes < times * inFlightBytes) return;
    // One batch alone is never too much, however large its arrays are.
    const { oldest } = this.#inFlight;
    if (operations < times * inFlightOps && bytes - (oldest?.batch.bytes ?? 0) < times * inFlightBytes) return;
    throw new TorchwireError(
      "TOO_FAR_AHEAD",
      `${operations} operations and ${Math.round(bytes / 2 ** 20)} MiB are waiting for the worker: await something in this loop, e.g. await worker.scope(async () => { … }). The limits are ${inFlightOps} and ${Math.round(inFlightBytes / 2 ** 20)} (limits: { inFlightOps, inFlightBytes })`,
    );
  }

  /** Waits until the worker has caught up. Undefined where there is nothing to wait for. */
  credit(): Promise<void> | undefined {
    const { operations, bytes } = this.#flying;
    if (operations < CREDIT.operations && bytes < CREDIT.bytes) return undefined;
    // What is in flight may wait for the function that would wait here.
    if (openCall(this.log.ambient.here.lane.call) !== undefined) return undefined;
    return this.ended === undefined ? this.#waiting.forCredit() : Promise.reject(this.ended);
  }

  /** Waits until every batch of `generation` is answered. */
  answered(generation: Generation): Promise<void> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    return generation.inFlight === 0 ? Promise.resolve() : this.#waiting.forGeneration(generation);
  }

  /** Must be called when the link is cut: from now on messages wait until the worker has said what it has received. */
  suspend(): void {
    this.#ready = false;
  }

  /** The link is there again, and the worker has everything up to `received`. Sends what it lacks, in order. */
  #resume(received: number): void {
    const sent = new Map([...this.#inFlight.entries()].map(([seq, { parts }]) => [seq, parts]));
    if (this.#close !== undefined) sent.set(this.#close.seq, this.#close.parts);
    for (const [seq, parts] of [...sent].toSorted(([a], [b]) => a - b)) if (seq > received) this.#transport.send(parts);
    this.#ready = true;
  }

  /** Tells the worker to run everything so far, then to end. Later batches are not sent. */
  sendClose(): void {
    this.log.outbox.flush();
    const seq = ++this.#seq;
    const parts = encodeMessage({ type: MessageType.close, seq, ack: this.#answered, meta: {} }, this.limits);
    this.#close = { seq, parts };
    if (this.#ready) this.#transport.send(parts);
  }

  receive(parts: Uint8Array[]): void {
    const message = decodeMessage(parts, this.limits);
    switch (message.header.type) {
      case MessageType.reply: {
        const { replies, freed } = readReplies(message.meta);
        for (const reply of replies) this.#answer(reply, message.frames);
        if (freed !== undefined) this.log.outbox.functions.forget(freed);
        this.#waiting.caughtUp(() => this.#hasCredit);
        if (message.header.totalBytes >= LARGE) this.#acknowledge();
        return;
      }
      case MessageType.call:
        return this.#called(message.header.parentCall, readCall(message.meta));
      case MessageType.welcome: {
        const welcome = readWelcome(message.meta);
        if (this.#ready) malformed("a welcome that nobody has asked for");
        if (welcome.received > this.#seq)
          malformed(`it has received ${welcome.received} messages, of ${this.#seq} that were sent`);
        this.#handlers.onWelcome(welcome);
        return this.#resume(welcome.received);
      }
      case MessageType.closed:
        if (this.#close === undefined || this.unanswered > 0)
          malformed(`a farewell with ${this.unanswered} batches unanswered${this.#close ? "" : ", and unasked"}`);
        // The worker waits until it knows that every answer is here.
        this.#acknowledge(true);
        return this.#handlers.onClosed();
      case MessageType.fatal:
        throw fatal(message);
      default:
        throw new TorchwireError("PROTOCOL", `the worker sent a message of type ${message.header.type} here`);
    }
  }

  /** Rejects every promise that waits for the worker, and all that come later, with `error`. */
  end(error: Error): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    for (const { batch, entry, parts } of this.#inFlight.values()) {
      this.tape.lost(entry, parts);
      for (const { promise } of batch.fetches.values()) promise.reject(error);
    }
    this.#inFlight.clear();
    this.log.outbox.abandon(error);
    this.log.outbox.functions.clear();
    this.log.thrown.clear();
    this.#waiting.end(error);
    this.warnings.end();
  }

  #called(id: number, told: WireCall): void {
    // After a cut a call may come twice.
    if (id <= this.#lastCall) return;
    this.#lastCall = id;
    this.#counts.calls++;
    this.#counts.roundTrips++;
    // (Python runs the oldest batch. A call within a call has the log of that.)
    const within = this.#inFlight.firstOf(told.within);
    this.tape.called(id, within === undefined ? undefined : this.#inFlight.get(within)?.entry);
    this.log.calls.answer(id, told);
  }

  #acknowledge(urgent = false): void {
    this.#transport.send(encodeMessage({ type: MessageType.ack, ack: this.#answered, meta: {} }, this.limits), urgent);
  }

  get #hasCredit(): boolean {
    return this.#flying.operations < CREDIT.operations / 2 && this.#flying.bytes < CREDIT.bytes / 2;
  }

  #answer(reply: WireReply, frames: readonly Uint8Array[]): void {
    const { seq } = reply;
    const flight = this.#inFlight.get(seq);
    if (flight === undefined) {
      // After a cut a reply may come twice.
      if (seq <= this.#seq && seq !== this.#close?.seq) return;
      throw new TorchwireError("PROTOCOL", `the worker answered batch ${seq}, which is not in flight`);
    }
    const { batch, call, parts, entry } = flight;
    // Each log is answered in its order.
    const first = this.#inFlight.firstOf(call);
    if (first !== seq) malformed(`batch ${seq} was answered before batch ${first}`);
    const { thrown } = this.log;
    // Where this throws, the batch stays in flight, and its promises reject with the session.
    const failed = reply.failure === null ? null : thrown.restored(reply.failure);
    const settle = readAnswer(batch, { ...reply, failure: failed }, frames, this.limits);
    this.#inFlight.takeFirstOf(call);
    this.#answered = seq;
    this.tape.answered(entry, parts, reply.failure);
    this.log.outbox.answered(batch);
    this.#waiting.answered(batch.generation);
    this.#flying.operations -= batch.operations.length;
    this.#flying.bytes -= batch.bytes;
    settle();
    if (failed !== null && call !== 0) thrown.noteFailure(failed.id, batch.generation.failure?.error);
    if (reply.warnings !== undefined) this.warnings.tell(batch, reply.warnings);
  }
}
