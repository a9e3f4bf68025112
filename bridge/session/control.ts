/** The control connection: questions that a busy worker answers too, and the worker's log records. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { TorchwireError } from "../errors/errors.ts";
import type { Transport } from "../link/transport.ts";
import { fatal } from "./fatal.ts";
import { MessageType } from "../wire/header.ts";
import { decodeMessage, encodeMessage } from "../wire/meta.ts";
import { defaultLimits } from "../wire/limits.ts";
import { readControlWelcome, readLog, readPong, type Pong, type WireLog, type WireWarning } from "../wire/schema.ts";

export type { Pong } from "../wire/schema.ts";

/**
 * - idle: it has nothing to do
 * - busy: it runs operations
 * - unresponsive: the process and its link are there, but its interpreter does not answer (a C call holds the GIL)
 * - stopped: the process is there, but its link is not (SIGSTOP, a debugger, a suspended container)
 * - unreachable: the link to a remote worker is cut, and is being made again
 * - gone: the process has ended, or it has dropped this session
 */
export type LivenessState = "idle" | "busy" | "unresponsive" | "stopped" | "unreachable" | "gone";

export interface Liveness {
  readonly state: LivenessState;
  /** The seconds since it began with the present batch. */
  readonly busySeconds?: number;
}

/**
 * An interpreter that does not answer for so long is unresponsive. (A pure Python loop lets it answer within some 15
 * ms.)
 */
const PATIENCE_MS = 500;

/** In characters: a fourth of what the worker sends ahead of us without a question (records.py). */
const ASK_AFTER = 2 ** 20;
/** The worker counts so many for each record, beside its text. */
const BESIDE = 64;

export class Control {
  /** Resolves when the worker has first answered here, with its name. */
  readonly welcomed: Promise<string | undefined>;
  /** Resolves when the worker has said everything here. */
  readonly finished: Promise<void>;
  readonly #link: Transport;
  readonly #apart: "stopped" | "unreachable";
  readonly #logger: Logger;
  readonly #onWarning: (warning: WireWarning) => void;
  readonly #pings = new Map<number, (pong: Pong) => void>();
  readonly #rejections = new Map<number, (error: Error) => void>();
  #welcome!: (worker: string | undefined) => void;
  #finish!: () => void;
  #ended: Error | undefined;
  #seq = 0;
  /** The characters that it has logged since we last asked. */
  #unasked = 0;

  /** `apart` is the state of a worker without a link. `onWarning` gets the warnings that no operation has raised. */
  constructor(
    link: Transport,
    logger: Logger,
    apart: "stopped" | "unreachable",
    onWarning: (warning: WireWarning) => void,
  ) {
    this.#onWarning = onWarning;
    this.#link = link;
    this.#apart = apart;
    this.#logger = logger;
    this.welcomed = new Promise((resolve) => {
      this.#welcome = resolve;
    });
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  async liveness(): Promise<Liveness> {
    if (this.#ended !== undefined) return { state: "gone" };
    if (this.#link.state !== "up") return { state: this.#apart };
    const pong = await this.#askFor(PATIENCE_MS);
    if (this.#ended !== undefined) return { state: "gone" };
    if (pong === undefined) return { state: this.#link.state === "up" ? "unresponsive" : this.#apart };
    return pong.busy === null ? { state: "idle" } : { state: "busy", busySeconds: pong.busy };
  }

  ping(): Promise<Pong> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const seq = ++this.#seq;
    return new Promise((resolve, reject) => {
      this.#pings.set(seq, resolve);
      this.#rejections.set(seq, reject);
      this.#sendPing(seq);
    });
  }

  /** Tells the worker to end at once. Resolves when it has heard that, or after a second. */
  async kill(): Promise<void> {
    if (this.#ended !== undefined || this.#link.state !== "up") return;
    this.#link.sendControl(encodeMessage({ type: MessageType.close, meta: {} }, defaultLimits));
    await Promise.race([this.finished, delay(1000, undefined, { ref: false })]);
  }

  receive(parts: Uint8Array[]): void {
    const message = decodeMessage(parts, defaultLimits);
    const { header, meta } = message;
    if (header.type === MessageType.pong) {
      // After SIGCONT a pong may come late, when nobody waits for it any more.
      const pong = readPong(meta);
      this.#pings.get(header.seq)?.(pong);
      this.#forget(header.seq);
    } else if (header.type === MessageType.welcome) {
      this.#welcome(readControlWelcome(meta).worker);
      this.#link.welcomed();
      // The worker did not listen to questions that came before the greeting on a new connection.
      for (const seq of this.#pings.keys()) this.#sendPing(seq);
    } else if (header.type === MessageType.log) this.#log(readLog(meta));
    else if (header.type === MessageType.closed) this.#finish();
    else if (header.type === MessageType.fatal) throw fatal(message);
    else throw new TorchwireError("PROTOCOL", `the worker sent a message of type ${header.type} on the control link`);
  }

  end(error: Error): void {
    this.#ended ??= error;
    for (const reject of this.#rejections.values()) reject(error);
    this.#pings.clear();
    this.#rejections.clear();
  }

  async #askFor(milliseconds: number): Promise<Pong | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<undefined>((resolve) => {
      // A program that has held up its event loop finds the timer first, and the waiting answer right after it.
      timer = setTimeout(() => setImmediate(() => setImmediate(() => resolve(undefined))), milliseconds);
    });
    try {
      return await Promise.race([this.ping(), patience]);
    } catch {
      // The worker ended while we asked. The caller sees that.
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The worker sends only so much ahead of us. A question tells it that we have read so far. */
  #log(said: WireLog): void {
    if ("category" in said) this.#onWarning(said);
    else logRecord(this.#logger, said);
    this.#unasked += ("line" in said ? said.line : said.message).length + BESIDE;
    if (this.#unasked < ASK_AFTER) return;
    this.#unasked = 0;
    this.#sendPing(++this.#seq);
  }

  #sendPing(seq: number): void {
    this.#link.sendControl(encodeMessage({ type: MessageType.ping, seq, meta: {} }, defaultLimits));
  }

  #forget(seq: number): void {
    this.#pings.delete(seq);
    this.#rejections.delete(seq);
  }
}

/** Logs by pino's method for the nearest level below. (Python's levels are numbers in tens.) */
function logRecord(logger: Logger, said: Exclude<WireLog, WireWarning>): void {
  if ("stream" in said) return logger.info({ stream: said.stream }, said.line);
  const { level, message, logger: name } = said;
  const method = level >= 50 ? "fatal" : level >= 40 ? "error" : level >= 30 ? "warn" : level >= 20 ? "info" : "debug";
  logger[method]({ stream: "logging", logger: name }, message);
}
