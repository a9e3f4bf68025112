/** Where a worker's sockets are, on machines that are unlike ours. */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readlinkSync, renameSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { pino, type Logger } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TorchwireError, type SpawnOptions } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { makeSocketDirectory, removeDirectory } from "../../bridge/start/directory.ts";
import { built } from "../built.ts";
import { runClient, type ClientOptions } from "../fixtures/life/script.ts";
import { poll, portsOf, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { describeOnLinux } from "../only.ts";
import { testWorker } from "../worker.ts";

let runtime: Runtime;
let variables: Readonly<Record<string, string | undefined>>;
const NAMES = ["TMPDIR", "TORCHWIRE_LOG", "TORCHWIRE_TRANSPORT", "TORCHWIRE_WORKER", "XDG_RUNTIME_DIR"];

beforeEach(() => {
  runtime = privateRuntime();
  variables = Object.fromEntries(NAMES.map((name) => [name, process.env[name]]));
  delete process.env["TORCHWIRE_TRANSPORT"];
});
afterEach(() => {
  for (const name of NAMES) {
    if (variables[name] === undefined) delete process.env[name];
    else process.env[name] = variables[name];
  }
  runtime.remove();
});

/** A worker that has done something; what it listens on, and what was said about that. */
async function spawned(options: SpawnOptions = {}): Promise<{ ports: number; said: string[]; runtime: string[] }> {
  const said: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said.push((JSON.parse(chunk.toString()) as { msg: string }).msg);
      done();
    },
  });
  const logger: Logger = pino({ level: "warn" }, stream);
  await using worker = await testWorker({ logger, ...options });
  expect(await worker.tensor([1, 2]).sum().item()).toBe(3);
  // (Its answer is out a moment before it waits again.)
  const state = await poll(
    5000,
    async () => (await worker.liveness()).state,
    (found) => found === "idle",
  );
  expect(state).toBe("idle");
  return { ports: portsOf(worker.pid).length, said, runtime: runtime.entries() };
}

