/** Functions of the program that Python calls: each case beside the same one with a function of Python's. */
import { AsyncLocalStorage } from "node:async_hooks";
import { beforeAll, describe, expect, test } from "vitest";
import { kw, py, PythonError, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, nextLine, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let builtins: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  builtins = worker.import("builtins");
});

/** The value of `name` after some lines of Python. */
function define(name: string, code: string): AnyRef {
  const names = builtins.dict();
  builtins.exec(code, names);
  return py.at(names, name);
}

const weights = (): AnyRef => torch.tensor([1, -2, 3], kw({ requires_grad: true, dtype: torch.float32 }));

describe("PyTorch calls a function as it calls one of Python's", () => {
  test("a hook of a tensor: its result is the gradient", async () => {
    const x = weights();
    x.register_hook((grad: AnyRef) => grad.mul(2).add(1));
    x.pow(2).sum().backward();
    // 2 x, doubled, and one more.
    expect(Array.from((await py.ndarray(x.grad)).data as Float32Array)).toEqual([5, -7, 13]);
  });

  test("a hook that gives nothing, null, or a promise of nothing leaves the gradient", async () => {
    for (const nothing of [() => undefined, () => null, () => Promise.resolve(undefined)]) {
      const x = weights();
      let calls = 0;
      x.register_hook(() => {
        calls++;
        return nothing();
      });
      x.pow(2).sum().backward();
      expect(Array.from((await py.ndarray(x.grad)).data as Float32Array)).toEqual([2, -4, 6]);
      expect(calls).toBe(1);
    }
  });

  test("a hook awaits values of what it does, and gives an array of its own", async () => {
    const x = weights();
    const seen: number[] = [];
    x.register_hook(async (grad: AnyRef) => {
      const [norm, first] = await Promise.all([grad.norm().item(), grad[0].item()]);
      seen.push(norm, first);
      const { data } = await py.ndarray(grad.div(norm));
      return worker.tensor(data);
    });
    x.pow(2).sum().backward();
    const norm = Math.fround(Math.sqrt(4 + 16 + 36));
    expect(Array.from((await py.ndarray(x.grad)).data as Float32Array)).toEqual(
      [2, -4, 6].map((value) => Math.fround(value / norm)),
    );
    expect(seen).toEqual([norm, 2]);
  });

  const trained = `
import torch
def train(before, after, backward, key):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    model[0].register_forward_pre_hook(before)
    model[0].register_forward_hook(after, with_kwargs=False)
    model[2].register_full_backward_hook(backward)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
`;

  test("hooks of modules, before and after forward, and in backward: the losses are those of Python's hooks", async () => {
    const train = define("train", trained);
    const plain = define(
      "plain",
      `
def before(module, inputs):
    return (inputs[0] * 0.5,)
def after(module, inputs, output):
    return output + inputs[0].mean()
def backward(module, grad_input, grad_output):
    return (grad_input[0] * 3,)
plain = (before, after, backward)`,
    );
    const expected = await py.js(train(plain[0], plain[1], plain[2], null));
    const found = train(
      (_module: AnyRef, inputs: AnyRef) => py.tuple(inputs[0].mul(0.5)),
      (_module: AnyRef, inputs: AnyRef, output: AnyRef) => output.add(inputs[0].mean()),
      (_module: AnyRef, gradInput: AnyRef, _gradOutput: AnyRef) => py.tuple(gradInput[0].mul(3)),
      null,
    );
    expect(await py.js(found)).toEqual(expected);
  });

  test("LambdaLR: a number comes, and a number goes; its state can be saved", async () => {
    const optimizer = torch.optim.SGD(py.op("+", builtins.list(), [weights()]), kw({ lr: 0.8 }));
    const epochs: unknown[] = [];
    const scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, (epoch: number) => {
      epochs.push(epoch);
      return 0.5 ** epoch;
    });
    const rates: number[] = [];
    for (let i = 0; i < 4; i++) {
      rates.push(...((await py.js(scheduler.get_last_lr())) as number[]));
      optimizer.step();
      scheduler.step();
    }
    expect(rates).toEqual([0.8, 0.4, 0.2, 0.1]);
    expect(await py.js(py.at(scheduler.state_dict(), "lr_lambdas"))).toEqual([null]);
    expect(epochs).toEqual([0, 1, 2, 3, 4]);
  });

  test("the closure of L-BFGS, which calls backward itself", async () => {
    const steps = `
import torch
def solve(make):
    x = torch.tensor([1.5, -1.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([x], lr=0.5, max_iter=6)
    closure = make(x, optimizer)
    losses = [optimizer.step(closure).item() for _ in range(2)]
    return losses + x.tolist()
def plain(x, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2
        loss.backward()
        return loss
    return closure
`;
    const solve = define("solve", steps);
    const expected = await py.js(solve(define("plain", steps)));
    let calls = 0;
    const found = solve((x: AnyRef, optimizer: AnyRef) => {
      const mine = py.keep(x);
      const itsOptimizer = py.keep(optimizer);
      return () => {
        calls++;
        itsOptimizer.zero_grad();
        const near = py.op("-", 1, mine[0]).pow(2);
        const loss = near.add(mine[1].sub(mine[0].pow(2)).pow(2).mul(10));
        loss.backward();
        return loss;
      };
    });
    expect(await py.js(found)).toEqual(expected);
    expect(calls).toBeGreaterThan(4);
  });

  test("torch.utils.checkpoint runs the function again in backward", async () => {
    const { checkpoint } = untyped(worker, "torch.utils.checkpoint");
    const x = weights();
    let calls = 0;
    const y = checkpoint(
      (input: AnyRef) => {
        calls++;
        return input.sin().exp();
      },
      x,
      kw({ use_reentrant: false }),
    );
    await y;
    expect(calls).toBe(1);
    y.sum().backward();
    const plain = weights();
    plain.sin().exp().sum().backward();
    expect(await py.ndarray(x.grad)).toEqual(await py.ndarray(plain.grad));
    expect(calls).toBe(2);
  });

  test("keys of sort, min and map get numbers, text and references", async () => {
    expect(await py.js(builtins.sorted([3, 1, 2], kw({ key: (x: number) => -x })))).toEqual([3, 2, 1]);
    expect(await builtins.min(["pear", "fig"], kw({ key: (x: string) => x.length }))).toBe("fig");
    const pairs = [py.tuple("a", 2), py.tuple("b", 1)];
    expect(await py.js(builtins.sorted(pairs, kw({ key: (pair: AnyRef) => pair[1] })))).toEqual([
      ["b", 1],
      ["a", 2],
    ]);
    expect(await py.js(builtins.list(builtins.map((x: number, y: number) => x * y, [1, 2, 3], [4, 5, 6])))).toEqual([
      4, 10, 18,
    ]);
  });

  test("the transform of a data set, in a loader", async () => {
    const load = define(
      "load",
      `
import torch
class Squares(torch.utils.data.Dataset):
    def __init__(self, transform): self.transform = transform
    def __len__(self): return 6
    def __getitem__(self, i): return self.transform(torch.tensor([float(i), i * i]))
def load(transform):
    return [batch.tolist() for batch in torch.utils.data.DataLoader(Squares(transform), batch_size=3)]
`,
    );
    const rows = [0, 1, 2, 3, 4, 5].map((i) => [2 * i, 2 * i * i]);
    expect(await py.js(load((x: AnyRef) => x.mul(2)))).toEqual([rows.slice(0, 3), rows.slice(3)]);
  });

  test("every kind of value goes both ways, and keywords come as a record at the end", async () => {
    const call = define("call", "def call(f, *args, **kwargs): return f(*args, **kwargs)");
    const echo = (...args: unknown[]): unknown => args;
    const given = [1, 1.5, "text", true, null, 2n ** 70n];
    expect(await py.js(call(echo, ...given))).toEqual(given);
    let record: unknown;
    const seen = call(
      (x: number, named: { scale: number; of: AnyRef }) => {
        record = Object.keys(named);
        return named.of.mul(named.scale).add(x);
      },
      1,
      kw({ scale: 3, of: torch.tensor(2) }),
    );
    expect(await seen.item()).toBe(7);
    expect(record).toEqual(["scale", "of"]);
    expect(await py.js(call(() => Float32Array.of(1, 2)))).toMatchObject({ dtype: "float32", shape: [2] });
    expect(await py.js(call(() => ({ a: [1, py.float(2)] })))).toEqual({ a: [1, 2] });
    // A function that gives a function.
    expect(
      await call(
        call(() => (x: number) => x + 1),
        4,
      ),
    ).toBe(5);
  });

  test("it may stand in a list, a record, an attribute; it has its name; it is one object however often it is passed", async () => {
    const twice = (x: number): number => 2 * x;
    const space = worker.import("types")["SimpleNamespace"]() as AnyRef;
    space.f = twice;
    expect(await space.f(4)).toBe(8);
    expect(await py.at(builtins.list([twice]), 0)(5)).toBe(10);
    expect(await py.at(builtins.dict({ twice }), "twice")(6)).toBe(12);
    expect(await space.f.__name__).toBe("twice");
    expect(await worker.import("operator")["is_"](twice, space.f)).toBe(true);
    expect(await worker.import("operator")["is_"](twice, (x: number) => 2 * x)).toBe(false);
  });

  test("a class, and what is no function, are refused where they stand", async () => {
    class Layer {
      units = 1;
    }
    const { code, message } = await caught(() => builtins.list([1, Layer]));
    expect(code).toBe("NOT_SENDABLE");
    expect(message).toContain("args[0][1]: a class of JavaScript cannot be called from Python");
  });
});

