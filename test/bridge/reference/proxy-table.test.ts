/**
 * JavaScript's constructs and common tools, used on a reference. Each behaves as its rule says, and none asks Python
 * for more than the program did. Every test counts the operations that reached the log.
 */
import { deepStrictEqual } from "node:assert";
import { format, inspect } from "node:util";
import { pino } from "pino";
import { beforeAll, describe, expect, test } from "vitest";
import { py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, operationsOf } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let builtins: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  builtins = worker.import("builtins");
});

/** Two kinds of reference behave alike: one that is still on its way, and one that has been settled. */
const kinds = ["pending", "settled"] as const;

async function listOf(kind: (typeof kinds)[number], ...items: unknown[]): Promise<{ ref: AnyRef }> {
  const ref = builtins.list(items);
  if (kind === "settled") await ref;
  return { ref };
}

const TAG = /^\[PyRef #\d+( list)?\]$/;

/** The result of `construct`, or its error, after a check that it queued `operations`. */
async function result(construct: () => unknown, operations = 0): Promise<{ value?: any; error?: any }> {
  let outcome: { value?: unknown; error?: unknown } = {};
  const queued = await operationsOf(worker, () => {
    try {
      outcome = { value: construct() };
    } catch (error) {
      outcome = { error };
    }
  });
  expect(queued).toBe(operations);
  return outcome;
}

/** The value that `construct` resolves to, in braces: a reference must not be returned from an async function. */
async function settled<T>(construct: () => Promise<T>, operations: number): Promise<T> {
  let value: T | undefined;
  const queued = await operationsOf(worker, async () => {
    value = await construct();
  });
  expect(queued).toBe(operations);
  return value!;
}

/** The lines that `print` writes to a logger. */
function logged(print: (logger: pino.Logger) => void): Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = [];
  print(pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(JSON.parse(line)) }));
  return lines;
}

describe("settling: one fetch, and a settled reference is thenable no more", () => {
  // An AnyRef is PromiseLike<any>: what these give is the reference itself.
  test("await, Promise.resolve, .then with a function that gives a reference", async () => {
    const { ref } = await listOf("pending");
    const seen = await settled(async () => ({ ref: await ref }), 1);
    expect(seen.ref === ref).toBe(true);
    expect((await settled(async () => ({ ref: await Promise.resolve(ref) }), 0)).ref === ref).toBe(true);
    const other = (await listOf("pending")).ref;
    expect((await settled(async () => ({ ref: await other.then((list: AnyRef) => list) }), 1)).ref === other).toBe(
      true,
    );
    const third = (await listOf("pending")).ref;
    expect((await settled(async () => ({ ref: await Promise.resolve().then(() => third) }), 1)).ref === third).toBe(
      true,
    );
  });

  test("Promise.all and allSettled: one fetch for each, in one batch", async () => {
    const refs = [1, 2, 3].map((n) => builtins.int(n));
    await builtins.abs(0);
    const before = await worker.stats();
    expect(await Promise.all(refs)).toEqual([1, 2, 3]);
    const after = await worker.stats();
    expect(after.operations - before.operations).toBe(3);
    expect(after.batches - before.batches).toBe(1);
    const bad = builtins.int("x");
    expect(await Promise.allSettled([builtins.int(4), bad])).toMatchObject([
      // The batch stops where its first operation fails, and this value was asked for behind it.
      { status: "rejected", reason: { code: "NOT_RUN" } },
      { status: "rejected", reason: { code: "PYTHON" } },
    ]);
  });

  test("an async generator that yields references, and for await over an array of them", async () => {
    async function* generator(refs: AnyRef[]): AsyncGenerator<unknown, void> {
      for (const ref of refs) yield ref;
    }
    const numbers = (): AnyRef[] => [1, 2].map((n) => builtins.int(n));
    const refs = numbers();
    const others = numbers();
    await builtins.abs(0);
    const found: unknown[] = [];
    await settled(async () => {
      for await (const n of generator(refs)) found.push(n);
      // oxlint-disable-next-line typescript/await-thenable
      for await (const n of others) found.push(n);
    }, 4);
    expect(found).toEqual([1, 2, 1, 2]);
  });

  test("a settled reference has neither then nor catch nor finally, and awaiting it asks nothing", async () => {
    const { ref } = await listOf("settled");
    const { value } = await result(() => [...["then", "catch", "finally"].map((name) => ref[name]), "then" in ref]);
    expect(value).toEqual([undefined, undefined, undefined, false]);
    expect((await settled(async () => ({ ref: await ref }), 0)).ref === ref).toBe(true);
  });

  test("return ref from an async function settles it, so a number arrives; {ref} and [ref] cost nothing", async () => {
    const n = builtins.int(3);
    expect(await settled(async () => await (async (): Promise<unknown> => n)(), 1)).toBe(3);
    const { ref } = await listOf("pending");
    const wrapped = await settled(async () => await (async () => [ref, { ref }] as const)(), 0);
    expect(wrapped[0] === ref && wrapped[1].ref === ref).toBe(true);
  });

  test("a pending reference has catch and finally", async () => {
    const good = builtins.int(3);
    let finished = 0;
    expect(
      await settled(async () => {
        await good.finally(() => finished++);
        return await good.catch(() => "never");
      }, 1),
    ).toBe(3);
    expect(finished).toBe(1);
    const bad = builtins.int("x");
    expect(await bad.catch((error: { code: string }) => error.code)).toBe("PYTHON");
    expect(await caught(() => bad.finally(() => finished++))).toMatchObject({ pyType: "ValueError" });
    expect(finished).toBe(2);
  });

  test("py.settle gives the reference also of a number", async () => {
    const n = builtins.int(3);
    expect((await settled(async () => ({ n: await py.settle(n) }), 1)).n === n).toBe(true);
    expect(n.then === undefined).toBe(true);
  });
});

