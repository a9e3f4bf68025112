/** Workers over ssh: a real sshd on the loopback interface, the user's own ssh, and what becomes of both ends. */
import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import {
  crossEntropy,
  Learner,
  py,
  sgd,
  spawnWorker,
  TorchwireError,
  withWorker,
  type SpawnOptions,
  type Worker,
} from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { packageRoot } from "../../bridge/environment/package.ts";
import { makeSocketDirectory, removeDirectory } from "../../bridge/start/directory.ts";
import { WorkerExitedError } from "../../bridge/start/process.ts";
import { openFar } from "../../bridge/ssh/far.ts";
import { startOverSsh } from "../../bridge/start/ssh.ts";
import { sshError } from "../../bridge/ssh/errors.ts";
import { built } from "../built.ts";
import { isRunning, poll, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { everyProcess, farFolders, freePort, noSshd, processesWith, SshHost } from "../fixtures/ssh/world.ts";
import { where } from "../only.ts";
import { testWorker } from "../worker.ts";

const firstLine = (stream: Readable): Promise<string> =>
  new Promise((resolve) => {
    createInterface({ input: stream }).once("line", resolve);
  });

const describeWithSshd = where(noSshd === undefined, noSshd ?? "");

describeWithSshd("a worker over ssh", () => {
  let host: SshHost;
  let runtime: Runtime;
  let foldersBefore: string[];
  beforeAll(async () => {
    host = await SshHost.start();
  });
  afterAll(() => host?.[Symbol.dispose]());
  beforeEach(() => {
    runtime = privateRuntime();
    foldersBefore = farFolders();
  });
  afterEach(() => runtime.remove());

  const far = (options: SpawnOptions = {}): Promise<Worker> => testWorker({ ssh: host.target(), ...options });
  const newFolders = (): string[] => farFolders().filter((name) => !foldersBefore.includes(name));
  /** The traces of a worker on both sides: its processes, ssh's and its shell's, and the folders. */
  const left = (pid: number): unknown => ({
    worker: processesOf(pid),
    others: processesWith(host.path("config")),
    far: newFolders(),
    near: runtime.entries(),
  });
  const nothing = { worker: [], others: [], far: [], near: [] };
  const nothingLeft = async (pid: number, milliseconds: number): Promise<void> => {
    const found = await poll(
      milliseconds,
      () => left(pid),
      (now) => JSON.stringify(now) === JSON.stringify(nothing),
    );
    expect(found).toEqual(nothing);
  };

  test("computes, says what it prints, and leaves nothing when it is closed", async () => {
    const lines: unknown[] = [];
    const logger = pino({ level: "info" }, { write: (line) => void lines.push(JSON.parse(line)) });
    const worker = await far({ logger });
    expect(await worker.tensor([1, 2, 3]).sum().item()).toBe(6);
    const [folder] = newFolders();
    for (const path of [join("/tmp", folder!), runtime.directory()]) expect(statSync(path).mode & 0o777).toBe(0o700);
    for (const name of ["data", "control"]) expect(existsSync(join("/tmp", folder!, name))).toBe(true);
    expect(processesOf(worker.pid)).toContain(worker.pid);
    // In its own home, where ssh arrives.
    expect(await worker.import("os").getcwd()).toBe(userInfo().homedir);
    worker.import("builtins").print("to stdout");
    await worker.import("sys").stderr.write("to stderr\n");
    await worker.close();
    await nothingLeft(worker.pid, 1000);
    expect(lines).toContainEqual(expect.objectContaining({ stream: "stdout", msg: "to stdout" }));
    expect(lines).toContainEqual(expect.objectContaining({ stream: "stderr", msg: "to stderr" }));
  });

  test("trains to the very bits of one on this machine", async () => {
    const weights = async (worker: Worker): Promise<unknown> => {
      const torch = worker.import("torch");
      const model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3));
      const batches = Array.from({ length: 8 }, (_, i) => ({
        xs: {
          dtype: "float32" as const,
          shape: [5, 4],
          data: Float32Array.from({ length: 20 }, (_, j) => Math.sin(i + j)),
        },
        ys: {
          dtype: "int64" as const,
          shape: [5],
          data: BigInt64Array.from({ length: 5 }, (_, j) => BigInt((i + j) % 3)),
        },
      }));
      const learner = new Learner(model, crossEntropy(), {
        data: { training: batches },
        optimizer: sgd({ lr: 0.1, momentum: 0.9 }),
        callbacks: [],
      });
      const report = await learner.fit(3);
      expect(report.status).toBe("completed");
      const found = [];
      for (const parameter of [model[0].weight, model[0].bias, model[2].weight, model[2].bias])
        found.push((await py.ndarray(parameter.detach())).data);
      await worker.close();
      return found;
    };
    const here = await weights(await testWorker());
    expect(here).toHaveLength(4);
    expect(await weights(await far())).toEqual(here);
  });

  test("carries a large array over a slow line, on which nothing else gets through meanwhile", async () => {
    const slow = fileURLToPath(new URL("../fixtures/ssh/slow.py", import.meta.url));
    const { executable } = await findPython();
    const proxy = `ProxyCommand ${executable} ${slow} 127.0.0.1 ${host.port} 150000`;
    const known = `HostKeyAlias [127.0.0.1]:${host.port}`;
    await using worker = await far({ ssh: host.configure("slow", "HostName 127.0.0.1", known, proxy) });
    const changes: unknown[] = [];
    worker.onLink((change) => changes.push(change));
    expect(await worker.tensor(new Float32Array(250_000).fill(1)).sum().item()).toBe(250_000);
    expect(changes).toEqual([]);
  });

  test("two at once carry 32 MiB there and back, one of them over ports of 127.0.0.1, and share nothing", async () => {
    await using one = await far({ seed: 1 });
    await using other = await far({ seed: 1, transport: "tcp" });
    expect(one.pid).not.toBe(other.pid);
    const data = new Float32Array(randomBytes(2 ** 25).buffer).map((x) => (Number.isNaN(x) ? 0 : x));
    for (const worker of [one, other]) {
      const back = await py.ndarray(worker.tensor(data).neg().neg());
      expect(Buffer.compare(Buffer.from(back.data.buffer), Buffer.from(data.buffer))).toBe(0);
    }
    const random = (worker: Worker): PromiseLike<unknown> => worker.import("torch").rand(3).sum().item();
    expect(await random(one)).toBe(await random(other));
    await one.kill();
    expect(await other.tensor([1]).sum().item()).toBe(1);
  });

  test("runs in the folder, with the variables and in the interpreter of the other machine that were named", async () => {
    const folder = mkdtempSync(join(tmpdir(), "far-"));
    writeFileSync(join(folder, "mine.py"), "answer = 42\n");
    const { executable } = await findPython();
    mkdirSync(join(folder, "venv", "bin"), { recursive: true });
    writeFileSync(join(folder, "venv", "bin", "python"), `#!/bin/sh\nMARK=there exec ${executable} "$@"\n`, {
      mode: 0o755,
    });
    await using worker = await far({ cwd: folder, env: { GREETING: 'it\'s "me" \\ !' }, python: "./venv" });
    expect(await worker.import("mine").answer).toBe(42);
    const { environ } = worker.import("os");
    expect(await environ.get("GREETING")).toBe('it\'s "me" \\ !');
    expect(await environ.get("MARK")).toBe("there");
    rmSync(folder, { recursive: true });
  });

  test("keeps its token out of every command line and environment", async () => {
    const token = randomBytes(32).toString("hex");
    const directory = makeSocketDirectory().directory!;
    const config = { token, device: "cpu", seed: 0, deterministic: true, threads: 1, malloc: true };
    const logger = pino({ level: "silent" });
    const mine = { directory, python: undefined, workerDir: undefined, cwd: undefined, env: { SAID: "seen" }, logger };
    let seen = "";
    const look = setInterval(() => (seen += everyProcess()), 50);
    const child = await startOverSsh(host.target(), config, mine);
    seen += everyProcess();
    clearInterval(look);
    // (The far side's own processes were among those looked at.)
    expect(seen).toContain("SAID=seen");
    expect(seen).not.toContain(token);
    child.kill("SIGKILL");
    await child.exited;
    removeDirectory(directory);
  });

  test("is gone within a second when ssh is killed, and so is all of it; what was pending says so", async () => {
    const worker = await far();
    const pending = Promise.resolve(worker.import("time").sleep(1000)).catch((error: unknown) => error);
    await poll(
      5000,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    for (const pid of processesWith("BatchMode=yes").filter(
      (pid) => readFileSync(`/proc/${pid}/comm`, "utf8") === "ssh\n",
    ))
      process.kill(pid, "SIGKILL");
    await nothingLeft(worker.pid, 1000);
    const error = (await pending) as WorkerExitedError;
    expect(error).toBeInstanceOf(WorkerExitedError);
    expect(error).toMatchObject({ code: "WORKER_GONE", signal: "SIGKILL" });
    expect(error.message).toMatch(/^the ssh to -F .*config gpu-box was ended by SIGKILL, and the worker with it\.$/);
    expect(error.message).not.toContain("out-of-memory");
    expect(() => worker.tensor([1])).toThrow("the ssh to -F");
    await worker.close();
  });

  test("is opened again there by withWorker where it was killed, and nothing is left of either", async () => {
    const pids: number[] = [];
    const sum = await withWorker({ ssh: host.target(), device: "cpu", threads: 1, restarts: 1 }, (worker, run) => {
      pids.push(worker.pid);
      if (run.before === 0) process.kill(worker.pid, "SIGKILL");
      return py.js(worker.tensor([1, 2]).sum().item());
    });
    expect(sum).toBe(3);
    expect(new Set(pids).size).toBe(2);
    for (const pid of pids) await nothingLeft(pid, 1000);
  });

  test("is gone when sshd drops the connection", async () => {
    const worker = await far();
    const pending = Promise.resolve(worker.import("time").sleep(1000)).catch((error: unknown) => error);
    for (const pid of processesWith("sshd: ").filter((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("@notty"),
    ))
      process.kill(pid, "SIGKILL");
    expect(await pending).toMatchObject({
      code: "WORKER_GONE",
      message: expect.stringContaining("was ended with code 255, and the worker with it."),
    });
    await nothingLeft(worker.pid, 3000);
  });

  test("outlives signals that its client gets too, and handles", async () => {
    await using worker = await far();
    for (const signal of ["SIGTERM", "SIGHUP"] as const)
      for (const pid of [...processesWith(host.path("config")), ...processesOf(worker.pid)]) process.kill(pid, signal);
    expect(await worker.tensor([1, 2, 3]).sum().item()).toBe(6);
    await worker.close();
    await nothingLeft(worker.pid, 2000);
  });

  test.for(["SIGKILL", "SIGINT"] as const)("leaves nothing when its client is ended by %s", async (signal) => {
    const client = execa("node", [built("test/fixtures/ssh/client.ts"), ...host.target()], {
      env: runtime.env,
      reject: false,
    });
    const pid = Number(await firstLine(client.stdout));
    expect(isRunning(pid)).toBe(true);
    expect(runtime.entries()).toHaveLength(3);
    process.kill(client.pid!, signal);
    await client;
    await nothingLeft(pid, 2000);
  });

  test("leaves nothing when the process beside it on the other machine is killed", async () => {
    const worker = await far();
    const [keeper] = processesWith("torchwire_worker.far.main").filter((pid) =>
      readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("python"),
    );
    process.kill(keeper!, "SIGKILL");
    // The worker may answer something before it hears of it.
    const using = async (): Promise<never> => {
      for (;;) await worker.tensor([1]).sum().item();
    };
    await expect(using()).rejects.toMatchObject({ code: "WORKER_GONE" });
    await nothingLeft(worker.pid, 2000);
  });

  test("that ends by itself says how, and what it last wrote", async () => {
    const ends: [string, object, string][] = [
      [
        "import os, sys; print('half a line', end='', flush=True); os._exit(9)",
        { exitCode: 9, signal: undefined },
        "the worker was ended with code 9.",
      ],
      [
        "import os; print('half a line', flush=True); os.kill(os.getpid(), 9)",
        { exitCode: undefined, signal: "SIGKILL" },
        "the worker was ended by SIGKILL (the",
      ],
    ];
    for (const [code, expected, message] of ends) {
      const worker = await far();
      const error = await worker
        .import("builtins")
        .exec(code)
        .then(undefined, (thrown: unknown) => thrown as WorkerExitedError);
      expect(error).toMatchObject({ code: "WORKER_GONE", lastLines: ["half a line"], ...expected });
      expect((error as Error).message).toContain(message);
      await nothingLeft(worker.pid, 1000);
    }
  });

  test("sweeps folders that nobody holds any more, and no others", async () => {
    const folder = (): string => join("/tmp", `torchwire-${randomBytes(16).toString("hex")}`);
    const [stale, young, held] = [folder(), folder(), folder()];
    for (const path of [stale, young, held]) mkdirSync(path, { mode: 0o700 });
    for (const path of [stale, held]) utimesSync(path, new Date(0), new Date(0));
    const hold =
      "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(1, flush=True); time.sleep(1000)";
    const holder = execa((await findPython()).executable, ["-c", hold, held], { reject: false });
    await firstLine(holder.stdout);
    await (await far()).close();
    expect([stale, young, held].map((path) => existsSync(path))).toEqual([false, true, true]);
    holder.kill("SIGKILL");
    for (const path of [young, held]) rmSync(path, { recursive: true });
  });

  test("minds neither what login scripts print nor the forwards of the user's own configuration", async () => {
    const script = host.path("login.sh");
    // A file in the login's folder with the name of a Python module is not the module.
    writeFileSync(host.path("json.py"), "raise SystemExit('this is not json')\n");
    writeFileSync(
      script,
      `cd ${host.folder}; echo "welcome to $(hostname)"; printf 'no end of line'; exec sh -c "$SSH_ORIGINAL_COMMAND"\n`,
    );
    using noisy = await SshHost.start({ more: `ForceCommand sh ${script}` });
    const target = noisy.configure(
      "with-forwards",
      "HostName 127.0.0.1",
      `LocalForward 127.0.0.1:${host.port} /nowhere`,
      "RemoteCommand /bin/false",
    );
    await using worker = await testWorker({ ssh: target });
    expect(await worker.tensor([1]).sum().item()).toBe(1);
  });
});

describeWithSshd("a worker over ssh that cannot be had", () => {
  let host: SshHost;
  let runtime: Runtime;
  const foldersBefore = farFolders();
  beforeAll(async () => {
    runtime = privateRuntime();
    host = await SshHost.start();
  });
  afterAll(() => {
    host?.[Symbol.dispose]();
    runtime.remove();
  });

  const failure = async (options: SpawnOptions): Promise<TorchwireError> => {
    const found = await spawnWorker({ device: "cpu", ...options }).then(
      async (worker) => {
        await worker.kill();
        return undefined;
      },
      (error: unknown) => error,
    );
    expect(found).toBeInstanceOf(TorchwireError);
    expect(processesWith(host.path("config"))).toEqual([]);
    expect(farFolders().filter((name) => !foldersBefore.includes(name))).toEqual([]);
    expect(runtime.entries()).toEqual([]);
    return found as TorchwireError;
  };

  test("because the host is not known", async () => {
    const { code, message } = await failure({ ssh: host.configure("nowhere", "HostName nowhere.invalid") });
    expect(code).toBe("UNREACHABLE");
    expect(message).toMatch(
      /^ssh to -F .* nowhere found no host of that name.*ssh said:\n {4}ssh: Could not resolve hostname nowhere\.invalid/s,
    );
    expect(message).toMatch(/\nThis must work without a question: ssh -F .* nowhere true/);
  });

  test("because no ssh server is there", async () => {
    const { code, message } = await failure({
      ssh: host.configure("closed", "HostName 127.0.0.1", `Port ${await freePort()}`),
    });
    expect(code).toBe("UNREACHABLE");
    expect(message).toContain("no ssh server on it");
  });

  test("because the host's key is not known, or is another one", async () => {
    const unknown = await failure({ ssh: host.configure("unknown", "HostName 127.0.0.1", "UserKnownHostsFile none") });
    expect(unknown.code).toBe("REFUSED");
    expect(unknown.message).toContain("does not know the host's key yet");
    writeFileSync(
      host.path("other_hosts"),
      `[127.0.0.1]:${host.port} ${readFileSync(host.path("stranger.pub"), "utf8")}`,
    );
    const other = await failure({
      ssh: host.configure("other", "HostName 127.0.0.1", `UserKnownHostsFile ${host.path("other_hosts")}`),
    });
    expect(other.code).toBe("REFUSED");
    expect(other.message).toContain("it may not be that machine");
  });

  test("because our key is not accepted", async () => {
    using closed = await SshHost.start({ more: "AuthorizedKeysFile none" });
    const { code, message } = await failure({ ssh: closed.target() });
    expect(code).toBe("REFUSED");
    expect(message).toMatch(/was not let in.*Permission denied \(publickey\)/s);
  });

  test.for(["AllowStreamLocalForwarding no", "DisableForwarding yes"])(
    "because it forwards nothing: %s",
    async (more) => {
      using strict = await SshHost.start({ more });
      const { code, message } = await failure({ ssh: strict.target() });
      expect(code).toBe("REFUSED");
      expect(message).toMatch(/works, but does not forward Unix sockets.*AllowStreamLocalForwarding/s);
    },
  );

  test.for([
    ["reads a line", "read line"],
    ["reads all", "cat > /dev/null"],
  ])("because a start file there %s of standard input: in bounded time, and without our order", async ([, body]) => {
    const script = host.path("start.sh");
    const got = host.path("got");
    writeFileSync(script, `(${body}; echo "$line" > ${got}); exec sh -c "$SSH_ORIGINAL_COMMAND"\n`);
    using waiting = await SshHost.start({ more: `ForceCommand sh ${script}` });
    const order = { python: null, requirements: "", config: { token: "secret" }, cwd: null, env: {} };
    const workerFolder = join(packageRoot(), "python", "torchwire_worker");
    const said: unknown[] = [];
    const far = openFar(waiting.target(), order, {
      workerFolder,
      longestSilence: 1500,
      onSaid: (what) => said.push(what),
      onLine: () => undefined,
    });
    const error = sshError(waiting.target(), await far.ended);
    expect(error.code).toBe("ENVIRONMENT");
    expect(error.message).toMatch(
      /nothing was heard for half a minute\. A start file .*\.bashrc.* reads standard input/,
    );
    expect(said).toEqual([]);
    await poll(
      2000,
      () => processesWith(script),
      (found) => found.length === 0,
    );
    expect(existsSync(got) ? readFileSync(got, "utf8") : "").not.toContain("secret");
  });

  test("because there is no python3", async () => {
    const bin = host.path("bin");
    mkdirSync(bin);
    symlinkSync("/bin/sh", join(bin, "sh"));
    using bare = await SshHost.start({ env: { PATH: bin } });
    const { code, message } = await failure({ ssh: bare.target() });
    expect(code).toBe("ENVIRONMENT");
    expect(message).toContain("has no python3 on the PATH");
  });

  test("because no Python there has PyTorch: every place looked at is named, and the command that makes one", async () => {
    using bare = await SshHost.start({ env: { TORCHWIRE_PYTHON: "", TORCHWIRE_CACHE: "/nowhere" } });
    const { code, message } = await failure({ ssh: bare.target(), cwd: bare.folder });
    expect(code).toBe("ENVIRONMENT");
    expect(message).toContain(
      "Looked there at:\n  option python        not given\n  TORCHWIRE_PYTHON     not set\n  VIRTUAL_ENV          not set\n",
    );
    expect(message).toContain(`  .venv                ${join(bare.folder, ".venv")} has no python\n`);
    expect(message).toContain("  managed environment  none for this version of torchwire in /nowhere/environments\n");
    expect(message).toContain(`Run: npx torchwire setup --ssh="-F `);
    const named = await failure({ ssh: bare.target(), python: "/nowhere/python" });
    expect(named.message).toMatch(
      /^the option python names \/nowhere\/python, which is not there on \S+ or cannot be run/,
    );
  });

  test("because the interpreter, the folder or the device there does not serve", async () => {
    const without = await failure({ ssh: host.target(), python: "/usr/bin/python3" });
    expect(without.code).toBe("ENVIRONMENT");
    expect(without.message).toMatch(
      /\/usr\/bin\/python3\S* (has no zmq|is Python)[^]*Run: npx torchwire setup --ssh="-F /,
    );
    const nowhere = await failure({ ssh: host.target(), cwd: "/nowhere" });
    expect(nowhere.message).toContain("cwd is /nowhere, which is no folder on");
    const device = await failure({ ssh: host.target(), device: "cuda:77" });
    expect(device.code).toBe("NO_DEVICE");
  });

  test("because there is no ssh", async () => {
    const { PATH } = process.env;
    process.env["PATH"] = host.folder;
    try {
      const { code, message } = await failure({ ssh: "gpu-box" });
      expect(code).toBe("ENVIRONMENT");
      expect(message).toContain("there is no ssh on PATH");
    } finally {
      process.env["PATH"] = PATH;
    }
  });

  test.for<[unknown, string]>([
    ["-oProxyCommand=touch /tmp/x", "not a host's name"],
    ["gpu-box true", "not a host's name"],
    ["", "it may be a host's name"],
    [[], "it may be a host's name"],
    [["-p", ""], "it may be a host's name"],
    [null, "it may be a host's name"],
  ])("because %j is no target", async ([ssh, why]) => {
    const { code, message } = await failure({ ssh: ssh as string });
    expect(code).toBe("MISUSE");
    expect(message).toContain(why);
  });

  test("because the interpreter's name would be read by a shell", async () => {
    expect((await failure({ ssh: "gpu-box", python: "a'; touch /tmp/x" })).code).toBe("MISUSE");
  });
});
