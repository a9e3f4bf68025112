/** Rows of CSV: what Python's csv module and pandas read there, and errors that say the file and the line. */
import { appendFile, rm, utimes, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataLoader } from "../../../client/data/loader.ts";
import { fromCsv } from "../../../client/data/from-files.ts";
import { caught } from "../../observed.ts";
import { all, expected, fileOf } from "../../tables.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

let python: Record<string, any>;
beforeAll(async () => {
  python = await expected();
});

const rowsOf = async (text: string | Uint8Array, options: object = {}): Promise<Record<string, unknown>[]> =>
  all(await fromCsv(await fileOf("rows.csv", text), options));

/** The error's message, with FILE for the path. */
async function refusal(text: string | Uint8Array, options: object = {}, name = "rows.csv"): Promise<string> {
  const path = await fileOf(name, text);
  const error = await caught(() => fromCsv(path, options));
  expect(error.code).toBe("BAD_DATA");
  return error.message.replaceAll(path, "FILE");
}

describe("cells", () => {
  test("are those that Python's csv reads: quotes, commas and ends of lines in them", async () => {
    expect(python["csv"]).toHaveLength(24);
    for (const { text, rows } of python["csv"] as { text: string; rows: string[][] }[]) {
      const names = rows[0]!.map((_, i) => `c${i}`);
      const types = Object.fromEntries(names.map((name) => [name, "string" as const]));
      const found = await rowsOf(text, { types });
      expect(found.map((row) => names.map((name) => row[name]))).toEqual(rows);
    }
  });

  test("come back as they were written, wherever pages of the file end", async () => {
    const cell = fc.string({ unit: fc.constantFrom('"', ",", "\n", "\r", "a", "é", "\u{1f600}"), maxLength: 8 });
    const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    const table = fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(table, fc.nat(40), fc.constantFrom("\n", "\r\n", "\r"), async (rows, before, end) => {
        // The first row is as long as a page, less a few bytes.
        const long = "x".repeat(65_536 - before);
        const all = [["a", "b"], [long, ""], ...rows];
        const text = all.map((row) => row.map(quote).join(",")).join(end);
        const found = await rowsOf(text, { types: { a: "string", b: "string" } });
        expect(found.map(({ a, b }) => [a, b])).toEqual(all.slice(1));
      }),
      { numRuns: 40 },
    );
  });

  test("a byte order mark, empty lines, and a last line without its end are no cells", async () => {
    const found = await rowsOf("\ufeffa,b\r\n\r\n1,2\r\n\n\n3,4");
    expect(found).toEqual([
      { a: 1, b: 2 },
      { a: 3, b: 4 },
    ]);
  });

  test("a quote within a cell without quotes is one of its characters", async () => {
    expect(await rowsOf('size,b\n5" disk,""\n')).toEqual([{ size: '5" disk', b: NaN }]);
  });

  test("tabs part a .tsv file, and any sign where delimiter says so", async () => {
    const tsv = await fileOf("rows.tsv", "a\tb\n1,5\t2\n");
    expect(await all(await fromCsv(tsv))).toEqual([{ a: "1,5", b: 2 }]);
    expect(await rowsOf('a;b\n"x;y";2\n', { delimiter: ";" })).toEqual([{ a: "x;y", b: 2 }]);
  });

  test("latin1 is read where encoding says so", async () => {
    expect(await rowsOf(Buffer.from("a\nÄ\n", "latin1"), { encoding: "latin1" })).toEqual([{ a: "Ä" }]);
  });

  test("a gzipped file is the same, and a URL is a path", async () => {
    const path = await fileOf("rows.csv.gz", gzipSync("a,b\n1,x\n2,y\n"));
    expect(await all(await fromCsv(pathToFileURL(path)))).toEqual([
      { a: 1, b: "x" },
      { a: 2, b: "y" },
    ]);
    const broken = await fileOf("rows.csv.gz", gzipSync("a,b\n1,x\n2,y\n").subarray(0, -9));
    expect(await caught(() => fromCsv(broken))).toMatchObject({ code: "BAD_DATA", message: /unexpected end of file/ });
  });
});

