/** One connection to a socket that is bound here. */
import { Observer, Router } from "zeromq";
import { expect, test, vi } from "vitest";
import { Connection } from "../../../bridge/link/connection.ts";
import { defaultLimits } from "../../../bridge/wire/limits.ts";

test("is told of and carries messages also where zeromq was loaded before by a test file that is over", async () => {
  // The addon is one for the whole process. Its emitter of events requires modules of whoever loaded it first: under
  // Jest, nobody any more.
  const on = vi.spyOn(Observer.prototype, "on").mockImplementation(() => {
    throw new TypeError("Cannot read properties of undefined (reading 'EventEmitter')");
  });
  const router = new Router({ linger: 0 });
  try {
    await router.bind("tcp://127.0.0.1:*");
    const happened: unknown[] = [];
    await new Promise<void>((resolve) => {
      const connection = new Connection(router.lastEndpoint!, {
        frameBytes: defaultLimits.frameBytes,
        onMessage: ([part]) => {
          happened.push(Buffer.from(part!).toString());
          router.close();
        },
        onUp: () => {
          happened.push("up");
          connection.send([Buffer.from("to")]);
        },
        onDown: (fault) => {
          happened.push(fault);
          resolve();
        },
        onError: (error) => {
          happened.push(error);
          resolve();
        },
      });
      void router.receive().then(([who, what]) => router.send([who!, `and from, ${String(what)}`]));
    });
    expect(happened).toEqual(["up", "and from, to", "lost"]);
  } finally {
    on.mockRestore();
    if (!router.closed) router.close();
  }
});
