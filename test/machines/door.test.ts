/**
 * A socket at a worker's door, with the right keys, the wrong ones and none; and the answer where there is no worker.
 */
import { execa } from "execa";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { curveKeyPair, Dealer } from "zeromq";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { packageRoot } from "../../bridge/environment/package.ts";
import { fingerprint } from "../../bridge/keys/key.ts";
import { keygen } from "../../bridge/keys/keygen.ts";
import { readProfile } from "../../bridge/keys/profile.ts";
import { readGreeting } from "../../bridge/link/greeting.ts";
import { where } from "../only.ts";

type CurveKeyPair = ReturnType<typeof curveKeyPair>;

const describeWithModes = where(process.platform !== "win32", "Windows has no file modes");

// A server as far as its door goes: one socket with keys, one without, and it says who sent a message.
const door = `
import sys, zmq
sys.path.insert(0, sys.argv[1])
from torchwire_worker import keys
server = keys.load(sys.argv[2])
context = zmq.Context()
guard = server.guard(context)
sockets = [context.socket(zmq.ROUTER) for _ in range(2)]
server.configure(sockets[0])
poller = zmq.Poller()
for socket in sockets:
    socket.bind("tcp://127.0.0.1:*")
    poller.register(socket, zmq.POLLIN)
    print(socket.last_endpoint.rstrip(b"\\0").decode(), flush=True)
while True:
    for socket, _ in poller.poll():
        peer, message = socket.recv_multipart(copy=False)
        name = "" if socket is sockets[1] else server.name_of(peer.get("User-Id"))
        socket.send_multipart([peer.bytes, name.encode()])
`;

describeWithModes("a server's door, with keys that keygen made", () => {
  let home: string;
  let python: string;
  let server: ChildProcess;
  let guarded: string;
  let open: string;
  let key: string;
  let own: CurveKeyPair;
  let said: string;
  const keysFolder = (): string => join(home, "keys");

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), "torchwire-door-"));
    python = (await findPython()).executable;
    const { half } = keygen({ name: "door", as: "me@here", env: { TORCHWIRE_CONFIG: home } });
    const { server: known, client } = readProfile("door", { TORCHWIRE_CONFIG: home });
    key = known.public;
    own = { publicKey: client.public, secretKey: client.secret };
    const authorize = `import sys; sys.path.insert(0, sys.argv[1]); from torchwire_worker import keys; keys.authorize(sys.argv[2], sys.stdin)`;
    const files = join(packageRoot(), "python");
    const { stdout } = await execa(python, ["-c", authorize, files, keysFolder()], { input: half });
    said = stdout;
    server = spawn(python, ["-c", door, files, keysFolder()], { stdio: ["ignore", "pipe", "ignore"] });
    const lines = createInterface({ input: server.stdout! })[Symbol.asyncIterator]();
    guarded = (await lines.next()).value as string;
    open = (await lines.next()).value as string;
  });

  afterAll(async () => {
    server?.kill("SIGKILL");
    rmSync(home, { recursive: true });
  });

  /** The client that the door names, or the event that said that it stays shut. */
  async function knock(address: string, keys?: { server: string; client: CurveKeyPair }): Promise<string> {
    const { server: serverKey, client } = keys ?? {};
    const curve = client && {
      curveServerKey: serverKey!,
      curvePublicKey: client.publicKey,
      curveSecretKey: client.secretKey,
    };
    const socket = new Dealer({ linger: 0, reconnectInterval: 50, receiveTimeout: 2000, ...curve });
    try {
      const refused = new Promise<string>((resolve) => {
        let dropped = 0;
        socket.events.on("handshake:error:auth", ({ error }) => resolve(`auth ${error.status}`));
        socket.events.on("handshake:error:protocol", ({ error }) => resolve(error.code));
        // Any of them may be dropped a few times first.
        socket.events.on("handshake:error:other", () => void (++dropped === 15 && resolve("dropped")));
      });
      socket.connect(address);
      await socket.send("who am I");
      return await Promise.race([refused, socket.receive().then(([name]) => `let in: ${String(name)}`)]);
    } finally {
      socket.close();
    }
  }

  test("was set up with the fingerprints that the client has", () => {
    expect(said).toContain(fingerprint(key));
    expect(said).toContain(`${fingerprint(own.publicKey)} (me@here)`);
  });

  test("opens for the client, and knows its name", async () => {
    expect(await knock(guarded, { server: key, client: own })).toBe("let in: me@here");
    expect(await knock(open)).toBe("let in: ");
  });

  test("stays shut for a key that is not on the list, and the socket says so", async () => {
    expect(await knock(guarded, { server: key, client: curveKeyPair() })).toBe("auth 400");
  });

  test("stays shut for a key that was taken off the list, and opens when it is back", async () => {
    const file = join(keysFolder(), "authorized_clients", "me@here.key");
    renameSync(file, `${file}~`);
    expect(await knock(guarded, { server: key, client: own })).toBe("auth 400");
    renameSync(`${file}~`, file);
    expect(await knock(guarded, { server: key, client: own })).toBe("let in: me@here");
  });

  test("stays shut for who has no key, and a client with keys speaks to no server without", async () => {
    expect(await knock(guarded)).toBe("ERR_ZMTP_MECHANISM_MISMATCH");
    expect(await knock(open, { server: key, client: own })).toBe("ERR_ZMTP_MECHANISM_MISMATCH");
  });

  test("is not taken for another's: with the wrong server key nothing comes about", async () => {
    expect(await knock(guarded, { server: curveKeyPair().publicKey, client: own })).toBe("dropped");
  });

  test("refuses a hundred at once, and lets the honest one among them in", async () => {
    const strangers = Array.from({ length: 100 }, () => knock(guarded, { server: key, client: curveKeyPair() }));
    expect(await knock(guarded, { server: key, client: own })).toBe("let in: me@here");
    expect(new Set(await Promise.all(strangers))).toEqual(new Set(["auth 400"]));
  });

  test("says whether it has keys, without any", async () => {
    expect(await readGreeting(guarded)).toEqual({ mechanism: "CURVE" });
    expect(await readGreeting(open)).toEqual({ mechanism: "NULL" });
  });
});