describe("types", () => {
  test("are those that pandas finds in a whole column", async () => {
    for (const [name, { text, values }] of Object.entries<any>(python["inferred"])) {
      const found = (await rowsOf(text)).map((row) => row[name]);
      // A whole column past 2^53 is of one type.
      const big = values.some((value: unknown) => typeof value === "bigint");
      const isNumbers = values.every((value: unknown) => value === null || typeof value === "number");
      const wanted = values.map((value: any) => (big ? BigInt(value) : value === null && isNumbers ? NaN : value));
      expect({ [name]: found }).toEqual({ [name]: wanted });
    }
  });

  test("a number with a leading zero is text, unless types says otherwise", async () => {
    expect(await rowsOf("zip\n01067\n12345\n")).toEqual([{ zip: "01067" }, { zip: "12345" }]);
    expect(await rowsOf("zip\n01067\n", { types: { zip: "number" } })).toEqual([{ zip: 1067 }]);
  });

  test("one cell at the end of the file decides for all before it", async () => {
    const path = await fileOf("rows.csv", `a\n${"1\n".repeat(100_000)}x\n`);
    expect(await (await fromCsv(path)).get(0)).toEqual({ a: "1" });
  });

  test("declared: each cell is of its type, missing ones as the type has them", async () => {
    const types = { n: "number", i: "bigint", t: "boolean", s: "string", d: "date" } as const;
    const text = "n,i,t,s,d\n1,2,true,NA,2020-02-29\n,,,,\n1e2,-3,FALSE,007,2020-01-02 03:04:05\n";
    const path = await fileOf("rows.csv", `${text}1,1,true,x,2020-01-02T03:04:05.5+02:00\n`);
    const rows = await fromCsv(path, { types });
    const first = await rows.get(0);
    // The types are known to the compiler.
    const typed: [number, bigint | null, boolean | null, string, Date | null] = [
      first.n,
      first.i,
      first.t,
      first.s,
      first.d,
    ];
    expect(typed).toEqual([1, 2n, true, "NA", new Date("2020-02-29T00:00:00Z")]);
    expect(await rows.get(1)).toEqual({ n: NaN, i: null, t: null, s: "", d: null });
    expect(await rows.get(2)).toEqual({ n: 100, i: -3n, t: false, s: "007", d: new Date("2020-01-02T03:04:05Z") });
    expect((await rows.get(3)).d).toEqual(new Date("2020-01-02T01:04:05.500Z"));
  });

  test("missing says which cells hold nothing", async () => {
    expect(await rowsOf("a,b\n-999,NA\n1,\n", { missing: ["-999"] })).toEqual([
      { a: NaN, b: "NA" },
      { a: 1, b: "" },
    ]);
  });

  test.each([
    ["number", "abc"],
    ["number", "0x10"],
    ["number", "1,5"],
    ["bigint", "1.5"],
    ["boolean", "yes"],
    ["date", "2021-02-29"],
    ["date", "2021-13-01"],
    ["date", "01.02.2021"],
  ])("a cell that is no %s is an error with its line: %s", async (type, cell) => {
    expect(await refusal(`k,a\nx,\n\ny,"${cell}"\n`, { types: { a: type } })).toMatch(
      new RegExp(`^FILE:4: a is "${cell}", which is no ${type}; types: \\{ a: "string" \\}`),
    );
  });
});

describe("the header", () => {
  test("a column without a name is called by its position, as pandas does", async () => {
    const rows = await fromCsv(await fileOf("rows.csv", ",a,\n0,1,2\n"));
    expect(rows.columnNames).toEqual(["Unnamed: 0", "a", "Unnamed: 2"]);
  });

  test("header names the columns of a file without one", async () => {
    expect(await rowsOf("1,x\n2,y\n", { header: ["a", "b"] })).toEqual([
      { a: 1, b: "x" },
      { a: 2, b: "y" },
    ]);
  });

  test("alone it is a table without rows", async () => {
    const rows = await fromCsv(await fileOf("rows.csv", "a,b\n"));
    expect([rows.length, rows.columnNames]).toEqual([0, ["a", "b"]]);
  });

  test("names like __proto__ are names", async () => {
    const [row] = await rowsOf("__proto__,constructor\n1,2\n");
    expect(Object.entries(row!)).toEqual([
      ["__proto__", 1],
      ["constructor", 2],
    ]);
  });
});

