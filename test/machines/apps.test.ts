/** Life in apps: reloads, threads, several workers, ends of all kinds, a blocked event loop. */
import { spawn } from "node:child_process";
import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { DataLoader, Learner, mse, py, spawnWorker, type SpawnOptions, type Worker } from "torchwire";
import { built } from "../built.ts";
import { trainThroughABlock } from "../fixtures/apps/blocked.ts";
import { runClient, tsx, type Script } from "../fixtures/life/script.ts";
import { isRunning, poll, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { describeOnLinux } from "../only.ts";
import { reset, testWorker } from "../worker.ts";

const SECOND = 1000;
const program = fileURLToPath(new URL("../fixtures/apps/program.ts", import.meta.url));

let runtime: Runtime;
beforeAll(() => {
  runtime = privateRuntime();
});
afterAll(() => runtime.remove());

const run = (scenario: string): Script =>
  runClient(scenario, runtime.env, { program: built("test/fixtures/apps/program.ts") });

/** By tsx: what it says names the program's lines. */
const runByTsx = (scenario: string): Script => runClient(scenario, runtime.env, { program, command: tsx });

/** Every running process of these workers and every file, after two seconds at most. */
const left = (...workers: number[]): Promise<(number | string)[]> =>
  poll(
    2 * SECOND,
    () => [...workers.flatMap(processesOf), ...runtime.entries()],
    ({ length }) => length === 0,
  );

/** Its tests hand the worker on: each one asks for it by its key. */
describeOnLinux("a worker with a key", () => {
  const asked = { seed: 1, env: { A: "1" } };
  const keyed = (options: SpawnOptions = {}): Promise<Worker> => testWorker({ key: "trainer", ...asked, ...options });

  test("that cannot start fails for all who wait; the next is one, however often and however fast it is asked for", async () => {
    const refused = await Promise.allSettled([keyed({ device: "cuda:99" }), keyed({ device: "cuda:99" })]);
    expect(refused).toMatchObject([{ reason: { code: "NO_DEVICE" } }, { reason: { code: "NO_DEVICE" } }]);
    const [a, b] = await Promise.all([keyed(), keyed()]);
    expect(b).toBe(a);
    expect(await keyed()).toBe(a);
    const other = await keyed({ key: "other" });
    expect(other.pid).not.toBe(a.pid);
    const x = py.keep(a.tensor([1, 2]));
    await other.close();
    expect(
      await poll(
        2 * SECOND,
        () => processesOf(other.pid),
        ({ length }) => length === 0,
      ),
    ).toEqual([]);
    expect(await x.sum().item()).toBe(3);
  });

  test("is refused to who asks for another one, and goes on; who names the key alone gets it as it is", async () => {
    const worker = await keyed();
    await expect(keyed({ seed: 2 })).rejects.toMatchObject({
      code: "MISUSE",
      message: expect.stringMatching(/key "trainer" is there, with another seed \(1, not 2\)\. Close it first/),
    });
    await expect(keyed({ env: { A: "2" } })).rejects.toMatchObject({
      message: expect.stringContaining("another env"),
    });
    await expect(spawnWorker({ key: "trainer", malloc: false })).rejects.toMatchObject({
      message: expect.stringContaining("another malloc (true, not false)"),
    });
    expect(await spawnWorker({ key: "trainer" })).toBe(worker);
    expect(await keyed()).toBe(worker);
    expect(await worker.tensor([1]).sum().item()).toBe(1);
  });

  test("is made anew once it was closed, is being closed, or was killed", async () => {
    const first = await keyed();
    const closing = first.close();
    const second = await keyed();
    expect(isRunning(first.pid)).toBe(false);
    await closing;
    process.kill(second.pid, "SIGKILL");
    await expect(second.tensor([1]).sum().item()).rejects.toMatchObject({ code: "WORKER_GONE" });
    const third = await keyed();
    expect(await third.tensor([1]).sum().item()).toBe(1);
    await third.close();
    const fourth = await keyed();
    expect(new Set([first.pid, second.pid, third.pid, fourth.pid]).size).toBe(4);
    expect(await fourth.tensor([1]).sum().item()).toBe(1);
  });

  test("ends when another copy of torchwire asks for the key: to that one its references mean nothing", async () => {
    const old = await keyed();
    const x = old.tensor([1, 2]);
    vi.resetModules();
    const copy = await import("torchwire");
    expect(copy.spawnWorker).not.toBe(spawnWorker);
    const fresh = await copy.spawnWorker({ key: "trainer", device: "cpu" });
    expect(fresh.pid).not.toBe(old.pid);
    expect(await fresh.tensor([1]).sum().item()).toBe(1);
    expect(processesOf(old.pid)).toEqual([]);
    await expect((async () => await x.sum().item())()).rejects.toMatchObject({
      code: "CLOSED",
      message: expect.stringContaining(
        'another copy of torchwire in this process called spawnWorker({ key: "trainer" })',
      ),
    });
    await old.close();
    await fresh.close();
    expect(await left(old.pid, fresh.pid)).toEqual([]);
  });

  test("needs a name", async () => {
    await expect(keyed({ key: "" })).rejects.toMatchObject({ code: "MISUSE" });
  });
});

describeOnLinux("tsx watch", () => {
  test("has one worker at any time, however often the program changes", async () => {
    const file = join(runtime.folder, "watched.mts");
    const torchwire = fileURLToPath(import.meta.resolve("../../client/index.ts"));
    writeFileSync(
      file,
      `import { spawnWorker } from ${JSON.stringify(torchwire)};
       const worker = await spawnWorker({ key: "trainer", device: "cpu" });
       await worker.tensor([1]).sum().item();
       console.log("worker", worker.pid);`,
    );
    const tsx = fileURLToPath(new URL("../../node_modules/tsx/dist/cli.mjs", import.meta.url));
    const watching = spawn(process.execPath, [tsx, "watch", "--conditions=torchwire-source", file], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise((resolve) => watching.once("exit", resolve));
    // (A test that hangs would leave it behind.)
    const patience = setTimeout(() => watching.kill(), 120 * SECOND);
    const workers: number[] = [];
    try {
      for await (const line of createInterface({ input: watching.stdout })) {
        const [, pid] = /worker (\d+)/.exec(line) ?? [];
        if (pid === undefined) continue;
        workers.push(Number(pid));
        const alive = await poll(
          2 * SECOND,
          () => workers.filter((each) => processesOf(each).length > 0),
          ({ length }) => length === 1,
        );
        expect(alive).toEqual([Number(pid)]);
        if (workers.length === 3) break;
        utimesSync(file, new Date(), new Date());
        writeFileSync(file, `${readFileSync(file, "utf8")}\n`);
      }
    } finally {
      clearTimeout(patience);
      watching.kill();
      await ended;
    }
    expect(new Set(workers).size).toBe(3);
    expect(await left(...workers)).toEqual([]);
  });
});

function learnerOn(worker: Worker, width: number): Learner {
  const { nn } = worker.import("torch");
  const xs = Float32Array.from({ length: 4 * 200 }, (_, i) => Math.sin(i * width));
  const points = { xs: { dtype: "float32", shape: [200, 4], data: xs }, ys: xs.slice(0, 200) } as const;
  const model = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.5), nn.Linear(width, 1), nn.Flatten(0));
  return new Learner(model, mse(), {
    data: {
      training: new DataLoader(points, { batchSize: 4, shuffle: true }),
      validation: new DataLoader(points, { batchSize: 50 }),
    },
    defaultCallbacks: false,
  });
}

