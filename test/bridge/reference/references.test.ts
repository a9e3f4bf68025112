import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kw, py, PythonError, type Worker } from "torchwire";
import { lend } from "torchwire/bridge";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, nextLine, operationsOf, untyped } from "../../observed.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let builtins: AnyRef;
let types: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  builtins = worker.import("builtins");
  types = worker.import("types");
});

/** The value of a line of Python. */
const evaluate = (code: string): AnyRef => builtins.eval(code);

/** The value of `name` after some lines of Python. */
function define(name: string, code: string): AnyRef {
  const names = builtins.dict();
  builtins.exec(code, names);
  return py.at(names, name);
}

async function spent(run: () => PromiseLike<unknown>): Promise<{ batches: number; roundTrips: number }> {
  const before = await worker.stats();
  await run();
  const after = await worker.stats();
  return { batches: after.batches - before.batches, roundTrips: after.roundTrips - before.roundTrips };
}

describe("a reference is a value, not a place", () => {
  const twoLayers = (): AnyRef => {
    const model = torch.nn.Module();
    model.fc = torch.nn.Linear(2, 3);
    model.head = torch.nn.Linear(3, 4);
    return model;
  };

  test("a layer that was read before it was replaced is the old layer", async () => {
    const model = twoLayers();
    const weight = await py.ndarray(model.fc.weight);
    const old = model.fc;
    model.fc = torch.nn.Linear(5, 6);
    expect(await py.ndarray(old.weight)).toEqual(weight);
    expect(await Promise.all([old.in_features, model.fc.in_features])).toEqual([2, 5]);
  });

  test("an attribute read before, between and after two writes has three values, whenever it is awaited", async () => {
    const space = types.SimpleNamespace(kw({ x: 1 }));
    const first = space.x;
    space.x = 2;
    const second = space.x;
    space.x = 3;
    expect([await space.x, await second, await first]).toEqual([3, 2, 1]);
  });

  test("two attributes are swapped by swapping them", async () => {
    const model = twoLayers();
    const { fc, head } = model;
    model.fc = head;
    model.head = fc;
    expect(await Promise.all([model.fc.in_features, model.head.in_features])).toEqual([3, 2]);
    [model.fc, model.head] = [model.head, model.fc];
    expect(await Promise.all([model.fc.in_features, model.head.in_features])).toEqual([2, 3]);
  });

  test("each mention of an attribute reads it once, in the order written, however chains are folded", async () => {
    const Counter = define(
      "Counter",
      `
class Counter:
    def __init__(self): self.reads = []
    @property
    def a(self): self.reads.append("a"); return self
    @property
    def b(self): self.reads.append("b"); return self
`,
    );
    const counter = Counter();
    const a = counter.a;
    const ab = a.b;
    void a.b.a;
    void ab.a;
    expect(await py.js(counter.reads)).toEqual(["a", "b", "b", "a", "a"]);
  });

  test("what was written between two links of a chain does not reach the link that was read before", async () => {
    const space = types.SimpleNamespace(kw({ inner: types.SimpleNamespace(kw({ n: 1 })) }));
    const inner = space.inner;
    space.inner = types.SimpleNamespace(kw({ n: 2 }));
    expect(await inner.n).toBe(1);
  });

  test("an attribute or a method that is taken off a link has its place where it is used, not where the link was read", async () => {
    const space = types.SimpleNamespace(kw({ inner: types.SimpleNamespace(kw({ n: 1 })), list: [] }));
    const inner = space.inner;
    inner.n = 2;
    expect(await inner.n).toBe(2);
    const clear = space.list.clear;
    space.list.append(1);
    clear();
    space.list.append(2);
    expect(await py.js(space.list)).toEqual([2]);
  });

  test("every link of a chain stays usable", async () => {
    const model = twoLayers();
    const fc = model.fc;
    const weight = fc.weight;
    const shape = weight.shape;
    const rows = shape[0];
    expect(await Promise.all([rows, shape[1], weight.requires_grad, fc.out_features])).toEqual([3, 2, true, 3]);
  });

  test("the links before one that failed stay usable", async () => {
    const model = twoLayers();
    const fc = model.fc;
    const line = nextLine();
    const error = await caught(() => fc.nope.further);
    expect(error).toMatchObject({ code: "PYTHON", pyType: "AttributeError", operation: "Module.fc.nope" });
    expect(error.message).toContain(line);
    expect(await fc.in_features).toBe(2);
    expect(await model.head.in_features).toBe(3);
  });

  test("a method is called on what the chain gave, also when it was taken off first", async () => {
    const append = builtins.list().append;
    append(1);
    append(2);
    expect(await py.js(append.__self__)).toEqual([1, 2]);
  });
});

