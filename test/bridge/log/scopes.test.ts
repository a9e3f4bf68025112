/** What a scope's function returns outlives the scope, and is freed with the one around it. */
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { py, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let builtins: AnyRef;
let torch: AnyRef;
/** Makes an object that can be watched. */
let Thing: AnyRef;
/** The weak references to the things of a test. */
let weak: AnyRef[] = [];

beforeAll(async () => {
  worker = await warmWorker();
  builtins = worker.import("builtins");
  torch = untyped(worker, "torch");
  const names = builtins.dict();
  builtins.exec("class Thing: pass", names);
  Thing = await py.at(names, "Thing");
});

/** A new object, which `alive` tells of. */
function thing(): AnyRef {
  const made = Thing();
  weak.push(py.keep(worker.import("weakref").ref(made) as AnyRef));
  return made;
}

/** Which of the things still live, in the order in which they were made; then begins anew. */
async function alive(): Promise<boolean[]> {
  const of = weak;
  weak = [];
  const answers = of.map((one) => Promise.resolve(py.op("is", one(), null) as PromiseLike<boolean>));
  return (await Promise.all(answers)).map((isGone) => !isGone);
}

describe("what a scope returns", () => {
  test("a reference, alone, in arrays and in records, lives on; all else is freed", async () => {
    const alone = worker.scope(() => (thing(), thing()));
    const nested = worker.scope(() => ({
      a: [thing(), { b: thing() }],
      n: 1,
      rest: [null, undefined, "x"],
      c: (thing(), 2),
    }));
    expect(await alive()).toEqual([false, true, true, true, false]);
    expect(await py.str(py.type(alone))).toContain("Thing");
    expect(await py.isInstance(nested.a[0] as AnyRef, Thing)).toBe(true);
  });

  test("so it is of an async scope, whatever it has awaited", async () => {
    const pending = await worker.scope(async () => ({ made: (thing(), thing()) }));
    const settled = await worker.scope(async () => {
      thing();
      await builtins.abs(-1);
      return thing();
    });
    expect(await alive()).toEqual([false, true, false, true]);
    expect(await py.isInstance(pending.made, Thing)).toBe(true);
    expect(await py.isInstance(settled as AnyRef, Thing)).toBe(true);
    const [first, second] = await worker.scope(() => Promise.all([thing(), thing()]));
    expect(await alive()).toEqual([true, true]);
    expect(await builtins.id(first)).not.toBe(await builtins.id(second));
  });

  test("a value that is awaited comes: a number, a settled reference, a promise of one", async () => {
    const x = py.keep(torch.arange(4));
    expect(await worker.scope(() => x.sum().item())).toBe(6);
    expect(await worker.scope(async () => x.sum().item())).toBe(6);
    expect(await worker.scope(async () => await x.sum().item())).toBe(6);
    expect(await worker.scope(() => py.js(x.add(1)))).toMatchObject({ shape: [4] });
    expect(await worker.scope(() => py.len(x))).toBe(4);
    expect(
      await worker.scope(() =>
        x
          .sum()
          .item()
          .then((n: number) => n + 1),
      ),
    ).toBe(7);
    expect(await (await worker.scope(() => py.settle(x.sum()))).item()).toBe(6);
    x[Symbol.dispose]();
  });

  test("a thenable that is no promise is waited for, inside of the scope, and what it gives lives on", async () => {
    const lazy = {
      // oxlint-disable-next-line unicorn/no-thenable
      async then(resolve: (value: unknown) => void) {
        thing();
        await builtins.abs(-1);
        resolve([thing()]);
      },
    };
    const [made] = await worker.scope(() => lazy as unknown as Promise<[AnyRef]>);
    expect(await alive()).toEqual([false, true]);
    expect(await py.isInstance(made, Thing)).toBe(true);
  });

  test("a Map, a Set, an object of a class, a cycle, a long chain, and what cannot be looked at", async () => {
    class Pair {
      readonly #hidden = thing();
      readonly shown = thing();
      get made(): AnyRef {
        return thing();
      }
      get hidden(): AnyRef {
        return this.#hidden;
      }
    }
    const held = worker.scope(() => {
      const cycle: Record<string, unknown> = { x: thing() };
      cycle["self"] = cycle;
      let chain: unknown = thing();
      for (let i = 0; i < 100_000; i++) chain = { chain };
      const broken = new Proxy({}, { ownKeys: () => [].at(0)! });
      return [
        new Map([[thing(), thing()]]),
        new Set([thing()]),
        new Pair(),
        cycle,
        chain,
        broken,
        new Float64Array(3),
      ] as const;
    });
    //                             x, chain,   key, value, Set,   #hidden, shown
    expect(await alive()).toEqual([true, true, true, true, true, false, true]);
    expect((await caught(() => py.str(held[2].hidden))).message).toMatch(
      /its scope has ended; return it from the scope/,
    );
  });

  test("a reference that was disposed, and one that appears twice", async () => {
    const [gone, twice, again] = worker.scope(() => {
      const [one, other] = [thing(), thing()];
      one[Symbol.dispose]();
      return [one, other, other] as const;
    });
    expect(await alive()).toEqual([false, true]);
    expect((await caught(() => py.str(gone))).message).toContain("it was disposed");
    twice[Symbol.dispose]();
    expect((await caught(() => py.str(again))).message).toContain("it was disposed");
  });

  test("nothing is handed on by a scope that throws", async () => {
    const thrown = { made: undefined as AnyRef | undefined };
    const fails = (): never => {
      thrown.made = thing();
      throw thrown;
    };
    expect(await caught(() => worker.scope(fails))).toBe(thrown);
    expect(await caught(() => worker.scope(async () => fails()))).toBe(thrown);
    expect(await alive()).toEqual([false, false]);
  });

  test("lanes and contexts have no scope of their own: what they return belongs to the one around them", async () => {
    const { inLane, inContext } = await worker.scope(async () => ({
      inLane: await worker.lane(() => [(thing(), thing())]),
      inContext: await worker.context({ mode: "no_grad" }, () => [(thing(), thing())]),
    }));
    expect(await alive()).toEqual([false, true, false, true]);
    expect(await py.isInstance(inLane[0]!, Thing)).toBe(true);
    expect(await py.isInstance(inContext[0]!, Thing)).toBe(true);
    const inner = await worker.lane(() => worker.scope(() => ({ made: (thing(), thing()) })));
    expect(await alive()).toEqual([false, true]);
    expect(await py.isInstance(inner.made, Thing)).toBe(true);
  });
});

describe("whose it is then", () => {
  test("the scope's around it, which frees it, or hands it on again", async () => {
    let inner: AnyRef | undefined;
    worker.scope(() => {
      inner = worker.scope(() => thing());
      expect(String(inner)).toContain("PyRef");
    });
    expect(await alive()).toEqual([false]);
    expect((await caught(() => py.str(inner!))).message).toContain("its scope has ended");
    const kept = worker.scope(() => worker.scope(() => worker.scope(() => [thing(), thing()]))[1]!);
    expect(await alive()).toEqual([false, true]);
    expect(await py.isInstance(kept, Thing)).toBe(true);
  });

  test("async scopes, one within the other", async () => {
    const kept = await worker.scope(async () => {
      const [a, b] = await worker.scope(async () => {
        await builtins.abs(-1);
        return [thing(), thing()] as const;
      });
      await builtins.abs(-1);
      expect(await py.isInstance(a, Thing)).toBe(true);
      return [b];
    });
    expect(await alive()).toEqual([false, true]);
    expect(await py.isInstance(kept[0]!, Thing)).toBe(true);
  });

  test("where the scope around it has ended before, the next one's", async () => {
    let late: Promise<AnyRef[]> | undefined;
    await worker.scope(async () => {
      worker.scope(() => {
        late = worker.scope(async () => {
          await sleep(5);
          return [thing()];
        });
      });
      await late;
    });
    expect(await alive()).toEqual([false]);
    expect((await caught(async () => py.str((await late!)[0]!))).message).toContain("its scope has ended");
  });

  test("what is made in code that outlives its scope is the next one's too, and no chain of scopes is kept", async () => {
    let late: Promise<void> | undefined;
    await worker.scope(async () => {
      worker.scope(() => {
        late = (async () => {
          await sleep(5);
          thing();
        })();
      });
      await late;
    });
    expect(await alive()).toEqual([false]);
  });

  test("a reference of another scope, and one that was kept, stay where they are", async () => {
    const outer = worker.scope(() => {
      const own = thing();
      const same = worker.scope(() => [own, py.keep(thing())]);
      return [same[1]!];
    });
    expect(await alive()).toEqual([false, true]);
    expect(await py.isInstance(outer[0]!, Thing)).toBe(true);
    const beside = worker.scope(async () => {
      const made = thing();
      await sleep(10);
      return String(made);
    });
    await beside;
    expect(await alive()).toEqual([false]);
  });

  test("one of another worker is left alone", async () => {
    await using other = await testWorker();
    const list = other.scope(() => worker.scope(() => other.import("builtins").list([1])));
    expect(await py.js(list)).toEqual([1]);
    let made: AnyRef | undefined;
    other.scope(() => void (made = worker.scope(() => other.import("builtins").list([1]))));
    expect((await caught(() => py.js(made!))).message).toContain("its scope has ended");
  });

  test("no operation more: the scope is one batch, and waits for nothing", async () => {
    const x = await py.keep(torch.ones(3));
    const before = await countsOf(worker);
    const kept = worker.scope(() => ({ y: x.add(1).mul(2) }));
    const after = await countsOf(worker);
    // Two calls and the release of the first result; one more of each is the count itself.
    expect(after.operations - before.operations - 1).toBe(3);
    expect(after.batches - before.batches - 1).toBe(1);
    expect(after.roundTrips - before.roundTrips - 1).toBe(0);
    kept.y[Symbol.dispose]();
    x[Symbol.dispose]();
  });

  test("a loop of scopes in a scope leaves the table of objects as it was", async () => {
    const run = async (n: number): Promise<number> => {
      await worker.scope(async () => {
        for (let i = 0; i < n; i++) await worker.scope(() => builtins.list([i]));
      });
      return (await countsOf(worker)).worker.objects;
    };
    const few = await run(1);
    expect(await run(100)).toBeLessThanOrEqual(few);
  });
});
