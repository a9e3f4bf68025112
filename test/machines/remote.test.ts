/**
 * A worker that serves: `torchwire-worker serve`, `connectWorker`, and all that can go between the two. Without keys,
 * on the loopback interface.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectWorker, spawnWorker, type ConnectOptions, type Worker } from "torchwire";
import type { LinkChange } from "torchwire/bridge";
import { Dealer } from "zeromq";
import { findPython } from "../../bridge/environment/find.ts";
import { MessageType } from "../../bridge/wire/header.ts";
import { defaultLimits } from "../../bridge/wire/limits.ts";
import { decodeMessage, encodeMessage, type Incoming } from "../../bridge/wire/meta.ts";
import { ends, isRunning, poll, processesOf } from "../fixtures/life/world.ts";
import { serve, type Served, UNTIL_GREETED } from "../fixtures/served.ts";
import { caught } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const SECOND = 1000;
const root = fileURLToPath(new URL("../..", import.meta.url));
const settings: ConnectOptions = { device: "cpu", seed: 0, deterministic: true, threads: 1 };

/** The command `torchwire-worker`, which must end by itself. */
async function command(args: readonly string[]): Promise<{ exitCode: number | undefined; all: string }> {
  const { executable } = await findPython();
  const env = { PYTHONPATH: join(root, "python") };
  const { exitCode, all } = await execa(executable, ["-m", "torchwire_worker", ...args], {
    env,
    cwd: tmpdir(),
    reject: false,
    all: true,
  });
  return { exitCode, all };
}

/** The result of `run`, and the seconds that it took. */
async function timed<T>(run: () => Promise<T>): Promise<{ result: T; seconds: number }> {
  const start = performance.now();
  const result = await run();
  return { result, seconds: (performance.now() - start) / SECOND };
}

