/** The two ends of a transport without sockets: a client's, and what a test does in the worker's place. */
import type { Transport, TransportUser } from "../../bridge/link/transport.ts";
import { defaultLimits } from "../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage, type Incoming, type Outgoing } from "../../bridge/wire/meta.ts";

/** The worker's end. */
export class Far {
  readonly #user: () => TransportUser;
  /** The messages that have come by the data connection, as they came. */
  readonly data: Uint8Array[][] = [];
  /** The same of the control connection. */
  readonly control: Uint8Array[][] = [];

  constructor(user: () => TransportUser) {
    this.#user = user;
  }

  /** What has come by the data connection since this was last asked. */
  heard(): Incoming[] {
    return this.data.splice(0).map((parts) => decodeMessage(parts, defaultLimits));
  }

  says(message: Outgoing): void {
    this.#user().onData(encodeMessage(message, defaultLimits));
  }

  saysByControl(message: Outgoing): void {
    this.#user().onControl(encodeMessage(message, defaultLimits));
  }

  /** The connections are lost, and there are none until `connects`. */
  cut(): void {
    this.#user().onChange({ state: "connecting", reason: "cut" });
  }

  /** The client greets on new connections. */
  connects(epoch: number): void {
    this.data.push(this.#user().greeting(epoch));
  }

  /** The client's link gives up. */
  gone(error: Error): void {
    this.#user().onError(error);
  }
}

export function inMemory(): { near: Transport; far: Far } {
  let user: TransportUser | undefined;
  const far = new Far(() => user!);
  const near: Transport = {
    state: "up",
    open: (opened) => {
      user = opened;
      far.connects(1);
    },
    send: (parts) => void far.data.push([...parts]),
    sendControl: (parts) => void far.control.push([...parts]),
    welcomed: () => undefined,
    close: () => undefined,
  };
  return { near, far };
}
