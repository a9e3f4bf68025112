/** Carries messages to one worker and back. The link does it by sockets; tests do it in memory. */
import type { FaultKind } from "./connection.ts";

/**
 * - connecting: there is no connection, and one is being made, again and again
 * - up: the worker hears us, and answers
 * - down: it is over, by this side's will or because the worker is gone
 * - refused: the worker does not let us in, or no longer
 */
export type LinkState = "connecting" | "up" | "down" | "refused";

export interface LinkChange {
  readonly state: LinkState;
  /** The reason, where there is something to say. */
  readonly reason?: string;
}

/**
 * Two connections: `data` has operations and answers, in order; `control` has questions that a busy worker answers too.
 */
export interface Transport {
  readonly state: LinkState;
  /** Connects, and connects again whenever a connection is lost. `user` gets all that comes. */
  open(user: TransportUser): void;
  /**
   * Sends by the data connection. A message that is not urgent may wait for others in this turn of the event loop.
   * Without a connection a message is dropped: if it must not be lost, send it again when the worker has welcomed us.
   */
  send(parts: readonly Uint8Array[], urgent?: boolean): void;
  sendControl(parts: readonly Uint8Array[]): void;
  /**
   * Must be called when the worker has answered the greeting by the control connection. (By the other one a busy worker
   * answers late.)
   */
  welcomed(): void;
  close(): void;
}

export interface TransportUser {
  /** The first message on a connection. `epoch` counts the connections: the worker listens to the latest alone. */
  greeting(epoch: number): Uint8Array[];
  onData(parts: Uint8Array[]): void;
  onControl(parts: Uint8Array[]): void;
  onChange(change: LinkChange): void;
  /** There has been no connection for `sinceMs`. Gives the error where it is of no use to try again. */
  mayTryAgain(fault: FaultKind, sinceMs: number): Error | undefined;
  /** Called once if it is over for good. */
  onError(error: Error): void;
}
