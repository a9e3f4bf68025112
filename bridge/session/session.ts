/** One conversation with a worker: batches go out, replies come in, and some are in flight between them. */
import { readAnswer } from "../log/answer.ts";
import type { Batch } from "../log/batch.ts";
import { BusyError, TorchwireError, type ErrorCode } from "../errors/errors.ts";
import { Log } from "../log/log.ts";
import type { Transport } from "../link/transport.ts";
import type { Departures, LogPort } from "../log/outbox.ts";
import type { Generation } from "../log/lane.ts";
import { Warnings } from "../log/warnings.ts";
import { MessageType, URGENT } from "../wire/header.ts";
import { decodeMessage, encodeMessage, type Incoming } from "../wire/meta.ts";
import { defaultLimits, type Limits } from "../wire/limits.ts";
import { malformed, readFatal, readReplies, readWelcome, type WireReply, type WireWelcome } from "../wire/schema.ts";

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

/** A reply of so many bytes is acknowledged at once, so that the worker need not keep it. */
const LARGE = 2 ** 20;

/** The counts of this side. `roundTrips` counts the batches that went out because somebody awaited a value in them. */
export interface Counts {
  readonly batches: number;
  readonly operations: number;
  readonly roundTrips: number;
  /** Batches that are not answered yet. */
  readonly inFlight: number;
}

export class Session implements LogPort {
  readonly log: Log = new Log(this);
  readonly warnings: Warnings = new Warnings();
  ended: Error | undefined;
  limits: Limits = defaultLimits;
  readonly #transport: Transport;
  readonly #inFlight = new Map<number, { readonly batch: Batch; readonly parts: readonly Uint8Array[] }>();
  readonly #flying = { operations: 0, bytes: 0 };
  readonly #waiting = new Set<() => boolean>();
  readonly #counts = { batches: 0, operations: 0, roundTrips: 0 };
  readonly #handlers: SessionHandlers;
  #seq = 0;
  /** The last batch that was answered. (They are answered in order.) */
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
    const last = this.#close?.seq ?? Infinity;
    return [...this.#inFlight.keys()].filter((seq) => seq < last).length;
  }

