import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Access, View } from "../callback/access.ts";
import { callback, CallbackObject, type Callback } from "../callback/callback.ts";
import type { EventName } from "../training/events.ts";
import type { Phase } from "../training/phases.ts";

export interface CustomCallbackOptions<A extends Access> {
  /** Default: a name that no other has. */
  readonly name?: string;
  readonly access?: A;
  readonly phase?: abstract new (...args: any[]) => Phase;
}

let made = 0;

/** Runs one function at one event, in line: `new CustomCallback("epochEnd", ({ epoch }) => console.log(epoch))`. */
export class CustomCallback<E extends EventName, const A extends Access = {}> extends CallbackObject {
  override readonly name: string;
  override readonly access: Access;
  override readonly phase: Callback["phase"];
  override readonly on: Callback["on"];
  override readonly state = "none";

  constructor(
    event: E,
    handler: (view: View<A, E>) => void | PromiseLike<void>,
    { name = `CustomCallback${++made}(${event})`, access, phase }: CustomCallbackOptions<A> = {},
  ) {
    if (typeof handler !== "function")
      throw new TorchwireError("MISUSE", "new CustomCallback(event, handler): there is no handler");
    super();
    const same = callback<A>({
      name,
      ...(access === undefined ? {} : { access }),
      ...(phase === undefined ? {} : { phase }),
      on: { [event]: handler },
    });
    ({ name: this.name, access: this.access, phase: this.phase, on: this.on } = same);
  }
}
