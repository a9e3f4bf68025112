import { TorchwireError } from "../../bridge/errors.ts";
import type { Access, View } from "../callback/access.ts";
import { callback, type Callback } from "../callback/callback.ts";
import type { EventName } from "../events.ts";
import type { Phase } from "../phases.ts";

let made = 0;

/** One function at one event, in line: `customCallback("epochEnd", ({ epoch }) => console.log(epoch))`. */
export function customCallback<E extends EventName, const A extends Access = {}>(
  event: E,
  handler: (view: View<A, E>) => void | PromiseLike<void>,
  options: {
    readonly name?: string;
    readonly access?: A;
    readonly phase?: abstract new (...args: any[]) => Phase;
  } = {},
): Callback {
  if (typeof handler !== "function")
    throw new TorchwireError("MISUSE", "customCallback(event, handler): there is no handler");
  const { name = `CustomCallback${++made}(${event})`, access, phase } = options;
  return callback<A>({
    name,
    ...(access === undefined ? {} : { access }),
    ...(phase === undefined ? {} : { phase }),
    on: { [event]: handler },
  });
}
