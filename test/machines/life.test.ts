/** Real processes, really killed. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { kw, py, spawnWorker, TorchwireError, WorkerExitedError, type AnyRef, type Worker } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { runClient } from "../fixtures/life/script.ts";
import {
  filesOfAWorker,
  isRunning,
  othersOf,
  poll,
  privateRuntime,
  processesOf,
  type Runtime,
} from "../fixtures/life/world.ts";
import { testWorker } from "../worker.ts";
import { caught } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const SECOND = 1000;

let runtime: Runtime;

beforeEach(() => {
  runtime = privateRuntime();
});

afterEach(() => runtime.remove());

/** Every running process of a worker and every file of it, after at most a second. */
async function leftAfterASecond(worker: number): Promise<(number | string)[]> {
  return poll(
    SECOND,
    () => [...processesOf(worker), ...runtime.entries()],
    (left) => left.length === 0,
  );
}

const sum = (worker: Worker): PromiseLike<unknown> => worker.tensor([1, 2, 3]).sum().item();

describeOnLinux("a client that ends without a word", () => {
  test.for([
    ["while its worker waits", "idle", 2],
    ["while its worker is in a C call that holds the interpreter", "holding", 2],
    ["while its worker has children of its own", "children", 5],
    ["in a function that its worker has called", "called", 2],
  ] as const)("by SIGKILL, %s, leaves no process and no file within a second", async ([, scenario, processes]) => {
    const script = runClient(scenario, runtime.env);
    const { worker } = await script.said();
    // The worker, its guard, and its children; its directory and two sockets.
    expect(processesOf(worker).length).toBeGreaterThanOrEqual(processes);
    expect(runtime.entries()).toHaveLength(filesOfAWorker);
    process.kill(script.pid, "SIGKILL");
    expect(await leftAfterASecond(worker)).toEqual([]);
  });

  test.for([
    ["by process.exit()", "exit", 0],
    ["by an error that nobody catches", "throws", 1],
  ] as const)("%s leaves no process and no file within a second", async ([, scenario, code]) => {
    const script = runClient(scenario, runtime.env);
    const { worker } = await script.said();
    expect((await script.ended).code).toBe(code);
    expect(await leftAfterASecond(worker)).toEqual([]);
  });

  test("together with its worker and the guard leaves files, which the next start removes, and none of the living", async () => {
    const script = runClient("idle", { ...runtime.env, TORCHWIRE_TRANSPORT: "ipc" });
    const { worker } = await script.said();
    const dead = runtime.directory();
    await using living = await testWorker({ transport: "ipc" });
    expect(runtime.entries()).toHaveLength(6);
    const all = [script.pid, ...processesOf(worker)];
    // All at once: a guard that runs on for a moment after its worker removes the files.
    for (const signal of ["SIGSTOP", "SIGKILL"]) for (const pid of all) process.kill(pid, signal);
    await script.ended;
    expect(
      await poll(
        SECOND,
        () => processesOf(worker),
        ({ length }) => length === 0,
      ),
    ).toEqual([]);
    expect(runtime.entries()).toContain(join(dead, "data"));
    await using next = await testWorker({ transport: "ipc" });
    expect(runtime.entries()).toHaveLength(6);
    expect(runtime.entries()).not.toContain(dead);
    expect(await sum(living)).toBe(6);
    expect(await sum(next)).toBe(6);
  });

  test("a Ctrl-C in its terminal is its own to handle: the worker goes on, and is closed in order", async () => {
    const script = runClient("interrupt", runtime.env);
    const { worker } = await script.said();
    process.kill(-script.pid, "SIGINT");
    expect(await script.said()).toEqual({ worker, sum: 3 });
    expect(await script.said()).toEqual({ worker, closed: true });
    expect(await script.ended).toEqual({ code: 0, stderr: "" });
    expect(await leftAfterASecond(worker)).toEqual([]);
  });
});

