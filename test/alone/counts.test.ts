/** How many messages a program costs, and what it leaves behind: counts, never times. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kw, py, type Worker } from "torchwire";
import type { AnyRef } from "../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../observed.ts";
import { turn } from "../tiny.ts";
import { testWorker } from "../worker.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

let worker: Worker;
let builtins: AnyRef;
let torch: AnyRef;
let folder: string;

beforeAll(async () => {
  worker = await testWorker();
  builtins = worker.import("builtins");
  torch = untyped(worker, "torch");
  folder = await mkdtemp(join(tmpdir(), "counts-"));
});
afterAll(async () => {
  await worker.close();
  await rm(folder, { recursive: true });
});

interface Spent {
  readonly batches: number;
  readonly operations: number;
  readonly roundTrips: number;
}

/**
 * The cost of `run`, after all of it has run. (Garbage is collected before, as references found in it are freed by a
 * batch.)
 */
async function spent(run: () => unknown): Promise<Spent> {
  await countsOf(worker);
  gc();
  await turn();
  const before = await countsOf(worker);
  const result = run();
  if (result instanceof Promise) await result;
  await turn();
  const after = await countsOf(worker);
  // The last count is a batch, an operation and a round trip itself.
  return {
    batches: after.batches - before.batches - 1,
    operations: after.operations - before.operations - 1,
    roundTrips: after.roundTrips - before.roundTrips - 1,
  };
}

/** Makes something out of parts that are freed at once, so that no garbage is left to be collected. */
const made = <T extends object>(make: () => T): T => worker.scope(() => py.keep(make()));

/** Keeps the worker busy until it is opened, with nothing else in flight. */
async function gate(): Promise<() => Promise<void>> {
  await countsOf(worker);
  const path = join(folder, `${Math.random()}`);
  worker.scope(() =>
    builtins.exec("import os, time\nwhile not os.path.exists(path): time.sleep(0.01)", builtins.dict({ path })),
  );
  while ((await worker.stats()).worker.busy === null) await turn();
  return () => writeFile(path, "");
}

describe("a hand-written loop", () => {
  const STEPS = 100;

  function training(): { step: () => AnyRef } {
    return worker.scope(() => {
      const model = py.keep(torch.nn.Linear(4, 3));
      const optimizer = py.keep(torch.optim.SGD(model.parameters(), kw({ lr: 0.1 })));
      const crossEntropy = py.keep(torch.nn.functional.cross_entropy);
      const xs = py.keep(torch.randn(8, 4));
      const ys = py.keep(torch.arange(8).remainder(3));
      const step = (): AnyRef => {
        const loss = crossEntropy(model(xs), ys);
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        return loss;
      };
      return { step };
    });
  }

  test("n steps are n batches and no round trip, and all losses together are one more of each", async () => {
    const { step } = training();
    const losses: AnyRef[] = [];
    const cost = await spent(() => {
      for (let i = 0; i < STEPS; i++) worker.scope(() => void losses.push(py.keep(step())));
    });
    // model, cross_entropy, zero_grad, backward, step, and the release at the end.
    expect(cost).toEqual({ batches: STEPS, operations: 6 * STEPS, roundTrips: 0 });
    let values: unknown[] = [];
    const reading = await spent(async () => {
      values = await Promise.all(losses.map((loss) => py.js(loss)));
    });
    expect(reading).toEqual({ batches: 1, operations: STEPS, roundTrips: 1 });
    expect(values).toHaveLength(STEPS);
  });

  test("so are n steps of an async scope that awaits nothing of the worker's, with values that are read later", async () => {
    const { step } = training();
    const losses: Promise<unknown>[] = [];
    const cost = await spent(async () => {
      for (let i = 0; i < STEPS; i++)
        await worker.scope(async () => {
          const loss = step();
          await Promise.resolve();
          // Held, not awaited: it travels with its step.
          losses.push(py.js(loss.item()));
        });
    });
    expect(cost).toEqual({ batches: STEPS, operations: 8 * STEPS, roundTrips: 0 });
    let values: unknown[] = [];
    expect(
      await spent(async () => {
        values = await Promise.all(losses);
      }),
    ).toEqual({ batches: 0, operations: 0, roundTrips: 0 });
    expect(values).toHaveLength(STEPS);
    expect(values.every((value) => typeof value === "number" && value > 0)).toBe(true);
    expect(values.at(-1)).toBeLessThan(values[0] as number);
  });

  test("a step that waits for its loss is one round trip; what its end frees is a batch of its own", async () => {
    const { step } = training();
    const cost = await spent(async () => {
      for (let i = 0; i < 10; i++) await worker.scope(async () => await step().item());
    });
    expect(cost).toEqual({ batches: 20, operations: 8 * 10, roundTrips: 10 });
  });

  test("a step in a context is one batch too", async () => {
    const { step } = training();
    const cost = await spent(async () => {
      for (let i = 0; i < 10; i++) await worker.context({ mode: "grad" }, () => worker.scope(() => void step()));
    });
    expect(cost).toEqual({ batches: 10, operations: 60, roundTrips: 0 });
  });
});

