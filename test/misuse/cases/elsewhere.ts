import { once } from "node:events";
import { chmodSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { connectWorker, spawnWorker, withWorker } from "torchwire";
import { curveKeyPair, Router } from "zeromq";
import { keygen } from "../../../bridge/keys/keygen.ts";
import { freePorts, serve } from "../../fixtures/served.ts";
import type { Cases, Given } from "../given.ts";

/** The user's folder of settings, for as long as it is in use. */
function settings({ folder }: Given): Disposable {
  const before = process.env["TORCHWIRE_CONFIG"];
  process.env["TORCHWIRE_CONFIG"] = join(folder, "config");
  return {
    [Symbol.dispose]() {
      if (before === undefined) delete process.env["TORCHWIRE_CONFIG"];
      else process.env["TORCHWIRE_CONFIG"] = before;
    },
  };
}

/** A server that speaks like a worker, as far as the greeting. */
async function sockets(secretKey?: string): Promise<Disposable & { address: string }> {
  const port = await freePorts(2);
  const routers = [port, port + 1].map(async (each) => {
    const router = new Router({
      linger: 0,
      ...(secretKey === undefined ? {} : { curveServer: true, curveSecretKey: secretKey }),
    });
    await router.bind(`tcp://127.0.0.1:${each}`);
    return router;
  });
  const bound = await Promise.all(routers);
  return {
    address: `tcp://127.0.0.1:${port}`,
    [Symbol.dispose]: () => {
      for (const router of bound) router.close();
    },
  };
}

export const elsewhere: Cases = {
  "no address": async () => await connectWorker(), // <-
  "an address without its protocol": async () => await connectWorker("gpu-box:5555"), // <-
  "a second port without its host": async () => await connectWorker("tcp://gpu-box:5555", { control: ":5600" }), // <-
  "no patience": async () => await connectWorker("tcp://gpu-box:5555", { timeout: 0 }), // <-
  "no keys for a machine elsewhere": async (given) => {
    using _ = settings(given);
    await connectWorker("tcp://gpu-box:5555"); // <-
  },
  "a profile that is not there": async (given) => {
    using _ = settings(given);
    await connectWorker("tcp://gpu-box:5555", { profile: "desk" }); // <-
  },
  "a profile that others can write": async (given) => {
    using _ = settings(given);
    chmodSync(keygen({ name: "shared", force: true }).path, 0o666);
    await connectWorker("tcp://gpu-box:5555", { profile: "shared" }); // <-
  },
  "a worker that is not there": async () => {
    const address = `tcp://127.0.0.1:${await freePorts(2)}`;
    await connectWorker(address); // <-
  },
  "something else than a worker": async () => {
    const server = createServer((socket) => socket.on("error", () => undefined).end("220 ready\r\n"));
    await once(server.listen(0, "127.0.0.1"), "listening");
    const address = `tcp://127.0.0.1:${(server.address() as { port: number }).port}`;
    try {
      await connectWorker(address); // <-
    } finally {
      server.close();
    }
  },
  "a worker that wants a key": async () => {
    using worker = await sockets(curveKeyPair().secretKey);
    const { address } = worker;
    await connectWorker(address); // <-
  },
  "a worker that has no keys": async (given) => {
    using _ = settings(given);
    keygen({ name: "gpu-box", force: true });
    using worker = await sockets();
    const { address } = worker;
    await connectWorker(address, { profile: "gpu-box" }); // <-
  },
  "a worker with another key than the profile knows": async (given) => {
    using _ = settings(given);
    keygen({ name: "gpu-box", force: true });
    using worker = await sockets(curveKeyPair().secretKey);
    const { address } = worker;
    await connectWorker(address, { profile: "gpu-box" }); // <-
  },
  "a worker that another client has": async () => {
    await using served = await serve();
    const { address } = served;
    await using holder = await connectWorker(address, { timeout: 30_000 });
    await holder.import("builtins").len([]);
    await connectWorker(address); // <-
  },
  "a place that is none": async () => await withWorker({ on: ["gpu-box"] }, () => 1), // <-
  "a place said twice": async () => await withWorker({ on: "here", ssh: "gpu-box" }, () => 1), // <-
  "restarts without end": async () => await withWorker({ restarts: Infinity }, () => 1), // <-
  "a time for restarts that is none": async () => await withWorker({ restarts: { within: "soon" } }, () => 1), // <-
  "an option that withWorker has not": async () => await withWorker({ retries: 3 } as never, () => 1), // <-
  "withWorker without a body": async () => await withWorker({}, undefined as never), // <-
  "no place that gives a worker": async () => {
    const on = [`tcp://127.0.0.1:${await freePorts(2)}`, `tcp://127.0.0.1:${await freePorts(2)}`];
    await withWorker({ on }, () => 1); // <-
  },
  "ssh's arguments as one text": async () => await spawnWorker({ ssh: "-p 2222 gpu-box" }), // <-
};
