/**
 * The end of a worker: that of Python where it is orderly, that of the process however it comes; and processes that it
 * leaves behind.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { pino, type Logger } from "pino";
import { afterAll, describe, expect, test } from "vitest";
import { kw, py, type AnyRef, type SpawnOptions, type Worker, type WorkerExitedError } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { caught } from "../observed.ts";
import { runClient } from "../fixtures/life/script.ts";
import { isRunning, othersOf, poll, privateRuntime, processesOf } from "../fixtures/life/world.ts";
import { describeOnLinux, where } from "../only.ts";
import { testWorker } from "../worker.ts";

const SECOND = 1000;
const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/life/${name}`, import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "tw-ends-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Said {
  readonly stream: string;
  readonly level: number;
  readonly msg: string;
}

interface Listened {
  readonly worker: Worker;
  readonly said: Said[];
  /** The messages there, in order. */
  readonly lines: (stream: string) => string[];
}

async function listened(options: SpawnOptions = {}): Promise<Listened> {
  const said: Said[] = [];
  const logger: Logger = pino({ level: "info" }, { write: (line) => void said.push(JSON.parse(line) as Said) });
  const worker = await testWorker({ logger, ...options });
  return { worker, said, lines: (of) => said.filter(({ stream }) => stream === of).map(({ msg }) => msg) };
}

/** Runs `code` in `worker` as a module of its own. */
async function run(worker: Worker, code: string): Promise<AnyRef> {
  const module = py.keep(worker.import("types").ModuleType("program")) as AnyRef;
  await worker.import("builtins").exec(code, module.__dict__);
  return module;
}

/** Node's warnings during `body`. */
async function warnings(body: () => Promise<unknown>): Promise<string[]> {
  const found: string[] = [];
  const note = (warning: Error): void => void found.push(warning.message);
  process.on("warning", note);
  await body();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", note);
  return found;
}

