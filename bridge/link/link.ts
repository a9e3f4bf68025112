/** A way to carry whole messages, in order: two functions and close. ZeroMQ is one. */
export interface Link {
  /** What is not urgent may wait for what else is sent in this turn of the event loop, and wake the other side with it once. */
  send(parts: readonly Uint8Array[], urgent?: boolean): void;
  /** What could not be sent by now is dropped. */
  close(): void;
  /** A connection is established; with heartbeats, also that the other side answers them. */
  readonly up: boolean;
}

export interface LinkOptions {
  /** Called for each message, in order. */
  readonly onMessage: (parts: Uint8Array[]) => void;
  /** Called whenever a connection is established, the first one and later ones. */
  readonly onUp: () => void;
  /** Called once if the link breaks for good. */
  readonly onError: (error: unknown) => void;
  /** Frames larger than this end the connection before they are allocated. */
  readonly frameBytes: number;
  /**
   * ZMTP heartbeats, answered by libzmq's own thread: they tell a stopped process or a cut cable from a busy interpreter.
   * Never on a link that carries tensors: they would cut a long transfer.
   */
  readonly heartbeats: boolean;
}
