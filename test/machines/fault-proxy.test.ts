/** The instrument of remote-faults.test.ts, between plain sockets: it does what it says, and to the byte. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { kinds, links, scheduleOf, type Fault, type Kind } from "../fixtures/faults/schedule.ts";
import { poll } from "../fixtures/life/world.ts";

/** The bytes that each connection has sent so far. Everything is sent back. */
let heard: string[];
let open: Socket[];
let servers: Server[];
let proxy: FaultProxy;

/** Two servers on neighbouring ports, as a worker has them; the first one's port. */
async function echoes(): Promise<number> {
  for (;;) {
    servers = links.map(() => createServer(echo));
    const listen = async (server: Server, port: number): Promise<number> => {
      await once(server.listen(port, "127.0.0.1"), "listening");
      return (server.address() as { port: number }).port;
    };
    const port = await listen(servers[0]!, 0);
    try {
      await listen(servers[1]!, port + 1);
      return port;
    } catch {
      servers[0]!.close();
    }
  }
}

function echo(socket: Socket): void {
  const at = heard.push("") - 1;
  open.push(socket);
  socket.on("error", () => undefined);
  socket.on("data", (bytes) => {
    heard[at] += bytes.toString();
    socket.write(bytes);
  });
}

beforeEach(async () => {
  [heard, open] = [[], []];
  proxy = await FaultProxy.open(await echoes());
});
afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  for (const socket of open) socket.destroy();
  for (const server of servers) server.close();
});

interface Client {
  readonly socket: Socket;
  got: string;
  /** How it has ended; undefined while it has not. */
  end: "closed" | "reset" | undefined;
}

async function client(link: "data" | "control" = "data"): Promise<Client> {
  const port = Number(proxy.address.split(":")[2]) + links.indexOf(link);
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  const one: Client = { socket, got: "", end: undefined };
  socket.on("data", (bytes) => (one.got += bytes.toString()));
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "ECONNRESET" || error.code === "EPIPE") one.end = "reset";
  });
  socket.on("close", () => (one.end ??= "closed"));
  await new Promise<void>((resolve) => {
    socket.once("connect", resolve);
    socket.once("close", () => resolve());
  });
  return one;
}

const fault = (kind: Kind, more: Partial<Fault> = {}): Fault => ({
  kind,
  link: "data",
  direction: "up",
  after: 5,
  ms: 50,
  share: 1,
  ...more,
});

/** The value once it is `expected`, or after two seconds. */
const soon = <T>(look: () => T, expected: T): Promise<T> =>
  poll(2000, look, (found) => JSON.stringify(found) === JSON.stringify(expected));

test("without faults everything passes, on both links, and ends are passed on", async () => {
  const [data, control] = [await client(), await client("control")];
  const long = "x".repeat(3_000_000);
  data.socket.write(long);
  control.socket.write("ping");
  expect(await soon(() => data.got.length, long.length)).toBe(long.length);
  expect(await soon(() => control.got, "ping")).toBe("ping");
  expect([proxy.passed("data", "up"), proxy.passed("control", "down")]).toEqual([long.length, 4]);
  data.socket.end();
  expect(await soon(() => open[0]!.readableEnded, true)).toBe(true);
  control.socket.destroy();
  expect(await soon(() => proxy.connections, 0)).toBe(0);
});

test("a connection is closed after so many bytes, in the middle of what was written, and its neighbour is not", async () => {
  proxy.arm([fault("fin")]);
  const [data, control] = [await client(), await client("control")];
  data.socket.write("012");
  data.socket.write("3456789");
  expect(await soon(() => data.end, "closed")).toBe("closed");
  expect(heard).toContain("01234");
  expect(control.end).toBeUndefined();
  expect(proxy.happened).toHaveLength(1);
});

test("a connection is reset on its way down, and the next one is not", async () => {
  proxy.arm([fault("rst", { direction: "down", after: 0 })]);
  const first = await client();
  first.socket.write("0123456789");
  expect(await soon(() => first.end, "reset")).toBe("reset");
  expect([first.got, heard[0]]).toEqual(["", "0123456789"]);
  const second = await client();
  second.socket.write("again");
  expect(await soon(() => second.got, "again")).toBe("again");
});

test("what is delayed comes later, whole and in order", async () => {
  proxy.arm([fault("delay", { ms: 100 })]);
  const one = await client();
  for (const digit of "0123456789") one.socket.write(digit);
  expect(await soon(() => heard, ["01234"])).toEqual(["01234"]);
  one.socket.write("abc");
  expect(await soon(() => one.got, "0123456789abc")).toBe("0123456789abc");
});