describe("errors say the file, the line and what to do", () => {
  test.each<[string, string | Uint8Array, RegExp]>([
    ["a short row", "a,b\n1,2\n3\n", /^FILE:3: a row of 1 cell, where the file has 2 columns: a, b$/],
    ["a long row", 'a,b\n"x\ny",2\n3,4,5\n', /^FILE:4: a row of 3 cells.*; a cell that holds "," stands in quotes$/],
    ["a name twice", "a,b,a\n1,2,3\n", /^FILE: its header has "a" twice/],
    ["an empty file", "", /^FILE: it is empty/],
    ["only empty lines", "\n\n", /^FILE: it is empty/],
    ["a quote without an end", 'a,b\n1,2\n3,"x\ny\n', /^FILE:3: the quote that begins a cell here has no end/],
    ["text after a quote", 'a,b\n"x"y,2\n', /^FILE:2: after the quote that ends a cell comes "y,2"/],
    ["another delimiter", "a;b\n1;2\n", /^FILE: its header is one column, "a;b"; .* delimiter: ";"/],
    ["UTF-16", Buffer.from("\ufeffa,b\n", "utf16le"), /^FILE: it is text in UTF-16/],
    ["UTF-16 without a mark", Buffer.from("a,b\n", "utf16le"), /^FILE:1: a zero byte/],
    ["no UTF-8", Buffer.from("a\nx\nÄ\n", "latin1"), /^FILE:3: it is not utf-8; .*encoding: "latin1"/],
  ])("%s", async (_, text, message) => {
    expect(await refusal(text)).toMatch(message);
  });

  test("a file that is not there, or a folder", async () => {
    const path = await fileOf("rows.csv", "");
    await rm(path);
    expect(await caught(() => fromCsv(path))).toMatchObject({
      code: "BAD_DATA",
      message: /cannot read the file .*ENOENT/,
    });
    expect((await caught(() => fromCsv("."))).message).toMatch(/not a regular file/);
  });

  test.each<[object, RegExp]>([
    [{ delimiter: ";;" }, /delimiter is ";;"/],
    [{ delimiter: '"' }, /delimiter/],
    [{ delimiter: "→" }, /one ASCII character/],
    [{ encoding: "klingon" }, /encoding: there is none of the name "klingon"/],
    [{ encoding: "utf-16le" }, /UTF-16/],
    [{ types: { c: "number" } }, /no column "c"; it has a, b/],
    [{ types: { a: "int" } }, /types: a is "int"; known are number/],
  ])("the option %j", async (options, message) => {
    const path = await fileOf("rows.csv", "a,b\n1,2\n");
    const error = await caught(() => fromCsv(path, options));
    expect(error).toMatchObject({ code: "MISUSE" });
    expect(error.message).toMatch(message);
  });
});

describe("a large file", () => {
  const lines = Array.from({ length: 60_000 }, (_, i) => `${i},"line ${i}\n",${i / 4}`);

  test("is read by position, in any order, with little of it in memory", async () => {
    const path = await fileOf("rows.csv", `i,text,x\n${lines.join("\n")}\n`);
    const rows = await fromCsv(path, { cacheBytes: 1 << 17 });
    expect(rows.length).toBe(60_000);
    for (const i of [59_999, 0, 31_234, 1, 59_998, 31_235])
      expect(await rows.get(i)).toEqual({ i, text: `line ${i}\n`, x: i / 4 });
    let sum = 0;
    for await (const row of rows) sum += row["i"] as number;
    expect(sum).toBe((60_000 * 59_999) / 2);
  });

  test("shuffled by a loader, each row comes once, with its own values", async () => {
    const path = await fileOf("rows.csv", `i,text,x\n${lines.slice(0, 500).join("\n")}\n`);
    const rows = await fromCsv(path, { types: { i: "number", x: "number" } });
    const samples = rows.map(({ i, x }) => ({ xs: Float32Array.of(i, x), ys: i }));
    const seen: number[] = [];
    for await (const { xs, ys } of new DataLoader(samples, { batchSize: 32, shuffle: true }))
      for (const [k, label] of [...ys.data].entries()) {
        expect([xs.data[2 * k], xs.data[2 * k + 1]]).toEqual([Number(label), Number(label) / 4]);
        seen.push(Number(label));
      }
    expect(seen).not.toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  test("that changes under its rows is noticed", async () => {
    const path = await fileOf("rows.csv", `i,text,x\n${lines.join("\n")}\n`);
    const rows = await fromCsv(path, { cacheBytes: 0 });
    // After a second without a read the file is closed.
    await sleep(1300);
    await appendFile(path, "more\n");
    expect(await caught(() => rows.get(5))).toMatchObject({ code: "BAD_DATA", message: /changed since it was opened/ });
    await writeFile(path, "i,text,x\n1,2,3\n");
    await utimes(path, 1, 1);
    expect((await caught(() => rows.get(50_000))).code).toBe("BAD_DATA");
  });

  test("an index out of range is refused", async () => {
    const rows = await fromCsv(await fileOf("rows.csv", "a\n1\n"));
    for (const index of [1, -1, 0.5, NaN])
      expect(await caught(() => rows.get(index))).toMatchObject({ code: "MISUSE", message: /there are 1, counted/ });
  });
});