describe("an error", () => {
  const fails = (error: unknown): AnyRef => {
    const x = weights();
    x.register_hook(() => {
      throw error;
    });
    return x.pow(2).sum();
  };

  test.for([new TypeError("boom"), "a text", undefined, { reason: 1 }])(
    "of the function rejects the await of the operation, as itself: %s",
    async (thrown) => {
      const [outcome] = await Promise.allSettled([fails(thrown).backward()]);
      expect(outcome).toEqual({ status: "rejected", reason: thrown });
      expect((outcome as PromiseRejectedResult).reason).toBe(thrown);
    },
  );

  test("of an async function does too; what comes behind is not run, and has it as its cause", async () => {
    const error = new RangeError("later");
    const x = weights();
    x.register_hook(async (grad: AnyRef) => {
      await grad.sum().item();
      throw error;
    });
    x.pow(2).sum().backward();
    const behind = x.add(1);
    const found = await caught(() => behind);
    expect(found.code).toBe("NOT_RUN");
    expect(found).toBeInstanceOf(PythonError);
    expect(found.pyType).toBe("torchwire.JavaScriptError");
    expect(found.pyMessage).toBe("RangeError: later");
    expect((found.cause as Error).cause).toBe(error);
    // The lane is open again.
    expect(await builtins.len([1, 2])).toBe(2);
  });

  const attempt = `
def attempt(f):
    try:
        f()
    except Exception as error:
        return type(error).__module__ + "." + type(error).__qualname__ + ": " + str(error)
def wrap(f):
    try:
        f()
    except Exception as error:
        raise LookupError("wrapped") from error
`;

  test("is an exception that Python can catch, or wrap: then it is the cause", async () => {
    const error = new Error("boom");
    const boom = (): never => {
      throw error;
    };
    expect(await define("attempt", attempt)(boom)).toBe("torchwire.JavaScriptError: Error: boom");
    const wrapped = await caught(() => define("wrap", attempt)(boom));
    expect(wrapped.pyType).toBe("LookupError");
    expect(wrapped.cause).toBe(error);
  });

  test("of Python's in what the function does is Python's own where it comes out", async () => {
    const act = async (): Promise<void> => {
      await builtins.int("x");
    };
    expect(await define("attempt", attempt)(act)).toBe(
      "builtins.ValueError: invalid literal for int() with base 10: 'x'",
    );
    // Not awaited, it is noticed all the same.
    expect(await define("attempt", attempt)(() => void builtins.int("y"))).toContain("ValueError");
    // Caught, it is not.
    const recovers = async (): Promise<number> => {
      await caught(() => builtins.int("z"));
      return 3;
    };
    const call = define("call", "def call(f): return f()");
    expect(await call(recovers)).toBe(3);
    const line = nextLine();
    const error = await caught(() => call(() => void builtins.int("x")));
    expect(error.pyType).toBe("ValueError");
    expect(error.site).toContain(line.replace(/.*[/]/, ""));
  });

  test("says where a result cannot be sent", async () => {
    const call = define("call", "def call(f): return f()");
    const { code, message } = await caught(() => call(() => ({ at: [new Date()] })));
    expect(code).toBe("NOT_SENDABLE");
    expect(message).toContain("what the function returns.at[0]: a Date has no counterpart in Python");
  });

  test("comes where the function would wait for itself, and nothing hangs", async () => {
    const call = define("call", "def call(f): return f()");
    const outcomes: unknown[] = [];
    const before = builtins.int("41");
    const value = before.__add__(1);
    const early = py.js(before);
    const result = call(async () => {
      outcomes.push((await caught(() => early)).code, (await caught(() => late)).code);
      // It was made before: its value can be asked for in here.
      return value;
    });
    const late = py.js(builtins.int("7"));
    expect(await result).toBe(42);
    expect(outcomes).toEqual(["MISUSE", "MISUSE"]);
    expect([await early, await late]).toEqual([41, 7]);
  });

  test("comes for what an operation behind this one will make", async () => {
    const call = define("call", "def call(f): return f()");
    const result = call(() => behind.add(1));
    const behind = torch.tensor(1);
    const error = await caught(() => result);
    expect(error.message).toContain("an operation behind the one that called this function has not run yet");
  });
});