describe("batches", () => {
  test("a chain of 20 operations, each of which depends on the one before, is one", async () => {
    const zero = made(() => torch.zeros(1));
    let sum: unknown;
    const cost = await spent(async () => {
      let x = zero;
      for (let i = 1; i <= 19; i++) x = x.add(i);
      sum = await x.item();
    });
    expect(sum).toBe(190);
    // 20 calls and the fetch.
    expect(cost).toEqual({ batches: 1, operations: 21, roundTrips: 1 });
  });

  test("attributes and a call that follow each other are one operation", async () => {
    const cost = await spent(() => worker.scope(() => void torch.nn.functional.relu.__name__.upper()));
    expect(cost).toEqual({ batches: 1, operations: 2, roundTrips: 0 });
  });

  test("300 operations are cut into batches of 256 at most", async () => {
    const dict = made(() => builtins.dict());
    expect(
      await spent(() => {
        for (let i = 0; i < 300; i++) dict[i] = i;
      }),
    ).toEqual({ batches: 2, operations: 300, roundTrips: 0 });
    expect(await py.len(dict)).toBe(300);
  });

  test("ten arrays of a mebibyte are cut into batches of some four", async () => {
    const dict = made(() => builtins.dict());
    const cost = await spent(() => {
      for (let i = 0; i < 10; i++) dict[i] = new Uint8Array(2 ** 20).fill(i);
    });
    expect(cost).toEqual({ batches: 3, operations: 10, roundTrips: 0 });
    expect(await py.at(dict, 9).sum().item()).toBe(9 * 2 ** 20);
  });

  test("what nobody awaits goes out at the next macrotask, and microtasks do not cut it", async () => {
    const dict = made(() => builtins.dict());
    const cost = await spent(async () => {
      for (let i = 0; i < 10; i++) {
        dict[i] = i;
        await Promise.resolve();
      }
      await turn();
      dict[10] = 10;
      await turn();
    });
    expect(cost).toEqual({ batches: 2, operations: 11, roundTrips: 0 });
  });

  test("values awaited together are one round trip, one after the other each its own", async () => {
    const list = made(() => builtins.list([1, 2, 3]));
    const read = (): Promise<unknown>[] => [py.js(list), py.js(list), py.js(list)];
    expect(await spent(() => Promise.all(read()))).toEqual({ batches: 1, operations: 3, roundTrips: 1 });
    const oneByOne = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await py.js(list);
    };
    expect(await spent(oneByOne)).toEqual({ batches: 3, operations: 3, roundTrips: 3 });
  });

  test("an empty scope, statistics and liveness are none", async () => {
    const cost = await spent(async () => {
      worker.scope(() => 1);
      await worker.scope(async () => 1);
      await worker.context({ mode: "no_grad" }, () => 1);
      await worker.lane(() => 1);
      await worker.stats();
      await worker.liveness();
    });
    expect(cost).toEqual({ batches: 0, operations: 0, roundTrips: 0 });
  });

  test("what is in flight comes back to nothing", async () => {
    expect((await countsOf(worker)).inFlight).toBe(0);
  });
});

describe("what a loop leaves behind", () => {
  const steps = async (n: number, x: AnyRef): Promise<void> => {
    for (let i = 1; i <= n; i++) {
      await worker.scope(async () => void x.add(1).mul(2));
      // How far a loop runs ahead of its worker is bounded by the credit (see below) and is not what is measured here.
      if (i % 100 === 0) await countsOf(worker);
    }
  };

  async function memory(): Promise<{ objects: number; heap: number; node: number; python: number }> {
    for (let i = 0; i < 3; i++) {
      gc();
      await turn();
    }
    const { objects, rss: python } = (await countsOf(worker)).worker;
    const { heapUsed, external, rss: node } = process.memoryUsage();
    return { objects, heap: heapUsed + external, node, python };
  }

  /**
   * V8 enlarges its young generation, by up to 16 MiB, when enough objects have survived in it, and it compiles what
   * runs often: in the first thousands of steps of any program, whatever they do. Here it has done both before anything
   * is measured.
   */
  async function warmUp(x: AnyRef): Promise<void> {
    for (let round = 0; round < 40; round++) Array.from({ length: 200_000 }, (_, i) => ({ i }));
    await steps(20_000, x);
  }

  test("10,000 steps leave the object table as it was after 1,000, and either process grows by less than 200 bytes a step over the last 8,000", async () => {
    const x = made(() => torch.ones(3));
    await warmUp(x);
    await steps(1000, x);
    const after1000 = await memory();
    await steps(1000, x);
    const after2000 = await memory();
    await steps(8000, x);
    const after10000 = await memory();
    expect(after10000.objects).toBeLessThanOrEqual(after1000.objects);
    expect((after10000.heap - after2000.heap) / 8000).toBeLessThan(200);
    expect((after10000.node - after2000.node) / 8000).toBeLessThan(200);
    expect((after10000.python - after2000.python) / 8000).toBeLessThan(200);
  });

  test("nothing is left of what torchwire calls for a program: worker.tensor, operators, builtins", async () => {
    const x = made(() => torch.ones(3));
    const run = async (n: number): Promise<number> => {
      for (let i = 0; i < n; i++)
        worker.scope(() => {
          worker.tensor(new Float32Array(3));
          worker.tensor([1, 2]);
          py.op("+", x, x);
          void py.len(x);
        });
      return (await countsOf(worker)).worker.objects;
    };
    const few = await run(1);
    expect(await run(100)).toBe(few);
  });

  test("references outside any scope are freed when JavaScript has forgotten them", async () => {
    const before = (await memory()).objects;
    (() => {
      for (let i = 0; i < 1000; i++) builtins.list();
    })();
    expect((await countsOf(worker)).worker.objects).toBeGreaterThanOrEqual(before + 1000);
    let objects = Infinity;
    for (let i = 0; i < 50 && objects > before + 10; i++) ({ objects } = await memory());
    expect(objects).toBeLessThanOrEqual(before + 10);
  });
});

