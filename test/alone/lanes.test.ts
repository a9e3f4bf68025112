/**
 * Fail-stop: `loss.backward(); optimizer.step()` share no data, yet the second must not run when the first has failed.
 * A lane is one logical thread of TypeScript, and what fails in it stops the rest of it and nothing else.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kw, py, type Network, type PythonError, type Worker } from "torchwire";
import type { AnyRef } from "../../bridge/types/core.ts";
import { caught, countsOf, nextLine, operationsOf, untyped } from "../observed.ts";
import { turn } from "../tiny.ts";
import { weightsHash } from "../training.ts";
import { testWorker } from "../worker.ts";

let worker: Worker;
let builtins: AnyRef;
let torch: AnyRef;

beforeAll(async () => {
  worker = await testWorker();
  builtins = worker.import("builtins");
  torch = untyped(worker, "torch");
});
afterAll(() => worker.close());

/** Waits until every batch has been answered, without awaiting any of their values. */
async function answered(): Promise<void> {
  do await turn();
  while ((await worker.stats()).inFlight > 0);
}

/** An operation that fails: Python's ValueError. */
const fail = (): AnyRef => builtins.int("x");

/** A new Python object, and a list that tells whether it is still there. */
function something(): { thing: AnyRef; lives: () => Promise<boolean> } {
  const names = builtins.dict();
  builtins.exec("class Thing: pass", names);
  const thing = py.at(names, "Thing")();
  const weak = py.keep(worker.import("weakref").ref(thing));
  return { thing, lives: async () => await builtins.eval("lambda weak: weak() is not None")(weak) };
}

describe("a failed operation stops its lane", () => {
  test("nothing that was written after it runs, in the same batch or in later ones", async () => {
    const list = builtins.list();
    list.append(1);
    const failed = fail();
    list.append(2);
    await turn();
    list.append(3);
    list[0] = 9;
    list.extra = 1;
    delete list.extra;
    py.delAt(list, 0);
    await answered();
    list.append(4);
    expect(await caught(() => failed)).toMatchObject({ pyType: "ValueError" });
    expect(await py.js(list)).toEqual([1]);
  });

  test("an await of it gives Python's error, an await of a later one says what was not run, and why", async () => {
    const line = nextLine();
    const failed = builtins.int("x");
    const later = builtins.abs(-1);
    const [own, other] = await Promise.all([caught(() => failed), caught(() => later)]);
    expect(own).toMatchObject({ code: "PYTHON", pyType: "ValueError", operation: "builtins.int(...)" });
    expect(own.message).toBe(
      `ValueError: invalid literal for int() with base 10: 'x' (in builtins.int(...) at ${line})`,
    );
    expect(other).toMatchObject({ code: "NOT_RUN", pyType: "ValueError", operation: "builtins.int(...)" });
    expect(other.message).toBe(
      `not run, because builtins.int(...) failed at ${line}: ValueError: invalid literal for int() with base 10: 'x'`,
    );
    expect(other.cause).toMatchObject({ code: "PYTHON", message: own.message });
    expect(other.site).toBe(own.site);
    expect(own.site).toMatch(new RegExp(`/${line}:\\d+$`));
  });

  test("what was made before it stays usable, what was to be made after it never is", async () => {
    const before = builtins.list([1]);
    const failed = fail();
    const after = builtins.list([2]);
    await caught(() => failed);
    expect(await py.js(before)).toEqual([1]);
    for (const use of [
      () => after.append(1),
      () => builtins.len(after),
      () => py.js(after),
      () => after,
      () => after[0],
    ])
      expect(await caught(use)).toMatchObject({ code: "NOT_RUN", pyType: "ValueError" });
    for (const use of [() => failed.real, () => builtins.abs(failed), () => failed])
      expect(await caught(use)).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
    // None of these closed the lane again.
    expect(await operationsOf(worker, () => before.append(3))).toBe(1);
  });

  test("values asked for before it arrive", async () => {
    const good = py.js(builtins.list([1]));
    const failed = fail();
    const late = py.js(builtins.list([2]));
    expect(await Promise.allSettled([good, failed, late])).toMatchObject([
      { status: "fulfilled", value: [1] },
      { status: "rejected", reason: { code: "PYTHON" } },
      { status: "rejected", reason: { code: "NOT_RUN" } },
    ]);
  });

  test("an error of JavaScript's own does not close the lane", async () => {
    const list = builtins.list();
    expect(await caught(() => list.append(Symbol("x")))).toMatchObject({ code: "NOT_SENDABLE" });
    await caught(() => {
      list.append(1);
      throw new Error("mine");
    });
    expect(await py.js(list)).toEqual([1]);
  });

  test("SystemExit, KeyboardInterrupt and an object whose attributes raise are errors like any other", async () => {
    const names = builtins.dict();
    builtins.exec(
      `
def leave(): raise SystemExit(3)
def interrupt(): raise KeyboardInterrupt
class Rude:
    def __getattr__(self, name): raise RuntimeError("no " + name)
    def __call__(self): raise RuntimeError("no call")
class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")
    @property
    def __notes__(self): raise RuntimeError("no notes")
def mute(): raise Mute
`,
      names,
    );
    expect(await caught(() => py.at(names, "leave")())).toMatchObject({ pyType: "SystemExit", pyMessage: "3" });
    expect(await caught(() => py.at(names, "interrupt")())).toMatchObject({ pyType: "KeyboardInterrupt" });
    expect(await caught(() => py.at(names, "Rude")().attribute)).toMatchObject({ pyMessage: "no attribute" });
    expect(await caught(() => py.at(names, "Rude")()())).toMatchObject({
      pyMessage: "no call",
      operation: "Rude(...)",
    });
    expect(await caught(() => py.at(names, "mute")())).toMatchObject({ code: "PYTHON" });
    expect(await builtins.abs(-1)).toBe(1);
  });
});