/** The present `learner`. */
async function weightsAfter(learner: Learner, epochs: number): Promise<number[]> {
  await learner.fit(epochs);
  return (await py.js(py.at(learner.model.state_dict(), "0.weight").flatten().tolist())) as number[];
}

describeOnLinux("two workers at once", () => {
  let both: readonly [Worker, Worker];
  beforeAll(async () => {
    both = await Promise.all([testWorker(), testWorker()]);
  });
  afterAll(() => Promise.all((both ?? []).map((worker) => worker.close())));

  test("train as each of them would alone", async () => {
    const [a, b] = both;
    const alone = [await weightsAfter(learnerOn(a, 3), 2), await weightsAfter(learnerOn(b, 5), 2)];
    for (const worker of both) await reset(worker, { seed: 0, deterministic: true });
    const together = await Promise.all([weightsAfter(learnerOn(a, 3), 2), weightsAfter(learnerOn(b, 5), 2)]);
    expect(together).toEqual(alone);
    expect(together.map(({ length }) => length)).toEqual([12, 20]);
    await expect((async () => await b.import("torch").add(a.tensor([1]), 1))()).rejects.toThrow(
      "belongs to another worker",
    );
  });

  test("are not called dead, and go on, when the event loop is blocked for longer than two heartbeats may be missing", async () => {
    const [worker, other] = both;
    const { states, report } = await trainThroughABlock(worker, 3 * SECOND);
    expect(report).toMatchObject({ status: "completed", steps: 200 });
    expect(states).toHaveLength(2);
    for (const state of states) expect(["idle", "busy"]).toContain(state);
    for (const each of [worker, other]) expect(await each.tensor([1, 2]).sum().item()).toBe(3);
  });
});