describe("settling", () => {
  test("a value is fetched once: a second await sends nothing", async () => {
    const n = torch.nn.Linear(2, 3).in_features;
    expect(await n).toBe(2);
    let again: unknown;
    expect(await spent(async () => (again = await n))).toEqual({ batches: 0, roundTrips: 0 });
    expect(again).toBe(2);
  });

  test("what stays in Python settles to the same reference, once", async () => {
    const layer = torch.nn.Linear(2, 3);
    expect((await layer) === layer).toBe(true);
    expect(String(layer)).toMatch(/^\[PyRef #\d+ Linear\]$/);
    expect(await spent(async () => await layer)).toEqual({ batches: 0, roundTrips: 0 });
    expect("then" in layer).toBe(false);
    expect([layer.then, layer.catch, layer.finally].every((method) => method === undefined)).toBe(true);
  });

  test("three references in one Promise.all are one batch and one round trip", async () => {
    const layer = torch.nn.Linear(2, 3);
    await layer;
    let values: unknown;
    expect(
      await spent(async () => {
        values = await Promise.all([layer.in_features, layer.out_features, layer.training]);
      }),
    ).toEqual({ batches: 1, roundTrips: 1 });
    expect(values).toEqual([2, 3, true]);
  });

  test("a chain that depends on itself twenty times over is one round trip", async () => {
    let x = torch.zeros(1);
    for (let i = 0; i < 20; i++) x = x.add(i);
    let sum: unknown;
    expect(await spent(async () => (sum = await x.item()))).toEqual({ batches: 1, roundTrips: 1 });
    expect(sum).toBe(190);
  });

  test.each([
    ["1", 1],
    ["-1", -1],
    ["1.5", 1.5],
    ["1.0", 1],
    ["'text'", "text"],
    ["''", ""],
    ["True", true],
    ["False", false],
    ["None", null],
    ["2**53 - 1", 2 ** 53 - 1],
    ["-2**53 + 1", 1 - 2 ** 53],
    ["2**53", 2n ** 53n],
    ["-2**53", -(2n ** 53n)],
    ["2**63 - 1", 2n ** 63n - 1n],
    ["-2**63", -(2n ** 63n)],
    ["2**64 - 1", 2n ** 64n - 1n],
    ["2**64", 2n ** 64n],
    ["-2**63 - 1", -(2n ** 63n) - 1n],
    ["-3**200", -(3n ** 200n)],
    ["float('nan')", Number.NaN],
    ["float('-inf')", Number.NEGATIVE_INFINITY],
  ])("await of Python's %s", async (code, value) => {
    expect(await evaluate(code)).toBe(value);
  });

  test.each(["[1]", "(1,)", "{}", "b'x'", "range(3)", "1j", "int", "__import__('signal').SIGINT"])(
    "await of Python's %s is a reference: only exact scalars become values",
    async (code) => {
      const ref = evaluate(code);
      expect((await ref) === ref).toBe(true);
    },
  );

  test("py.settle gives the reference also of a number, whose value py.js then tells", async () => {
    const n = builtins.int("7");
    expect((await py.settle(n)) === n).toBe(true);
    expect(String(n)).toMatch(/^\[PyRef #\d+ number\]$/);
    expect((await n) === n).toBe(true);
    expect(await py.js(n)).toBe(7);
    expect(await n.bit_length()).toBe(3);
  });

  test("a number's reference still has Python's methods after it was awaited", async () => {
    const n = builtins.int("7");
    await n;
    expect(await n.bit_length()).toBe(3);
  });
});

describe("calls", () => {
  test("new is tolerated and changes nothing", async () => {
    const layer = new torch.nn.Linear(2, 3, kw({ bias: false }));
    expect(await Promise.all([layer.in_features, layer.bias])).toEqual([2, null]);
  });

  test("kw passes by name, leaves out what is undefined, and null is None", async () => {
    const f = evaluate("lambda *args, a='default', b='default', **more: repr((args, a, b, more))");
    expect(await f(1, kw({ a: null, b: undefined, c: { d: 1 } }))).toBe("((1,), None, 'default', {'c': {'d': 1}})");
    expect(await f({ a: 1 })).toBe("(({'a': 1},), 'default', 'default', {})");
    expect(await f(kw({}))).toBe("((), 'default', 'default', {})");
  });

  test("kw may hold names that only ** can pass", async () => {
    const f = evaluate("lambda **names: sorted(names.items())");
    expect(await py.js(f(kw({ "not a name": 1, ["__proto__"]: 2, class: 3 })))).toEqual([
      ["__proto__", 2],
      ["class", 3],
      ["not a name", 1],
    ]);
  });

  test("kw is a copy of what it was given", async () => {
    const options = { a: 1 };
    const keywords = kw(options);
    options.a = 2;
    expect(await evaluate("lambda a: a")(keywords)).toBe(1);
  });

  test("kw anywhere but last is refused at once, and nothing is queued", async () => {
    const f = await evaluate("lambda *args, **kwargs: 0");
    for (const wrong of [
      () => f(kw({ a: 1 }), 2),
      () => f(kw({ a: 1 }), kw({ b: 2 })),
      () => f([kw({ a: 1 })]),
      () => f(kw({ a: kw({ b: 1 }) })),
    ]) {
      let error: unknown;
      const operations = await operationsOf(worker, () => {
        try {
          wrong();
        } catch (thrown) {
          error = thrown;
        }
      });
      expect(operations).toBe(0);
      expect(error).toMatchObject({ code: "NOT_SENDABLE", message: expect.stringContaining("last argument") });
    }
  });

  test.each([[[1, 2]], [new Map()], [3], ["text"], [null], [new Date(0)]])(
    "kw(%o) is refused: it takes a plain object",
    async (wrong) => {
      expect(await caught(() => kw(wrong as object))).toMatchObject({ code: "MISUSE" });
    },
  );
});

/** Names that JavaScript's libraries look for in whatever they are given. */
const LOOKED_FOR = [
  "toJSON then catch constructor __proto__ prototype hasOwnProperty toString valueOf length size get set has keys entries",
  "buffer byteLength data type code read write pack message name stack cause _msgpackr __defineGetter__ inspect asymmetricMatch",
].flatMap((names) => names.split(" "));

describe("a name of the user's is a name like any other", () => {
  const record = (value: unknown): Record<string, unknown> =>
    Object.fromEntries(LOOKED_FOR.map((name) => [name, value]));
  const untouched = (): void => {
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  };

  test.for(LOOKED_FOR)("as a keyword: %s", async (name) => {
    expect(await py.js(builtins.list(builtins.dict(kw(record(1)))))).toEqual(LOOKED_FOR);
    expect(await py.repr(builtins.dict(kw(Object.fromEntries([[name, 1]]))))).toBe(`{'${name}': 1}`);
  });

  test("as a key of what is sent, nested, and of what comes", async () => {
    const sent = { inside: [record({ polluted: 1 })] };
    const identity = define("identity", "def identity(x): return x");
    expect(await py.js(builtins.list(py.at(py.at(identity(sent), "inside"), 0).keys()))).toEqual(LOOKED_FOR);
    const came = (await py.js(identity(sent))) as typeof sent;
    expect(came).toEqual(sent);
    const inner = came.inside[0]!;
    expect(Object.keys(inner)).toEqual(LOOKED_FOR);
    expect(Object.getPrototypeOf(inner)).toBe(Object.prototype);
    // A key called `then` or `toJSON` is data: no await calls it, and JSON has it.
    expect(await Promise.resolve(inner)).toBe(inner);
    expect(Object.keys(JSON.parse(JSON.stringify(inner)) as object)).toEqual(LOOKED_FOR);
    untouched();
  });

  test("as an attribute", async () => {
    const space = types.SimpleNamespace();
    for (const name of LOOKED_FOR.filter((each) => !each.startsWith("__"))) await py.set(space, name, 1);
    expect(await py.js(builtins.sorted(builtins.vars(space)))).toEqual(
      LOOKED_FOR.filter((each) => !each.startsWith("__")).toSorted(),
    );
    untouched();
  });
});

describe("what cannot be sent is its own line's error, and nobody else's", () => {
  const uncaught: unknown[] = [];
  const note = (error: unknown): void => void uncaught.push(error);
  beforeAll(() => void process.on("uncaughtException", note).on("unhandledRejection", note));
  afterAll(() => void process.off("uncaughtException", note).off("unhandledRejection", note));

  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const trap = (): never => {
    throw new RangeError("a trap");
  };
  const knot: { self?: unknown } = {};
  knot.self = knot;
  const detached = Float32Array.of(1, 2);
  structuredClone(detached, { transfer: [detached.buffer] });
  const long = "a".repeat(70 * 2 ** 20);
  const hostile: readonly (readonly [string, () => unknown])[] = [
    ["a getter that throws", () => builtins.dict({ get a() { return trap(); } })],
    ["a Proxy whose every trap throws", () => builtins.dict(new Proxy({}, { ownKeys: trap, get: trap, getPrototypeOf: trap }))],
    ["a revoked Proxy", () => builtins.dict(revoked.proxy)],
    ["a getter among keywords", () => builtins.dict(kw({ get a() { return trap(); } }))],
    ["what contains itself", () => builtins.list(knot)],
    ["text of 70 MiB", () => builtins.len(long)],
    ["an attribute whose name has 70 MiB", () => py.get(builtins, long)],
    ["an attribute of an attribute", () => py.get(py.get(builtins, "len"), long)],
    ["one that is set", () => py.set(types.SimpleNamespace(), long, 1)],
    ["one that is deleted", () => py.del(types.SimpleNamespace(), long)],
    ["a module", () => worker.import(long)],
    ["a keyword", () => builtins.dict(kw({ [long]: 1 }))],
    ["an integer of 40 million digits", () => builtins.abs(1n << 160_000_000n)],
    ["half of a surrogate pair", () => builtins.len("\ud800")],
    ["a name that is one", () => py.get(builtins, "x\ud800")],
    ["a module that is one", () => worker.import("x\ud800")],
  ]; // prettier-ignore

  test.for(hostile)("%s", async ([, run]) => {
    const before = builtins.abs(-3);
    const error = await caught(run);
    expect(error).toBeInstanceOf(Error);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await Promise.all([before, builtins.abs(-4)])).toEqual([3, 4]);
    expect(uncaught).toEqual([]);
  });

  test("an array that was lent, and is transferred before it is sent, fails its own lane", async () => {
    const array = { dtype: "float32", shape: [4], data: Float32Array.of(1, 2, 3, 4) } as const;
    const kept = builtins.abs(-5);
    const before = worker.tensor([1]);
    const lane = worker.lane(async () => {
      const sum = worker.tensor(lend(array)).sum().item();
      structuredClone(array.data.buffer, { transfer: [array.data.buffer] });
      return await sum;
    });
    const other = worker.lane(async () => await builtins.abs(-6));
    const error = await caught(() => lane);
    expect(error).toMatchObject({ code: "MISUSE", cause: { code: "MISUSE" } });
    expect(error.message).toContain("lent has been transferred before it was sent");
    expect(error.message).toContain("references.test.ts:");
    expect(await Promise.all([other, kept, before.numel()])).toEqual([6, 5, 1]);
    expect(uncaught).toEqual([]);
  });
});

describe("indexing", () => {
  test("with whole numbers, from the front and from the back", async () => {
    const list = builtins.list([10, 20, [30, 40]]);
    expect(await Promise.all([list[0], list[-1][0], list[2][-1], list["1"]])).toEqual([10, 30, 40, 20]);
    expect(await builtins.dict(new Map([[7, "seven"]]))[7]).toBe("seven");
  });

  test("an index out of range is Python's IndexError", async () => {
    const list = builtins.list([1]);
    expect(await caught(() => list[1])).toMatchObject({ code: "PYTHON", pyType: "IndexError", operation: "list[...]" });
  });

  test("item assignment by number", async () => {
    const list = builtins.list([1, 2, 3]);
    list[0] = 10;
    list[-1] = null;
    expect(await py.js(list)).toEqual([10, 2, null]);
  });

  test("py.at takes slices, tuples, null and masks, as Python's brackets do", async () => {
    const x = torch.arange(12).reshape(3, 4);
    const shapes = [
      py.at(x, py.slice(1, 3)),
      py.at(x, py.slice(null, null, 2), 0),
      py.at(x, 0, py.slice(-3)),
      py.at(x, null),
      py.at(x, builtins.Ellipsis, null),
      py.at(x, py.tuple(1, 2)),
      py.at(x, x.gt(6)),
      py.at(x, [0, 2]),
    ].map((part) => py.js(part.shape));
    expect(await Promise.all(shapes)).toEqual([[2, 4], [2], [3], [1, 3, 4], [3, 4, 1], [], [5], [2, 4]]);
    expect(await py.at(builtins.dict({ "fc.weight": 5 }), "fc.weight")).toBe(5);
  });

  test("py.setAt and py.delAt", async () => {
    const x = torch.zeros(2, 3);
    py.setAt(x, py.tuple(0, py.slice(1)), 7);
    py.setAt(x, py.at(x, py.slice(null)).eq(7), 8);
    expect((await py.ndarray(x)).data).toEqual(Float32Array.of(0, 8, 8, 0, 0, 0));
    const dict = builtins.dict({ a: 1, b: 2 });
    py.delAt(dict, "a");
    py.setAt(dict, "c", 3);
    expect(await py.js(dict)).toEqual({ b: 2, c: 3 });
  });
});

describe("attributes", () => {
  test("delete removes one", async () => {
    const space = types.SimpleNamespace(kw({ a: 1, b: 2 }));
    delete space.a;
    expect(await py.str(space)).toBe("namespace(b=2)");
  });

  test("py.set and py.del resolve when they have been done, and reject where Python refuses", async () => {
    const space = types.SimpleNamespace();
    expect(await py.set(space, "a", 1)).toBeUndefined();
    expect(await space.a).toBe(1);
    expect(await py.del(space, "a")).toBeUndefined();
    expect(await caught(() => py.del(space, "a"))).toMatchObject({ pyType: "AttributeError" });
    expect(await caught(() => py.set(builtins.object(), "a", 1))).toMatchObject({ pyType: "AttributeError" });
  });

  test("an assignment that Python refuses fails at the await after it", async () => {
    const line = nextLine();
    builtins.object().a = 1;
    const error = await caught(() => builtins.abs(1));
    expect(error).toMatchObject({ code: "NOT_RUN", operation: "object.a = ..." });
    expect(error.message).toContain(line);
  });

  test("names that are JavaScript's are reached by py.get, py.set and py.del alone", async () => {
    const space = types.SimpleNamespace();
    for (const name of ["then", "toJSON", "constructor", "prototype", "two words"]) {
      await py.set(space, name, name.length);
      expect(await py.get(space, name)).toBe(name.length);
      expect(await py.has(space, name)).toBe(true);
      await py.del(space, name);
      expect(await py.has(space, name)).toBe(false);
    }
  });

  test.each(["then", "toJSON", "valueOf", "constructor", "prototype", "two words", "$$typeof", "0x"])(
    "%s can be neither assigned nor deleted by itself, and nothing is queued",
    async (name) => {
      const space = await types.SimpleNamespace();
      const errors: unknown[] = [];
      const operations = await operationsOf(worker, () => {
        for (const wrong of [() => (space[name] = 1), () => delete space[name]]) {
          try {
            wrong();
          } catch (error) {
            errors.push(error);
          }
        }
      });
      expect(operations).toBe(0);
      expect(errors).toMatchObject([
        { code: "MISUSE", message: expect.stringContaining("py.set") },
        { code: "MISUSE", message: expect.stringContaining("py.del") },
      ]);
    },
  );

  test("an item is deleted by py.delAt: delete says so", async () => {
    const list = await builtins.list([1]);
    expect(await caught(() => delete list[0])).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("py.delAt"),
    });
    expect(await py.len(list)).toBe(1);
  });

  test("names beyond ASCII are Python's too", async () => {
    const space = types.SimpleNamespace();
    space.größe = 3;
    space._private = 4;
    expect(await Promise.all([space.größe, space._private])).toEqual([3, 4]);
  });
});

describe("what py does", () => {
  test.each<[Parameters<typeof py.op>[0], unknown]>([
    ["+", 9],
    ["-", 5],
    ["*", 14],
    ["/", 3.5],
    ["//", 3],
    ["%", 1],
    ["**", 49],
    ["&", 2],
    ["|", 7],
    ["^", 5],
    ["<<", 28],
    [">>", 1],
    ["==", false],
    ["!=", true],
    ["<", false],
    ["<=", false],
    [">", true],
    [">=", true],
    ["is", false],
  ])("py.op: 7 %s 2", async (operator, result) => {
    expect(await py.op(operator, builtins.int(7), 2)).toBe(result);
    expect(await py.op(operator, 7, builtins.int(2))).toBe(result);
  });

  test("py.op: in and @, and two plain values are refused", async () => {
    const list = builtins.list([1, 2]);
    expect(await Promise.all([py.op("in", 2, list), py.op("in", 3, list), py.op("is", list, list)])).toEqual([
      true,
      false,
      true,
    ]);
    expect(await py.op("@", torch.ones(3), torch.ones(3)).item()).toBe(3);
    expect(await caught(() => py.op("+", 1, 2))).toMatchObject({ code: "MISUSE" });
  });

  test("py.str, repr, len, type, isInstance, has", async () => {
    const list = builtins.list([1, "a"]);
    expect(await py.str(builtins.str("a"))).toBe("a");
    expect(await py.repr(builtins.str("a"))).toBe("'a'");
    expect(await py.len(list)).toBe(2);
    expect(await py.type(list).__name__).toBe("list");
    expect(await py.isInstance(list, builtins.list)).toBe(true);
    expect(await py.isInstance(list, builtins.dict)).toBe(false);
    expect(await py.isInstance(list, builtins.tuple([builtins.dict, builtins.list]))).toBe(true);
    expect(await py.has(list, "append")).toBe(true);
    expect(await py.has(list, "push")).toBe(false);
  });

  test("py.unpack gives exactly so many", async () => {
    const [a, b] = py.unpack(builtins.iter([1, 2]), 2);
    expect([await a, await b]).toEqual([1, 2]);
    expect(await caught(() => py.unpack(builtins.range(3), 2)[0])).toMatchObject({
      pyType: "ValueError",
      pyMessage: "too many values to unpack (expected 2)",
    });
    expect(await caught(() => py.unpack(builtins.range(1), 2)[0])).toMatchObject({
      pyMessage: "not enough values to unpack (expected 2, got 1)",
    });
  });

  test.each([1, "text", null, undefined, {}, () => 0])("py.str(%o) is refused: not a reference", async (wrong) => {
    expect(await caught(() => py.str(wrong as object))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("is not a reference"),
    });
  });
});

