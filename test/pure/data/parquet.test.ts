/** Rows of Parquet: what pyarrow wrote there, and reads there. test/golden/rows.py makes the files. */
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { fromParquet } from "../../../client/data/from-files.ts";
import { DataLoader } from "../../../client/data/loader.ts";
import { caught } from "../../observed.ts";
import { all, expected, fileOf, golden } from "../../tables.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

let python: Record<string, any>;
beforeAll(async () => {
  python = await expected();
});

describe("values", () => {
  test("of every type are those that pyarrow reads, and nothing is null", async () => {
    const rows = await fromParquet(golden("types.parquet"));
    const wanted = (python["types"] as Record<string, unknown>[]).map((row) => ({
      ...row,
      // Columns that go past 2^53 are bigints from end to end.
      id: row["id"] === null ? null : BigInt(row["id"] as number),
      u64: row["u64"] === null ? null : BigInt(row["u64"] as number),
    }));
    expect(await all(rows)).toEqual(wanted);
    expect(rows.columnNames).toEqual(Object.keys(wanted[0]!));
  });

  test("are fresh in each row: what the program changes does not come again", async () => {
    const rows = await fromParquet<{ bytes: Uint8Array; list: number[] }>(golden("types.parquet"));
    const first = await rows.get(0);
    first.bytes[0] = 7;
    first.list.push(7);
    expect(await rows.get(0)).toMatchObject({ bytes: Uint8Array.of(0, 255), list: [1, 2] });
  });

  test("columns says which are read, types how whole numbers are given", async () => {
    const options = { columns: ["i8", "i64"], types: { i64: "bigint" } } as const;
    const rows = await fromParquet(golden("types.parquet"), options);
    expect(await all(rows)).toEqual([
      { i8: 1, i64: 1n },
      { i8: null, i64: null },
      { i8: -128, i64: -(2n ** 53n) + 1n },
    ]);
  });

  test("a whole number that no statistics told of, and no number holds, is an error with its row", async () => {
    const path = golden("big.parquet");
    const rows = await fromParquet<{ big: number }>(path);
    expect(await rows.get(9)).toEqual({ big: 699 });
    expect(await caught(() => rows.get(10))).toMatchObject({
      code: "BAD_DATA",
      message: `${path}, row 10: big is 9007199254740993, and numbers hold whole numbers up to 2^53; types: { big: "bigint" } gives bigints`,
    });
    const big = await fromParquet(path, { types: { big: "bigint" } });
    expect(await big.get(10)).toEqual({ big: 2n ** 53n + 1n });
  });
});

test.each(["none", "gzip", "brotli", "zstd", "lz4"])("compressed by %s, rows are the same", async (codec) => {
  expect(await all(await fromParquet(golden(`${codec}.parquet`)))).toEqual(python["codecs"]);
});

describe("row groups", () => {
  afterEach(() => process.removeAllListeners("warning"));

  test("of many pages, in any order, with room for one group or for all", async () => {
    for (const cacheBytes of [1, 2 ** 28]) {
      const rows = await fromParquet<{ i: number; third: number | null }>(golden("pages.parquet"), { cacheBytes });
      expect(rows.length).toBe(python["pages"].rows);
      for (const i of [999, 0, 299, 300, 599, 600, 1, 998])
        expect(await rows.get(i)).toEqual({ i, third: i % 3 === 0 ? null : i / 2 });
      const found = await all(rows);
      expect(found.reduce((sum, { i }) => sum + i, 0)).toBe(python["pages"].sum);
      expect(found.reduce((sum, { third }) => sum + (third ?? 0), 0)).toBe(python["pages"].thirds);
    }
  });

  test("a loader's shuffled rows come once each; that they are decoded again and again is told once", async () => {
    const warnings: string[] = [];
    process.on("warning", ({ message }) => warnings.push(message));
    const labels = async (cacheBytes: number): Promise<number[]> => {
      const rows = await fromParquet<{ i: number }>(golden("pages.parquet"), { cacheBytes });
      const samples = rows.map(({ i }) => [Float32Array.of(i), i] as const);
      const seen: number[] = [];
      for await (const { ys } of new DataLoader(samples, { batchSize: 50, shuffle: true, workers: 1 }))
        seen.push(...Array.from(ys.data, Number));
      return seen;
    };
    const roomy = await labels(2 ** 28);
    expect(roomy.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    await new Promise(setImmediate);
    expect(warnings).toEqual([]);
    expect(await labels(1)).toEqual(roomy);
    await new Promise(setImmediate);
    expect(warnings).toEqual([
      expect.stringMatching(/pages\.parquet: rows are read out of order.*cacheOnDisk\(folder\)/),
    ]);
  });
});

describe("several files", () => {
  test("follow each other", async () => {
    const paths = ["gzip", "none"].map((codec) => pathToFileURL(golden(`${codec}.parquet`)));
    const rows = await fromParquet<{ i: number }>(paths);
    expect(rows.length).toBe(80);
    expect((await rows.column("i")).slice(38, 42)).toEqual([38, 39, 0, 1]);
  });

  test("with other columns are refused", async () => {
    const error = await caught(() => fromParquet([golden("none.parquet"), golden("pages.parquet")]));
    expect(error).toMatchObject({ code: "BAD_DATA" });
    expect(error.message).toMatch(/pages\.parquet: its columns are i, third, and .*none\.parquet has i, s; read such/);
  });
});

describe("what cannot be read", () => {
  test("a column that is not there", async () => {
    for (const options of [{ columns: ["x"] }, { types: { x: "bigint" } }] as const)
      expect(await caught(() => fromParquet(golden("none.parquet"), options))).toMatchObject({
        code: "MISUSE",
        message: expect.stringContaining('no column "x"; it has i, s'),
      });
    expect(await caught(() => fromParquet([]))).toMatchObject({ code: "MISUSE" });
    const rows = await fromParquet(golden("none.parquet"));
    expect(await caught(() => rows.column("x"))).toMatchObject({ code: "MISUSE", message: /no column "x"/ });
  });

  test("what is no Parquet file, or is cut short, names the file", async () => {
    const whole = await readFile(golden("none.parquet"));
    for (const content of [Buffer.from("a,b\n1,2\n"), Buffer.alloc(0), whole.subarray(0, -7), whole.subarray(9)]) {
      const path = await fileOf("rows.parquet", content);
      const error = await caught(() => fromParquet(path).then((rows) => all(rows)));
      expect(error.code).toBe("BAD_DATA");
      expect(error.message).toContain(path);
    }
  });

  test("damage in a page is an error of its rows, each time that they are asked for", async () => {
    const path = await fileOf("rows.parquet", "");
    const content = await readFile(golden("gzip.parquet"));
    content.fill(0xff, 30, 60);
    await writeFile(path, content);
    const rows = await fromParquet(path);
    for (let i = 0; i < 2; i++)
      expect(await caught(() => rows.get(3))).toMatchObject({
        code: "BAD_DATA",
        message: expect.stringContaining(`${path}: rows 0 to 39 cannot be decoded: `),
      });
  });
});