describeOnLinux("a worker that serves", () => {
  let served: Served;
  beforeAll(async () => {
    served = await serve({ args: ["--grace", "2"] });
  });
  afterAll(() => served?.[Symbol.asyncDispose]());
  const connect = (options: ConnectOptions = {}): Promise<Worker> =>
    connectWorker(served.address, { ...settings, timeout: 10 * SECOND, ...options });

  test("runs an example as it is, to the last bit of its losses as a spawned one does", async () => {
    const losses = async (env: Record<string, string>): Promise<string[]> => {
      const { stdout } = await execa("tsx", ["--conditions=torchwire-source", join("examples", "by-hand.ts"), "256"], {
        cwd: root,
        preferLocal: true,
        env,
      });
      // (But for the seconds.)
      return stdout
        .split("\n")
        .flatMap((line) => /│ 0\s+│ 1\s+│ ([\d.]+)\s+│ ([\d.]+)\s+│/.exec(line)?.slice(1, 3) ?? []);
    };
    const here = await losses({});
    expect(here).toHaveLength(2);
    // It has all its digits.
    expect(here[0]).toMatch(/^\d\.\d{12,}$/);
    expect(await losses({ TORCHWIRE_WORKER: served.address })).toEqual(here);
  });

  test("is a worker like any other: values, errors, statistics, liveness, what it says of itself", async () => {
    await using worker = await connect();
    expect(await worker.tensor([1, 2, 3]).sum().item()).toBe(6);
    expect(await caught(async () => await worker.import("no_such_module"))).toMatchObject({
      code: "PYTHON",
      pyType: "ModuleNotFoundError",
    });
    expect(worker).toMatchObject({ device: "cpu", link: "up" });
    expect(processesOf(worker.pid)).not.toEqual([]);
    expect((await worker.stats()).worker.batches).toBe(2);
    expect(
      await poll(
        SECOND,
        async () => (await worker.liveness()).state,
        (state) => state === "idle",
      ),
    ).toBe("idle");
  });

  test("says what Python code writes to its client's logger, line by line, and to the server's output", async () => {
    const lines: { stream: string; msg: string }[] = [];
    const logger = pino({ level: "info" }, { write: (line) => void lines.push(JSON.parse(line)) });
    await using worker = await connect({ logger });
    const { stdout, stderr } = worker.import("sys");
    worker.import("builtins").print("two\nlines");
    await stdout.write("half");
    await stdout.write(" a line\r");
    await stderr.writelines(["an error\n"]);
    await stdout.write("x".repeat(70_000));
    await worker.import("warnings").warn("be warned");
    // As a stream of its own would.
    expect(await stdout.encoding).toBe("utf-8");
    expect(await stdout.isatty()).toBe(false);
    await stdout.write("the end, without one");
    await worker.close();
    const written = (of: string): string[] => lines.filter(({ stream }) => stream === of).map(({ msg }) => msg);
    const parts = ["x".repeat(2 ** 16), "x".repeat(70_000 - 2 ** 16)];
    expect(written("stdout")).toEqual(["two", "lines", "half a line", ...parts, "the end, without one"]);
    expect(written("stderr").slice(0, 2)).toEqual(["an error", expect.stringContaining("UserWarning: be warned")]);
    expect(served.lines.join("\n")).toContain("two\nlines\nhalf a line");
  });

  test("ends as Python ends when it is closed, and is there for the next whatever it leaves behind", async () => {
    const lines: { stream: string; msg: string }[] = [];
    const logger = pino({ level: "info" }, { write: (line) => void lines.push(JSON.parse(line)) });
    await using worker = await connect({ logger });
    const module = worker.import("types").ModuleType("program");
    const code = `
import atexit, io, logging, os, signal, sys, threading, time
atexit.register(print, "from atexit")
atexit.register(logging.getLogger("train").error, "logged at the end")
threading.Thread(target=lambda: (time.sleep(0.3), print("the thread has ended"))).start()
is_text = isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__ and sys.stdout.fileno() == 1
sys.stdout.buffer.write("as bytes: größer\\n".encode())
handlers = len(logging.root.handlers)
# What a daemon does, but for its standard streams.
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid == 0:
        time.sleep(300)
    os.write(writer, str(pid).encode())
    os._exit(0)
daemon = int(os.read(reader, 20))
# A child of multiprocessing is ended by a signal, which the worker has a handler for.
child = os.fork()
if child == 0:
    time.sleep(300)
os.kill(child, signal.SIGTERM)
how = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
`;
    await worker.import("builtins").exec(code, module.__dict__);
    expect(await module.is_text).toBe(true);
    expect(await module.handlers).toBe(0);
    expect(await module.how).toBe(15);
    const daemon = (await module.daemon) as number;
    await worker.close();
    const said = (of: string): string[] => lines.filter(({ stream }) => stream === of).map(({ msg }) => msg);
    expect(said("stdout")).toEqual(["as bytes: größer", "the thread has ended", "from atexit"]);
    expect(said("logging")).toEqual(["logged at the end"]);
    await using next = await connect();
    expect(await next.tensor([2]).item()).toBe(2);
    expect(isRunning(daemon)).toBe(true);
    process.kill(daemon, "SIGKILL");
  });

  test("has the settings that its client asks for", async () => {
    const drawn = async (connecting: Promise<Worker>): Promise<unknown[]> => {
      await using worker = await connecting;
      const torch = worker.import("torch");
      const deterministic = await torch.are_deterministic_algorithms_enabled();
      return [await torch.rand(1).item(), deterministic, await torch.get_num_threads()];
    };
    const seeded = await drawn(connect({ seed: 7 }));
    expect(seeded.slice(1)).toEqual([true, 1]);
    expect(await drawn(spawnWorker({ ...settings, seed: 7 }))).toEqual(seeded);
    expect(await drawn(connect({ seed: 8, deterministic: false, threads: 2 }))).toEqual([
      expect.not.closeTo(seeded[0] as number, 6),
      false,
      2,
    ]);
  });

  test("has nothing left of the client before: each session is a process of its own", async () => {
    const first = await connect();
    await first.import("builtins").setattr(first.import("torch"), "left_behind", 1);
    await first.close();
    expect(await ends(first.pid, 5 * SECOND)).toBe(true);
    await using second = await connect();
    expect(second.pid).not.toBe(first.pid);
    expect(await second.import("builtins").hasattr(second.import("torch"), "left_behind")).toBe(false);
    expect(await second.import("gc").get_freeze_count()).toBeGreaterThan(100_000);
  });

  test("whose device is not there says so, and is free for the next", async () => {
    const { result: error, seconds } = await timed(() =>
      caught(() => connect({ device: "cuda:63", timeout: 2 * SECOND })),
    );
    expect(error).toMatchObject({ code: "NO_DEVICE" });
    expect(error.message).toMatch(/cuda:63.*\n\(connectWorker at remote\.test\.ts:\d+\)$/s);
    expect(seconds).toBeLessThan(2);
    await using next = await connect();
    expect(next.device).toBe("cpu");
  });

  test("that is busy, also with something long, says within two seconds with whom and since when", async () => {
    await using worker = await connect();
    const sleeping = Promise.resolve(worker.import("time").sleep(3));
    const { result: error, seconds } = await timed(() => caught(() => connect({ timeout: 2 * SECOND })));
    expect(error).toMatchObject({ code: "BUSY" });
    expect(error.message).toMatch(/held by \S+@\S+ \(process \d+\) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/);
    expect(error.message).toContain(`(process ${process.pid})`);
    expect(seconds).toBeLessThan(2);
    await sleeping;
    expect(await worker.tensor([2]).item()).toBe(2);
  });

  test("takes over from spawnWorker where TORCHWIRE_WORKER says so, whatever the program says of its Python", async () => {
    process.env["TORCHWIRE_WORKER"] = served.address;
    try {
      await using worker = await spawnWorker({
        ...settings,
        python: "/nowhere/python",
        transport: "ipc",
        cwd: "/nowhere",
      });
      const parent = Number(/\nPPid:\s+(\d+)/.exec(readFileSync(`/proc/${worker.pid}/status`, "utf8"))![1]);
      expect(parent).toBe(served.pid);
      expect(await caught(() => connectWorker(undefined, { timeout: 2 * SECOND }))).toMatchObject({ code: "BUSY" });
    } finally {
      delete process.env["TORCHWIRE_WORKER"];
    }
  });

  /** The worker of a program that connected to it and was killed. */
  async function leftBehind(address: string, ...more: [host?: string, made?: string]): Promise<number> {
    const fixture = join(root, "test", "fixtures", "remote-client.ts");
    const client = spawn(
      process.execPath,
      ["--import", "tsx", "--conditions=torchwire-source", fixture, address, ...(more as string[])],
      { cwd: root, stdio: ["ignore", "pipe", "inherit"] },
    );
    const ended = once(client, "close");
    const said = (await Promise.race([once(client.stdout, "data"), ended]))[0] as Buffer;
    client.kill("SIGKILL");
    await ended;
    return Number(said.toString());
  }

  test("whose client is killed is taken by the next program of that user on that machine", async () => {
    await using patient = await serve({ args: ["--grace", "60"] });
    const pid = await leftBehind(patient.address);
    const { result: next, seconds } = await timed(() => connectWorker(patient.address, { ...settings, timeout: 4000 }));
    expect(next.pid).not.toBe(pid);
    expect(await next.tensor([2]).item()).toBe(2);
    expect(isRunning(pid)).toBe(false);
    expect(seconds).toBeLessThan(6);
    expect(patient.lines.join("\n")).toMatch(/the next client says that .* has ended: its session is dropped/);
    await next.close();
  });

  test("whose client is killed drops the session when the grace time is over, and has the memory back", async () => {
    const made = join(tmpdir(), `tw-dropped-${served.port}`);
    const pid = await leftBehind(served.address, "another", made);
    // This machine cannot know whether a process on another machine has ended.
    const refusal = await caught(() => connect({ timeout: 1500 }));
    expect(refusal).toMatchObject({ code: "BUSY" });
    expect(refusal.message).toContain("@another (process ");
    expect(isRunning(pid)).toBe(true);
    expect(await ends(pid, 20 * SECOND)).toBe(true);
    // Dropped as it is, it ends as Python ends.
    rmdirSync(made);
    await using next = await connect();
    expect(next.pid).not.toBe(pid);
    expect(served.lines.join("\n")).toContain(`session dropped at ${served.address} (process ${pid})`);
    expect(served.lines.join("\n")).toContain(`was away for longer than 2 s`);
  });

  test("that is killed is told of at once, with the address, and the next one takes its place", async () => {
    const worker = await connect();
    const changes: LinkChange[] = [];
    worker.onLink((change) => changes.push(change));
    const waiting = Promise.resolve(worker.import("time").sleep(100));
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    process.kill(worker.pid, "SIGKILL");
    expect(await caught(() => waiting)).toMatchObject({ code: "WORKER_GONE" });
    expect(changes.map(({ state }) => state)).toEqual(["connecting", "down"]);
    expect(worker.link).toBe("down");
    expect(await worker.liveness()).toEqual({ state: "gone" });
    await worker.close();
    await using next = await connect();
    expect(await next.tensor([2]).item()).toBe(2);
  });

  test("is ended by kill() in the middle of anything", async () => {
    const worker = await connect();
    const waiting = caught(() => Promise.resolve(worker.import("time").sleep(100)));
    await worker.kill();
    expect(await waiting).toMatchObject({ code: "CLOSED" });
    expect(await ends(worker.pid, 5 * SECOND)).toBe(true);
    await worker.close();
  });

  test("knows no session but its own", async () => {
    const socket = new Dealer({ linger: 0, receiveTimeout: UNTIL_GREETED });
    socket.connect(served.address);
    const meta = { token: "6".repeat(64), client: {}, limits: {}, resumes: true };
    await socket.send(encodeMessage({ type: MessageType.hello, session: 2, meta }, defaultLimits));
    const answer = decodeMessage(await socket.receive(), defaultLimits);
    socket.close();
    expect(answer.meta).toEqual({ code: "WORKER_GONE", message: expect.stringContaining("has no such session") });
  });

  test("refuses an older connection of a session that has a newer one, on both sockets, and nothing is disturbed", async () => {
    const token = "5".repeat(64);
    const greeting = (session: number): Uint8Array[] =>
      encodeMessage(
        { type: MessageType.hello, session, meta: { token, client: { user: "raw" }, limits: {} } },
        defaultLimits,
      );
    for (const port of [served.port, served.port + 1]) {
      const ask = async (parts: Uint8Array[]): Promise<Incoming> => {
        const socket = new Dealer({ linger: 0, receiveTimeout: UNTIL_GREETED });
        sockets.push(socket);
        socket.connect(`tcp://127.0.0.1:${port}`);
        await socket.send(parts);
        return decodeMessage(await socket.receive(), defaultLimits);
      };
      const sockets: Dealer[] = [];
      expect((await ask(greeting(3))).header.type).toBe(MessageType.welcome);
      for (const stale of [1, 2, 3])
        expect((await ask(greeting(stale))).meta).toMatchObject({
          code: "PROTOCOL",
          message: expect.stringContaining("not the latest, which is 3"),
        });
      expect((await ask(greeting(4))).header.type).toBe(MessageType.welcome);
      for (const socket of sockets) socket.close();
    }
    // Away for two seconds, it is dropped.
    const again = (): Promise<Worker | undefined> => connect({ timeout: 500 }).catch(() => undefined);
    await using next = await poll(20 * SECOND, again, (worker) => worker !== undefined);
    expect(await next?.tensor([2]).item()).toBe(2);
  });
});

