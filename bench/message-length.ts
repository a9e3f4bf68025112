/** The length of torchwire's messages. It asks the code that makes them, over a link that leads nowhere. */
import type { AnyRef } from "torchwire";
import { Session, type Outlet } from "../bridge/session/session.ts";

/** The length in bytes of a message that calls a method without arguments and fetches its value. */
export async function requestLength(method: string): Promise<number> {
  const lengths: number[] = [];
  const outlet: Outlet = { send: (parts) => void lengths.push(parts.reduce((sum, part) => sum + part.length, 0)) };
  const { log } = new Session(outlet, { onWelcome: () => undefined, onClosed: () => undefined });
  const target = log.import("builtins") as AnyRef;
  log.outbox.flush();
  const value = target[method]() as PromiseLike<unknown>;
  // Awaiting sends the message; no answer will come.
  void value.then(() => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  const [, length] = lengths;
  if (length === undefined || lengths.length !== 2)
    throw new Error(`two messages were expected, not ${lengths.length}`);
  return length;
}
