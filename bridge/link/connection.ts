/**
 * One connection to one of a worker's two sockets. It is made once, and its loss is told once. Each has a socket of its
 * own, so that nothing stale is ever sent.
 */
import { Context, Dealer } from "zeromq";
import { Queue } from "../runtime/queue.ts";

/** The keys of CURVE, as z85: the worker's public key, and the client's own pair. */
export interface CurveKeys {
  readonly server: string;
  readonly public: string;
  readonly secret: string;
}

/**
 * - unreachable: there was no connection
 * - mechanism: the other side does not speak as we do: one of us has keys and the other has none, or it is not ZeroMQ
 * - refused: it does not let this key in
 * - dropped: it closed during the greeting, as a worker does whose key is not the one we know
 * - lost: the connection was there, and is gone
 */
export type FaultKind = "unreachable" | "mechanism" | "refused" | "dropped" | "lost";

export interface ConnectionOptions {
  /** Frames larger than this end the connection before they are allocated. */
  readonly frameBytes: number;
  /**
   * ZMTP heartbeats. libzmq's own thread answers them, so they tell a stopped process or a cut cable from a busy
   * interpreter. A connection that carries tensors must have none: they would cut a long transfer.
   */
  readonly heartbeats?: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
  readonly curve?: CurveKeys | undefined;
  /** Called for each message, in order. */
  readonly onMessage: (parts: Uint8Array[]) => void;
  /** Both sides have greeted each other. */
  readonly onUp: () => void;
  /** Called once, unless this side closes it. */
  readonly onDown: (fault: FaultKind) => void;
  /** Called with an error of `onMessage`, and with one of sending. */
  readonly onError: (error: unknown) => void;
}

/** The limit is in messages. The session's own credit bounds what is in flight, well below it. */
const HIGH_WATER_MARK = 100_000;

/**
 * libzmq must not connect again by itself: nobody could say which messages it would send again. (Its own "never", -1,
 * drops messages that came and were not read.)
 */
const NEVER = 1e9;

/**
 * The data connection has no heartbeats. Where a firewall has forgotten that flow alone, TCP would try for a quarter of
 * an hour without these.
 */
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
  readonly #queue = new Queue<Uint8Array[]>();
  #sending = false;
  #received = 0;
  #over = false;

  constructor(endpoint: string, options: ConnectionOptions) {
    this.#options = options;
    const { frameBytes, heartbeats, curve } = options;
    // All options must be given here: those set after connect do not apply.
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

  /**
   * A message that is not urgent may wait for others in this turn of the event loop, so that all of them wake the other
   * side once.
   */
  send(parts: readonly Uint8Array[], urgent = true): void {
    if (this.#over) return;
    this.#queue.push(parts as Uint8Array[]);
    if (urgent) return this.#begin();
    if (this.#queue.length === 1) setImmediate(() => this.#begin());
  }

  /** Drops the messages that are not sent yet. */
  close(): void {
    this.#over = true;
    this.#queue.clear();
    if (!this.#socket.closed) this.#socket.close();
  }

  /** Reads the messages that came before the end: events overtake messages. */
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

  /** Sends one message at a time: a second send while one is pending throws EBUSY. */
  async #drain(): Promise<void> {
    this.#sending = true;
    try {
      for (let parts = this.#queue.shift(); parts !== undefined; parts = this.#queue.shift())
        await this.#socket.send(parts);
    } finally {
      this.#sending = false;
    }
  }

  /**
   * Does without `events.on`: its code belongs to the realm that loaded zeromq first, which under Jest is a test file
   * that is over.
   */
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
      // This message was read before the connection was closed. It does not count any more.
      if (this.#over) return;
      this.#received++;
      this.#options.onMessage(parts);
    }
  }

  #broken(error: unknown): void {
    if (!this.#over) this.#options.onError(error);
  }
}