describe("lane 0 opens again when user code has been given the error", () => {
  test("not when its reply arrives: until an await has rejected, everything is refused", async () => {
    const list = builtins.list();
    fail();
    await answered();
    const sent = (await worker.stats()).operations;
    list.append(1);
    await turn();
    list.append(2);
    worker.import("json");
    await answered();
    expect((await worker.stats()).operations).toBe(sent);
    expect(await caught(() => builtins.abs(1))).toMatchObject({ code: "NOT_RUN", pyType: "ValueError" });
    list.append(3);
    expect(await py.js(list)).toEqual([3]);
  });

  test("a promise that is held and not awaited forgives nothing; awaiting it late does", async () => {
    const list = builtins.list();
    const held = py.js(fail());
    await answered();
    list.append(1);
    expect(await caught(() => held)).toMatchObject({ code: "PYTHON" });
    list.append(2);
    expect(await py.js(list)).toEqual([2]);
  });

  test("what is written right after the await that rejected runs", async () => {
    const list = builtins.list();
    try {
      await fail();
    } catch {
      list.append("in catch");
    } finally {
      list.append("in finally");
    }
    await fail().catch(() => list.append("in .catch"));
    await fail().then(
      () => undefined,
      () => list.append("in .then"),
    );
    await Promise.allSettled([fail(), fail()]);
    list.append("after allSettled");
    expect(await py.js(list)).toEqual(["in catch", "in finally", "in .catch", "in .then", "after allSettled"]);
  });

  test("another lane that awaits the failed value is told, and does not forgive", async () => {
    const list = builtins.list();
    const failed = fail();
    await answered();
    await worker.lane(async () => {
      expect(await caught(() => failed)).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
      expect(await caught(() => py.js(failed))).toMatchObject({ code: "PYTHON" });
      list.append("in the other lane");
    });
    list.append("refused");
    expect(await caught(() => builtins.abs(1))).toMatchObject({ code: "NOT_RUN" });
    list.append("after");
    expect(await py.js(list)).toEqual(["in the other lane", "after"]);
  });

  test("and may fail again, time after time", async () => {
    for (let i = 0; i < 20; i++) {
      expect(await caught(() => builtins.int(`x${i}`))).toMatchObject({
        code: "PYTHON",
        message: expect.stringContaining(`'x${i}'`),
      });
      expect(await builtins.abs(-i)).toBe(i);
    }
  });
});