describe("the greeting of what is no worker", () => {
  const opened: { close(): void }[] = [];
  afterAll(() => opened.forEach((each) => each.close()));

  async function listening(answer: (socket: Socket) => void): Promise<string> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      sockets.add(socket);
      answer(socket);
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    opened.push({
      close: () => {
        for (const socket of sockets) socket.destroy();
        server.close();
      },
    });
    return `tcp://127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  const others: [string, string, (socket: Socket) => void][] = [
    ["a web server", "foreign", (socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")],
    ["an ssh server", "foreign", (socket) => void socket.write("SSH-2.0-OpenSSH_9.2\r\n")],
    [
      "ZeroMQ of twenty years ago",
      "foreign",
      (socket) => void socket.write(Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1])),
    ],
    ["who hangs up", "closed", (socket) => void socket.destroy()],
    ["who begins and hangs up", "closed", (socket) => void socket.end(Buffer.from([0xff, 0, 0]))],
    ["who says nothing", "silent", () => undefined],
    ["who says one byte a while", "silent", (socket) => void socket.write(Buffer.from([0xff]))],
  ];
  test.for(others)("%s: %s", async ([, failure, answer]) => {
    const address = await listening(answer);
    expect(await readGreeting(address, 300)).toEqual({ failure, detail: expect.stringContaining(address) });
  });

  test("of nobody, and of a name that nobody has", async () => {
    const address = await listening(() => undefined);
    opened.pop()!.close();
    expect(await readGreeting(address)).toMatchObject({ failure: "refused" });
    // (What may answer no question about a name may also answer none at all.)
    expect(await readGreeting("tcp://no-such-host.invalid:5555")).toMatchObject({ failure: "name" });
  });
});
