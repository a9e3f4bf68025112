/** Rows that are kept in a folder: made once, and made anew when they should be. */
import { mkdir, readdir, readFile, truncate, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fromCsv } from "../../../client/data/from-files.ts";
import { DataLoader } from "../../../client/data/loader.ts";
import { cacheOnDisk, rowDataset } from "../../../client/data/own-rows.ts";
import { caught } from "../../observed.ts";
import { all, fileOf } from "../../tables.ts";
import { clean, fresh } from "../../scratch.ts";

afterAll(clean);

const turn = (): Promise<void> => new Promise((go) => setImmediate(go));

/** Rows that count how often they are made. */
function counted(n = 5): { made: () => number; rows: ReturnType<typeof rowDataset<{ i: number }>> } {
  let made = 0;
  const get = (i: number): { i: number } => {
    made++;
    return { i };
  };
  return { made: () => made, rows: rowDataset({ length: n, get }) };
}

describe("what is kept", () => {
  test("comes back as it was: records, arrays of every type, bigints, dates, NaN", async () => {
    const folder = await fresh("cache");
    const row = {
      text: "é\0",
      number: NaN,
      minus: -0,
      big: 2n ** 70n,
      date: new Date(5),
      nothing: null,
      none: undefined,
      list: [1, [2, { a: true }]],
      xs: { dtype: "float32", shape: [2], data: Float32Array.of(1, NaN) },
      odd: [Uint8Array.of(1), BigInt64Array.of(-1n), Float64Array.of(0.1), new Uint16Array([1, 2, 3]).subarray(1)],
    };
    const rows = await rowDataset([row, { ...row, text: "second" }]).cacheOnDisk(folder);
    expect(await all(rows)).toEqual([row, { ...row, text: "second" }]);
    expect((await readdir(folder)).toSorted()).toEqual(["cache.json", "index.bin", "rows.bin"]);
    // A row is its own: what the program changes does not come again.
    ((await rows.get(0)).odd[0] as Uint8Array).fill(9);
    expect((await rows.get(0)).odd[0]).toEqual(Uint8Array.of(1));
  });

  test("is found in any order, in a file of many pages, and shuffled by a loader", async () => {
    const rows = rowDataset({ length: 3000, get: (i) => ({ xs: new Float32Array(50).fill(i), ys: i }) });
    const kept = await rows.cacheOnDisk(await fresh("cache"), { cacheBytes: 1 << 16 });
    for (const i of [2999, 0, 1500, 1]) expect((await kept.get(i)).xs[49]).toBe(i);
    let seen = 0;
    for await (const { xs, ys } of new DataLoader(kept, { batchSize: 100, shuffle: true }))
      for (const [k, label] of [...ys.data].entries()) seen += Number(xs.data[50 * k] === Number(label));
    expect(seen).toBe(3000);
  });

  test.each<[string, unknown, RegExp]>([
    ["a class", { a: { b: new URL("file:///") } }, /^row 1\.a\.b is a URL, which cannot be kept/],
    ["a function", [1, () => 1], /^row 1\[1\] is a function/],
    ["a DataView", new DataView(new ArrayBuffer(1)), /^row 1 is a DataView/],
  ])("not %s", async (_, value, message) => {
    const folder = await fresh("cache");
    const error = await caught(() => rowDataset<unknown>([0, value]).cacheOnDisk(folder));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toMatch(message);
    expect(await readdir(dirname(folder))).toEqual([]);
  });
});

describe("the next time", () => {
  test("nothing is made again", async () => {
    const folder = await fresh("cache");
    for (let i = 0; i < 2; i++) {
      const { rows, made } = counted();
      expect(await all(await rows.cacheOnDisk(folder))).toEqual([0, 1, 2, 3, 4].map((i) => ({ i })));
      expect(made()).toBe(i === 0 ? 5 : 0);
    }
  });

  test("rows are made anew where the key, the length, a function or a part has changed", async () => {
    const folder = await fresh("cache");
    const { rows, made } = counted();
    const steps = [
      () => rows.cacheOnDisk(folder),
      () => rows.cacheOnDisk(folder, { key: "size 32" }),
      () => rows.map(({ i }) => i + 1).cacheOnDisk(folder),
      () => rows.map(({ i }) => i + 2).cacheOnDisk(folder),
      () => rows.split(0.4)[0].cacheOnDisk(folder),
      () => rows.split(0.4, { seed: 1 })[0].cacheOnDisk(folder),
      () => rows.take(2).cacheOnDisk(folder),
    ];
    for (const step of steps) {
      const before = made();
      const wanted = made();
      await (step as () => Promise<unknown>)();
      expect(made()).toBeGreaterThan(before);
      const again = made();
      await (step as () => Promise<unknown>)();
      expect(made()).toBe(again);
      expect(wanted).toBe(before);
    }
    expect(await readdir(dirname(folder))).toEqual(["cache"]);
  });

  test("and where a file has changed, or a list", async () => {
    const path = await fileOf("rows.csv", "a\n1\n");
    const folder = await fresh("cache");
    const kept = async (): Promise<unknown> => all(await (await fromCsv(path)).cacheOnDisk(folder));
    expect(await kept()).toEqual([{ a: 1 }]);
    await writeFile(path, "a\n2\n");
    await utimes(path, 1, 1);
    expect(await kept()).toEqual([{ a: 2 }]);
    const list = await fresh("cache");
    expect(await all(await rowDataset([1]).cacheOnDisk(list))).toEqual([1]);
    expect(await all(await rowDataset([2]).cacheOnDisk(list))).toEqual([2]);
  });

  test("a damaged cache is made anew", async () => {
    const folder = await fresh("cache");
    await counted().rows.cacheOnDisk(folder);
    for (const name of ["rows.bin", "index.bin"]) {
      await truncate(join(folder, name), 3);
      const { rows, made } = counted();
      expect(await all(await rows.cacheOnDisk(folder))).toHaveLength(5);
      expect(made()).toBe(5);
    }
  });

  test("of columns and folder the rows know what they knew", async () => {
    const rows = await fromCsv(await fileOf("rows.csv", "a,b\n1,2\n"));
    expect((await rows.cacheOnDisk(await fresh("cache"))).columnNames).toEqual(["a", "b"]);
  });
});