describe("a lane of its own", () => {
  test("its failure stops nothing outside, and a failure outside does not stop it", async () => {
    const outside = builtins.list();
    const inside = builtins.list();
    let other: PythonError | undefined;
    await worker.lane(async () => {
      inside.append(1);
      fail();
      outside.append("never");
      await turn();
      other = (await caught(() => inside.append(2))) as PythonError;
    });
    expect(other).toMatchObject({ code: "NOT_RUN" });
    outside.append(1);
    const failed = fail();
    await answered();
    await worker.lane(async () => {
      inside.append(3);
      await inside;
    });
    await caught(() => failed);
    expect(await py.js(builtins.list([outside, inside]))).toEqual([[1], [1, 3]]);
  });

  test("its result is that of its function", async () => {
    expect(await worker.lane(() => 1)).toBe(1);
    expect(await worker.lane(async () => await builtins.abs(-2))).toBe(2);
    expect(await worker.lane(() => builtins.abs(-3))).toBe(3);
    const thrown = new Error("mine");
    expect(await caught(() => worker.lane(() => Promise.reject(thrown)))).toBe(thrown);
    expect(
      await caught(() =>
        worker.lane(() => {
          throw thrown;
        }),
      ),
    ).toBe(thrown);
  });

  test("an error that was not caught inside rejects it: awaited, or fired and forgotten", async () => {
    expect(await caught(() => worker.lane(async () => void (await fail())))).toMatchObject({ code: "PYTHON" });
    const line = nextLine();
    const forgotten = await caught(() => worker.lane(() => void builtins.int("x")));
    expect(forgotten).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
    expect(forgotten.message).toContain(line);
    expect(
      await caught(() =>
        worker.lane(async () => {
          fail();
          await answered();
          return "done";
        }),
      ),
    ).toMatchObject({ code: "PYTHON" });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("an error that was caught inside does not reject it, but the lane stays closed", async () => {
    const result = await worker.lane(async () => {
      const first = await caught(() => fail());
      const second = await caught(() => builtins.abs(1));
      const third = await caught(() => worker.import("json"));
      return [first.code, second.code, third.code];
    });
    expect(result).toEqual(["PYTHON", "NOT_RUN", "NOT_RUN"]);
  });

  test("awaits, timers and callbacks inside stay in it", async () => {
    const list = builtins.list();
    const error = await caught(() =>
      worker.lane(async () => {
        await builtins.abs(1);
        await Promise.all([builtins.abs(1), turn()]);
        await new Promise((resolve) => setTimeout(resolve, 2));
        await builtins.abs(1).then(() => builtins.abs(2));
        for await (const item of builtins.range(2)) list.append(item);
        await py.settle(builtins.abs(1));
        fail();
        list.append("never");
      }),
    );
    expect(error).toMatchObject({ code: "PYTHON" });
    list.append("after");
    expect(await py.js(list)).toEqual([0, 1, "after"]);
  });

  test("one inside another fails alone", async () => {
    const list = builtins.list();
    await worker.lane(async () => {
      list.append(1);
      expect(await caught(() => worker.lane(() => void fail()))).toMatchObject({ code: "PYTHON" });
      list.append(2);
      await list;
    });
    expect(await py.js(list)).toEqual([1, 2]);
  });

  test("fifty at once: each has its own results and its own error", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) =>
        worker.lane(async () => {
          const a = await builtins.abs(-i);
          await turn();
          const b = i % 2 === 0 ? builtins.abs(i) : builtins.int(`x${i}`);
          await turn();
          return a + (await b);
        }),
      ),
    );
    const [even, odd] = [0, 1].map((rest) => results.filter((_, i) => i % 2 === rest));
    expect(even).toEqual(Array.from({ length: 25 }, (_, i) => ({ status: "fulfilled", value: 4 * i })));
    expect(odd).toMatchObject(
      Array.from({ length: 25 }, (_, i) => ({
        status: "rejected",
        reason: { code: "PYTHON", message: expect.stringContaining(`'x${2 * i + 1}'`) },
      })),
    );
  });

  test("references pass between lanes", async () => {
    const list = builtins.list();
    const made = await worker.lane(async () => {
      list.append(1);
      return [await builtins.list([2])];
    });
    list.append(made[0]);
    expect(await py.js(list)).toEqual([1, [2]]);
  });
});