describe("calls", () => {
  test("nest, each in its own log", async () => {
    const call = define("call", "def call(f, *args): return f(*args)");
    const depths: number[] = [];
    const deeper = async (depth: number): Promise<number> => {
      depths.push(depth);
      if (depth === 6) return 100;
      const inner = call(deeper, depth + 1);
      return (await inner) + (await builtins.abs(-depth));
    };
    expect(await call(deeper, 0)).toBe(100 + 0 + 1 + 2 + 3 + 4 + 5);
    expect(depths).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("that have no end are told so", async () => {
    const call = define("call", "def call(f): return f()");
    const again = (): AnyRef => call(again);
    const error = await caught(() => call(again));
    expect(error.pyType).toBe("RecursionError");
  });

  test("are counted, each as a round trip, and free what they made", async () => {
    const call = define("call", "def call(f): return [f(object()) for _ in range(10)]");
    await call(() => 1);
    const before = await countsOf(worker);
    const seen: AnyRef[] = [];
    const list = call((x: AnyRef) => {
      seen.push(x);
      return builtins.id(x);
    });
    await list;
    (list as unknown as Disposable)[Symbol.dispose]();
    const after = await countsOf(worker);
    expect(after.calls - before.calls).toBe(10);
    // The calls, the await, and the count itself.
    expect(after.roundTrips - before.roundTrips).toBe(12);
    expect(after.worker.objects).toBe(before.worker.objects);
    expect((await caught(() => seen[0]!.__doc__)).message).toContain("its scope has ended");
  });

  test("run in the program's context at the place where the function was passed", async () => {
    const storage = new AsyncLocalStorage<string>();
    const call = define("call", "def call(f): return f()");
    const found = await storage.run("here", () =>
      call(async () => {
        await builtins.len([]);
        return storage.getStore();
      }),
    );
    expect(found).toBe("here");
  });

  test("run under the state of the batch that they are made in, and have contexts of their own", async () => {
    const call = define("call", "def call(f): return f()");
    const mode = (): AnyRef => torch.is_grad_enabled();
    const found: unknown[] = [];
    await worker.context({ mode: "no_grad" }, async () => {
      await call(async () => {
        found.push(await mode());
        await worker.context({ mode: "grad" }, async () => found.push(await mode()));
        found.push(await mode());
      });
      found.push(await mode());
    });
    expect(found).toEqual([false, true, false, false]);
  });

  test("in a lane and a scope within the function are its own log too", async () => {
    const call = define("call", "def call(f): return f()");
    const found = call(async () => {
      const failed = await caught(() => worker.lane(() => builtins.int("x")));
      const sum = await worker.scope(async () => {
        const parts = torch.tensor([1, 2, 3]);
        return await parts.sum().item();
      });
      return `${failed.pyType} ${sum}`;
    });
    expect(await found).toBe("ValueError 6");
  });

  test("in a loop of equal batches get each round's own function", async () => {
    const call = define("call", "def call(f, x): return f(x)");
    const found: Promise<number>[] = [];
    for (let i = 0; i < 60; i++)
      found.push(worker.scope(() => Promise.resolve(py.js(call((x: number) => x * i, 2))) as Promise<number>));
    expect(await Promise.all(found)).toEqual(Array.from({ length: 60 }, (_, i) => 2 * i));
  });

  test("let the rest of the program's operations wait, and arrays that were fetched before arrive", async () => {
    const call = define("call", "def call(f): return f()");
    const held = [py.ndarray(torch.ones(3)), py.ndarray(torch.zeros(2))];
    await builtins.len([]);
    const first = py.ndarray(torch.full([2], 7));
    const result = call(async () => {
      // All that ran before is answered, though nobody had awaited it.
      const { data } = await py.ndarray(torch.full([2], 5));
      return [...data].length;
    });
    const last = py.ndarray(torch.full([1], 9));
    const other = worker.lane(() => builtins.len([1, 2, 3]));
    expect(await Promise.all([result, other])).toEqual([2, 3]);
    const arrays = await Promise.all([...held, first, last]);
    expect(arrays.map(({ data }) => [...(data as Float32Array)].map(Number))).toEqual([[1, 1, 1], [0, 0], [7, 7], [9]]);
  });
});

describe("calls of other threads", () => {
  const threads = `
import threading, torch
def run(f, count, each):
    results, errors = {}, []
    def work(k):
        try:
            results[k] = [f(k, i) for i in range(each)]
        except BaseException as error:
            errors.append(repr(error))
    all = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for thread in all: thread.start()
    return all, results, errors
def join(all):
    for thread in all: thread.join()
`;

  test("are answered while the main thread waits for them in an operation", async () => {
    const names = builtins.dict();
    builtins.exec(threads, names);
    const started = py.at(names, "run")(
      async (k: number, i: number) => (await torch.tensor(k).mul(100).item()) + i,
      3,
      20,
    );
    py.at(names, "join")(started[0]);
    const expected = Object.entries({ 0: 0, 1: 100, 2: 200 }).map(([k, base]) => [
      Number(k),
      Array.from({ length: 20 }, (_, i) => base + i),
    ]);
    expect(await py.js(started[2])).toEqual([]);
    expect([...((await py.js(started[1])) as Map<number, number[]>)].toSorted(([a], [b]) => a - b)).toEqual(expected);
  });

  test("are answered while the main thread is idle, and while it works and calls too", async () => {
    const names = builtins.dict();
    builtins.exec(threads, names);
    const started = await py.at(names, "run")((k: number, i: number) => k + i, 3, 100);
    const call = define("call", "def call(f, x): return f(x)");
    const x = weights();
    let hooks = 0;
    const found: number[] = [];
    x.register_hook(() => void hooks++);
    for (let i = 0; i < 50; i++) {
      x.pow(2).sum().backward();
      if (i % 5 === 0) found.push(await call((y: number) => y + 1, i));
    }
    await x.grad;
    await py.at(names, "join")(started[0]);
    expect(hooks).toBe(50);
    expect(found).toEqual([1, 6, 11, 16, 21, 26, 31, 36, 41, 46]);
    expect(await py.js(started[2])).toEqual([]);
    const results = (await py.js(started[1])) as Map<number, number[]>;
    for (const k of [0, 1, 2]) expect(results.get(k)).toEqual(Array.from({ length: 100 }, (_, i) => k + i));
  });

  test("raise what the function throws, in that thread alone", async () => {
    const names = builtins.dict();
    builtins.exec(threads, names);
    const started = py.at(names, "run")(
      (k: number) => {
        if (k === 1) throw new Error("boom");
        return k;
      },
      2,
      1,
    );
    py.at(names, "join")(started[0]);
    expect(await py.js(started[2])).toEqual([`JavaScriptError('Error: boom')`]);
    expect([...((await py.js(started[1])) as Map<number, number[]>)]).toEqual([[0, [0]]]);
  });
});

test("a forked process cannot call: it says so", async () => {
  const load = define(
    "load",
    `
import torch
class Data(torch.utils.data.Dataset):
    def __init__(self, transform): self.transform = transform
    def __len__(self): return 2
    def __getitem__(self, i): return self.transform(i)
def load(transform):
    return list(torch.utils.data.DataLoader(Data(transform), num_workers=1, multiprocessing_context="fork"))
`,
  );
  const error = await caught(() => load((i: number) => i));
  expect(error.message).toContain("cannot be called in a forked process");
});
