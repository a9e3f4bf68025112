/** The link to a worker. Its two sockets are connected together, and again together when one of them is lost. */
import { asError, TorchwireError } from "../errors/errors.ts";
import { Connection, type CurveKeys, type FaultKind } from "./connection.ts";
import type { LinkState, Transport, TransportUser } from "./transport.ts";

/** The addresses at which a worker listens. */
export interface Endpoints {
  readonly data: string;
  readonly control: string;
}

/**
 * A link goes over this machine, over ssh (one stream, which ends as a whole), or over a network, which loses packets.
 */
export type Carrier = "machine" | "ssh" | "network";

export interface LinkOptions {
  readonly endpoints: Endpoints;
  readonly curve?: CurveKeys | undefined;
  readonly frameBytes: number;
  readonly over: Carrier;
  /** An attempt without any answer is given up after so long: its packets may be lost. */
  readonly attemptMs: number | undefined;
}

const HEARTBEATS = {
  machine: { intervalMs: 300, timeoutMs: 1200 },
  // They come behind all of a tensor, in the one stream. ssh itself notices a dead line.
  ssh: { intervalMs: 5000, timeoutMs: 60_000 },
  // A line that is full of tensors delays them.
  network: { intervalMs: 1000, timeoutMs: 5000 },
} as const;
const FIRST_PAUSE_MS = 30;
const LONGEST_PAUSE_MS = { machine: 200, ssh: 200, network: 2000 } as const;
/** Before the first connection somebody waits to hear whether there will be one. */
const LONGEST_FIRST_PAUSE_MS = 200;

export class Link implements Transport {
  state: LinkState = "connecting";
  readonly #options: LinkOptions;
  #user!: TransportUser;
  #data: Connection | undefined;
  #control: Connection | undefined;
  #epoch = 0;
  #attempts = 0;
  #hasBeenUp = false;
  /** The present attempt still lacks these: the data connection, and the worker's answer on the control connection. */
  #lacking = new Set<"data" | "control">();
  #since: number = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  open(user: TransportUser): void {
    this.#user = user;
    this.#connect();
  }

  send(parts: readonly Uint8Array[], urgent?: boolean): void {
    this.#data?.send(parts, urgent);
  }

  sendControl(parts: readonly Uint8Array[]): void {
    this.#control?.send(parts);
  }

  welcomed(): void {
    this.#has("control");
  }

  #has(which: "data" | "control"): void {
    this.#lacking.delete(which);
    if (this.state !== "connecting" || this.#lacking.size > 0) return;
    clearTimeout(this.#timer);
    this.#attempts = 0;
    this.#hasBeenUp = true;
    this.#become("up");
  }

  close(): void {
    this.#end("down");
  }

  #end(state: "down" | "refused", reason?: string): void {
    if (this.state === "down" || this.state === "refused") return;
    this.#drop();
    this.#become(state, reason);
  }

  #connect(): void {
    const { endpoints, over, attemptMs, frameBytes, curve } = this.#options;
    const user = this.#user;
    const hello = user.greeting(++this.#epoch);
    this.#lacking = new Set(["data", "control"]);
    const open = (endpoint: string, onMessage: (parts: Uint8Array[]) => void, heartbeats: boolean): Connection => {
      const connection = new Connection(endpoint, {
        frameBytes,
        curve,
        heartbeats: heartbeats ? HEARTBEATS[over] : undefined,
        onMessage,
        onUp: () => {
          connection.send(hello);
          if (!heartbeats) this.#has("data");
        },
        onDown: (fault) => this.#lost(fault),
        onError: (error) => this.#broken(error),
      });
      return connection;
    };
    try {
      this.#data = open(endpoints.data, (parts) => user.onData(parts), false);
      this.#control = open(endpoints.control, (parts) => user.onControl(parts), true);
    } catch (error) {
      return this.#broken(error);
    }
    if (attemptMs !== undefined) this.#giveUpAfter(attemptMs);
  }

  #giveUpAfter(milliseconds: number): void {
    this.#after(milliseconds, (wasHeldUp) => {
      if (wasHeldUp) this.#giveUpAfter(milliseconds);
      else this.#lost("unreachable");
    });
  }

  /**
   * Calls `act` later. A program that holds up its event loop hears nothing and says nothing: that time does not count.
   */
  #after(milliseconds: number, act: (wasHeldUp: boolean) => void): void {
    const start = performance.now();
    this.#timer = setTimeout(() => {
      const took = performance.now() - start;
      const wasHeldUp = took > 1.2 * milliseconds + 20;
      if (wasHeldUp) this.#since += took;
      act(wasHeldUp);
    }, milliseconds);
  }

  #lost(fault: FaultKind): void {
    this.#drop();
    if (this.state === "up") this.#since = performance.now();
    const error = this.#user.mayTryAgain(fault, performance.now() - this.#since);
    if (error !== undefined) return this.#broken(error);
    const longest = this.#hasBeenUp ? LONGEST_PAUSE_MS[this.#options.over] : LONGEST_FIRST_PAUSE_MS;
    // Jitter, so that links that were cut together do not come back together.
    const pause = Math.min(longest, FIRST_PAUSE_MS * 2 ** this.#attempts++) * (0.5 + Math.random() / 2);
    this.#after(pause, () => this.#connect());
    if (this.state === "up") this.#become("connecting", REASONS[fault]);
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#data?.close();
    this.#control?.close();
    this.#data = this.#control = undefined;
  }

  #broken(cause: unknown): void {
    const error = asError(cause);
    this.#end(error instanceof TorchwireError && error.code === "REFUSED" ? "refused" : "down", error.message);
    this.#user.onError(error);
  }

  #become(state: LinkState, reason?: string): void {
    this.state = state;
    this.#user.onChange(reason === undefined ? { state } : { state, reason });
  }
}

const REASONS: Readonly<Record<FaultKind, string>> = {
  unreachable: "no connection could be made",
  mechanism: "the other side does not speak as a worker does",
  refused: "the worker does not let this key in",
  dropped: "the connection was closed during the greeting",
  lost: "the connection was lost",
};