describeOnLinux("a worker's sockets", () => {
  test("are in XDG_RUNTIME_DIR, which is not worth a word", async () => {
    const { ports, said, runtime: entries } = await spawned();
    expect({ ports, said, files: entries.length }).toEqual({ ports: 0, said: [], files: 3 });
  });

  test.each<[string, SpawnOptions, string | undefined]>([
    ["the option", { transport: "tcp" }, undefined],
    ["the variable", {}, "tcp"],
    ["the option, whatever the variable says", { transport: "tcp" }, "ipc"],
  ])("are ports of the loopback interface where %s says so", async (_, options, variable) => {
    if (variable !== undefined) process.env["TORCHWIRE_TRANSPORT"] = variable;
    expect(await spawned(options)).toEqual({ ports: 2, said: [], runtime: [] });
  });

  test("are elsewhere where their path would be too long, and that is said once", async () => {
    const long = join(runtime.folder, "x".repeat(80));
    mkdirSync(long);
    process.env["XDG_RUNTIME_DIR"] = long;
    process.env["TMPDIR"] = runtime.folder;
    const { ports, said, runtime: entries } = await spawned();
    expect({ ports, files: entries.length, inTheLongOne: readdirSync(long) }).toEqual({
      ports: 0,
      files: 3,
      inTheLongOne: [],
    });
    expect(said).toEqual([
      expect.stringMatching(/x{80}: a socket's path would be \d{3} bytes long, the system allows 107/),
    ]);
  });

  test("are elsewhere where the folder is not there, or cannot be written to", async () => {
    process.env["XDG_RUNTIME_DIR"] = join(runtime.folder, "none");
    process.env["TMPDIR"] = runtime.folder;
    const { ports, said, runtime: entries } = await spawned();
    expect({ ports, files: entries.length }).toEqual({ ports: 0, files: 3 });
    expect(said).toEqual([expect.stringMatching(/none: ENOENT/)]);
    expect(existsSync(process.env["XDG_RUNTIME_DIR"])).toBe(false);
  });

  test("are elsewhere where somebody else could put theirs in their place", async () => {
    const open = join(runtime.folder, "open");
    const theirs = join(open, `torchwire-${process.getuid!()}`);
    mkdirSync(theirs, { recursive: true });
    chmodSync(theirs, 0o777);
    process.env["XDG_RUNTIME_DIR"] = open;
    process.env["TMPDIR"] = runtime.folder;
    const { said, runtime: entries } = await spawned();
    expect(said).toEqual([expect.stringContaining("is not a folder that is this user's alone")]);
    expect(entries).toHaveLength(3);
    expect(readdirSync(theirs)).toEqual([]);
  });
});

describeOnLinux("a folder for sockets", () => {
  const inFolder = (mode: number): string => {
    chmodSync(runtime.folder, mode);
    const { directory, refused } = makeSocketDirectory();
    removeDirectory(directory!);
    return directory!.startsWith(`${runtime.folder}/`) ? "taken" : refused.join("\n");
  };

  test("is one where nobody else can put another in its place", () => {
    expect([0o700, 0o755, 0o1777].map(inFolder)).toEqual(["taken", "taken", "taken"]);
    for (const mode of [0o777, 0o775])
      expect(inFolder(mode)).toBe(
        `${runtime.folder}: others can write into ${runtime.folder} (uid ${process.getuid!()}, mode 0${mode.toString(8)})`,
      );
  });

  test("keeps what processes have there that we cannot see, of another machine or container", () => {
    const base = join(runtime.folder, `torchwire-${process.getuid!()}`);
    const namespace = /\d+/.exec(readlinkSync("/proc/self/ns/pid"))![0];
    // (No process has this number: it is past the most that Linux gives.)
    const theirs = join(base, `${namespace}-4999999-abcdef`);
    mkdirSync(theirs, { recursive: true, mode: 0o700 });
    chmodSync(base, 0o700);
    expect(inFolder(0o700)).toBe("taken");
    expect(existsSync(theirs)).toBe(true);
    const own = makeSocketDirectory().directory!;
    const dead = own.replace(`-${process.pid}-`, "-4999999-");
    renameSync(own, dead);
    expect(inFolder(0o700)).toBe("taken");
    expect(existsSync(dead)).toBe(false);
  });
});

test("a transport that is none is refused, with the name of where it was asked for", async () => {
  const refusal = (options: SpawnOptions): Promise<unknown> => testWorker(options).catch((error: unknown) => error);
  expect(await refusal({ transport: "udp" as "tcp" })).toMatchObject({
    code: "MISUSE",
    message: expect.stringContaining('transport is "udp"; it may be "ipc" or "tcp"'),
  });
  process.env["TORCHWIRE_TRANSPORT"] = "ftp";
  expect(await refusal({})).toBeInstanceOf(TorchwireError);
  expect(await refusal({})).toMatchObject({ message: expect.stringContaining('TORCHWIRE_TRANSPORT is "ftp"') });
});

test("a level of logging that is none is refused with those that there are; a blank variable is as none", async () => {
  const refusal = (): Promise<unknown> => testWorker({}).catch((error: unknown) => error);
  process.env["TORCHWIRE_LOG"] = "loud";
  expect(await refusal()).toMatchObject({
    code: "MISUSE",
    message: expect.stringMatching(
      /^TORCHWIRE_LOG is "loud"; it may be trace, debug, info, warn, error, fatal, silent\n\(spawnWorker at worker\.ts/,
    ),
  });
  process.env["TORCHWIRE_TRANSPORT"] = " ftp ";
  for (const level of ["", " ", "WARN", " silent"]) {
    process.env["TORCHWIRE_LOG"] = level;
    // It gets as far as to what is wrong next.
    expect(await refusal()).toMatchObject({ message: expect.stringContaining('TORCHWIRE_TRANSPORT is "ftp"') });
  }
  process.env["TORCHWIRE_TRANSPORT"] = " ";
  process.env["TORCHWIRE_WORKER"] = " nonsense ";
  expect(await refusal()).toMatchObject({ message: expect.stringContaining("nonsense") });
});

const program = built("test/fixtures/apps/program.ts");

describeOnLinux("a program", () => {
  async function trains(
    env: Readonly<Record<string, string | undefined>>,
    options: ClientOptions = {},
  ): Promise<string> {
    const { executable } = await findPython();
    const script = runClient(
      "trains",
      { ...runtime.env, TORCHWIRE_PYTHON: executable, TORCHWIRE_LOG: "warn", ...env },
      { program, ...options },
    );
    const { worker, status } = await script.said();
    const { code, stderr } = await script.ended;
    expect({ code, status }).toEqual({ code: 0, status: "completed" });
    expect(processesOf(worker)).toEqual([]);
    return stderr;
  }

  // As on a file system that is mounted read-only, which takes more rights than a test should have.
  const readOnly: readonly [string, ...string[]] = [
    process.execPath,
    "--import",
    fileURLToPath(new URL("../fixtures/apps/read-only.mjs", import.meta.url)),
  ];

  test("whose every temporary folder is read-only trains over tcp, and says so once", async () => {
    const stderr = await trains({}, { command: readOnly });
    expect(stderr.match(/the worker's sockets are ports of 127\.0\.0\.1, because of .*EROFS/g)).toHaveLength(1);
    expect(runtime.entries()).toEqual([]);
  });

  test("whose every temporary folder is read-only, and which wants ipc, is told what to do", async () => {
    const { executable } = await findPython();
    const script = runClient(
      "trains",
      { ...runtime.env, TORCHWIRE_PYTHON: executable, TORCHWIRE_TRANSPORT: "ipc" },
      { program, command: readOnly },
    );
    const { code, stderr } = await script.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/no folder can hold the worker's sockets:\n.*EROFS[^]*transport: "tcp"/);
  });

  test.each([
    ["does not say where", undefined],
    ["does not exist", "/nonexistent"],
  ])("of a user whose home the environment %s trains", async (_, HOME) => {
    expect(await trains({ HOME })).toBe("");
  });

  const anonymous: readonly [string, ...string[]] = ["unshare", "--user", "--map-user=12345", process.execPath];
  test("of a user whom the system does not know trains", async (context) => {
    if (!canUnshare()) context.skip("the kernel lets us make no user namespace");
    expect(await trains({ HOME: undefined, USER: undefined, LOGNAME: undefined }, { command: anonymous })).toBe("");
  });
});

function canUnshare(): boolean {
  try {
    return String(execFileSync("unshare", ["--user", "--map-user=12345", "id", "-u"], { stdio: "pipe" })) === "12345\n";
  } catch {
    return false;
  }
}