describe("nobody, or somebody else, at an address is told within two seconds, with what to check", () => {
  let silent: Server;
  let http: Server;
  beforeAll(async () => {
    silent = createServer(() => undefined).listen(0, "127.0.0.1");
    http = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
    }).listen(0, "127.0.0.1");
    await Promise.all([once(silent, "listening"), once(http, "listening")]);
  });
  afterAll(() => {
    silent.close();
    http.close();
  });
  const of = (server: Server): string => `tcp://127.0.0.1:${(server.address() as { port: number }).port}`;

  test.for<[string, () => string, string, RegExp]>([
    [
      "a port where nobody listens",
      () => "tcp://127.0.0.1:1",
      "UNREACHABLE",
      /nobody listens there\. Does torchwire-worker serve run/,
    ],
    ["something that takes connections and says nothing", () => of(silent), "UNREACHABLE", /firewall|stopped/],
    ["a web server", () => of(http), "PROTOCOL", /something else than a torchwire worker/],
    ["a host without keys", () => "tcp://gpu-box.invalid:5555", "REFUSED", /npx torchwire keygen gpu-box\.invalid/],
  ])("%s", async ([, address, code, message]) => {
    const { result: error, seconds } = await timed(() => caught(() => connectWorker(address())));
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(message);
    expect(seconds).toBeLessThan(2);
  });

  test.for([
    "gpu-box:5555",
    "http://gpu-box:5555",
    "tcp://gpu-box",
    "tcp://gpu-box:0",
    "tcp://gpu-box:65535",
    "tcp://:5555",
  ])("%s is no address", async (address) => {
    expect(await caught(() => connectWorker(address))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining(address),
    });
  });

  test("no address at all is told, with where it may come from", async () => {
    expect(await caught(() => connectWorker())).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("TORCHWIRE_WORKER"),
    });
  });
});