  /**
   * Whether answers would be lost if the session ended now. After the order to end, only values that somebody asks for
   * count.
   */
  get losesAnswers(): boolean {
    return this.unanswered > 0 || [...this.#inFlight.values()].some(({ batch }) => batch.fetches.size > 0);
  }

  get counts(): Counts {
    return { ...this.#counts, inFlight: this.#inFlight.size };
  }

  send(batch: Batch, departures: Departures): void {
    const seq = this.#seq + 1;
    const { generation, first, operations, frames } = batch;
    // Empty fields and zeros are left out: ZeroMQ copies a short message, but a long one must be released when it is
    // sent.
    const meta: Record<string, unknown> = { first, operations };
    if (generation.lane.id !== 0) meta["lane"] = generation.lane.id;
    if (generation.number !== 0) meta["generation"] = generation.number;
    if (batch.contexts.length > 0) meta["contexts"] = batch.contexts.map((layer) => layer.wire);
    if (departures.finalised.length > 0) meta["finalised"] = departures.finalised;
    if (departures.contexts.length > 0) meta["ended_contexts"] = departures.contexts;
    const flags = batch.urgent ? URGENT : 0;
    const parts = encodeMessage(
      { type: MessageType.batch, flags, seq, ack: this.#answered, meta, frames },
      this.limits,
    );
    // Nothing below throws: a batch that cannot be encoded is not counted, and leaves no gap.
    this.#seq = seq;
    this.#counts.batches++;
    this.#counts.operations += operations.length;
    if (batch.urgent) this.#counts.roundTrips++;
    this.#flying.operations += operations.length;
    this.#flying.bytes += batch.bytes;
    // A worker with two batches to run need not be woken for this one.
    const urgent = batch.urgent || this.#inFlight.size < 2;
    this.#inFlight.set(seq, { batch, parts });
    if (this.#ready && this.#close === undefined) this.#transport.send(parts, urgent);
  }

  admit(asks: boolean): void {
    const { operations, bytes } = this.#flying;
    // The error advises to await something: there must be room for that.
    const times = asks ? 1.1 : 1;
    const { inFlightOps, inFlightBytes } = this.limits;
    if (operations < times * inFlightOps && bytes < times * inFlightBytes) return;
    // One batch alone is never too much, however large its arrays are.
    const [oldest] = this.#inFlight.values();
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
    return this.#until(() => this.#flying.operations < CREDIT.operations / 2 && this.#flying.bytes < CREDIT.bytes / 2);
  }

  /** Waits until every batch of `generation` is answered. */
  answered(generation: Generation): Promise<void> {
    return this.#until(() => generation.inFlight === 0);
  }

  /** Must be called when the link is cut: from now on messages wait until the worker has said what it has received. */
  suspend(): void {
    this.#ready = false;
  }

  /** The link is there again, and the worker has everything up to `received`. Sends what it lacks, in order. */
  #resume(received: number): void {
    const last = this.#close?.seq ?? Infinity;
    for (const [seq, { parts }] of this.#inFlight) if (seq > received && seq < last) this.#transport.send(parts);
    if (this.#close !== undefined && last > received) this.#transport.send(this.#close.parts);
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
      case MessageType.reply:
        for (const reply of readReplies(message.meta)) this.#answer(reply, message.frames);
        for (const check of this.#waiting) if (check()) this.#waiting.delete(check);
        if (message.header.totalBytes >= LARGE) this.#acknowledge();
        return;
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
    for (const { batch } of this.#inFlight.values())
      for (const { promise } of batch.fetches.values()) promise.reject(error);
    this.#inFlight.clear();
    this.log.outbox.abandon(error);
    for (const check of this.#waiting) check();
    this.#waiting.clear();
    this.warnings.end();
  }

  #acknowledge(urgent = false): void {
    this.#transport.send(encodeMessage({ type: MessageType.ack, ack: this.#answered, meta: {} }, this.limits), urgent);
  }

  #until(done: () => boolean): Promise<void> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    if (done()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.add(() => {
        if (this.ended !== undefined) reject(this.ended);
        else if (done()) resolve();
        else return false;
        return true;
      });
    });
  }

  #answer(reply: WireReply, frames: readonly Uint8Array[]): void {
    const { seq } = reply;
    // After a cut a reply may come twice.
    if (seq <= this.#answered) return;
    const batch = this.#inFlight.get(seq)?.batch;
    if (batch === undefined)
      throw new TorchwireError("PROTOCOL", `the worker answered batch ${seq}, which is not in flight`);
    if (seq !== this.#answered + 1) malformed(`batch ${seq} was answered before batch ${this.#answered + 1}`);
    // Where this throws, the batch stays in flight, and its promises reject with the session.
    const settle = readAnswer(batch, reply, frames, this.limits);
    this.#inFlight.delete(seq);
    this.#answered = seq;
    this.log.outbox.answered(batch);
    this.#flying.operations -= batch.operations.length;
    this.#flying.bytes -= batch.bytes;
    settle();
    if (reply.warnings !== undefined) this.warnings.tell(batch, reply.warnings);
  }
}

const REFUSALS: readonly string[] = ["BUSY", "NO_DEVICE", "WORKER_GONE", "REFUSED", "PROTOCOL"] satisfies ErrorCode[];

/**
 * The error for a worker's refusal. Its code is one of ours, or PROTOCOL where the worker has not understood a message.
 */
export function fatal({ meta }: Incoming): TorchwireError {
  const { code, message, holder } = readFatal(meta);
  if (code === "BUSY") return new BusyError(message, holder);
  if (code !== undefined && REFUSALS.includes(code)) return new TorchwireError(code as ErrorCode, message);
  return new TorchwireError("PROTOCOL", `the worker refused a message: ${message}`);
}
