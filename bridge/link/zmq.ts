import { Context, Dealer } from "zeromq";
import type { Link, LinkOptions } from "./link.ts";

/** Messages, not bytes: what is in flight is bounded by the session's own credit, well below this. */
const HIGH_WATER_MARK = 100_000;
const HEARTBEAT_MS = 300;
const HEARTBEAT_TIMEOUT_MS = 1200;

// Without this, a process that ends with unsent messages waits for them for ever.
const context = new Context({ blocky: false });

export function openZmqLink(endpoint: string, options: LinkOptions): Link {
  // All options here: those set after connect do not apply.
  const socket = new Dealer({
    context,
    linger: 0,
    sendHighWaterMark: HIGH_WATER_MARK,
    receiveHighWaterMark: HIGH_WATER_MARK,
    maxMessageSize: options.frameBytes,
    reconnectInterval: 50,
    ...(options.heartbeats ? { heartbeatInterval: HEARTBEAT_MS, heartbeatTimeout: HEARTBEAT_TIMEOUT_MS } : {}),
  });
  const link = new ZmqLink(socket, options);
  socket.connect(endpoint);
  return link;
}

class ZmqLink implements Link {
  up = false;
  readonly #socket: Dealer;
  readonly #options: LinkOptions;
  readonly #queue: Uint8Array[][] = [];
  #sending = false;

  constructor(socket: Dealer, options: LinkOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.events.on("disconnect", () => {
      this.up = false;
    });
    socket.events.on("handshake", () => {
      this.up = true;
      options.onUp();
    });
    this.#receive().catch((error: unknown) => this.#broken(error));
  }

  send(parts: readonly Uint8Array[], urgent = true): void {
    this.#queue.push(parts as Uint8Array[]);
    if (urgent) return this.#begin();
    if (this.#queue.length === 1) setImmediate(() => this.#begin());
  }

  #begin(): void {
    if (!this.#sending) this.#drain().catch((error: unknown) => this.#broken(error));
  }

  close(): void {
    if (!this.#socket.closed) this.#socket.close();
  }

  /** One writer: a second send while one is pending throws EBUSY. */
  async #drain(): Promise<void> {
    this.#sending = true;
    try {
      for (let parts = this.#queue.shift(); parts !== undefined; parts = this.#queue.shift())
        await this.#socket.send(parts);
    } finally {
      this.#sending = false;
    }
  }

  async #receive(): Promise<void> {
    for await (const parts of this.#socket) this.#options.onMessage(parts);
  }

  #broken(error: unknown): void {
    if (!this.#socket.closed) this.#options.onError(error);
  }
}
