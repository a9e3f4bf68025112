/** Calls of the program's functions by Python, where something ends in the middle: the worker, the link, the client. */
import { execa } from "execa";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { connectWorker, Learner, mse, py, sgd, type AnyRef, type Worker } from "torchwire";
import { built } from "../built.ts";
import { FaultProxy } from "../fixtures/faults/proxy.ts";
import { ends, poll } from "../fixtures/life/world.ts";
import { serve } from "../fixtures/served.ts";
import { caught, untyped } from "../observed.ts";
import { describeOnLinux } from "../only.ts";
import { floats } from "../tiny.ts";
import { testWorker } from "../worker.ts";

const SECOND = 1000;
const root = fileURLToPath(new URL("../..", import.meta.url));

const CALLS = `
import threading
def call(f, *args): return f(*args)
def attempt(f, path):
    try:
        f()
    except BaseException as error:
        with open(path, "a") as file: file.write(type(error).__name__ + "\\n")
def beside(f, path):
    thread = threading.Thread(target=attempt, args=(f, path), daemon=True)
    thread.start()
    return thread
`;

function calls(worker: Worker): AnyRef {
  const builtins = worker.import("builtins");
  const names = builtins.dict() as AnyRef;
  builtins.exec(CALLS, names);
  return names;
}

describeOnLinux("a call of a function", () => {
  test("that was queued before close() is answered, and the operation behind it runs", async () => {
    const worker = await testWorker();
    const names = calls(worker);
    const seen: unknown[] = [];
    const result = py.at(names, "call")(async (x: number) => {
      seen.push(await worker.tensor([x, 2]).sum().item());
      return x + 1;
    }, 40);
    const behind = py.js(result.__add__(1));
    const closing = worker.close();
    expect(await behind).toBe(42);
    await closing;
    expect(seen).toEqual([42]);
  });

  test("can close nothing, for it would wait for itself, but it can kill", async () => {
    const worker = await testWorker();
    const names = calls(worker);
    const { code, message } = await caught(() => py.at(names, "call")(async () => worker.close()));
    expect(code).toBe("MISUSE");
    expect(message).toContain("close() in a function that Python calls");
    expect((await caught(() => py.at(names, "call")(() => worker.kill()))).code).toBe("CLOSED");
    expect(await ends(worker.pid, SECOND)).toBe(true);
  });

  test("of another thread that is open at close() raises there, and close() ends", async () => {
    const worker = await testWorker();
    const names = calls(worker);
    const folder = mkdtempSync(join(tmpdir(), "tw-calls-"));
    try {
      const path = join(folder, "errors");
      const called = new Promise<void>((resolve) => {
        void py.at(names, "beside")(() => {
          resolve();
          return new Promise(() => undefined);
        }, path);
      });
      await worker.import("builtins").len([]);
      await called;
      await worker.close();
      expect(readFileSync(path, "utf8")).toBe("ConnectionError\n");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("goes on over cut links, and all that it did ran once", async () => {
    await using served = await serve();
    await using proxy = await FaultProxy.open(served.port);
    const settings = { device: "cpu", seed: 0, deterministic: true, threads: 1, timeout: 30_000 } as const;
    const worker = await connectWorker(proxy.address, settings);
    const cut = (): void => {
      for (const link of ["data", "control"] as const) for (const line of proxy.linesOf(link)) line.rst();
    };
    const up = (): Promise<unknown> =>
      poll(
        20 * SECOND,
        () => worker.link,
        (state) => state === "up",
      );
    const names = calls(worker);
    const runs: number[] = [];
    const found: number[] = [];
    for (let i = 0; i < 8; i++) {
      const result = py.at(names, "call")(async (x: number) => {
        runs.push(x);
        // Cut before, or behind what the function does: the operations, or the answer, are lost on the way.
        if (i % 2 === 0) cut();
        const sum = await worker.tensor([x, 1]).sum().item();
        if (i % 3 === 0) cut();
        if (i % 4 === 0) await up();
        return sum;
      }, i);
      found.push(await result);
    }
    expect(found).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(runs).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const stats = await worker.stats();
    expect(stats.worker.batches).toBe(stats.batches);
    expect(stats.calls).toBe(8);

    // The same in a hook of a fit, whose steps stand behind the call.
    const torch = untyped(worker, "torch");
    const batch = { xs: floats(6, 4), ys: floats(6, 1) };
    const weights: unknown[] = [];
    for (const faulty of [false, true]) {
      torch.manual_seed(5);
      const model = torch.nn.Linear(4, 1);
      let hooks = 0;
      model.register_forward_hook(async (_module: AnyRef, _inputs: AnyRef, output: AnyRef) => {
        if (faulty && hooks++ % 4 === 1) cut();
        await output.sum().item();
      });
      const learner = new Learner(model, mse(), {
        data: { training: Array.from({ length: 8 }, () => batch) },
        optimizer: sgd({ lr: 0.1 }),
        defaultCallbacks: false,
      });
      expect((await learner.fit(1)).status).toBe("completed");
      weights.push(await py.js(model.state_dict()));
    }
    expect(weights[1]).toEqual(weights[0]);
    await worker.close();
  });

  test("whose client is killed in the middle raises in Python when its time is over, in every thread", async () => {
    await using served = await serve({ args: ["--grace", "1"] });
    const folder = mkdtempSync(join(tmpdir(), "tw-calls-"));
    try {
      const path = join(folder, "errors");
      const torchwire = pathToFileURL(built("client/index.ts")).href;
      const code = `
        import { connectWorker, py } from ${JSON.stringify(torchwire)};
        const worker = await connectWorker("${served.address}", { device: "cpu", threads: 1, timeout: 30000 });
        const builtins = worker.import("builtins");
        const names = builtins.dict();
        builtins.exec(${JSON.stringify(CALLS)}, names);
        const path = ${JSON.stringify(path)};
        const called = new Promise((resolve) => void py.at(names, "beside")(() => (resolve(), new Promise(() => {})), path));
        await builtins.len([]);
        await called;
        await py.at(names, "attempt")(() => process.kill(process.pid, "SIGKILL"), path);`;
      const { signal } = await execa(process.execPath, ["--input-type=module", "-e", code], {
        reject: false,
        cwd: root,
      });
      expect(signal).toBe("SIGKILL");
      const errors = (): string => {
        try {
          return readFileSync(path, "utf8");
        } catch {
          return "";
        }
      };
      expect(await poll(30 * SECOND, errors, (text) => text.length >= 32)).toBe("ConnectionError\nConnectionError\n");
      // The next client is served.
      const settings = { device: "cpu", threads: 1, timeout: 30_000 } as const;
      await using worker = await connectWorker(served.address, settings);
      expect(await worker.import("builtins").len([1])).toBe(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