describe("what cleans up is never discarded", () => {
  test("a scope whose operation failed frees what it made before, in that batch and in later ones", async () => {
    const early = something();
    const { thing, lives } = something();
    expect(await lives()).toBe(true);
    await caught(() =>
      worker.scope(async () => {
        const made = something();
        const held = builtins.list([made.thing, early.thing]);
        await held;
        fail();
        early.thing[Symbol.dispose]();
        await turn();
        await answered();
        thing[Symbol.dispose]();
        await fail();
      }),
    );
    expect([await lives(), await early.lives()]).toEqual([false, false]);
  });

  test("the object table is as large after a failure as it was before", async () => {
    const objectsNow = async (): Promise<number> => (await countsOf(worker)).worker.objects;
    const step = (bad: boolean): Promise<unknown> =>
      caught(async () => {
        await worker.scope(async () => {
          const list = builtins.list([1]);
          if (bad) fail();
          list.append(builtins.list());
          await py.js(list);
          throw new Error("the end of a good step");
        });
      });
    await step(true);
    const before = await objectsNow();
    for (let i = 0; i < 10; i++) await step(i % 2 === 0);
    expect(await objectsNow()).toBeLessThanOrEqual(before);
  });

  test("the context of a batch that failed is left: gradients work afterwards", async () => {
    for (const mode of ["no_grad", "inference"] as const) {
      const error = await caught(() =>
        worker.context({ mode, rng: "fork" }, async () => {
          expect(await torch.is_grad_enabled()).toBe(false);
          await torch.ones(2).matmul(torch.ones(3));
        }),
      );
      expect(error).toMatchObject({ code: "PYTHON", pyType: "RuntimeError" });
      expect(await torch.is_grad_enabled()).toBe(true);
      expect(await torch.is_inference_mode_enabled()).toBe(false);
      const weight = torch.ones(1, kw({ requires_grad: true }));
      weight.mul(3).sum().backward();
      expect((await py.ndarray(weight.grad)).data).toEqual(Float32Array.of(3));
    }
  });
});

describe("scopes and failures", () => {
  test("a loop of scopes ends with the error of the step that failed, and no later step has run", async () => {
    const list = builtins.list();
    let issued = 0;
    const error = await caught(async () => {
      for (; issued < 10_000; issued++) {
        await worker.scope(async () => {
          list.append(issued === 3 ? fail() : issued);
        });
        if (issued % 10 === 0) await turn();
      }
    });
    expect(error).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
    expect(issued).toBeLessThan(10_000);
    expect(await py.js(list)).toEqual([0, 1, 2]);
  });

  test("so does a loop of synchronous scopes, in lane 0 and in another lane", async () => {
    for (const run of [(loop: () => Promise<void>) => loop(), (loop: () => Promise<void>) => worker.lane(loop)]) {
      const list = builtins.list();
      const error = await caught(() =>
        run(async () => {
          for (let i = 0; i < 10_000; i++) {
            worker.scope(() => list.append(i === 1 ? fail() : i));
            await turn();
          }
        }),
      );
      expect(error).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
      expect(await py.js(list)).toEqual([0]);
    }
  });

  test("a scope that throws an error of its own tells that one; the lane's is still to come", async () => {
    const thrown = new Error("mine");
    const list = builtins.list();
    const bodies = [
      () => {
        throw thrown;
      },
      async () => {
        fail();
        await answered();
        throw thrown;
      },
    ];
    fail();
    await answered();
    expect(await caught(() => worker.scope(bodies[0]!))).toBe(thrown);
    list.append("refused");
    expect(await caught(() => builtins.abs(1))).toMatchObject({ code: "NOT_RUN" });
    expect(await caught(() => worker.scope(bodies[1]!))).toBe(thrown);
    list.append("refused");
    expect(await caught(() => builtins.abs(1))).toMatchObject({ code: "NOT_RUN" });
    list.append("after");
    expect(await py.js(list)).toEqual(["after"]);
  });
});

describe("close", () => {
  test("rejects with an error that nothing has awaited, once everything before it has run", async () => {
    const other = await testWorker();
    const line = nextLine();
    other.import("builtins").int("x");
    const error = await caught(() => other.close());
    expect(error).toMatchObject({ code: "PYTHON", pyType: "ValueError" });
    expect(error.message).toContain(line);
    expect(await other.liveness()).toEqual({ state: "gone" });
  });
});