describe("credit", () => {
  /**
   * Runs `step` in scopes that are awaited while the worker is held up: how far the loop gets, and how far it ever gets
   * ahead.
   */
  async function heldUp(steps: number, step: () => void): Promise<{ held: number; inFlight: number; issued: number }> {
    const open = await gate();
    let issued = 0;
    const loop = (async () => {
      for (; issued < steps; issued++) await worker.scope(async () => step());
    })();
    let held = -1;
    for (let still = 0; still < 20; still = held === issued ? still + 1 : 0) {
      held = issued;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const seen = { inFlight: (await worker.stats()).inFlight, over: false };
    await open();
    const watch = (async () => {
      while (!seen.over) {
        seen.inFlight = Math.max(seen.inFlight, (await worker.stats()).inFlight);
        await turn();
      }
    })();
    await loop;
    seen.over = true;
    await watch;
    return { held, inFlight: seen.inFlight, issued };
  }

  test("a loop that awaits its scopes has no more than 10,000 operations in flight, and gets to its end", async () => {
    const x = made(() => torch.ones(1));
    const { held, inFlight, issued } = await heldUp(8000, () => void x.add(1).mul(2));
    // Two calls and a release each; the one that waits here has been issued, and not been counted yet.
    expect(held).toBeGreaterThan(3300);
    expect(held).toBeLessThanOrEqual(3334);
    expect(inFlight).toBeLessThanOrEqual(3336);
    expect(issued).toBe(8000);
  });

  test("nor more than 64 MiB", async () => {
    const data = new Uint8Array(2 ** 20);
    const { held, inFlight, issued } = await heldUp(150, () => void worker.tensor(data));
    expect(held).toBeGreaterThan(55);
    expect(held).toBeLessThanOrEqual(64);
    expect(inFlight).toBeLessThanOrEqual(66);
    expect(issued).toBe(150);
  });

  test("a loop that never awaits is told so, a million operations ahead, and the worker stays usable", async () => {
    const dict = made(() => builtins.dict());
    const { operations } = await countsOf(worker);
    let n = 0;
    const error = await caught(() => {
      for (; n < 2_000_000; n++) dict[0] = n;
    });
    expect(error).toMatchObject({ code: "TOO_FAR_AHEAD", message: expect.stringContaining("await worker.scope(") });
    expect(n).toBeGreaterThan(990_000);
    expect(n).toBeLessThan(1_010_000);
    // A refusal holds later too. But existing values can be asked for, and then all is well.
    expect(await caught(() => (dict[0] = -1))).toMatchObject({ code: "TOO_FAR_AHEAD" });
    expect(await py.js(dict)).toEqual(new Map([[0, n - 1]]));
    dict[0] = "after";
    expect(await py.js(dict)).toEqual(new Map([[0, "after"]]));
    const after = await worker.stats();
    expect([after.operations - operations, after.inFlight]).toEqual([n + 3, 0]);
  });
});

test("a step is on its way when it ends, whatever the program does then without a pause", async () => {
  const file = join(folder, "second");
  const touch = untyped(worker, "pathlib").Path(file).touch as AnyRef;
  const sleep = untyped(worker, "time").sleep as AnyRef;
  await countsOf(worker);
  worker.scope(() => void sleep(0.3));
  await turn();
  worker.scope(() => void touch());
  const end = Date.now() + 20_000;
  while (!existsSync(file) && Date.now() < end);
  expect(existsSync(file)).toBe(true);
});