describe("for await", () => {
  test("gives the items of anything iterable, settled, however many", async () => {
    const found: unknown[] = [];
    for await (const item of builtins.map(builtins.str, builtins.range(150))) found.push(item);
    expect(found).toEqual(Array.from({ length: 150 }, (_, i) => String(i)));
  });

  test("gives references to what stays in Python", async () => {
    const model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU());
    const sizes: unknown[] = [];
    for await (const parameter of model.parameters()) sizes.push(await parameter.numel());
    expect(sizes).toEqual([6, 3]);
  });

  test("can be left early, and nothing is an empty loop", async () => {
    const endless = worker.import("itertools").count();
    for await (const item of endless) if (item === 100) break;
    for await (const item of builtins.list()) expect(item).toBe("never");
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("rejects with the error of an iterator that raises, and of what cannot be iterated", async () => {
    const found: unknown[] = [];
    const error = await caught(async () => {
      for await (const item of evaluate("(1 // (2 - n) for n in range(5))")) found.push(item);
    });
    expect(error).toMatchObject({ pyType: "ZeroDivisionError" });
    expect(
      await caught(async () => {
        for await (const item of builtins.int(3)) found.push(item);
      }),
    ).toMatchObject({ pyType: "TypeError" });
  });
});

describe("the end of a reference", () => {
  /** A new object, and a function that tells whether Python still has it. */
  async function something(): Promise<{ thing: AnyRef; lives: () => Promise<boolean> }> {
    const thing = define("Thing", "class Thing: pass")();
    const weak = worker.import("weakref").ref(thing);
    const lives = evaluate("lambda weak: weak() is not None");
    return { thing: await thing, lives: async () => await lives(weak) };
  }

  test("using frees it early, await using too", async () => {
    const [a, b] = [await something(), await something()];
    {
      using first = a.thing;
      await using second = b.thing;
      expect(await py.isInstance(first, builtins.type(second))).toBe(false);
      expect([await a.lives(), await b.lives()]).toEqual([true, true]);
    }
    expect([await a.lives(), await b.lives()]).toEqual([false, false]);
  });

  test("a disposed reference says so, and disposing twice is disposing once", async () => {
    const list = builtins.list();
    list[Symbol.dispose]();
    list[Symbol.dispose]();
    const text = /^\[PyRef #\d+\] cannot be used any more: it was disposed( \(at references\.test\.ts:\d+\))?$/;
    for (const use of [() => list.append, () => list(), () => py.len(list), () => builtins.len(list), () => list])
      expect(await caught(use)).toMatchObject({ code: "NO_VALUE", message: expect.stringMatching(text) });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("a reference whose scope has ended says so, and what to do; py.keep keeps one", async () => {
    const made: AnyRef[] = [];
    worker.scope(() => void made.push(builtins.list([1]), py.keep(builtins.list([2]))));
    const [list, kept] = made as [AnyRef, AnyRef];
    expect(await caught(() => list.append(1))).toMatchObject({
      code: "NO_VALUE",
      message: expect.stringMatching(/cannot be used any more: its scope has ended; return it from the scope/),
    });
    expect(await py.js(kept)).toEqual([2]);
    expect((await caught(() => list)).code).toBe("NO_VALUE");
  });

  test("an attribute of a disposed reference lives on", async () => {
    const layer = torch.nn.Linear(2, 3);
    const weight = layer.weight;
    layer[Symbol.dispose]();
    expect(await weight.numel()).toBe(6);
  });

  test("a value that was already fetched outlives the reference", async () => {
    const n = builtins.int(3);
    await n;
    n[Symbol.dispose]();
    expect(await n).toBe(3);
  });

  test("a scope frees what was made in it, sync and async, and whatever it throws", async () => {
    const Thing = define("Thing", "class Thing: pass");
    const { ref } = worker.import("weakref");
    const thrown = new Error("of the body");
    const weak: AnyRef[] = [];
    const make = (): void => void weak.push(py.keep(ref(Thing())));
    worker.scope(make);
    await worker.scope(async () => make());
    expect(
      await caught(() =>
        worker.scope(() => {
          make();
          throw thrown;
        }),
      ),
    ).toBe(thrown);
    expect(
      await caught(() =>
        worker.scope(async () => {
          make();
          await builtins.abs(0);
          throw thrown;
        }),
      ),
    ).toBe(thrown);
    expect(await Promise.all(weak.map((alive) => alive()))).toEqual([null, null, null, null]);
  });

  test("what an inner scope keeps outlives the outer one too", async () => {
    const list = worker.scope(() => worker.scope(() => py.keep(builtins.list([1]))));
    expect(await py.js(list)).toEqual([1]);
  });
});

describe("another worker", () => {
  test("its references are refused by this one, and after it is closed by everything", async () => {
    const other = await testWorker();
    const list = other.import("builtins").list([1]);
    const n = py.len(list);
    const scalar = list[0];
    expect(await scalar).toBe(1);
    expect(await n).toBe(1);
    for (const mixed of [() => builtins.len(list), () => py.op("+", builtins.list(), list), () => (types.x = [list])])
      expect(await caught(mixed)).toMatchObject({
        code: "MISUSE",
        message: expect.stringMatching(
          /^\[PyRef #\d+\] belongs to another worker; fetch its value there, .*, and send that \(at references\.test\.ts:\d+\)$/,
        ),
      });
    expect(await py.js(list)).toEqual([1]);

    await other.close();
    for (const use of [
      () => list.append(1),
      () => (list.x = 1),
      () => list(),
      () => list[0],
      () => py.js(list),
      () => list,
      () => other.import("torch"),
      () => other.stats(),
    ])
      expect(await caught(use)).toMatchObject({ code: "CLOSED" });
    list[Symbol.dispose]();
    expect(String(list)).toMatch(/^\[PyRef #\d+\]$/);
    expect(await scalar).toBe(1);
    expect(await builtins.abs(-1)).toBe(1);
  });
});

describe("what Python warns of", () => {
  const heard: (Error & { code?: string; detail?: string })[] = [];
  const hear = (warning: Error): void => void (warning.name === "PythonWarning" && heard.push(warning));
  beforeAll(() => void process.on("warning", hear));
  afterAll(() => void process.off("warning", hear));

  /** The warnings of this process during `run`: category, text, and whether it has a line. */
  async function warned(run: () => unknown): Promise<string[]> {
    heard.length = 0;
    await run();
    await new Promise((resolve) => setImmediate(resolve));
    return heard.map(({ code, message }) => `${code}: ${message}`);
  }
  const warns = (text: string, category = "UserWarning", level = 1): string =>
    `import warnings\ndef f(*_): warnings.warn(${JSON.stringify(text)}, ${category}, stacklevel=${level})`;

  test("is said once, of the line whose operation raised it: outputs and targets of two shapes", async () => {
    const { mse_loss } = torch.nn.functional;
    let line = "";
    const said = await warned(async () => {
      for (let i = 0; i < 100; i++) {
        line = nextLine();
        await mse_loss(torch.zeros(4, 1), torch.zeros(4));
      }
    });
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(
      /^UserWarning: Using a target size \(torch\.Size\(\[4\]\)\) that is different to the input size/,
    );
    expect(said[0]).toContain(`mse_loss(...) at ${line})`);
    expect(heard[0]!.detail).toMatch(/^ {4}at .*references\.test\.ts:\d+:\d+$/);
  });

  test("also by what fails, by what nobody awaits, and behind what was right", async () => {
    const f = define("f", `${warns("first")}; raise ValueError("then")`);
    let line = "";
    const said = await warned(async () => {
      builtins.abs(-1);
      line = nextLine();
      const result = f();
      await caught(() => result);
    });
    expect(said).toEqual([`UserWarning: first (in f(...) at ${line})`]);
    const quiet = define("f", warns("nobody waits"));
    const later = await warned(async () => {
      quiet();
      await worker.lane(() => undefined);
      await builtins.abs(-1);
    });
    expect(later).toEqual([expect.stringContaining("UserWarning: nobody waits (in f(...) at references.test.ts:")]);
  });

  test("a deprecation is shown where the program itself is blamed, as in __main__, and nowhere else", async () => {
    const [direct, inside] = [2, 1].map((level) => define("f", warns(`old ${level}`, "DeprecationWarning", level)));
    expect(await warned(async () => void (await Promise.all([direct!(), inside!()])))).toEqual([
      expect.stringMatching(/^DeprecationWarning: old 2 \(in f\(\.\.\.\) at references\.test\.ts:\d+\)$/),
    ]);
    // Two lines give two warnings.
    const again = define("f", warns("twice", "DeprecationWarning", 2));
    expect(
      await warned(async () => {
        for (let i = 0; i < 3; i++) await again();
        await again();
      }),
    ).toHaveLength(2);
  });

  test("Python's filters decide, and what a program records is its own", async () => {
    const filters = define(
      "f",
      `import warnings
def f():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warnings.warn("recorded")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("ignored")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            warnings.warn("raised")
        except UserWarning as error:
            return [str(found[0].message), str(error)]`,
    );
    expect(await warned(async () => expect(await py.js(filters())).toEqual(["recorded", "raised"]))).toEqual([]);
  });

  test("those of threads and of forked children come without a line", async () => {
    const f = define(
      "f",
      `import os, threading, time, warnings
def f():
    thread = threading.Thread(target=lambda: warnings.warn("of a thread"))
    thread.start(); thread.join()
    if os.fork() == 0:
        warnings.warn("of a child"); os._exit(0)
    os.wait()`,
    );
    const said = await warned(async () => {
      await f();
      while (heard.length < 2) await builtins.abs(-1);
    });
    expect(said.toSorted()).toEqual(["UserWarning: of a child", "UserWarning: of a thread"]);
  });

  test("a line that warns in other words each time is cut short, and so is a text", async () => {
    const f = define("f", `import warnings\ndef f(i): warnings.warn(f"\\x1b[31m{i}" + "é" * i)`);
    const said = await warned(async () => {
      for (let i = 0; i < 15; i++) await f(i);
    });
    expect(said).toHaveLength(11);
    expect(said[0]).toMatch(/^UserWarning: \\x1b\[31m0 \(in f/);
    expect(said[10]).toMatch(/^UserWarning: what else is warned of at references\.test\.ts:\d+ is only counted$/);
    const [long] = await warned(async () => void (await Promise.all([builtins.abs(-1), f(10 ** 6)])));
    expect(long!.length).toBeLessThan(5000);
    expect(long).toMatch(/… \([\d,]+ more characters\) \(in f/);
  });
});

describe("text without end ends its operation, and not the session", () => {
  const SIZE = 80 * 2 ** 20;

  test.for([
    ["a message", `raise ValueError("x" * n)`],
    ["one of four bytes a character", `raise ValueError("🙂" * (n // 4))`],
    ["a note", `e = ValueError("short"); e.__notes__ = ["x" * n, *["y"] * 1000]; raise e`],
    ["what it is caused by", `raise ValueError("short") from KeyError("x" * n)`],
    ["its arguments", `raise ValueError("short", ["x" * n])`],
    ["the name of its class", `raise type("x" * n, (Exception,), {})("short")`],
    ["an attribute", `getattr(len, "x" * n)`],
    ["a group of large ones", `raise ExceptionGroup("g", [ValueError("x" * (n // 16)) for _ in range(16)])`],
    ["a traceback", `(lambda f: f(f))(lambda f: f(f))`],
    ["a message that ends Python", `raise type("E", (Exception,), {"__str__": lambda self: exit(3)})()`],
  ] as const)("%s", async ([, raises]) => {
    const f = define(
      "f",
      `try:\n    ExceptionGroup\nexcept NameError:\n    ExceptionGroup = lambda g, es: es[0]\ndef f(n): ${raises}`,
    );
    const before = builtins.abs(-3);
    const error = await caught(() => f(SIZE));
    expect(error).toBeInstanceOf(PythonError);
    expect(error.message.length + error.stack!.length).toBeLessThan(2 ** 22);
    expect(await Promise.all([before, builtins.abs(-4)])).toEqual([3, 4]);
  });

  test("what was cut says how much", async () => {
    const error = await caught(() => define("f", `def f(n): raise ValueError("x" * n)`)(SIZE));
    expect(error.pyMessage).toMatch(/^x{262144}… \(83,623,936 more characters\)$/);
  });

  test("a log record, a name of what is settled, and a value that is too large", async () => {
    define("f", `import logging\nlogging.getLogger("x" * 2000).warning("y" * ${SIZE})\nf = logging.log(10 ** 30, "z")`);
    await builtins.abs(-1);
    expect(String(await define("f", `f = type("x" * ${SIZE}, (), {})()`)).length).toBeLessThan(5000);
    expect(await caught(() => py.js(define("f", `f = "x" * ${SIZE}`)))).toMatchObject({ code: "LIMIT" });
    await worker.stats();
    expect(await builtins.abs(-4)).toBe(4);
  });
});
