/** `worker.function`: what Python gets, and what it does there. Plain Python, written by hand, says what is right. */
import { beforeAll, describe, expect, test } from "vitest";
import { kw, Learner, py, sgd, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { ones } from "../../misuse/given.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
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

/** The lines of a function's source. */
const linesOf = async (f: object): Promise<string[]> => (await py.source(f)).trimEnd().split("\n");

/** `f` and the function `name` of `code`, each called with the arguments that `make` makes. */
async function both(f: AnyRef, name: string, code: string, make: () => unknown[]): Promise<unknown[]> {
  const plain = define(name, code);
  return await Promise.all([py.js(f(...make())), py.js(plain(...make()))]);
}

describe("the Python function", () => {
  test("it is written as one would write it, and computes the same", async () => {
    const error = worker.function((x, y) => x.sub(y).pow(2).mean());
    expect(await linesOf(error)).toEqual(["def function(x, y):", "    return x.sub(y).pow(2).mean()"]);
    const pair = (): unknown[] => [torch.tensor([1, 2, 3.5]), torch.tensor([0, 4, 1.25])];
    const [found, plain] = await both(error, "f", "def f(x, y):\n    return ((x - y) ** 2).mean()", pair);
    expect(found).toEqual(plain);
  });

  test("it is a real function, with the names of the one in TypeScript", async () => {
    function squaredError(yhat: AnyRef, target: AnyRef): AnyRef {
      return yhat.sub(target).square();
    }
    const f = worker.function(squaredError);
    const inspect = worker.import("inspect");
    expect(await inspect["isfunction"](f)).toBe(true);
    expect(await py.str(inspect["signature"](f))).toBe("(yhat, target)");
    expect(await f.__name__).toBe("squaredError");
    expect(await f(kw({ target: torch.tensor(1), yhat: torch.tensor(3) })).item()).toBe(4);
    expect(await linesOf(f)).toEqual(["def squaredError(yhat, target):", "    return yhat.sub(target).square()"]);
  });

  test("to make it costs no round trip, and nothing in it is run before it is called", async () => {
    const seen = builtins.list();
    await seen;
    const before = await worker.stats();
    const note = worker.function((x) => seen.append(x));
    const after = await worker.stats();
    expect(after.roundTrips - before.roundTrips).toBe(0);
    expect(await py.len(seen)).toBe(0);
    note(3);
    note(4);
    expect(await py.js(seen)).toEqual([3, 4]);
  });

  test("each kind of operation is one of Python's", async () => {
    const all = worker.function((x: AnyRef, box: AnyRef, table: AnyRef) => {
      box.size = x.shape[0];
      py.setAt(table, "rows", py.at(x, py.slice(1, 3), 0));
      py.setAt(table, "all", py.at(x, py.slice(null, null, 2)));
      py.delAt(table, "old");
      delete box.old;
      const [low, high] = py.unpack(torch.aminmax(x), 2);
      return {
        range: [low, high],
        product: py.op("@", x, py.get(x, "T")),
        power: py.op("**", py.op("-", 0.5, x), 2),
        inside: py.op("in", "rows", table),
        same: py.op("is", box, null),
        kind: py.type(x),
        part: x[0],
        pair: py.tuple(py.float(1), true),
        one: py.tuple(box.size),
        layer: new torch.nn.Identity(kw({ unused: null })).training,
      };
    });
    const lines = (await linesOf(all)).map((line) => line.trim());
    for (const line of [
      "box.size = x.shape[0]",
      'table["rows"] = x[1:3, 0]',
      'table["all"] = x[::2]',
      'del table["old"]',
      "del box.old",
      "item, item_2 = torch.aminmax(x)",
    ])
      expect(lines).toContain(line.replaceAll('"', "'"));
    const code = `
import torch
def f(x, box, table):
    box.size = x.shape[0]
    table["rows"] = x[1:3, 0]
    table["all"] = x[::2]
    del table["old"]
    del box.old
    low, high = torch.aminmax(x)
    return {"range": [low, high], "product": x @ x.T, "power": (0.5 - x) ** 2, "inside": "rows" in table,
            "same": box is None, "kind": type(x), "part": x[0], "pair": (1.0, True), "one": (box.size,),
            "layer": torch.nn.Identity(unused=None).training}
def g(f, x):
    import types
    box, table = types.SimpleNamespace(old=1), {"old": 1}
    result = f(x, box, table)
    result["kind"] = result["kind"].__name__
    return str([result, vars(box), table, [type(v).__name__ for v in (*result["pair"], result["one"])]])
`;
    const [f, g] = [define("f", code), define("g", code)];
    const x = torch.arange(12).reshape(4, 3).double();
    expect(await g(all, x)).toBe(await g(f, x));
  });

  test.each([
    ["nothing", () => undefined, null],
    ["null", () => null, null],
    ["an array", (x: AnyRef) => [x, [x, 1], "a"], [2, [2, 1], "a"]],
    ["a record", (x: AnyRef) => ({ x, of: { y: x.bit_length() } }), { x: 2, of: { y: 2 } }],
    ["a tuple", (x: AnyRef) => py.tuple(x), [2]],
    ["a constant", () => 1.5, 1.5],
    ["a Map", (x: AnyRef) => new Map<unknown, unknown>([[1, x]]), new Map([[1, 2]])],
    ["the argument", (x: AnyRef) => x, 2],
  ] as const)("it may return %s", async (_what, fn, expected) => {
    expect(await py.js(worker.function(fn as (x: AnyRef) => unknown)(...(fn.length === 0 ? [] : [2])))).toEqual(
      expected,
    );
  });

  test("operations keep their order, although values are written in their places", async () => {
    const log = builtins.list();
    const code = `
class Noted:
    def __init__(self, name, log):
        self.__dict__.update(name=name, log=log)
    def __getattr__(self, name):
        self.log.append(f"{self.name}.{name}")
        return Noted(f"{self.name}.{name}", self.log)
    def __setattr__(self, name, value):
        self.log.append(f"{self.name}.{name} = {value.name}")
    def __call__(self, *args, **kwargs):
        self.log.append(f"{self.name}()")
        return Noted(f"{self.name}()", self.log)
    def __getitem__(self, key):
        self.log.append(f"{self.name}[{getattr(key, 'name', key)}]")
        return Noted(f"{self.name}[]", self.log)
`;
    const Noted = define("Noted", code);
    const order = worker.function((a: AnyRef, b: AnyRef) => {
      const late = a.late;
      const first = b.first;
      b.second(a.third, first);
      const key = a.key;
      py.at(b.fourth, key);
      a.fifth = b.sixth(late);
      const x = a.x;
      const y = b.y;
      return [y, x];
    });
    await order(Noted("a", log), Noted("b", log));
    expect(await py.js(log)).toEqual([
      "a.late",
      "b.first",
      "b.second",
      "a.third",
      "b.second()",
      "a.key",
      "b.fourth",
      "b.fourth[a.key]",
      "b.sixth",
      "b.sixth()",
      "a.fifth = b.sixth()",
      "a.x",
      "b.y",
    ]);
  });

  test("names that are no names of Python, and every constant, arrive as they are", async () => {
    const odd = ["class", "a b", "ﬁ", '"]; raise SystemExit #', "\n", "print", "__import__", "x".repeat(3000)];
    const f = worker.function((lambda: AnyRef, print: AnyRef) => {
      for (const name of odd) void py.set(lambda, name, name);
      return [
        ...odd.map((name) => py.get(lambda, name)),
        print(kw(Object.fromEntries(odd.map((name) => [name, name])))),
        [-1, -0, 0.1, Infinity, -Infinity, NaN, 2n ** 5000n, -(2n ** 70n), py.bytes(new Uint8Array(300).fill(7))],
        py.op("**", -2, print(kw({ value: 1, constant: 2 }))["__len__"]()),
      ];
    });
    const space = worker.import("types")["SimpleNamespace"]();
    const found = (await py.js(f(space, builtins.dict))) as unknown[];
    expect(found.slice(0, odd.length)).toEqual(odd);
    expect(found[odd.length]).toEqual(Object.fromEntries(odd.map((name) => [name, name])));
    const [, numbers, power] = found.slice(odd.length) as [unknown, unknown[], number];
    expect(numbers).toEqual([-1, -0, 0.1, Infinity, -Infinity, NaN, 2n ** 5000n, -(2n ** 70n), expect.anything()]);
    expect(new Uint8Array(numbers[8] as Uint8Array)).toEqual(new Uint8Array(300).fill(7));
    expect(power).toBe(4);
    expect(await py.source(f)).not.toMatch(/^raise/m);
  });

  test("a long function is many lines of a bounded width", async () => {
    const f = worker.function((x) => {
      let sum = x;
      for (let i = 0; i < 500; i++) sum = py.op("+", sum.mul(1), i);
      return sum;
    });
    expect(await f(torch.tensor(0)).item()).toBe((499 * 500) / 2);
    for (const line of await linesOf(f)) expect(line.length).toBeLessThan(240);
  });
});

describe("what it has from outside", () => {
  test("references are closure variables, and live as long as the function", async () => {
    const weakref = untyped(worker, "weakref");
    const layer = torch.nn.Linear(2, 2);
    const alive = weakref.ref(layer);
    const isGone = (): Promise<unknown> => worker.scope(() => py.js(py.op("is", alive(), null)));
    const f = worker.function((x) => torch.nn.functional.relu(layer(x)));
    expect(await linesOf(f)).toEqual([
      "def function(x):",
      "    # From outside: torch, linear (a Linear)",
      "    return torch.nn.functional.relu(linear(x))",
    ]);
    layer[Symbol.dispose]();
    expect(await isGone()).toBe(false);
    expect(await f(torch.ones(1, 2)).min().item()).toBeGreaterThanOrEqual(0);
    f[Symbol.dispose]();
    expect(await isGone()).toBe(true);
  });

  test("it is freed with its scope, and its source with it", async () => {
    const files = define(
      "files",
      "import linecache\ndef files():\n    return len([f for f in linecache.cache if f.startswith('<function ')])",
    );
    const before = await files();
    const out: { f?: AnyRef } = {};
    await worker.scope(async () => {
      out.f = worker.function((x) => x.add(12345));
      expect(await out.f(torch.tensor(1)).item()).toBe(12346);
      expect(await files()).toBe(before + 1);
    });
    expect(await files()).toBe(before);
    expect(await caught(() => out.f!(1))).toMatchObject({ code: "NO_VALUE" });
  });

  test("the same function recorded again has the same code", async () => {
    const record = (layer: AnyRef): AnyRef => worker.function((x) => layer(x).sum());
    const [a, b] = [record(torch.nn.Linear(2, 2)), record(torch.nn.Linear(2, 2))];
    expect(await py.op("is", a.__code__, b.__code__)).toBe(true);
    expect(await py.op("is", a, b)).toBe(false);
  });

  test("arrays of JavaScript are tensors that are new at each call", async () => {
    const sum = worker.function((x) => {
      const start = worker.tensor([1, 2], { dtype: "float64" });
      return start.add_(x).add(new Float32Array([10, 20]) as never);
    });
    expect(await py.js(sum(1))).toMatchObject({ data: new Float64Array([12, 23]) });
    expect(await py.js(sum(1))).toMatchObject({ data: new Float64Array([12, 23]) });
  });

  test("a function within is one of Python's, and sees the variables around it", async () => {
    const f = worker.function((rows: AnyRef, scale: AnyRef) => {
      const twice = scale.mul(2);
      const scaled = worker.function((row: AnyRef) => row.sum().mul(twice));
      return torch.stack(builtins.list(builtins.map(scaled, rows)));
    });
    const code = `
import torch
def f(rows, scale):
    twice = scale * 2
    return torch.stack([row.sum() * twice for row in rows])
`;
    const [found, plain] = await both(f, "f", code, () => [torch.ones(3, 2), torch.tensor(5)]);
    expect(found).toEqual(plain);
    expect(await linesOf(f)).toContain("    def function_2(row):");
  });

  test("worker.import, worker.scope and using work within", async () => {
    const f = worker.function((x: AnyRef) => {
      const F = worker.import("torch.nn.functional");
      return worker.scope(() => {
        using y = x.mul(3);
        return F.relu(y as never);
      });
    });
    expect(await f(torch.tensor(-1)).item()).toBe(0);
    expect(await f(torch.tensor(2)).item()).toBe(6);
  });
});

describe("Python calls it", () => {
  test("under torch.func.grad, vmap and torch.compile", async () => {
    const loss = worker.function((w: AnyRef, x: AnyRef) => torch.tanh(x.mul(w)).sum());
    const [w, x] = [
      torch.tensor([0.5, -1]),
      torch.tensor(
        [
          [1, 2],
          [3, 4],
        ].map((row) => row.map(py.float)),
      ),
    ];
    const plain = define("f", "import torch\ndef f(w, x):\n    return torch.tanh(x * w).sum()");
    const grads = await Promise.all([loss, plain].map((f) => py.js(torch.func.grad(f)(w, x))));
    expect(grads[0]).toEqual(grads[1]);
    const rows = await Promise.all(
      [loss, plain].map((f) => py.js(torch.func.vmap(f, kw({ in_dims: py.tuple(null, 0) }))(w, x))),
    );
    expect(rows[0]).toEqual(rows[1]);
    const compiled = torch.compile(loss, kw({ backend: "aot_eager", fullgraph: true }));
    expect(await py.js(compiled(w, x))).toEqual(await py.js(plain(w, x)));
  });

  test("as a hook, a sort key, the rule of LambdaLR, and a collate_fn in forked workers", async () => {
    const seen = builtins.list();
    const layer = torch.nn.Linear(2, 1);
    const hook = worker.function((_module: AnyRef, _args: AnyRef, output: AnyRef) => {
      seen.append(output.shape);
    });
    const handle = layer.register_forward_hook(hook);
    layer(torch.ones(4, 2));
    handle.remove();
    layer(torch.ones(4, 2));
    expect(await py.js(seen)).toEqual([[4, 1]]);

    const key = worker.function((word: AnyRef) => py.tuple(word.__len__(), word));
    expect(await py.js(builtins.sorted(["pear", "fig", "date", "kiwi"], kw({ key })))).toEqual([
      "fig",
      "date",
      "kiwi",
      "pear",
    ]);

    const optimizer = torch.optim.SGD(layer.parameters(), kw({ lr: 1 }));
    const schedule = torch.optim.lr_scheduler.LambdaLR(
      optimizer,
      worker.function((epoch) => py.op("**", 0.5, epoch)),
    );
    optimizer.step();
    schedule.step();
    optimizer.step();
    schedule.step();
    expect(await py.js(schedule.get_last_lr())).toEqual([0.25]);

    const collate = worker.function((samples: AnyRef) => ({
      x: torch.stack(samples).mul(2),
      mean: torch.stack(samples).float().mean(),
    }));
    const rows = builtins.list(torch.arange(8).unbind());
    const loader = torch.utils.data.DataLoader(
      rows,
      kw({ batch_size: 4, collate_fn: collate, num_workers: 2, multiprocessing_context: "fork" }),
    );
    const batches = (await py.js(builtins.list(loader))) as {
      x: { data: BigInt64Array };
      mean: { data: Float32Array };
    }[];
    expect(batches.map(({ x, mean }) => [[...x.data], ...mean.data])).toEqual([
      [[0n, 2n, 4n, 6n], 1.5],
      [[8n, 10n, 12n, 14n], 5.5],
    ]);
  });

  test("as a learner's loss, with the same bits as F.mse_loss", async () => {
    const fit = async (loss: unknown): Promise<unknown> => {
      torch.manual_seed(0);
      const model = torch.nn.Linear(3, 1);
      const learner = new Learner(model, loss as never, {
        data: { training: [{ xs: ones(4, 3), ys: ones(4, 1) }] },
        optimizer: sgd({ lr: 0.1 }),
        callbacks: [],
      });
      await learner.fit(3);
      return await py.js(model.state_dict());
    };
    const recorded = worker.function((yhat, ys) => torch.nn.functional.mse_loss(yhat, ys));
    expect(await fit(recorded)).toEqual(
      await fit((yhat: AnyRef, ys: AnyRef) => torch.nn.functional.mse_loss(yhat, ys)),
    );
  });

  test("a call queues no more operations than that of any function", async () => {
    const f = worker.function((x) => x.add(1).mul(2).sub(3));
    const x = torch.ones(1);
    await f;
    expect(await operationsOf(worker, () => void f(x))).toBe(1);
  });

  test("pickle finds it again in the worker, as long as it is kept", async () => {
    const pickle = untyped(worker, "pickle");
    const f = worker.function(function tripled(x: AnyRef) {
      return x.mul(3);
    });
    const bytes = pickle.dumps(f);
    const again = pickle.loads(bytes);
    expect(await py.op("is", again, f)).toBe(true);
    again[Symbol.dispose]();
    f[Symbol.dispose]();
    expect(await caught(() => pickle.loads(bytes))).toMatchObject({ pyType: "AttributeError" });
  });

  test("an error shows the line of its Python", async () => {
    const f = worker.function((x: AnyRef) => {
      const y = x.add(1);
      return [y, py.op("@", y, x)];
    });
    const error = await caught(() => py.js(f(torch.ones(2, 3))));
    expect(error).toMatchObject({ code: "PYTHON", pyType: "RuntimeError" });
    expect(error.frames!.at(-1)).toMatchObject({
      file: expect.stringMatching(/^<function \d+ of functions\.test\.ts:\d+>$/) as string,
      name: "function",
      source: "return [add, add @ x]",
    });
  });

  test("py.source shows that of other functions, and says where there is none", async () => {
    const helpers = worker.import("textwrap");
    expect(await py.source(helpers["dedent"])).toMatch(/^def dedent\(text\):\n/);
    expect(await caught(() => py.source(builtins.len))).toMatchObject({ pyType: "TypeError" });
  });
});

describe("what cannot be recorded is refused, and says what to write", () => {
  let outer: AnyRef;
  beforeAll(() => {
    outer = torch.ones(2);
  });

  const refused: readonly (readonly [what: string, fn: (x: any, y: any) => unknown, message: RegExp])[] = [
    ["a comparison", (x) => (x > 0 ? x : x.neg()), /is not a number .* torch\.where\(condition, a, b\)/],
    ["arithmetic", (x) => x + 1, /py\.op\("\+", x, 1\)/],
    ["equality with a number", (x) => x == 1, /py\.op/],
    ["a comparison of what is from outside", () => outer.sum() < 3, /is not a number/],
    ["iteration", (x) => [...x], /py\.unpack\(x, n\)/],
    ["in", (x) => "T" in x, /builtins\.hasattr/],
    ["await", async (x) => (await x.item()) > 0, /cannot be awaited .* torch\.where/],
    ["await of what is from outside", async () => await outer.sum().item(), /cannot be awaited/],
    ["async", async (x) => [x], /leave async and await out/],
    [
      "for await",
      async (x) => {
        for await (const row of x) void row;
      },
      /has no items .* py\.unpack/,
    ],
    ["py.js", (x) => py.js(x), /cannot be fetched/],
    ["py.ndarray", (x) => py.ndarray(x), /cannot be fetched/],
    ["py.len", (x) => py.len(x), /builtins\.len\(x\)/],
    ["py.isInstance", (x) => py.isInstance(x, torch.Tensor), /builtins\.isinstance/],
    ["py.str", (x) => py.str(x), /Python's own function/],
    ["py.keep", (x) => py.keep(x), /return it/],
    ["worker.context", () => worker.context({ mode: "no_grad" }, () => undefined), /torch\.no_grad\(\)\(/],
    ["worker.lane", () => worker.lane(() => undefined), /leave the lane out/],
    ["disposing of what is from outside", () => outer[Symbol.dispose](), /is freed there/],
    ["a function of JavaScript", (x) => torch.func.grad((y: AnyRef) => y)(x), /worker\.function\(fn\)/],
    ["a date", (x) => x.add(new Date(0)), /args\[0\]: a Date has no counterpart/],
    ["a promise", (x) => x.add(Promise.reject(new Error("never"))), /await it before the function/],
    ["kw that is not last", (x) => x.add(kw({}), 1), /must be the last/],
    [
      "a generator",
      function* (x) {
        yield x;
      },
      /return an array/,
    ],
    ["rest parameters", (...xs) => xs[0], /name each argument/],
    [
      "an endless loop",
      (x) => {
        for (let y = x; ; y = y.add(1)) void y;
      },
      /10,000 operations/,
    ],
    [
      "an array that contains itself",
      (x) => {
        const loop: unknown[] = [x];
        loop.push(loop);
        return loop;
      },
      /contains itself/,
    ],
    [
      "a value of an inner function",
      (x) => {
        const out: { y?: AnyRef } = {};
        worker.function((y: AnyRef) => void (out.y = y));
        return x.add(out.y);
      },
      /return it from there/,
    ],
  ];

  test.each(refused)("%s", async (_what, fn, message) => {
    const error = await caught(() => worker.function(fn));
    expect(error).toMatchObject({ message: expect.stringMatching(message) as string });
    expect(["MISUSE", "NOT_SENDABLE"]).toContain(error.code);
    expect(error.message).toMatch(/functions\.test\.ts:\d+/);
    // Nothing of it is left.
    expect(await worker.function((x) => x)(1)).toBe(1);
  });

  test("also where the function has caught the error", async () => {
    const fn = (x: any): unknown => {
      try {
        return x > 0;
      } catch {
        return x;
      }
    };
    expect(await caught(() => worker.function(fn))).toMatchObject({ code: "MISUSE" });
  });

  test("the function's own error is its error, and operations run again afterwards", async () => {
    const own = new Error("mine");
    expect(
      await caught(() =>
        worker.function(() => {
          throw own;
        }),
      ),
    ).toBe(own);
    expect(await torch.ones(2).sum().item()).toBe(2);
  });

  test("a placeholder that is kept past the function has no value", async () => {
    const out: { x?: any } = {};
    worker.function((x) => void (out.x = x));
    for (const use of [
      () => out.x.add(1),
      () => torch.add(out.x, 1),
      () => worker.function(() => out.x),
      async () => await out.x,
      () => py.js(out.x),
    ])
      expect(await caught(use)).toMatchObject({
        code: "NO_VALUE",
        message: expect.stringContaining("inside a function that has been recorded") as string,
      });
  });

  test("what is no function of this program", async () => {
    expect(await caught(() => worker.function(3 as never))).toMatchObject({ code: "MISUSE" });
    expect(await caught(() => worker.function(builtins.len as never))).toMatchObject({ code: "MISUSE" });
  });

  test("a reference that was released before", async () => {
    const x = torch.ones(1);
    x[Symbol.dispose]();
    expect(await caught(() => worker.function(() => x.add(1)))).toMatchObject({ code: "NO_VALUE" });
  });
});
