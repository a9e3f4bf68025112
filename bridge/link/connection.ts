/** One connection to one of a worker's two sockets: made once, told of once when it is lost. A socket of its own, so that nothing stale is ever sent. */
import { Context, Dealer } from "zeromq";

/** CURVE: the worker's public key, and the client's own pair, as z85. */
export interface CurveKeys {
  readonly server: string;
  readonly public: string;
  readonly secret: string;
}

/**
 * - unreachable: there was no connection
 * - mechanism: the other side speaks, but not our way: it has keys and we have none, or the reverse, or it is no ZeroMQ
 * - refused: it does not let this key in
 * - dropped: it closed while we greeted each other, as one does that has another key than we think
 * - lost: it was there, and is not any more
 */
export type FaultKind = "unreachable" | "mechanism" | "refused" | "dropped" | "lost";

export interface ConnectionOptions {
  /** Frames larger than this end the connection before they are allocated. */
  readonly frameBytes: number;
  /**
   * ZMTP heartbeats, answered by libzmq's own thread: they tell a stopped process or a cut cable from a busy interpreter.
   * Never on a connection that carries tensors: they would cut a long transfer.
   */
  readonly heartbeats?: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
  readonly curve?: CurveKeys | undefined;
  /** Called for each message, in order. */
  readonly onMessage: (parts: Uint8Array[]) => void;
  /** Both sides have greeted each other. */
  readonly onUp: () => void;
  /** Called once, unless this side closes it. */
  readonly onDown: (fault: FaultKind) => void;
  /** What `onMessage` throws, and what cannot be sent. */
  readonly onError: (error: unknown) => void;
}

/** Messages, not bytes: what is in flight is bounded by the session's own credit, well below this. */
const HIGH_WATER_MARK = 100_000;

/** libzmq does not connect again by itself: what it would send again, and what not, nobody could say. (Its own "never", -1, drops what came and was not read.) */
const NEVER = 1e9;

/** There are no heartbeats on data: where that flow alone is dropped, by a firewall that has forgotten it, TCP would try for a quarter of an hour. */
const PROBES = {
  tcpKeepalive: 1,
  tcpKeepaliveIdle: 15,
  tcpKeepaliveInterval: 5,
  tcpKeepaliveCount: 3,
  tcpMaxRetransmitTimeout: 30_000,
} as const;

// Without this, a process that ends with unsent messages waits for them for ever.
const context = new Context({ blocky: false });

export class Connection {
  readonly #socket: Dealer;
  readonly #options: ConnectionOptions;
  readonly #queue: Uint8Array[][] = [];
  #sending = false;
  #received = 0;
  #over = false;

  constructor(endpoint: string, options: ConnectionOptions) {
    this.#options = options;
    const { frameBytes, heartbeats, curve } = options;
    // All options here: those set after connect do not apply.
    const socket = new Dealer({
      context,
      linger: 0,
      sendHighWaterMark: HIGH_WATER_MARK,
      receiveHighWaterMark: HIGH_WATER_MARK,
      maxMessageSize: frameBytes,
      reconnectInterval: NEVER,
      ...(endpoint.startsWith("tcp:") ? PROBES : {}),
      ...(endpoint.startsWith("tcp://[") ? { ipv6: true } : {}),
      ...(heartbeats === undefined
        ? {}
        : { heartbeatInterval: heartbeats.intervalMs, heartbeatTimeout: heartbeats.timeoutMs }),
      ...(curve === undefined
        ? {}
        : { curveServerKey: curve.server, curvePublicKey: curve.public, curveSecretKey: curve.secret }),
    });
    this.#socket = socket;
    this.#observe().catch((error: unknown) => this.#broken(error));
    this.#receive().catch((error: unknown) => this.#broken(error));
    socket.connect(endpoint);
  }

  /** What is not urgent may wait for what else is sent in this turn of the event loop, and wake the other side with it once. */
  send(parts: readonly Uint8Array[], urgent = true): void {
    if (this.#over) return;
    this.#queue.push(parts as Uint8Array[]);
    if (urgent) return this.#begin();
    if (this.#queue.length === 1) setImmediate(() => this.#begin());
  }

  /** What could not be sent by now is dropped. */
  close(): void {
    this.#over = true;
    this.#queue.length = 0;
    if (!this.#socket.closed) this.#socket.close();
  }

  /** What came before the end is read before it: events overtake messages. */
  async #readRest(): Promise<void> {
    for (let before = -1; before !== this.#received;) {
      before = this.#received;
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    }
  }

  #down(fault: FaultKind): void {
    if (this.#over) return;
    this.close();
    this.#options.onDown(fault);
  }

  #begin(): void {
    if (!this.#sending && !this.#over) this.#drain().catch((error: unknown) => this.#broken(error));
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

  /** Not by `events.on`: its code belongs to the realm that loaded zeromq first, which under Jest is a test file that is over. */
  async #observe(): Promise<void> {
    let fault: FaultKind = "unreachable";
    for await (const { type } of this.#socket.events) {
      if (type === "connect") fault = "dropped";
      else if (type === "handshake") {
        fault = "lost";
        if (!this.#over) this.#options.onUp();
      } else if (type === "handshake:error:auth") this.#down("refused");
      else if (type === "handshake:error:protocol") this.#down("mechanism");
      else if (type === "handshake:error:other") this.#down("dropped");
      else if (type === "disconnect" || type === "close") void this.#readRest().then(() => this.#down(fault));
    }
  }

  async #receive(): Promise<void> {
    for await (const parts of this.#socket) {
      // What was read before it was closed came by a connection that does not count any more.
      if (this.#over) return;
      this.#received++;
      this.#options.onMessage(parts);
    }
  }

  #broken(error: unknown): void {
    if (!this.#over) this.#options.onError(error);
  }
}