describeOnLinux("torchwire-worker serve", () => {
  test.for<[string, string[], RegExp]>([
    [
      "an address that others reach, without keys",
      ["--bind", "tcp://0.0.0.0:5555"],
      /0\.0\.0\.0 can be reached from elsewhere.*npx torchwire keygen.*--keys DIR/s,
    ],
    ["all addresses by a star", ["--bind", "tcp://*:5555"], /--bind is 'tcp:\/\/\*:5555'/],
    ["a folder of keys that is not there", ["--keys", "/nowhere"], /no folder \/nowhere.*npx torchwire keygen/s],
    [
      "a limit that there is not",
      ["--limit", "frameBits=3"],
      /--limit frameBits=3: it is NAME=N, with one of frameBytes/,
    ],
    ["no time at all for a client to come back", ["--grace", "0"], /--grace is at least 1 second/],
  ])("does not start with %s, and says what to do", async ([, args, message]) => {
    const { exitCode, all } = await command(["serve", ...args]);
    expect(all).toMatch(message);
    expect(all).not.toContain("Traceback");
    expect(exitCode).toBe(2);
  });

  test("does not start where a port is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    // Its second port is the one.
    const { exitCode, all } = await command(["serve", "--bind", `tcp://127.0.0.1:${port - 1}`]);
    other.close();
    expect(all).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} cannot be listened at: Address already in use`));
    expect(exitCode).toBe(2);
  });

  test("drains on SIGTERM: what it has received is run and answered, its client is told why it goes, and it ends with 0", async () => {
    await using served = await serve({ args: ["--log-format", "json"] });
    const worker = await connectWorker(served.address, { ...settings, timeout: 10 * SECOND });
    const { sleep } = worker.import("time");
    const made = join(tmpdir(), `tw-drained-${served.port}`);
    worker.import("atexit").register(worker.import("os").mkdir, made);
    // A program may have a handler of its own.
    const { signal, SIGTERM } = worker.import("signal");
    signal(SIGTERM, worker.import("operator").is_);
    const values = [1, 2, 3].map((i) => {
      void sleep(0.5);
      return Promise.resolve(worker.tensor([i]).item());
    });
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    process.kill(served.pid, "SIGTERM");
    expect(await Promise.all(values)).toEqual([1, 2, 3]);
    expect(await served.ended).toBe(0);
    rmdirSync(made);
    await poll(
      5 * SECOND,
      () => worker.link,
      (link) => link === "down",
    );
    const error = await caught(() => worker.tensor([1]).item());
    expect(error).toMatchObject({ code: "WORKER_GONE" });
    expect(error.message).toMatch(/shut down \(SIGTERM\); everything that it had received was run/);
    expect(isRunning(worker.pid)).toBe(false);
    await worker.close();
    // Its log is a record a line.
    const records = served.lines.map((line) => JSON.parse(line) as { level: string; message: string });
    expect(records[0]).toMatchObject({
      level: "info",
      message: expect.stringMatching(/^torchwire-worker \d.*Python 3\.\d+\.\d+, torch \d.*, device cpu$/),
    });
  });

  test("ends at once on a second signal, whatever is still to be done", async () => {
    await using served = await serve();
    const worker = await connectWorker(served.address, { ...settings, timeout: 10 * SECOND });
    const sleeping = caught(() => Promise.resolve(worker.import("time").sleep(100)));
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    process.kill(served.pid, "SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isRunning(worker.pid)).toBe(true);
    process.kill(served.pid, "SIGTERM");
    expect(await served.ended).toBe(1);
    expect(isRunning(worker.pid)).toBe(false);
    // Nobody serves there any more, and it may come back: the session is given up when its time is over, or here.
    await worker.kill();
    expect(await sleeping).toMatchObject({ code: "CLOSED" });
  });

  test("puts workers side by side: several clients at once, each with a process of its own", async () => {
    await using served = await serve({ workers: 2 });
    const addresses = [served.address, `tcp://127.0.0.1:${served.port + 2}`];
    const workers = await Promise.all(
      addresses.map((each) => connectWorker(each, { ...settings, timeout: 20 * SECOND })),
    );
    expect(new Set(workers.map(({ pid }) => pid)).size).toBe(2);
    expect(await Promise.all(workers.map((worker, i) => worker.tensor([i]).item()))).toEqual([0, 1]);
    await Promise.all(workers.map((worker) => worker.close()));
  });

  test("is healthy while it waits and while it is busy, and not when it is gone", async () => {
    const status = join(tmpdir(), `tw-health-${process.pid}.json`);
    const health = async (): Promise<[number | undefined, string]> => {
      const { exitCode, all } = await command(["healthcheck", "--status", status]);
      return [exitCode, all];
    };
    const served = await serve({ args: ["--status", status] });
    try {
      expect(await health()).toEqual([0, "healthy"]);
      const worker = await connectWorker(served.address, { ...settings, timeout: 10 * SECOND });
      // A call that holds the interpreter: nothing in that process can answer.
      void worker.import("ctypes").PyDLL(null).sleep(5);
      await poll(
        5 * SECOND,
        async () => (await worker.liveness()).state,
        (state) => state === "unresponsive",
      );
      expect(await health()).toEqual([0, "healthy"]);
      process.kill(worker.pid, "SIGSTOP");
      expect(await health()).toEqual([1, "not running: worker 0 of 1"]);
      await worker.kill();
      process.kill(worker.pid, "SIGKILL");
      process.kill(served.pid, "SIGKILL");
      await served.ended;
      const [code, why] = await poll(SECOND, health, ([found]) => found === 1);
      expect([code, why]).toEqual([1, "not running: worker 0 of 1"]);
    } finally {
      await served[Symbol.asyncDispose]();
      rmSync(status, { force: true });
    }
    expect(await health()).toEqual([1, expect.stringContaining("no status")]);
  });
});
