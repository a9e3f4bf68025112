/**
 * `withWorker`: workers are killed for real, and the body goes on with new ones, here and elsewhere, to the bits of the
 * undisturbed run.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  crossEntropy,
  DataLoader,
  Learner,
  py,
  sgd,
  withWorker,
  WorkerExitedError,
  type AnyRef,
  type StepError,
  type Worker,
  type WorkerRun,
} from "torchwire";
import { permutation } from "../../client/data/shuffle.ts";
import { digits, fitted, kinds, type Data, type Outcome, type Setting } from "../fixtures/resume/fits.ts";
import { isRunning, poll, privateRuntime, processesOf, type Runtime } from "../fixtures/life/world.ts";
import { freePorts, serve, type Served } from "../fixtures/served.ts";
import { caught, untyped } from "../observed.ts";
import { describeOnLinux } from "../only.ts";

const options = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;
const kind = Object.values(kinds)[1]!;

describeOnLinux("withWorker", () => {
  let data: { training: Data; validation: Data };
  let whole: Outcome;
  let folder: string;
  let runtime: Runtime;
  /** Each worker that a body had. */
  const pids: number[] = [];
  const warnings: string[] = [];
  const keep = ({ message }: Error): void => void warnings.push(message);

  beforeAll(async () => {
    runtime = privateRuntime();
    process.on("warning", keep);
    data = await digits();
    whole = await withWorker(options, (worker) => fitted(worker, { kind, seed: 1, data }));
  });
  afterAll(() => {
    process.off("warning", keep);
    runtime.remove();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "with-worker-"));
    for (const list of [pids, warnings]) list.length = 0;
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
    // (The guard of a worker that was killed ends after it.)
    const left = await poll(
      5000,
      () => [...pids.flatMap(processesOf), ...runtime.entries()],
      (all) => all.length === 0,
    );
    if (left.length > 0) throw new Error(`a worker has left ${left.join(", ")}`);
  });

  /** The fit of `whole`, in the folder. */
  const inFolder = (worker: Worker, atStep: Setting["atStep"]): Promise<Outcome> => {
    pids.push(worker.pid);
    return fitted(worker, {
      kind,
      seed: 1,
      data,
      options: { resume: { folder, every: 4 } },
      ...(atStep && { atStep }),
    });
  };
  const bitsOf = ({ report, ...outcome }: Outcome): unknown => ({
    ...outcome,
    report: { ...report, resumed: undefined },
  });
  const killed = (worker: Worker): void => void process.kill(worker.pid, "SIGKILL");

  test("a worker that is killed before the fit, and one in a step: the body ends with the bits of the undisturbed run", async () => {
    const before = process.eventNames().map((name) => process.listenerCount(name));
    const outcome = await withWorker({ ...options, restarts: 3 }, async (worker, run) => {
      if (run.before === 0) {
        pids.push(worker.pid);
        killed(worker);
        await worker
          .tensor([1])
          .sum()
          .item()
          .then(undefined, (cause: unknown) => {
            throw new Error("the model cannot be built", { cause });
          });
      }
      // The worker before has ended.
      expect(pids.filter(isRunning)).toEqual([]);
      return inFolder(worker, (phase, step) => {
        if (run.before === 1 && phase === "training" && step === 14) killed(worker);
      });
    });
    expect(bitsOf(outcome)).toEqual(bitsOf(whole));
    expect(outcome.report.resumed).toMatchObject({ times: 1 });
    expect(new Set(pids).size).toBe(3);
    const told = warnings.filter((message) => message.startsWith("withWorker: "));
    expect(told).toEqual([
      expect.stringMatching(
        /^withWorker: the worker on this machine was lost: .*SIGKILL.*\. Restart 1 of 3 within 10min comes in 1 s, on this machine$/,
      ),
      expect.stringMatching(
        /^withWorker: the worker on this machine was lost: training epoch 2, step \d, samples [\d, ]+ of its data: .*SIGKILL.*\. Restart 2 of 3 within 10min comes in 2 s, on this machine$/,
      ),
    ]);
    const [, step, samples] = /step (\d), samples ([\d, ]+) of/.exec(told[1]!)!;
    const order = permutation(72, 7, 1).slice(8 * Number(step), 8 * Number(step) + 8);
    expect(samples).toBe(order.join(", "));
    expect(process.eventNames().map((name) => process.listenerCount(name))).toEqual(before);
  });

  test("a sample that ends the worker twice stops the run, with the step and the samples of its batch", async () => {
    const bad = 21;
    const ys = Array.from({ length: 32 }, (_, i) => i % 2);
    const xs = { dtype: "float32", shape: [32, 2], data: new Float32Array(64) } as const;
    xs.data[2 * bad] = -1;
    const make = (): DataLoader => new DataLoader({ xs, ys }, { batchSize: 4, shuffle: { seed: 3 } });
    const error = await caught(() =>
      withWorker({ ...options, restarts: 3 }, async (worker) => {
        pids.push(worker.pid);
        const { nn } = worker.import("torch");
        const fatal = untyped(worker, "types").ModuleType("fatal") as AnyRef;
        const code = "import os\ndef hook(module, args):\n    if (args[0] < 0).any(): os.kill(os.getpid(), 9)\n";
        untyped(worker, "builtins").exec(code, fatal.__dict__);
        const model = nn.Linear(2, 2);
        (model as unknown as AnyRef).register_forward_pre_hook(fatal.hook);
        const learner = new Learner(model, crossEntropy(), {
          data: { training: make() },
          optimizer: sgd({ lr: 0.1 }),
          defaultCallbacks: false,
        });
        return learner.fit(2, { resume: { folder, every: 1 } });
      }),
    );
    expect(pids).toHaveLength(2);
    const cause = error.cause as StepError;
    const order = [...make().plan.orderOf(0)!];
    const step = Math.floor(order.indexOf(bad) / 4);
    expect(cause).toMatchObject({ phase: "training", epoch: 1, step, samples: order.slice(4 * step, 4 * step + 4) });
    expect(error.code).toBe("WORKER_GONE");
    expect(error.message).toContain("the same step has lost its worker twice");
    expect(error.message).toContain(
      `training epoch 1, step ${step}, samples ${cause.samples!.join(", ")} of its data: the worker was ended by SIGKILL`,
    );
  });

  test("more losses than the budget has: the error says how many, and the last cause", async () => {
    const lost = async (worker: Worker): Promise<void> => {
      pids.push(worker.pid);
      await py.js(untyped(worker, "os").abort());
    };
    const error = await caught(() => withWorker({ ...options, restarts: { times: 1, within: "1h" } }, lost));
    expect(pids).toHaveLength(2);
    expect(error.code).toBe("WORKER_GONE");
    expect(error.message).toMatch(
      /^withWorker: the worker was lost again, after 1 restarts within 1h: the worker was ended by SIGABRT/,
    );
    expect(error.cause).toBeInstanceOf(WorkerExitedError);
    expect(warnings.filter((message) => message.includes("Restart"))).toHaveLength(1);
  });

  test("any other error rejects as it is, and the worker ends", async () => {
    const wrong = new Error("not today");
    const error = await caught(() =>
      withWorker({ ...options, restarts: 3 }, (worker) => {
        pids.push(worker.pid);
        untyped(worker, "math").sqrt(-1);
        throw wrong;
      }),
    );
    expect(error).toBe(wrong);
    expect(pids).toHaveLength(1);
    // Nothing is lost where a worker of the body's own ends.
    const own = await caught(() =>
      withWorker(options, async (worker) => {
        pids.push(worker.pid);
        killed(worker);
        await worker.tensor([1]).sum().item();
      }),
    );
    expect(own).toBeInstanceOf(WorkerExitedError);
  });

  describe("two workers that serve", () => {
    const places: Served[] = [];
    beforeAll(async () => {
      places.push(...(await Promise.all([serve({ args: ["--grace", "2"] }), serve({ args: ["--grace", "2"] })])));
    });
    afterAll(() => Promise.all(places.map((place) => place[Symbol.asyncDispose]())));
    const far = { ...options, timeout: 20_000 };

    test("the first of them goes down: the run moves house, with the same bits", async () => {
      const on = places.map(({ address }) => address);
      const down = await serve({ args: ["--grace", "1"] });
      const runs: WorkerRun[] = [];
      const outcome = await withWorker(
        { ...far, timeout: 5000, on: [down.address, ...on], restarts: 1 },
        async (worker, run) => {
          runs.push(run);
          return inFolder(worker, (phase, step) => {
            if (run.before > 0 || phase !== "training" || step !== 14) return;
            process.kill(down.pid, "SIGKILL");
            killed(worker);
          });
        },
      );
      expect(bitsOf(outcome)).toEqual(bitsOf(whole));
      expect(outcome.report.resumed).toMatchObject({ times: 1 });
      expect(runs.map(({ place }) => place)).toEqual([down.address, on[0]]);
      expect(warnings.filter((message) => message.includes("passes over"))).toEqual([
        expect.stringContaining(`withWorker: passes over ${down.address}: nobody listens there`),
      ]);
    });

    test("moveTo, from a callback and from outside of one: the code after fit runs once, at the last place", async () => {
      const [first, second] = places.map(({ address }) => address) as [string, string];
      const at: string[] = [];
      const after: string[] = [];
      const outcome = await withWorker({ ...far, on: "here" }, async (worker, run) => {
        at.push(run.place);
        const result = await inFolder(worker, (phase, step) => {
          if (phase !== "training" || step !== 7) return;
          if (run.before === 0) run.moveTo(first);
          if (run.before === 1) setImmediate(() => run.moveTo(second));
        });
        after.push(run.place);
        return result;
      });
      expect(at).toEqual(["here", first, second]);
      expect(after).toEqual([second]);
      expect(bitsOf(outcome)).toEqual(bitsOf(whole));
      // A move is no restart, and loses no step: groups have two batches.
      expect(outcome.report.resumed).toMatchObject({ times: 2 });
    });

    test("a program elsewhere that is killed: its worker waits for it, writes nothing, and is free for one that goes on", async () => {
      const { address, lines } = places[0]!;
      const program = fileURLToPath(new URL("../fixtures/resume/elsewhere.ts", import.meta.url));
      const how = ["--import", "tsx", "--conditions=torchwire-source"];
      const { signal } = await execa(process.execPath, [...how, program, address, folder], { reject: false });
      expect(signal).toBe("SIGKILL");
      const written = await readdir(folder);
      expect(await caught(() => withWorker({ ...options, on: address }, () => 1))).toMatchObject({ code: "BUSY" });
      await poll(
        20_000,
        () => lines.join("\n"),
        (text) => text.includes("was away for longer than 2 s"),
      );
      expect(await readdir(folder)).toEqual(written);
      const outcome = await withWorker({ ...far, on: address }, (worker) => inFolder(worker, undefined));
      expect(bitsOf(outcome)).toEqual(bitsOf(whole));
      expect(outcome.report.resumed).toMatchObject({ times: 1 });
    });

    test("moveTo while no fit lives in a folder waits for the next one that does", async () => {
      const statuses: string[] = [];
      const outcome = await withWorker({ ...options, on: "here" }, async (worker, run) => {
        if (run.before === 0) {
          run.moveTo("here");
          pids.push(worker.pid);
          statuses.push((await fitted(worker, { kind, seed: 1, data })).report.status);
        }
        return inFolder(worker, undefined);
      });
      expect(statuses).toEqual(["completed"]);
      expect(new Set(pids).size).toBe(2);
      expect(bitsOf(outcome)).toEqual(bitsOf(whole));
    });
  });

  test("where no place gives a worker, the error names each with its reason", async () => {
    const ports = [await freePorts(2), await freePorts(2)];
    const on = ports.map((port) => `tcp://127.0.0.1:${port}`);
    const error = await caught(() => withWorker({ ...options, on, timeout: 200 }, () => 1));
    expect(error.code).toBe("UNREACHABLE");
    for (const place of on) expect(error.message).toContain(`\n  ${place}: nobody listens there.`);
  });
});