describeOnLinux("a thread", () => {
  test("that ends its worker can be terminated in a fit, and the program goes on with another worker", async () => {
    const script = run("stopsAThread");
    const { worker } = await script.said();
    expect(await script.said()).toMatchObject({ status: "completed" });
    expect(await script.ended).toEqual({ code: 0, stderr: "" });
    expect(await left(worker)).toEqual([]);
  });

  // zeromq.js cannot be terminated with its thread, and ends the program: docs/apps.md says what to do instead.
  test("that is terminated in a fit takes its worker along", async () => {
    const script = run("terminatesAThread");
    const { worker } = await script.said();
    await script.ended;
    expect(await left(worker)).toEqual([]);
  });

  test("that trains and closes its worker ends by itself", async () => {
    const script = run("joinsAThread");
    const lines = [await script.said(), await script.said()].toSorted((a, b) =>
      "code" in a ? 1 : "code" in b ? -1 : 0,
    );
    expect(lines).toEqual([{ worker: expect.any(Number), status: "completed" }, { code: 0 }]);
    expect(await script.ended).toEqual({ code: 0, stderr: "" });
    expect(await left(lines[0]!.worker)).toEqual([]);
  });
});

describeOnLinux("a program that ends in the middle", () => {
  test("by process.exit() in a fit keeps its exit code and its last words, and leaves nothing", async () => {
    const script = run("exitsInAFit");
    const { worker } = await script.said();
    expect(await script.ended).toEqual({ code: 7, stderr: "last words\n" });
    expect(await left(worker)).toEqual([]);
  });

  const sizes =
    "RuntimeError: The size of tensor a (2) must match the size of tensor b (3) at non-singleton dimension 0";

  test.each([
    [
      "an operation that is awaited by nobody who listens",
      "rejectsAnOperation",
      `PythonError: not run, because add(...) failed at program.ts:LINE: ${sizes}`,
    ],
    [
      "an operation that nobody awaits, at close()",
      "failsUnseen",
      `PythonError: ${sizes} (in add(...) at program.ts:LINE)`,
    ],
    [
      "a fit that nobody awaits",
      "rejectsAFit",
      "StepError: training epoch 1, step 0: RuntimeError: shape '[3]' is invalid for input of size 2 (in Tensor.reshape(...) at program.ts:LINE)",
    ],
    ["an error elsewhere during a fit", "throwsInAFit", "RangeError: not the fit's own"],
  ])("by %s is told of it once, by Node, and exits with 1", async (_, scenario, message) => {
    const script = message.includes("LINE") ? runByTsx(scenario) : run(scenario);
    const { worker } = await script.said();
    const { code, stderr } = await script.ended;
    expect(code).toBe(1);
    const lines = stderr.replaceAll(/program\.ts:\d+(?=\)|:)/g, "program.ts:LINE").split("\n");
    expect(lines.filter((line) => line.startsWith(message))).toHaveLength(1);
    // One report of Node's, and nothing after it.
    expect(lines.filter((line) => line.startsWith("Node.js v"))).toHaveLength(1);
    expect(await left(worker)).toEqual([]);
  });

  test("but has a listener for that goes on to the end of its fit", async () => {
    const script = run("catchesEverything");
    expect(await script.said()).toMatchObject({ status: "completed", steps: 100, caught: ["not the fit's own"] });
    expect(await script.ended).toEqual({ code: 0, stderr: "" });
  });
});