describe("close() ends the worker as Python ends", () => {
  test("with all that the same program does at its end where Python itself runs it", async () => {
    const [plain, ours] = [mkdtempSync(join(folder, "plain-")), mkdtempSync(join(folder, "ours-"))];
    const { executable } = await findPython();
    const code = "import runpy, sys; kept = runpy.run_path(sys.argv[1], {'folder': sys.argv[2]})";
    const { stdout } = await execa(executable, ["-u", "-c", code, fixture("end.py"), plain]);
    const { worker, lines } = await listened();
    await worker.import("runpy").run_path(fixture("end.py"), { folder: ours });
    expect(await warnings(() => worker.close())).toEqual([]);
    expect(readdirSync(ours).toSorted()).toEqual(readdirSync(plain).toSorted());
    expect(readdirSync(plain).toSorted()).toEqual(
      ["atexit", "buffered", "child", "closed", "cycle", "finalizer", "thread"].toSorted(),
    );
    expect(readFileSync(join(ours, "buffered"), "utf8")).toBe("not yet on the disk");
    expect(lines("stdout").toSorted()).toEqual(stdout.split("\n").toSorted());
    expect(lines("logging")).toEqual(["logged at the end"]);
  });

  test("in bounded time, and says what was cut off", async () => {
    const { worker, said } = await listened({ env: { TORCHWIRE_END_SECONDS: "0.5" } });
    await run(
      worker,
      "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), name='uploader').start()",
    );
    const [warning, ...others] = await warnings(() => worker.close());
    expect(others).toEqual([]);
    const told = /took longer than 0\.5 s and was cut off\. Still running: the thread 'uploader' \(/;
    expect(warning).toMatch(told);
    expect(said.filter(({ level, msg }) => level === 40 && told.test(msg))).toHaveLength(1);
    const left = (): number[] => processesOf(worker.pid);
    expect(await poll(SECOND, left, ({ length }) => length === 0)).toEqual([]);
  });
});

describeOnLinux("a process that the worker leaves behind, with its standard output,", () => {
  const left = `
import subprocess
pid = subprocess.Popen(["sleep", "300"], start_new_session=True).pid
`;

  test("does not keep close() waiting", async () => {
    const { worker, lines } = await listened();
    const pid = (await (await run(worker, left)).pid) as number;
    worker.import("builtins").print("written last");
    await worker.close();
    expect(lines("stdout")).toEqual(["written last"]);
    expect(isRunning(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
  });

  test("keeps neither what is pending nor kill() waiting when the worker is killed", async () => {
    const { worker } = await listened();
    const pid = (await (await run(worker, left)).pid) as number;
    const pending = caught(async () => await worker.import("time").sleep(1000));
    const state = async (): Promise<string> => (await worker.liveness()).state;
    await poll(5 * SECOND, state, (found) => found === "busy");
    process.kill(worker.pid, "SIGKILL");
    expect(await pending).toMatchObject({ code: "WORKER_GONE", signal: "SIGKILL" });
    await worker.kill();
    await worker.close();
    expect(isRunning(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
  });
});

describe("what a worker writes is bounded", () => {
  test("lines without an end, long records, and what an error repeats of them", async () => {
    const { worker, said, lines } = await listened();
    const { sys, logging } = { sys: worker.import("sys"), logging: worker.import("logging") };
    const builtins = worker.import("builtins");
    const x = py.keep(builtins.str("x".repeat(1000))) as AnyRef;
    await sys.stdout.write(x.__mul__(3000));
    const parts = await poll(
      5 * SECOND,
      () => lines("stdout"),
      (found) => found.join("").length >= 2 ** 16 * 45,
    );
    expect([...new Set(parts.map(({ length }) => length))]).toEqual([2 ** 16]);
    // Longer than any message of the wire may be.
    logging.getLogger("train").error(x.__mul__(100_000));
    builtins.print("\nthe session goes on");
    await poll(
      5 * SECOND,
      () => lines("stdout"),
      (found) => found.includes("the session goes on"),
    );
    const record = await poll(
      5 * SECOND,
      () => lines("logging"),
      ({ length }) => length > 0,
    );
    expect(record).toEqual([`${"x".repeat(2 ** 16)}… (99,934,464 more characters)`]);
    await sys.stderr.write(x.__mul__(1000));
    const error = (await caught(async () => await worker.import("os")._exit(3))) as WorkerExitedError;
    expect(error).toMatchObject({ code: "WORKER_GONE", exitCode: 3 });
    expect(error.message.length).toBeLessThan(60_000);
    expect(error.message).toContain("… (64536 more characters)");
    expect(said.every(({ msg }) => msg.length <= 2 ** 16 + 100)).toBe(true);
  });
});

describeOnLinux("a process that Python forks off", () => {
  test("ends where it comes back into the worker's code, as a child of multiprocessing ends", async () => {
    const { worker, lines } = await listened();
    const names = await run(
      worker,
      `
import atexit, multiprocessing, os, sys
atexit.register(print, "the worker's own")
def forked(act):
    pid = os.fork()
    if pid == 0:
        os.write(1, b"in the child\\n")
        act()
    return pid
def say(text):
    os.write(1, text.encode() + b"\\n")
def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def fails():
    raise ValueError("of the child")
def stops():
    raise KeyboardInterrupt
acts = [lambda: None, lambda: sys.exit(3), lambda: sys.exit("a word"), fails, stops]
`,
    );
    for (const [i, expected] of [0, 3, 1, 1, 1].entries()) {
      const pid = py.keep(names.forked(py.at(names.acts as AnyRef, i)));
      // What its batch has behind it is not done twice.
      names.say(`after ${i}`);
      expect(await names.code(pid)).toBe(expected);
    }
    for (const method of ["fork", "forkserver", "spawn"]) {
      const pool = (worker.import("multiprocessing").get_context(method) as AnyRef).Pool(1);
      expect(await py.js(pool.map(worker.import("builtins").abs, [-1, -2]))).toEqual([1, 2]);
      await pool.terminate();
    }
    const data = worker.import("torch.utils.data");
    const loader = data.DataLoader([1, 2, 3], kw({ num_workers: 1, batch_size: null }));
    expect(await py.js(worker.import("builtins").list(loader))).toEqual([1, 2, 3]);
    expect(await worker.tensor([2]).sum().item()).toBe(2);
    await worker.close();
    const said = lines("stdout");
    expect(said.filter((line) => line === "in the child")).toHaveLength(5);
    expect(said.filter((line) => line !== "in the child")).toEqual([
      ...[0, 1, 2, 3, 4].map((i) => `after ${i}`),
      "the worker's own",
    ]);
    const errors = lines("stderr");
    expect(errors).toContain("a word");
    expect(errors).toContain("ValueError: of the child");
    expect(errors.at(-1)).toBe("KeyboardInterrupt");
  });

  test("holds no descriptor of the worker's", async () => {
    const { worker } = await listened();
    const names = await run(
      worker,
      `
import json, os, socket, stat
def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass
    return found
reader, writer = os.pipe()
before = descriptors()
pid = os.fork()
if pid == 0:
    os.write(writer, json.dumps(descriptors()).encode())
    os._exit(0)
os.waitpid(pid, 0)
after = json.loads(os.read(reader, 65536))
# And those that a program would inherit that C starts.
inherited = [name for name in before if os.path.exists("/proc/self/fd/" + name) and os.get_inheritable(int(name))]
`,
    );
    const before = (await py.js(names.before as AnyRef)) as Record<string, string>;
    const after = (await py.js(names.after as AnyRef)) as Record<string, string>;
    const sockets = (found: Record<string, string>): string[] =>
      Object.values(found).filter((path) => path.startsWith("socket:"));
    expect(sockets(before).length).toBeGreaterThanOrEqual(6);
    // Its standard streams, which may be sockets, are its own.
    const standard = new Set([after[0], after[1], after[2]]);
    expect(sockets(after).filter((path) => !standard.has(path))).toEqual([]);
    // (Those above may be this process's own, which came from whoever has started it.)
    const inherited = ((await py.js(names.inherited as AnyRef)) as string[]).filter((name) => Number(name) < 100);
    expect(inherited.toSorted()).toEqual(["0", "1", "2"]);
    await worker.close();
  });
});

describeOnLinux("the guard of a worker", () => {
  test("that is killed is replaced: the worker does not outlive its client", async () => {
    const runtime = privateRuntime({ use: false });
    const script = runClient("idle", runtime.env);
    const { worker } = await script.said();
    const [guard] = othersOf(worker);
    process.kill(guard!, "SIGKILL");
    const ignoresHangups = (pid: number): boolean =>
      (parseInt(/SigIgn:\s+(\w+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]!, 16) & 1) === 1;
    const next = await poll(
      5 * SECOND,
      () => othersOf(worker),
      ([pid]) => pid !== undefined && pid !== guard && ignoresHangups(pid),
    );
    expect(next).toHaveLength(1);
    process.kill(script.pid, "SIGKILL");
    expect(
      await poll(
        5 * SECOND,
        () => [...processesOf(worker), ...runtime.entries()],
        ({ length }) => length === 0,
      ),
    ).toEqual([]);
    runtime.remove();
  });
});

where(
  process.platform === "linux" && process.getuid?.() === 0,
  "it makes a namespace of processes, which only root may",
)("a program that is the first process of a container", () => {
  test("is left no zombie by a worker that it closes, nor by what that has started and not ended", async () => {
    const runtime = privateRuntime({ use: false });
    const inside: [string, ...string[]] = ["unshare", "--fork", "--pid", "--mount-proc", process.execPath];
    const script = runClient("first", runtime.env, { command: inside });
    expect(await script.said()).toMatchObject({ pid: 1, closed: true, zombies: [] });
    await script.ended;
    runtime.remove();
  });
});
