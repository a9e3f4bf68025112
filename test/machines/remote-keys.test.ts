/**
 * A worker that serves with keys: who is let in, who is not and what is said of it, and what somebody between the two
 * can do.
 */
import { networkInterfaces } from "node:os";
import { readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import dns from "node:dns/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { pino, type Logger } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectWorker, type ConnectOptions, type TorchwireError, type Worker } from "torchwire";
import type { LinkChange } from "torchwire/bridge";
import { curveKeyPair, Dealer } from "zeromq";
import { fingerprint } from "../../bridge/keys/key.ts";
import { readProfile, writeProfile } from "../../bridge/keys/profile.ts";
import { readGreeting } from "../../bridge/link/greeting.ts";
import { Connection } from "../../bridge/link/connection.ts";
import { MessageType } from "../../bridge/wire/header.ts";
import { defaultLimits } from "../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage, type Incoming } from "../../bridge/wire/meta.ts";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { ends, poll } from "../fixtures/life/world.ts";
import { Keys, serve, type Served, UNTIL_GREETED } from "../fixtures/served.ts";
import { caught } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const SECOND = 1000;

/** It holds until it is called. */
function useProfilesOf({ config }: Keys): () => void {
  const before = process.env["TORCHWIRE_CONFIG"];
  process.env["TORCHWIRE_CONFIG"] = config;
  return () => {
    if (before === undefined) delete process.env["TORCHWIRE_CONFIG"];
    else process.env["TORCHWIRE_CONFIG"] = before;
  };
}

describeOnLinux("a worker that serves with keys", () => {
  let keys: Keys;
  let served: Served;
  let restore: () => void;
  /** All that was said to clients: errors as they would be printed, and log records. */
  const said: string[] = [];
  const logger: Logger = pino({ level: "trace" }, { write: (line: string) => void said.push(line) });

  beforeAll(async () => {
    keys = new Keys("alice", "bob", "carol");
    restore = useProfilesOf(keys);
    served = await serve({ keys: keys.folder, args: ["--log-level", "debug", "--drain", "2"] });
  });
  afterAll(async () => {
    restore?.();
    await served?.[Symbol.asyncDispose]();
    keys?.[Symbol.dispose]();
  });

  /** The process that the last session was with. A greeting that reaches it when it ends is lost with it. */
  let last: number | undefined;
  const connect = async (profile?: string, options: ConnectOptions = {}, address = served.address): Promise<Worker> => {
    const worker = await connectWorker(address, {
      device: "cpu",
      seed: 0,
      threads: 1,
      timeout: 10 * SECOND,
      logger,
      ...(profile === undefined ? {} : { profile }),
      ...options,
    });
    last = worker.pid;
    return worker;
  };

  /** The error that a client gets which waits no longer than by default, and the seconds until then. */
  async function refused(profile?: string, address?: string): Promise<{ error: TorchwireError; seconds: number }> {
    const start = performance.now();
    const error = await caught(() => connect(profile, { timeout: 2 * SECOND }, address));
    said.push(inspect(error));
    return { error, seconds: (performance.now() - start) / SECOND };
  }

  /** A profile beside those of the authorized clients. */
  function stranger(name: string, changes: { server?: string; client?: { public: string; secret: string } }): void {
    const { server, client } = readProfile("alice");
    const profile = {
      name,
      address: undefined,
      server: { public: changes.server ?? server.public },
      client: changes.client ?? client,
    };
    writeProfile(profile);
    keys.secrets[`the secret key of ${name}`] = profile.client.secret;
  }

  const newPair = (): { public: string; secret: string } => {
    const { publicKey, secretKey } = curveKeyPair();
    return { public: publicKey, secret: secretKey };
  };
  const ownKey = (profile: string): string => fingerprint(readProfile(profile).client.public);
  const keyFile = (name: string): string => join(keys.folder, "authorized_clients", `${name}.key`);

  test("says who it is, who may enter, and how fast it encrypts", async () => {
    const log = await poll(
      5 * SECOND,
      () => served.lines.join("\n"),
      (lines) => lines.includes("MB/s"),
    );
    expect(log).toContain(`its key is ${fingerprint(readProfile("alice").server.public)}`);
    for (const name of ["alice", "bob", "carol"]) expect(log).toContain(`${name} may enter: ${ownKey(name)}`);
    expect(log).toMatch(/encryption runs at \d+ MB\/s/);
    expect(log).not.toContain("nothing is encrypted");
  });

  test("is a worker like any other for who has a key, by profile or by TORCHWIRE_PROFILE", async () => {
    process.env["TORCHWIRE_PROFILE"] = "alice";
    try {
      await using worker = await connect();
      expect(await worker.tensor([1, 2, 3]).sum().item()).toBe(6);
      expect(worker.link).toBe("up");
    } finally {
      delete process.env["TORCHWIRE_PROFILE"];
    }
  });

  test("refuses who has no key, and says what names one", async () => {
    const { error, seconds } = await refused();
    expect(error).toMatchObject({ code: "REFUSED" });
    expect(error.message).toMatch(
      /the worker at \S+ wants a key: name the profile .*TORCHWIRE_PROFILE.*npx torchwire keygen/s,
    );
    expect(seconds).toBeLessThan(2);
  });

  test("is not asked by who names a profile that is not there", async () => {
    const { error, seconds } = await refused("nobody");
    expect(error).toMatchObject({ code: "ENVIRONMENT" });
    expect(error.message).toContain(`there is no profile nobody: ${join(keys.config, "profiles", "nobody.json")}`);
    expect(error.message).toContain("Run: npx torchwire keygen nobody");
    expect(seconds).toBeLessThan(2);
  });

  test("is not waited for where nobody says which address its name has, and no other link is held up meanwhile", async () => {
    await using worker = await connect("alice");
    const { lookup } = dns;
    dns.lookup = (() => new Promise(() => undefined)) as never;
    syncBuiltinESMExports();
    try {
      const refusal = refused("alice", "tcp://gpu-box.invalid:5555");
      expect(await worker.tensor([1, 2]).sum().item()).toBe(3);
      const { error, seconds } = await refusal;
      expect(error).toMatchObject({ code: "UNREACHABLE" });
      expect(error.message).toContain(
        "no machine of the name gpu-box.invalid is known: no answer within 1 s to the question which address it has",
      );
      expect(seconds).toBeLessThan(2);
    } finally {
      dns.lookup = lookup;
      syncBuiltinESMExports();
    }
  });

  test("refuses a key that is not on its list, and both sides say which it was", async () => {
    stranger("stranger", { client: newPair() });
    const { error, seconds } = await refused("stranger");
    expect(error).toMatchObject({ code: "REFUSED" });
    expect(error.message).toContain(`the profile stranger (${ownKey("stranger")})`);
    expect(error.message).toMatch(/authorized_clients of the worker's --keys folder.*torchwire-worker clients --keys/s);
    expect(seconds).toBeLessThan(2);
    const line = `refused: the key ${ownKey("stranger")} is not in authorized_clients`;
    expect(
      await poll(
        SECOND,
        () => served.lines.join("\n"),
        (log) => log.includes(line),
      ),
    ).toContain(line);
  });

  test("refuses a public key of its list without the secret that belongs to it", async () => {
    const { server, client } = readProfile("alice");
    const thief = { public: client.public, secret: newPair().secret };
    stranger("thief", { client: thief });
    expect((await refused("thief")).error.message).toContain("client.public and client.secret are no pair");
    // Nor is it this side alone that sees to it.
    const fault = await new Promise((resolve) => {
      const connection = new Connection(served.address, {
        frameBytes: defaultLimits.frameBytes,
        curve: { server: server.public, ...thief },
        onMessage: () => resolve("message"),
        onUp: () => resolve("up"),
        onDown: resolve,
        onError: resolve,
      });
      setTimeout(() => connection.close(), 2 * SECOND).unref();
    });
    expect(fault).toBe("dropped");
  });

  test("with another key than the profile knows is not spoken to: it may be somebody between", async () => {
    const other = newPair();
    stranger("deceived", { server: other.public });
    // (Each attempt is one with chance in its pauses.)
    const attempts = await Promise.all(Array.from({ length: 8 }, () => refused("deceived")));
    for (const { error, seconds } of attempts) {
      expect(error).toMatchObject({ code: "REFUSED" });
      expect(error.message).toMatch(/is not the one that the profile deceived knows.*does somebody stand between\?/s);
      expect(error.message).toContain(`its key is not ${fingerprint(other.public)}`);
      expect(error.message).not.toMatch(/in time|timeout/);
      expect(seconds).toBeLessThan(2);
    }
  });

  test("refuses a key whose file was removed, at the next connection, and takes it when it is back", async () => {
    renameSync(keyFile("carol"), `${keyFile("carol")}~`);
    const { error, seconds } = await refused("carol");
    expect(error).toMatchObject({ code: "REFUSED" });
    expect(error.message).toMatch(/is not, or not any more, in authorized_clients/);
    expect(error.message).toContain(ownKey("carol"));
    expect(seconds).toBeLessThan(2);
    renameSync(`${keyFile("carol")}~`, keyFile("carol"));
    await using worker = await connect("carol");
    expect(await worker.tensor([2]).item()).toBe(2);
  });

  test("that is busy says the name of the key that has it", async () => {
    await using worker = await connect("bob");
    const { error, seconds } = await refused("alice");
    expect(error).toMatchObject({ code: "BUSY" });
    expect(error.message).toMatch(
      /held by bob, \S+@\S+ \(process \d+\) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\d+ min\)/,
    );
    expect(seconds).toBeLessThan(2);
    expect(await worker.tensor([2]).item()).toBe(2);
  });

  test("ends the session of a key whose file is removed, whatever it is doing, and its log names who", async () => {
    const worker = await connect("carol");
    const changes: LinkChange[] = [];
    worker.onLink((change) => changes.push(change));
    const sleeping = caught(() => Promise.resolve(worker.import("time").sleep(100)));
    rmSync(keyFile("carol"));
    const error = await Promise.race([sleeping, sleep(10 * SECOND, undefined, { ref: false })]);
    expect(error).toMatchObject({ code: "REFUSED", message: expect.stringContaining("it was removed") });
    expect(worker.link).toBe("refused");
    expect(changes).toEqual([{ state: "refused", reason: expect.stringContaining("it was removed") }]);
    expect(await worker.liveness()).toEqual({ state: "gone" });
    expect(await ends(worker.pid, 5 * SECOND)).toBe(true);
    expect(served.lines.join("\n")).toMatch(/the key of carol, \S+@\S+ \(process \d+\) was removed/);
    expect(await caught(() => worker.tensor([1]).item())).toMatchObject({ code: "REFUSED" });
    await worker.close();
    expect((await refused("carol")).error).toMatchObject({ code: "REFUSED" });
  });

  test("does nothing on traffic that is sent once more, and does not answer it", async () => {
    await using proxy = await FaultProxy.open(served.port);
    const worker = await connect("alice", {}, proxy.address);
    const changes: LinkChange[] = [];
    worker.onLink((change) => changes.push(change));
    const list = worker.import("builtins").list();
    list.append(1);
    expect(await worker.import("builtins").len(list)).toBe(1);
    expect(proxy.passed("data", "up")).toBeGreaterThan(600);
    const ran = (await worker.stats()).worker.batches;
    const lines = [...proxy.linesOf("data"), ...proxy.linesOf("control")];
    /** How many bytes come back. */
    const replayed = async (): Promise<number[]> =>
      Promise.all(
        lines.map(async (line) => {
          const socket = line.replay(1);
          await new Promise((resolve) => socket.once("close", resolve));
          return socket.bytesRead;
        }),
      );
    // The server's greeting and its first word of the handshake, which anybody gets; there it ends.
    const nothing = [64 + 170, 64 + 170];
    expect(await replayed()).toEqual(nothing);
    expect((await worker.stats()).worker.batches).toBe(ran);
    expect(await worker.import("builtins").len(list)).toBe(1);
    expect(changes).toEqual([]);
    await worker.close();
    // Nor does it begin a session where there is none.
    await ends(worker.pid, 5 * SECOND);
    await poll(
      5 * SECOND,
      async () => Promise.all([0, 1].map((each) => readGreeting(`tcp://127.0.0.1:${served.port + each}`))),
      (greetings) => greetings.every((greeting) => "mechanism" in greeting),
    );
    expect(await replayed()).toEqual(nothing);
    await using next = await connect("bob");
    expect(next.pid).not.toBe(worker.pid);
  });

  test("knows a client again that was away for some seconds, and has run everything once", async () => {
    await using proxy = await FaultProxy.open(served.port);
    await using worker = await connect("alice", {}, proxy.address);
    const changes: string[] = [];
    worker.onLink(({ state }) => void changes.push(state));
    const { len, list } = worker.import("builtins");
    const numbers = list([1]);
    expect(await len(numbers)).toBe(1);
    proxy.arm([{ kind: "away", link: "data", direction: "up", after: 1, ms: 2500, share: 1 }]);
    numbers.append(2);
    expect(await len(numbers)).toBe(2);
    expect(proxy.happened).toHaveLength(1);
    // (The answer may come by the one connection before the other is greeted.)
    await poll(
      10 * SECOND,
      () => worker.link,
      (link) => link === "up",
    );
    expect(changes).toEqual(["connecting", "up"]);
    const stats = await worker.stats();
    expect(stats.worker.batches).toBe(stats.batches);
  });

  test("goes on with a session for the key that began it alone, whoever knows the session's token", async () => {
    // A client greets again where nothing answers. This one greets once.
    expect(last === undefined || (await ends(last, 10 * SECOND))).toBe(true);
    const token = "7".repeat(64);
    const sockets: Dealer[] = [];
    const greet = async (name: string, session: number, port: number): Promise<Incoming> => {
      const { server, client } = readProfile(name);
      const socket = new Dealer({
        linger: 0,
        receiveTimeout: UNTIL_GREETED,
        curveServerKey: server.public,
        curvePublicKey: client.public,
        curveSecretKey: client.secret,
      });
      sockets.push(socket);
      socket.connect(`tcp://127.0.0.1:${port}`);
      const meta = { token, client: { user: name, host: "raw" }, limits: {}, resumes: session > 1 };
      await socket.send(encodeMessage({ type: MessageType.hello, session, meta }, defaultLimits));
      return decodeMessage(await socket.receive(), defaultLimits);
    };
    try {
      for (const port of [served.port, served.port + 1]) {
        expect((await greet("alice", 1, port)).header.type).toBe(MessageType.welcome);
        expect((await greet("bob", 2, port)).meta).toMatchObject({
          code: "BUSY",
          message: expect.stringContaining("held by alice, alice@raw"),
        });
        // Refused clients have not counted.
        expect((await greet("alice", 2, port)).header.type).toBe(MessageType.welcome);
      }
      const [latest] = sockets.splice(2, 1);
      await latest!.send(encodeMessage({ type: MessageType.close, seq: 1, meta: {} }, defaultLimits));
      expect(decodeMessage(await latest!.receive(), defaultLimits).header.type).toBe(MessageType.closed);
      latest!.close();
    } finally {
      for (const socket of sockets) socket.close();
    }
  });

  test("never shows a secret: not in its log, nor in the arguments or the environment of its processes, nor to a client", async () => {
    stranger("shown", { client: newPair() });
    await refused("shown");
    // The worker, the next one, and their guards.
    const pids = await poll(
      5 * SECOND,
      () => descendantsOf(served.pid),
      (found) => found.length >= 4,
    );
    expect(pids.length).toBeGreaterThanOrEqual(4);
    const shown: Record<string, string> = {
      "its log": served.lines.join("\n"),
      "what clients were told": said.join("\n"),
    };
    for (const pid of [served.pid, ...pids])
      for (const file of ["cmdline", "environ"]) shown[`${file} of ${pid}`] = textOf(`/proc/${pid}/${file}`);
    // This shows that the test looks at the right things.
    expect(shown[`cmdline of ${served.pid}`]).toContain(keys.folder);
    expect(pids.map((pid) => shown[`environ of ${pid}`]).join("\n")).toContain("PYTHONUNBUFFERED");
    expect(shown["what clients were told"]).toContain(ownKey("shown"));
    expect(shown["its log"]).toContain(ownKey("alice"));
    expect(Object.keys(keys.secrets).length).toBeGreaterThanOrEqual(5);
    const found = Object.entries(shown).flatMap(([place, text]) =>
      Object.entries(keys.secrets).flatMap(([what, secret]) => (text.includes(secret) ? [`${place}: ${what}`] : [])),
    );
    expect(found).toEqual([]);
  });
});

/** Empty where the process has ended meanwhile: that of a session before this one may be at its end. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

describeOnLinux("a worker without keys", () => {
  const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
  let served: Served;
  let restore: () => void;
  let keys: Keys;
  beforeAll(async () => {
    served = await serve({
      args: ["--grace", "1"],
      ...(hasIpv6 ? { on: { address: "[::1]", inside: ["env"] } } : {}),
    });
    keys = new Keys("alice");
    restore = useProfilesOf(keys);
  });
  afterAll(async () => {
    restore?.();
    keys?.[Symbol.dispose]();
    await served?.[Symbol.asyncDispose]();
  });

  test("is not spoken to by who has a profile: that would be in the clear", async () => {
    const start = performance.now();
    const error = await caught(() => connectWorker(served.address, { profile: "alice" }));
    expect((performance.now() - start) / SECOND).toBeLessThan(2);
    expect(error).toMatchObject({ code: "REFUSED" });
    expect(error.message).toMatch(/has no keys, and would be spoken to in the clear: start it with --keys/);
  });

  test("is not kept by a client that was gone before it had greeted by both sockets", async () => {
    const socket = new Dealer({ linger: 0, receiveTimeout: UNTIL_GREETED, ipv6: hasIpv6 });
    socket.connect(served.address);
    const meta = { token: "8".repeat(64), client: { user: "raw" }, limits: {} };
    await socket.send(encodeMessage({ type: MessageType.hello, session: 1, meta }, defaultLimits));
    expect(decodeMessage(await socket.receive(), defaultLimits).header.type).toBe(MessageType.welcome);
    socket.close();
    const log = await poll(
      10 * SECOND,
      () => served.lines.join("\n"),
      (lines) => lines.includes("session dropped at"),
    );
    expect(log).toMatch(/the client raw@\S+ \(process \?\) was away for longer than 1 s/);
  });

  test("says that it has none, and serves, over IPv6 where this machine has it", async () => {
    const line = /no keys: every process on this machine may enter; nothing is encrypted/;
    expect(
      await poll(
        SECOND,
        () => served.lines.join("\n"),
        (log) => line.test(log),
      ),
    ).toMatch(line);
    await using worker = await connectWorker(served.address, { device: "cpu", timeout: 10 * SECOND });
    expect(await worker.tensor([2]).item()).toBe(2);
  });
});

test("an address that only looks like this machine's own is not spoken to without keys", async () => {
  for (const host of ["127.example.org", "127.0.0.1.example.org", "localhost.example.org", "[::2]", "10.0.0.1"])
    expect(await caught(() => connectWorker(`tcp://${host}:5555`))).toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining(`there are no keys for ${host}`),
    });
});

/** Its children, and theirs. */
function descendantsOf(pid: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [[Number(name), Number(/\nPPid:\s+(\d+)/.exec(readFileSync(`/proc/${name}/status`, "utf8"))![1])]];
      } catch {
        return [];
      }
    });
  const of = (parent: number): number[] =>
    parents.flatMap(([child, its]) => (its === parent ? [child!, ...of(child!)] : []));
  return of(pid);
}