describe.each(kinds)("a %s reference as text", (kind) => {
  test("template strings, String, concatenated as text, %s, and as a key: its tag", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => [
      // oxlint-disable-next-line typescript/restrict-template-expressions
      `${ref}`,
      String(ref),
      ref.toString(),
      format("%s", ref),
      [ref].join(","),
      Object.keys({ [ref as unknown as string]: 1 })[0],
      new Error(ref as unknown as string).message,
    ]);
    for (const text of value) expect(text).toMatch(TAG);
    expect(new Set(value).size).toBe(1);
  });

  test("arithmetic, comparison, +, == with a number, Number, Math, sort, new Date, %d: an error that says await", async () => {
    const { ref } = await listOf(kind);
    const number = ref as unknown as number;
    for (const wrong of [
      () => number + 1,
      () => number * 2,
      () => -number,
      () => number < 1,
      () => number == 1,
      () => Number(ref),
      () => Math.max(number, 1),
      () => [3, number, 2].toSorted((a, b) => a - b),
      () => new Date(number),
      () => format("%d", ref),
    ])
      expect((await result(wrong)).error).toMatchObject({
        code: "MISUSE",
        message: expect.stringContaining("await it"),
      });
  });

  test("JSON.stringify: its tag, wherever it stands", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => JSON.stringify({ ref, list: [ref], nested: { ref } }));
    const parsed = JSON.parse(value);
    for (const text of [parsed.ref, parsed.list[0], parsed.nested.ref]) expect(text).toMatch(TAG);
    expect((await result(() => format("%j", ref))).value).toBe(JSON.stringify(String(ref)));
  });

  test("console.log and util.inspect: its tag; showProxy and %o look behind the proxy", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => [
      inspect(ref),
      inspect({ a: [ref] }),
      inspect(new Map([[ref, 1]])),
      format(ref),
    ]);
    expect(value[0]).toMatch(TAG);
    expect(value.slice(1)).toEqual([`{ a: [ ${value[0]} ] }`, `Map(1) { ${value[0]} => 1 }`, value[0]]);
    for (const print of [() => inspect(ref, { showProxy: true }), () => format("%o", ref)])
      expect((await result(print)).value).toMatch(/^Proxy \[\s*\[PyRef\],/);
  });

  test("pino: %s gives the tag; a reference in the merged object is dropped, as every function is: log after await", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() =>
      logged((log) => {
        log.info("%s", ref);
        log.info({ ref, n: 1 }, "object");
        log.info({ nested: { ref } }, "nested");
      }),
    );
    expect(value).toEqual([
      { level: 30, msg: String(ref) },
      { level: 30, n: 1, msg: "object" },
      { level: 30, nested: { ref: String(ref) }, msg: "nested" },
    ]);
  });

  test("pino's %o and %j take it for a function without a name; %d is an error that says await", async () => {
    const { ref } = await listOf(kind);
    for (const text of ["%o", "%O", "%j"])
      expect((await result(() => logged((log) => log.info(text, ref as never)))).value).toEqual([
        { level: 30, msg: "<anonymous>" },
      ]);
    expect((await result(() => logged((log) => log.info("%d", ref as unknown as number)))).error).toMatchObject({
      code: "MISUSE",
    });
  });

  test("Object.prototype.toString", async () => {
    const { ref } = await listOf(kind);
    expect((await result(() => Object.prototype.toString.call(ref))).value).toBe("[object PyRef]");
  });
});

