/**
 * A worker's life, and how it ends:
 *
 *     open ── close() ──▶ closing ──────────▶ ended
 *       │                    │ kill()           ▲
 *       ├──── kill() ────▶ killed ──────────────┘
 *       └── its process ends, or its link is given up ──▶ lost
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { TorchwireError } from "../errors/errors.ts";
import type { LinkChange, LinkState, Transport } from "../link/transport.ts";
import type { Control } from "./control.ts";
import type { Session } from "./session.ts";

type State = "open" | "closing" | "killed" | "lost" | "ended";

/** The worker's process, where this program has started it. */
export interface OwnProcess {
  /** Resolves with how it has ended. */
  readonly exited: Promise<Error & { readonly exitCode: number | undefined }>;
  kill(): void;
}

export interface LifeOptions {
  readonly session: Session;
  readonly control: Control;
  readonly transport: Transport;
  readonly logger: Logger;
  readonly process: OwnProcess | undefined;
}

/** When the process has ended, its last words may still lie in the sockets. They are waited for so long. */
const LAST_WORDS_MS = 1000;

export class Life {
  /** Resolves when the session is over. */
  readonly over: Promise<void>;
  /** Resolves when the session is over and the process, if it is this program's own, has ended. */
  readonly gone: Promise<void>;
  readonly #session: Session;
  readonly #control: Control;
  readonly #transport: Transport;
  readonly #logger: Logger;
  readonly #process: OwnProcess | undefined;
  readonly #listeners = new Set<(change: LinkChange) => void>();
  readonly #waiting: (() => void)[] = [];
  #state: State = "open";
  /** The session's farewell has come: every answer is here. */
  #farewell = false;
  /** The last message on the control connection has come: Python has ended, and all that it wrote is here. */
  #lastWord = false;
  /**
   * The link was cut after the farewell: the worker has nothing more to say. (A link that is cut before it is made
   * again; the worker waits for that.)
   */
  #cut = false;
  /** The error for answers that close() waited for in vain. */
  #unanswered: Error | undefined;
  #closing: Promise<void> | undefined;
  #killing: Promise<void> | undefined;

  constructor({ session, control, transport, logger, process }: LifeOptions) {
    this.#session = session;
    this.#control = control;
    this.#transport = transport;
    this.#logger = logger;
    this.#process = process;
    this.over = this.#until(() => this.#isOver);
    this.gone = process === undefined ? this.over : process.exited.then((exit) => this.#exited(exit));
    void control.finished.then(() => this.#notes(() => (this.#lastWord = true)));
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get link(): LinkState {
    return this.#transport.state;
  }

  onLink(listener: (change: LinkChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Runs what was queued, then ends the worker. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  /** Ends the worker at once, even where `close` still waits. All that is pending rejects with `why`. */
  kill(why: Error = closedError()): Promise<void> {
    return (this.#closing = this.#killing ??= this.#kill(why));
  }

  /** Must be called when the worker has said that it has run everything. */
  farewell(): void {
    this.#notes(() => (this.#farewell = true));
  }

  /** Must be called when the link is given up. */
  fail(error: Error): void {
    // A worker that was told to end and has answered everything is closed, however it ends.
    const isClosed = this.#isTold && this.#session.unanswered === 0;
    this.#end(isClosed ? closedError() : error);
    this.#process?.kill();
  }

  /** Must be called when the link has changed. */
  linkChanged(change: LinkChange): void {
    if (!this.isOpen && change.state === "connecting") {
      // A worker that was told to end goes: this is no news.
      if (this.#farewell) this.#notes(() => (this.#cut = true));
      return;
    }
    // A program knows what it does itself: only what happens to it is worth a warning.
    const level = change.state === "connecting" || change.state === "refused" ? "warn" : "debug";
    this.#logger[level](change, `link ${change.state}`);
    for (const listener of this.#listeners) tell(listener, change);
  }

  get #isTold(): boolean {
    return this.#state === "closing" || this.#state === "killed";
  }

  get #isOver(): boolean {
    return this.#state === "lost" || this.#state === "ended";
  }

  async #close(): Promise<void> {
    if (this.#state === "lost") return this.gone;
    for (const run of this.#session.log.beforeClose) run();
    this.#state = "closing";
    this.#session.sendClose();
    await this.#until(() => this.#farewell || this.#isOver);
    // Python ends now. All that it writes meanwhile comes by the control connection. The worker bounds the time for
    // this.
    const isCut = (): boolean => this.#cut && this.#process === undefined;
    await this.#until(() => this.#lastWord || isCut() || this.#isOver);
    const { failure, thrown } = this.#session.log.outbox.mainLane.generation;
    this.#end(closedError());
    await this.gone;
    // No failure goes unnoticed: close() tells one that nobody has awaited.
    if (failure !== undefined && !thrown) throw failure.error;
    if (this.#unanswered !== undefined) throw this.#unanswered;
    const exit = await this.#process?.exited;
    if (exit !== undefined && exit.exitCode !== 0 && this.#killing === undefined)
      process.emitWarning(`the worker was closed, but its Python did not end as it should: ${exit.message}`, {
        type: "TorchwireWarning",
      });
  }

  async #kill(why: Error): Promise<void> {
    if (!this.#isOver) {
      this.#state = "killed";
      if (this.#process === undefined) await this.#control.kill();
    }
    // This comes first, so that a program which kills its worker is not told of lost answers.
    this.#session.end(why);
    this.#end(why);
    this.#process?.kill();
    await this.gone;
  }

  async #exited(exit: Error): Promise<void> {
    if (this.#state === "closing") {
      const isSaid = (): boolean => (this.#farewell && this.#lastWord) || this.#cut || this.#isOver;
      await Promise.race([this.#until(isSaid), delay(LAST_WORDS_MS, undefined, { ref: false })]);
    }
    this.fail(exit);
  }

  #end(error: Error): void {
    if (this.#isTold && this.#session.losesAnswers) this.#unanswered ??= error;
    this.#session.end(error);
    this.#control.end(error);
    this.#transport.close();
    this.#notes(() => {
      if (!this.#isOver) this.#state = this.#isTold ? "ended" : "lost";
    });
  }

  #notes(change: () => void): void {
    change();
    for (const check of this.#waiting) check();
  }

  #until(is: () => boolean): Promise<void> {
    if (is()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(() => {
        if (is()) resolve();
      });
    });
  }
}

const closedError = (): TorchwireError =>
  new TorchwireError("CLOSED", "the worker was closed by this program; start another one");

/** A listener's error goes to the program, as with any event of Node's. The link has nothing to do with it. */
function tell(listener: (change: LinkChange) => void, change: LinkChange): void {
  try {
    listener(change);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