test("silence takes every connection there is, and tells nobody; new ones are well", async () => {
  proxy.arm([fault("silent")]);
  const [data, control] = [await client(), await client("control")];
  data.socket.write("0123456789");
  expect(await soon(() => heard[0], "01234")).toBe("01234");
  control.socket.write("ping");
  data.socket.write("more");
  const next = await client("control");
  next.socket.write("new");
  expect(await soon(() => next.got, "new")).toBe("new");
  expect([heard[0], control.got, data.end, control.end]).toEqual(["01234", "", undefined, undefined]);
  data.socket.destroy();
  await once(data.socket, "close");
  // The worker's side hears of it when the proxy lets go of it.
  await sleep(100);
  expect(open[0]!.readableEnded).toBe(false);
  expect(await soon(() => (proxy.disarm(), proxy.connections), 2)).toBe(2);
  expect(await soon(() => open[0]!.destroyed, true)).toBe(true);
});

test("nobody is there for a while", async () => {
  proxy.arm([fault("away", { ms: 200 })]);
  const [data, control] = [await client(), await client("control")];
  data.socket.write("0123456789");
  expect(await soon(() => [data.end, control.end], ["reset", "reset"])).toEqual(["reset", "reset"]);
  const early = await client();
  expect(await soon(() => early.end, "reset")).toBe("reset");
  const served = await poll(
    5000,
    async () => {
      const later = await client();
      later.socket.write("hi");
      return soon(() => later.got, later.end === undefined ? "hi" : "");
    },
    (got) => got === "hi",
  );
  expect(served).toBe("hi");
});

test.for([
  [1, "01234"],
  [0.5, "012"],
] as const)("what was sent is sent once more, %d of it, beside the connection that goes on", async ([share, again]) => {
  proxy.arm([fault("replay", { share })]);
  const one = await client();
  one.socket.write("0123456789");
  expect(await soon(() => heard, ["0123456789", again])).toEqual(["0123456789", again]);
  expect(await soon(() => one.got, "0123456789")).toBe("0123456789");
  expect([open[1]!.readableEnded, one.end]).toEqual([false, undefined]);
  proxy.disarm();
  expect(await soon(() => open[1]!.readableEnded, true)).toBe(true);
});

test("what the worker gets late comes after the client has gone, and connected anew", async () => {
  proxy.arm([fault("late", { ms: 300 })]);
  const first = await client();
  first.socket.write("0123456789");
  expect(await soon(() => first.end, "reset")).toBe("reset");
  expect(heard).toEqual(["01234"]);
  const second = await client();
  second.socket.write("new");
  expect(await soon(() => heard[1], "new")).toBe("new");
  expect(heard[0]).toBe("01234");
  expect(await soon(() => heard, ["0123456789", "new"])).toEqual(["0123456789", "new"]);
  expect(open[0]!.readableEnded).toBe(false);
});

test("faults come one after the other, each counted from the one before", async () => {
  proxy.arm([fault("replay", { after: 2 }), fault("fin", { after: 3 }), fault("fin", { link: "control", after: 1 })]);
  const one = await client();
  one.socket.write("0");
  expect(await soon(() => heard, ["0"])).toEqual(["0"]);
  one.socket.write("123456789");
  expect(await soon(() => heard, ["01234", "01"])).toEqual(["01234", "01"]);
  expect(one.end).toBe("closed");
  const control = await client("control");
  control.socket.write("ping");
  expect(await soon(() => control.end, "closed")).toBe("closed");
  expect(proxy.happened.map(({ kind }) => kind)).toEqual(["replay", "fin", "fin"]);
});

describe("a schedule", () => {
  test("is the same for the same seed, and another for another", () => {
    const all = Array.from({ length: 50 }, (_, seed) => scheduleOf(seed, 100_000));
    expect(scheduleOf(7, 100_000)).toEqual(all[7]);
    expect(new Set(all.map((one) => JSON.stringify(one))).size).toBe(50);
    expect(new Set(all.flat().map(({ kind }) => kind))).toEqual(new Set(kinds));
  });

  test("leaves no fault beyond the run", () => {
    for (let seed = 0; seed < 50; seed++) {
      const sum = scheduleOf(seed, 100_000).reduce(
        (total, { after, direction }) => total + (direction === "up" ? after : 0),
        0,
      );
      expect(sum).toBeLessThan(100_000 + 1000);
    }
  });
});