describeOnLinux("a worker that is killed", () => {
  test("has everything that waits for it rejected within a second, with the signal, and all that comes later", async () => {
    const worker = await testWorker();
    const torch = worker.import("torch");
    const x = py.keep(torch.ones(3));
    await x;
    const pid = worker.pid;
    const sleep = (seconds: number): AnyRef => worker.import("time").sleep(seconds) as AnyRef;
    void sleep(100);
    const waiting: Record<string, PromiseLike<unknown>> = {
      sent: sleep(1),
      value: x.sum().item(),
      js: py.js(x.shape),
      ndarray: py.ndarray(x),
      all: Promise.all([x[0], x[1]]),
      scope: worker.scope(async () => await x.max().item()),
      lane: worker.lane(async () => await x.min().item()),
      context: worker.context({ mode: "no_grad" }, async () => await x.mean().item()),
      laneWithoutAwait: worker.lane(() => void x.abs()),
    };
    expect(
      await poll(
        5 * SECOND,
        () => worker.liveness(),
        ({ state }) => state === "busy",
      ),
    ).toMatchObject({
      state: "busy",
    });
    const settled = Promise.allSettled(Object.values(waiting));
    const late = new Promise((resolve) => setTimeout(resolve, SECOND, "too late"));
    process.kill(pid, "SIGKILL");
    const results = await Promise.race([settled, late]);
    const gone = expect.objectContaining({
      name: "WorkerExitedError",
      code: "WORKER_GONE",
      signal: "SIGKILL",
      exitCode: undefined,
      message: expect.stringContaining("SIGKILL"),
    });
    expect(results).toEqual(Object.keys(waiting).map(() => ({ status: "rejected", reason: gone })));

    await expect((async () => await x.sum())()).rejects.toEqual(gone);
    await expect((async () => await worker.import("os"))()).rejects.toEqual(gone);
    await expect((async () => await py.str(x))()).rejects.toEqual(gone);
    await expect(worker.lane(() => worker.tensor([1]))).rejects.toEqual(gone);
    await expect(worker.stats()).rejects.toEqual(gone);
    expect(await worker.liveness()).toEqual({ state: "gone" });
    expect(() => worker.scope(() => worker.tensor([1]))).toThrow(gone as Error);
    x[Symbol.dispose]();

    await worker.close();
    await worker.close();
    await worker.kill();
    expect(await leftAfterASecond(pid)).toEqual([]);
  });

  test("has a greater number of promises than anybody reads rejected, none of them unhandled", async () => {
    const worker = await testWorker();
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", note);
    for (let i = 0; i < 1000; i++) void py.js(worker.tensor([i]));
    process.kill(worker.pid, "SIGKILL");
    expect(
      await poll(
        SECOND,
        () => worker.liveness(),
        ({ state }) => state === "gone",
      ),
    ).toEqual({ state: "gone" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
    await worker.close();
  });

  test("takes its children along", async () => {
    const worker = await testWorker();
    const { pid } = worker;
    const child = await worker.import("subprocess").Popen(["sleep", "1000"]);
    expect(othersOf(pid)).toContain(await (child as AnyRef).pid);
    process.kill(pid, "SIGKILL");
    expect(await leftAfterASecond(pid)).toEqual([]);
    await worker.close();
  });

  test("by itself, in an operation, is told of with its exit code and what it last wrote", async () => {
    const worker = await testWorker();
    const builtins = worker.import("builtins");
    const sys = worker.import("sys");
    for (let i = 0; i < 60; i++) builtins.print(`line ${i}`);
    void sys.stderr.write("out of luck\n");
    const exit = worker.import("os")._exit(3);
    const error = await Promise.resolve(exit).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WorkerExitedError);
    const { code, exitCode, signal, lastLines, message } = error as WorkerExitedError;
    expect({ code, exitCode, signal }).toEqual({ code: "WORKER_GONE", exitCode: 3, signal: undefined });
    expect(lastLines).toHaveLength(50);
    expect(lastLines).toContain("out of luck");
    expect(lastLines).toContain("line 59");
    expect(lastLines).not.toContain("line 5");
    expect(message).toMatch(/ended with code 3\. It last wrote:\n/);
    expect(message).toContain("    out of luck");
    await worker.close();
    expect(await leftAfterASecond(worker.pid)).toEqual([]);
  });
});

describeOnLinux("how a worker is", () => {
  test("is asked while it is stopped, while a C call holds its interpreter, and after", async () => {
    await using worker = await testWorker();
    const states = (): Promise<string> => worker.liveness().then(({ state }) => state);
    expect(await states()).toBe("idle");

    process.kill(worker.pid, "SIGSTOP");
    expect(await poll(3 * SECOND, states, (state) => state === "stopped")).toBe("stopped");
    const asked = worker.stats();
    const value = Promise.resolve(sum(worker));
    expect(await states()).toBe("stopped");
    process.kill(worker.pid, "SIGCONT");
    expect(await poll(3 * SECOND, states, (state) => state === "idle")).toBe("idle");
    expect(await value).toBe(6);
    expect((await asked).worker.objects).toBeGreaterThanOrEqual(0);

    // It works once more, so it was not luck.
    process.kill(worker.pid, "SIGSTOP");
    expect(await poll(3 * SECOND, states, (state) => state === "stopped")).toBe("stopped");
    process.kill(worker.pid, "SIGCONT");
    expect(await poll(3 * SECOND, states, (state) => state === "idle")).toBe("idle");

    const started = performance.now();
    const slept = Promise.resolve(worker.import("ctypes").PyDLL(null).sleep(4));
    await poll(SECOND, states, (state) => state !== "idle");
    const seen = new Set<string>();
    while (performance.now() - started < 3.5 * SECOND) seen.add(await states());
    expect([...seen].filter((state) => state !== "busy")).toEqual(["unresponsive"]);
    expect(await slept).toBe(0);
    expect(await poll(SECOND, states, (state) => state === "idle")).toBe("idle");
    expect(await sum(worker)).toBe(6);
  });

  test("is told as busy, and for how long, while Python runs", async () => {
    await using worker = await testWorker();
    const slept = Promise.resolve(worker.import("time").sleep(1.5));
    const found = await poll(
      5 * SECOND,
      () => worker.liveness(),
      ({ busySeconds = 0 }) => busySeconds > 0.5,
    );
    expect(found.state).toBe("busy");
    expect(found.busySeconds).toBeGreaterThan(0.5);
    expect((await worker.stats()).worker.busy).toBeGreaterThan(0.5);
    await slept;
    expect(
      await poll(
        SECOND,
        () => worker.liveness(),
        ({ state }) => state === "idle",
      ),
    ).toEqual({ state: "idle" });
  });
});

describeOnLinux("closing", () => {
  /** An interpreter that notes the worker's exit code: a launcher script, as some installations have. */
  async function launcher(): Promise<{ python: string; code: () => string }> {
    const { executable } = await findPython();
    mkdirSync(runtime.folder, { recursive: true });
    const folder = join(runtime.folder, "bin");
    mkdirSync(folder);
    const python = join(folder, "python");
    writeFileSync(python, `#!/bin/sh\n"${executable}" "$@"\necho $? > "${folder}/code"\n`);
    chmodSync(python, 0o755);
    return { python, code: () => readFileSync(join(folder, "code"), "utf8").trim() };
  }

  test("is what a closed worker says of itself, also where its end was seen before its last word", async () => {
    const worker = await testWorker();
    const { Control } = worker.import("torchwire_worker.control");
    const { partial } = worker.import("functools");
    // It says nothing more on the control socket.
    await worker.import("builtins").setattr(Control, "finish", partial(worker.import("builtins").int));
    await worker.close();
    expect(await caught(() => worker.tensor([1]).item())).toMatchObject({ code: "CLOSED" });
    expect(await caught(() => worker.stats())).toMatchObject({ code: "CLOSED" });
  });

  test("runs what was queued, ends the process with code 0, and leaves nothing", async () => {
    const { python, code } = await launcher();
    const worker = await testWorker({ python });
    const { pid } = worker;
    const note = join(runtime.folder, "bin", "note");
    void worker.import("pathlib").Path(note).write_text("done");
    const large = py.ndarray(worker.import("torch").ones(2 ** 25));
    const closing = worker.close();
    expect(worker.close()).toBe(closing);
    await closing;
    // What was asked for before is still answered, all 128 MiB of it.
    const { data } = await large;
    expect([data.length, data[0], data.at(-1)]).toEqual([2 ** 25, 1, 1]);
    expect(readFileSync(note, "utf8")).toBe("done");
    expect(code()).toBe("0");
    expect(isRunning(pid)).toBe(false);
    expect(
      await poll(
        SECOND,
        () => processesOf(pid),
        ({ length }) => length === 0,
      ),
    ).toEqual([]);
    expect(runtime.entries()).toEqual([]);

    expect(await worker.liveness()).toEqual({ state: "gone" });
    const closed = expect.objectContaining({ code: "CLOSED" }) as Error;
    await expect(worker.stats()).rejects.toEqual(closed);
    expect(() => worker.import("torch")).toThrow(closed);
    await worker.kill();
  });

  test("at the end of a block comes by itself, also where the block fails", async () => {
    let pid = 0;
    const block = async (): Promise<void> => {
      await using worker = await testWorker();
      pid = worker.pid;
      expect(await sum(worker)).toBe(6);
      throw new RangeError("the block's own");
    };
    await expect(block()).rejects.toThrow("the block's own");
    expect(await leftAfterASecond(pid)).toEqual([]);
  });

  test("tells of a failure that nothing has awaited, once everything is over", async () => {
    const worker = await testWorker();
    const { pid } = worker;
    void worker.import("no_such_module");
    await expect(worker.close()).rejects.toMatchObject({ code: "PYTHON", pyType: "ModuleNotFoundError" });
    expect(await leftAfterASecond(pid)).toEqual([]);
  });

  test("rejects where the worker is gone before everything was done", async () => {
    const worker = await testWorker();
    void worker.import("time").sleep(1000);
    const closing = worker.close();
    await poll(
      5 * SECOND,
      async () => (await worker.liveness()).state,
      (state) => state === "busy",
    );
    process.kill(worker.pid, "SIGKILL");
    await expect(closing).rejects.toMatchObject({ code: "WORKER_GONE", signal: "SIGKILL" });
  });

  test("is not made to fail by what is queued after it, where nobody waits for a value of that", async () => {
    const worker = await testWorker();
    const torch = worker.import("torch");
    await torch.ones(1);
    const closing = worker.close();
    torch.ones(2).add_(1);
    await closing;
    expect(() => torch.ones(3)).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });

  test("with children of its own left running ends those too", async () => {
    const worker = await testWorker();
    const { pid } = worker;
    await worker.import("subprocess").Popen(["sleep", "1000"]);
    expect(processesOf(pid)).toHaveLength(3);
    await worker.close();
    expect(await leftAfterASecond(pid)).toEqual([]);
  });

  test("by kill() waits for nothing, and rejects what was waiting", async () => {
    const { python } = await launcher();
    const worker = await testWorker({ python });
    const { pid } = worker;
    const slept = worker.import("time").sleep(100);
    const outcome = Promise.resolve(slept).catch((reason: unknown) => reason);
    expect(
      await poll(
        5 * SECOND,
        () => worker.liveness(),
        ({ state }) => state === "busy",
      ),
    ).toMatchObject({
      state: "busy",
    });
    await worker.kill();
    expect(await outcome).toMatchObject({ name: "TorchwireError", code: "CLOSED" });
    expect(
      await poll(
        SECOND,
        () => processesOf(pid),
        ({ length }) => length === 0,
      ),
    ).toEqual([]);
  });
});

describe("what a worker writes", () => {
  test("arrives as log records, from its output and from its loggers, those of its children too", async () => {
    const records: Record<string, unknown>[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        records.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
        done();
      },
    });
    const worker = await testWorker({ logger: pino({ level: "trace", base: null, timestamp: false }, stream) });
    const builtins = worker.import("builtins");
    const logging = worker.import("logging");
    builtins.print("größer 🙂\nsecond line");
    void worker.import("os").write(1, py.bytes(Buffer.from("from C\n")));
    void worker.import("sys").stderr.write("to stderr\n");
    logging.warning("%d of %s", 3, "five");
    const own = logging.getLogger("train");
    own.setLevel("DEBUG");
    for (const level of ["debug", "info", "error", "critical"]) own[level](level);
    const fork = worker.import("multiprocessing").get_context("fork");
    const child = fork.Process(kw({ target: logging.warning, args: py.tuple("from a child") })) as AnyRef;
    child.start();
    await child.join();
    builtins.print("no end of line", kw({ end: "" }));
    await worker.close();
    const found = (stream: string): unknown[] =>
      records.filter((record) => record["stream"] === stream).map((record) => ({ ...record, stream: undefined }));
    expect(found("stdout")).toEqual(
      ["größer 🙂", "second line", "from C", "no end of line"].map((msg) => ({ level: 30, msg })),
    );
    expect(found("stderr")).toEqual(["to stderr", "from a child"].map((msg) => ({ level: 30, msg })));
    expect(found("logging")).toEqual([
      { level: 40, logger: "root", msg: "3 of five" },
      { level: 20, logger: "train", msg: "debug" },
      { level: 30, logger: "train", msg: "info" },
      { level: 50, logger: "train", msg: "error" },
      { level: 60, logger: "train", msg: "critical" },
    ]);
  });

  test("is not shown unless it is asked for", async () => {
    const { TORCHWIRE_LOG: _, ...env } = process.env as Record<string, string>;
    const quiet = runClient("prints", { ...env, ...runtime.env });
    expect(await quiet.said()).toMatchObject({ closed: true });
    expect(await quiet.ended).toEqual({ code: 0, stderr: "" });
    const asked = runClient("prints", { ...env, ...runtime.env, TORCHWIRE_LOG: "info" });
    expect(await asked.said()).toMatchObject({ closed: true });
    const { stderr } = await asked.ended;
    expect(stderr).toContain("from the worker");
    expect(stderr).toContain("from its logger");
  });
});

describeOnLinux("the secret of a session", () => {
  test("stands in no argument and no environment of the worker or its guard, and its sockets are for its user alone", async () => {
    await using worker = await testWorker({ transport: "ipc" });
    const pids = processesOf(worker.pid);
    expect(pids).toHaveLength(2);
    for (const pid of pids)
      for (const file of ["cmdline", "environ"])
        expect(readFileSync(`/proc/${pid}/${file}`, "latin1")).not.toMatch(/[0-9a-f]{64}/);
    const mode = await worker.import("os").stat(runtime.directory()).st_mode;
    expect(Number(mode) & 0o777).toBe(0o700);
  });

  test("is another one each time, so that two workers of one client are kept apart", async () => {
    await using one = await spawnWorker({ device: "cpu" });
    await using other = await spawnWorker({ device: "cpu" });
    const x = one.tensor([1]);
    expect(() => other.import("torch").abs(x)).toThrow(TorchwireError);
    expect(runtime.entries()).toHaveLength(6);
    process.kill(other.pid, "SIGKILL");
    expect(
      await poll(
        SECOND,
        () => other.liveness(),
        ({ state }) => state === "gone",
      ),
    ).toEqual({ state: "gone" });
    expect(await sum(one)).toBe(6);
  });
});