describe("a folder with anything else in it", () => {
  test("is never touched", async () => {
    const folder = await fresh("mine");
    await mkdir(folder);
    await writeFile(join(folder, "thesis.txt"), "three years");
    expect(await caught(() => counted().rows.cacheOnDisk(folder))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("holds other files; give a folder of its own"),
    });
    expect(await readFile(join(folder, "thesis.txt"), "utf8")).toBe("three years");
    const file = join(folder, "thesis.txt");
    expect(await caught(() => counted().rows.cacheOnDisk(file))).toMatchObject({
      code: "BAD_DATA",
      message: /ENOTDIR/,
    });
  });

  test("an empty one is taken, and one within folders that are not there is made", async () => {
    const folder = await fresh("empty");
    await mkdir(folder);
    expect((await counted().rows.cacheOnDisk(folder)).length).toBe(5);
    expect((await counted().rows.cacheOnDisk(join(await fresh("a"), "b", "c"))).length).toBe(5);
  });
});

describe("while rows are made", () => {
  test("several are asked for at once, and written in order", async () => {
    let [running, most] = [0, 0];
    const get = async (i: number): Promise<number> => {
      most = Math.max(most, ++running);
      for (let k = 0; k < (i * 7) % 5; k++) await turn();
      running--;
      return i;
    };
    const seen: (number | undefined)[] = [];
    const rows = await cacheOnDisk({ length: 40, get }, await fresh("cache"), {
      workers: 3,
      onProgress: (done, total) => seen.push(done, total),
    });
    expect(await all(rows)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(most).toBe(3);
    expect(seen).toEqual([40, 40]);
    expect(await caught(async () => cacheOnDisk([1], await fresh("cache"), { workers: 0 }))).toMatchObject({
      code: "MISUSE",
    });
  });

  test("a fault or an abort leaves nothing behind, and the old rows in place", async () => {
    const folder = await fresh("cache");
    await counted().rows.cacheOnDisk(folder);
    const thrown = new Error("no row 3");
    const failing = counted().rows.map(async ({ i }) => {
      await turn();
      if (i === 3) throw thrown;
      return i;
    });
    expect(await caught(() => failing.cacheOnDisk(folder))).toBe(thrown);
    const stop = new AbortController();
    const aborted = counted(50).rows.map(({ i }) => {
      if (i === 20) stop.abort(new Error("enough"));
      return i;
    });
    expect((await caught(() => aborted.cacheOnDisk(folder, { signal: stop.signal }))).message).toBe("enough");
    expect(await readdir(dirname(folder))).toEqual(["cache"]);
    const { rows, made } = counted();
    await rows.cacheOnDisk(folder);
    expect(made()).toBe(0);
  });

  test("two at once into one folder both get the rows", async () => {
    const folder = await fresh("cache");
    const both = await Promise.all([counted().rows.cacheOnDisk(folder), counted().rows.cacheOnDisk(folder)]);
    for (const rows of both) expect(await all(rows)).toHaveLength(5);
    expect(await readdir(dirname(folder))).toEqual(["cache"]);
  });
});

describe("a stream", () => {
  test("becomes rows by index; the next time it is not read", async () => {
    const folder = await fresh("cache");
    let given = 0;
    async function* stream(): AsyncGenerator<{ xs: Float32Array; ys: number }, void, undefined> {
      for (let i = 0; i < 100; i++) {
        await turn();
        given++;
        yield { xs: Float32Array.of(i), ys: i };
      }
    }
    for (let i = 0; i < 2; i++) {
      const rows = await cacheOnDisk(stream(), folder);
      expect([rows.length, (await rows.get(77)).ys, given]).toEqual([100, 77, 100]);
      const loader = new DataLoader(rows, { batchSize: 64, shuffle: true });
      expect(loader.samples).toBe(100);
    }
    expect(await all(await cacheOnDisk(new Set([1, 2]), await fresh("cache")))).toEqual([1, 2]);
    for (const wrong of [5, null, undefined, Promise.resolve([1])])
      expect(await caught(() => cacheOnDisk(wrong as never, folder))).toMatchObject({ code: "MISUSE" });
  });
});