describe("training in company", () => {
  const STEPS = 20;

  interface Student {
    readonly model: AnyRef;
    readonly optimizer: AnyRef;
  }

  /** Dropout and batch normalisation, so that random numbers and the mode of every layer matter. */
  function makeStudent(): Student {
    torch.manual_seed(1);
    const { nn, optim } = torch;
    const model = nn.Sequential(
      nn.Conv2d(1, 4, 3),
      nn.BatchNorm2d(4),
      nn.ReLU(),
      nn.Dropout(0.5),
      nn.Flatten(),
      nn.Linear(4 * 6 * 6, 3),
    );
    return { model, optimizer: optim.SGD(model.parameters(), kw({ lr: 0.05, momentum: 0.9 })) };
  }

  const images = (step: number, bad = false): AnyRef =>
    worker.tensor(
      Float32Array.from({ length: 8 * 64 }, (_, i) => (bad && i === 7 ? Number.NaN : Math.sin(i * (step + 1)))),
      { shape: [8, 1, 8, 8] },
    ) as unknown as AnyRef;
  const labels = (): AnyRef =>
    worker.tensor(BigInt64Array.from({ length: 8 }, (_, i) => BigInt(i % 3))) as unknown as AnyRef;

  /** Trains; `midStep` runs between backward and optimizer.step. Stops by itself where the loss is NaN. */
  async function train(
    { model, optimizer }: Student,
    badStep = -1,
    midStep?: (i: number) => Promise<void>,
  ): Promise<number[]> {
    const losses: number[] = [];
    for (let i = 0; i < STEPS; i++) {
      const goesOn = await worker.scope(async () => {
        const loss = torch.nn.functional.cross_entropy(model(images(i, i === badStep)), labels());
        optimizer.zero_grad();
        loss.backward();
        if (midStep !== undefined) await midStep(i);
        losses.push(await loss.item());
        if (Number.isNaN(losses.at(-1))) return false;
        optimizer.step();
        return true;
      });
      if (!goesOn) break;
    }
    return losses;
  }

  interface Outcome {
    readonly losses: readonly number[];
    readonly weights: string;
    readonly nextRandom: number;
  }

  async function outcome(student: Student, losses: readonly number[]): Promise<Outcome> {
    const weights = await weightsHash(worker, student.model as unknown as Network);
    return { losses, weights, nextRandom: await torch.rand(1).item() };
  }

  async function alone(): Promise<Outcome> {
    const student = makeStudent();
    return await outcome(student, await train(student));
  }

  /** Trains while another task does `visit` in lanes of its own, at least once in the middle of each step. */
  async function inCompany(visit: (student: Student) => Promise<void>): Promise<Outcome> {
    const student = makeStudent();
    const state = { visits: 0, over: false };
    const visitor = (async () => {
      while (!state.over) {
        await worker.lane(() => visit(student));
        state.visits++;
        await turn();
      }
    })();
    const visited = async (step: number): Promise<void> => {
      while (state.visits <= step) await turn();
    };
    // A visitor whose expectations fail ends the wait.
    const losses = await train(student, -1, (i) => Promise.race([visited(i), visitor]));
    state.over = true;
    await visitor;
    expect(state.visits).toBeGreaterThanOrEqual(STEPS);
    return await outcome(student, losses);
  }

  /** Predicts twice in one batch, with random numbers drawn in between: in eval mode, both are the same. */
  async function predict({ model }: Student): Promise<void> {
    const [first, second] = await worker.context({ mode: "inference", eval: [model], rng: "fork" }, async () => {
      const xs = images(100);
      const yhat = model(xs).softmax(1);
      torch.rand(7);
      worker.import("random").random();
      return await Promise.all([py.ndarray(yhat), py.ndarray(model(xs).softmax(1))]);
    });
    expect(first.shape).toEqual([8, 3]);
    expect(first.data).toEqual(second.data);
  }

  async function importNothing(): Promise<void> {
    const error = await caught(() => worker.import("a_module_that_does_not_exist"));
    expect(error).toMatchObject({ code: "PYTHON", pyType: "ModuleNotFoundError" });
    expect(await caught(() => torch.rand(1))).toMatchObject({ code: "NOT_RUN" });
  }

  test("the weights are those of training alone, bit for bit, while another task predicts and fails", async () => {
    const expected = await alone();
    expect(expected.losses).toHaveLength(STEPS);
    expect(await alone()).toEqual(expected);
    const found = await inCompany(async (student) => {
      await predict(student);
      await importNothing();
    });
    expect(found).toEqual(expected);
  });

  test.each<[string, (student: Student) => Promise<void>]>([
    ["without a context", async ({ model }) => void (await py.ndarray(model(images(100))))],
    [
      "without eval",
      ({ model }) => worker.context({ mode: "inference", rng: "fork" }, async () => void (await model(images(100)))),
    ],
    ["without the fork", () => worker.context({ mode: "inference" }, async () => void (await torch.rand(1)))],
  ])("and the comparison sees a prediction that is made %s", async (_name, visit) => {
    const expected = await alone();
    expect((await inCompany(visit)).weights).not.toBe(expected.weights);
  });

  test("after a stop on NaN, a fresh start has nothing left of it", async () => {
    const expected = await alone();
    const spoilt = makeStudent();
    const losses = await train(spoilt, 5);
    expect(losses).toHaveLength(6);
    expect(losses.at(-1)).toBeNaN();
    expect(losses.slice(0, 5)).toEqual(expected.losses.slice(0, 5));
    expect(await alone()).toEqual(expected);
  });
});