describe.each(kinds)("a %s reference in a test", (kind) => {
  test("matchers that pass", async () => {
    const { ref } = await listOf(kind);
    const { error } = await result(() => {
      expect(ref).toBe(ref);
      expect(ref).toEqual(ref);
      expect(ref).toStrictEqual(ref);
      expect({ ref, list: [ref] }).toEqual({ ref, list: [ref] });
      expect({ ref, n: 1 }).toMatchObject({ ref });
      expect([1, ref]).toContain(ref);
      expect([{ ref }]).toContainEqual({ ref });
      expect(ref).toBeDefined();
      expect(ref).toBeTruthy();
      expect(ref).toBeTypeOf("function");
      expect(ref).not.toBe(1);
      expect(ref).not.toEqual({});
      expect(ref).not.toBeNull();
      expect({ ref }).toEqual({ ref: expect.anything() });
      deepStrictEqual({ ref }, { ref });
    });
    expect(error).toBeUndefined();
  });

  test("another reference is another value, whatever Python would say", async () => {
    const { ref } = await listOf(kind, 1);
    const other = await listOf(kind, 1);
    const { error } = await result(() => {
      expect(ref).not.toBe(other.ref);
      expect(ref).not.toEqual(other.ref);
      expect({ ref }).not.toStrictEqual(other);
      expect({ ref }).not.toMatchObject(other);
    });
    expect(error).toBeUndefined();
  });

  test.each<[string, (ref: AnyRef, other: AnyRef) => void]>([
    ["toBe", (ref) => expect(ref).toBe(1)],
    ["toBe of another reference", (ref, other) => expect(ref).toBe(other)],
    ["toEqual", (ref) => expect(ref).toEqual({ a: 1 })],
    ["toEqual of another reference", (ref, other) => expect({ a: [ref] }).toEqual({ a: [other] })],
    ["toStrictEqual", (ref) => expect(ref).toStrictEqual([1])],
    ["toMatchObject", (ref) => expect(ref).toMatchObject({ a: 1 })],
    ["toContain", (ref) => expect([ref]).toContain(1)],
    ["toBeNull", (ref) => expect(ref).toBeNull()],
    ["toBeUndefined", (ref) => expect(ref).toBeUndefined()],
    ["toBeFalsy", (ref) => expect(ref).toBeFalsy()],
    ["toBeInstanceOf", (ref) => expect(ref).toBeInstanceOf(Map)],
    ["not.toBe", (ref) => expect(ref).not.toBe(ref)],
    ["not.toEqual", (ref) => expect(ref).not.toEqual(ref)],
  ])("a failing %s says so, in a message that holds the tag", async (_name, fail) => {
    const [{ ref }, other] = [await listOf(kind), await listOf(kind)];
    const { error } = await result(() => fail(ref, other.ref));
    expect(error.name).toBe("AssertionError");
    expect(error.message).toContain("PyRef");
  });

  test("node:assert sees functions", async () => {
    const [{ ref }, other] = [await listOf(kind), await listOf(kind)];
    const { error } = await result(() => deepStrictEqual({ ref }, { ref: other.ref }));
    expect(error.code).toBe("ERR_ASSERTION");
  });

  test.each<[string, (ref: AnyRef) => void, string | RegExp]>([
    ["toHaveLength", (ref) => expect(ref).toHaveLength(2), "py.has"],
    ["toBeGreaterThan", (ref) => expect(ref as unknown as number).toBeGreaterThan(1), "number"],
    ["toBeCloseTo", (ref) => expect(ref as unknown as number).toBeCloseTo(1), "await it"],
    ["toThrow", (ref) => expect(ref).toThrow("anything"), "PyRef"],
  ])("%s, which would need Python, fails and does not ask it", async (_name, fail, message) => {
    const { ref } = await listOf(kind);
    expect((await result(() => fail(ref))).error.message).toMatch(message);
  });

  test("toHaveProperty asks Python for the property, and then fails: py.has tells", async () => {
    const { ref } = await listOf(kind);
    const { error } = await result(() => expect(ref).toHaveProperty("append"), 1);
    expect(error.message).toContain('await py.has(ref, "append")');
  });

  test("a snapshot shows a function, and its text the tag", async () => {
    const { ref } = await listOf(kind);
    const text = String(ref).replaceAll(/#\d+/g, "#N");
    const { error } = await result(() => {
      expect({ layers: [ref], n: 1 }).toMatchInlineSnapshot(`
        {
          "layers": [
            [Function],
          ],
          "n": 1,
        }
      `);
    });
    expect(error).toBeUndefined();
    expect(text).toBe(kind === "pending" ? "[PyRef #N]" : "[PyRef #N list]");
  });
});

describe("calls that JavaScript makes by itself", () => {
  test("a reference is a function: array.map(ref), promise.then(ref), expect(ref).rejects and setTimeout(ref) call it", async () => {
    const { value } = await result(() => [1].map(builtins.print), 1);
    expect(value).toHaveLength(1);
    // Python's print was given what map gives: the item, its index, and the array.
    expect(await value[0]).toBe(null);
    const abs = await builtins.abs;
    expect(await settled(async () => await Promise.resolve(-2).then(abs), 2)).toBe(2);
    await settled(async () => await expect(abs).rejects.toThrow("exactly one argument"), 2);
    const calls = builtins.list([]);
    const { append } = calls;
    await settled(async () => {
      // oxlint-disable-next-line typescript/no-implied-eval
      setTimeout(append, 1, "called");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }, 1);
    expect(await py.js(calls)).toEqual(["called"]);
    expect(typeof abs).toBe("function");
  });
});

describe.each(kinds)("a %s reference and the rest of JavaScript", (kind) => {
  test("structuredClone refuses it", async () => {
    const { ref } = await listOf(kind);
    expect((await result(() => structuredClone(ref))).error.name).toBe("DataCloneError");
    expect((await result(() => structuredClone({ a: [ref] }))).error.name).toBe("DataCloneError");
  });

  test("a name in it: an error that names py.has; then and symbols are answered", async () => {
    const { ref } = await listOf(kind);
    expect((await result(() => "append" in ref)).error).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining('await py.has(ref, "append")'),
    });
    expect((await result(() => ["then" in ref, Symbol.iterator in ref, Symbol("mine") in ref])).value).toEqual([
      kind === "pending",
      false,
      false,
    ]);
  });

  test("instanceof: an error that names py.isInstance, whichever side it stands on with a reference to the right", async () => {
    const { ref } = await listOf(kind);
    const cls = builtins.list as unknown as new () => object;
    expect((await result(() => ref instanceof cls)).error).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("py.isInstance"),
    });
    expect((await result(() => ref instanceof Map)).value).toBe(false);
    expect((await result(() => ref instanceof Promise)).value).toBe(false);
  });

  test("spread, Object.keys, entries, assign and for in find nothing", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => {
      const names: string[] = [];
      for (const name in ref) names.push(name);
      return [
        { ...(ref as object) },
        Object.keys(ref),
        Object.entries(ref),
        Object.getOwnPropertyNames(ref),
        Object.getOwnPropertySymbols(ref),
        Reflect.ownKeys(ref),
        Object.assign({}, ref),
        names,
      ];
    });
    expect(value).toEqual([{}, [], [], [], [], [], {}, []]);
    expect((await result(() => Object.hasOwn(ref, "append"))).value).toBe(false);
  });

  test("freezing, defining and setting a prototype are refused", async () => {
    const { ref } = await listOf(kind);
    for (const wrong of [
      () => Object.freeze(ref),
      () => Object.seal(ref),
      () => Object.preventExtensions(ref),
      () => Object.defineProperty(ref, "x", { value: 1 }),
      () => Object.setPrototypeOf(ref, null),
      () => (ref[Symbol("x") as unknown as string] = 1),
    ])
      expect((await result(wrong)).error).toMatchObject({ code: "MISUSE" });
  });

  test("[a, b] = ref, [...ref], for of, Array.from, new Set, Math.max(...ref): an error that names py.unpack", async () => {
    const { ref } = await listOf(kind, 1, 2);
    const iterable = ref as unknown as Iterable<number>;
    for (const wrong of [
      () => {
        const [a, b] = iterable;
        return [a, b];
      },
      () => [...iterable],
      () => {
        for (const x of iterable) throw new Error(`never ${x}`);
      },
      () => Array.from(iterable),
      () => new Set(iterable),
      () => Math.max(...iterable),
    ])
      expect((await result(wrong)).error).toMatchObject({
        code: "MISUSE",
        message: expect.stringContaining("py.unpack(ref, n)"),
      });
  });

  test("py.unpack is one operation, and one for each item", async () => {
    const { ref } = await listOf(kind, 1, 2);
    const { value } = await result(() => py.unpack(ref, 2), 3);
    expect(await Promise.all(value)).toEqual([1, 2]);
  });

  test("{append} = ref, ref?.append?.__name__ and new ref() are what they are in Python: attributes and calls", async () => {
    const { ref } = await listOf(kind, 1, 2);
    const { value: append } = await result(() => {
      const { append } = ref;
      return append;
    }, 1);
    expect(await append.__name__).toBe("append");
    // One chain is one operation; what is missing is never undefined, so ?. never stops.
    expect(await (await result(() => ref?.append?.__name__, 1)).value).toBe("append");
    expect(await caught(() => ref.nope?.further)).toMatchObject({ pyType: "AttributeError" });
    const { value: made } = await result(() => new builtins.list(), 1);
    expect(await py.len(made)).toBe(0);
  });

  test("ref ?? x, ref || x, if (ref), !ref: a reference is always there and always true, whatever it is in Python", async () => {
    const { ref } = await listOf(kind);
    const some: unknown = ref;
    const { value } = await result(() => [(some ?? 1) === ref, (some || 1) === ref, some ? "yes" : "no", !some]);
    expect(value).toEqual([true, true, "yes", false]);
    const none: unknown = builtins.dict().get("missing");
    expect((await result(() => [(none ?? 1) === none, !none])).value).toEqual([true, false]);
  });

  test("x.a === x.a is false: each mention is a reference of its own", async () => {
    const { ref } = await listOf(kind);
    expect((await result(() => ref.append === ref.append, 2)).value).toBe(false);
    expect((await result(() => ref === ref)).value).toBe(true);
  });

  test("a reference is a key of Map, Set, WeakMap and WeakSet by its identity", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => [
      new Map([[ref, 1]]).get(ref),
      new Set([ref, ref]).size,
      new WeakMap([[ref, 2]]).get(ref),
      new WeakSet([ref]).has(ref),
    ]);
    expect(value).toEqual([1, 1, 2, true]);
  });

  test("Array.isArray, concat, typeof", async () => {
    const { ref } = await listOf(kind);
    const { value } = await result(() => [Array.isArray(ref), [1].concat(ref as never).length, typeof ref]);
    expect(value).toEqual([false, 2, "function"]);
  });

  test("using queues one release and does not settle it", async () => {
    const { ref } = await listOf(kind);
    await result(() => {
      using held = ref;
      void held;
    }, 1);
    expect("then" in ref).toBe(kind === "pending");
    const other = (await listOf(kind)).ref;
    await settled(async () => {
      await using held = other;
      void held;
    }, 1);
    expect("then" in other).toBe(kind === "pending");
  });

  test("names that Python does not have, and those that tools look for, are undefined", async () => {
    const { ref } = await listOf(kind);
    const names = ["a b", "$$typeof", "@@__IMMUTABLE_ITERABLE__@@", "1a", "a-b", "", "asymmetricMatch", "nodeType"];
    names.push("hasAttribute", "_isMockFunction", "tagName", "outerHTML", "prototype");
    const { value } = await result(() => names.map((name) => ref[name]));
    expect(value).toEqual(names.map(() => undefined));
    expect((await result(() => [ref.constructor === Object, ref.valueOf() === ref, ref.toJSON()])).value).toEqual([
      true,
      true,
      String(ref),
    ]);
  });

  test("symbols that are not ours are undefined", async () => {
    const { ref } = await listOf(kind);
    const symbols = [
      Symbol("x"),
      Symbol.for("nodejs.util.promisify.custom"),
      Symbol.isConcatSpreadable,
      Symbol.species,
    ];
    const { value } = await result(() => symbols.map((symbol) => ref[symbol as unknown as string]));
    expect(value).toEqual([undefined, undefined, undefined, undefined]);
  });
});

test("a name and a length that the program reads are Python's", async () => {
  const path = worker.import("pathlib").PurePath("a/b.txt");
  expect(await path.name).toBe("b.txt");
  const space = worker.import("types").SimpleNamespace();
  space.length = 3;
  expect(await space.length).toBe(3);
});
