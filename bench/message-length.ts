/** The length of torchwire's messages. It asks the code that makes them, over a link that leads nowhere. */
import type { AnyRef } from "torchwire";
import { Session } from "../bridge/session/session.ts";
import { inMemory } from "../test/pure/in-memory.ts";

/** The length in bytes of a message that calls a method without arguments and fetches its value. */
export async function requestLength(method: string): Promise<number> {
  const { near, far } = inMemory();
  const { log } = new Session(near, { onWelcome: () => undefined, onClosed: () => undefined });
  const target = log.import("builtins") as AnyRef;
  log.outbox.flush();
  const value = target[method]() as PromiseLike<unknown>;
  // Awaiting sends the message; no answer will come.
  void value.then(() => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  const lengths = far.data.map((parts) => parts.reduce((sum, part) => sum + part.length, 0));
  const [, length] = lengths;
  if (length === undefined || lengths.length !== 2)
    throw new Error(`two messages were expected, not ${lengths.length}`);
  return length;
}
