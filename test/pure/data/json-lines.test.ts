/** Rows of JSON lines and of JSON arrays, as Python writes them. */
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { fromJsonLines } from "../../../client/data/from-files.ts";
import { caught } from "../../observed.ts";
import { all, fileOf } from "../../tables.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

const rowsOf = async (text: string | Uint8Array): Promise<unknown[]> =>
  all(await fromJsonLines<unknown>(await fileOf("rows.jsonl", text)));

describe("lines", () => {
  test("each is a row; empty ones are none; \\r\\n ends one, and a mark begins none", async () => {
    expect(await rowsOf('\ufeff{"a":1}\r\n\r\n  \n{"a":[1,{"b":null}]}\n"text"\n3')).toEqual([
      { a: 1 },
      { a: [1, { b: null }] },
      "text",
      3,
    ]);
    expect(await rowsOf("")).toEqual([]);
  });

  test("any values come back, wherever pages of the file end", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.jsonValue(), { maxLength: 20 }), fc.nat(60), async (values, before) => {
        const rows = ["x".repeat(65_536 - before), ...values];
        const text = rows.map((row) => JSON.stringify(row)).join("\n");
        const wanted = rows.map(
          (row) =>
            JSON.parse(JSON.stringify(row), (_, value: unknown) =>
              typeof value === "number" && /^-?\d{16,}$/.test(String(value)) && !Number.isSafeInteger(value)
                ? BigInt(String(value))
                : value,
            ) as unknown,
        );
        expect(await rowsOf(text)).toEqual(wanted);
      }),
      { numRuns: 40 },
    );
  });

  test("of lists are rows too", async () => {
    expect(await rowsOf('["a", 0]\n["b", 1]\n')).toEqual([
      ["a", 0],
      ["b", 1],
    ]);
  });

  test("are found by index in any order, in a file of many pages", async () => {
    const text = Array.from({ length: 40_000 }, (_, i) => JSON.stringify({ i, text: `row ${i}` })).join("\n");
    const rows = await fromJsonLines<{ i: number; text: string }>(await fileOf("rows.jsonl", text), { cacheBytes: 1 });
    expect(rows.length).toBe(40_000);
    for (const i of [39_999, 0, 20_123, 5]) expect(await rows.get(i)).toEqual({ i, text: `row ${i}` });
    expect((await rows.column("i")).reduce((sum, i) => sum + i, 0)).toBe((40_000 * 39_999) / 2);
  });

  test("gzipped they are the same", async () => {
    expect(await rowsOf(gzipSync('{"a":1}\n{"a":2}\n'))).toEqual([{ a: 1 }, { a: 2 }]);
  });
});

describe("numbers", () => {
  test("whole ones past 2^53 are bigints, and only they; digits in text stay text", async () => {
    const line =
      '{"id":9007199254740993,"neg":-12345678901234567890,"safe":9007199254740991,"f":0.12345678901234567,"e":1e20,"s":"9007199254740993 \\" 1234567890123456789","9007199254740993":1}';
    expect(await rowsOf(line)).toEqual([
      {
        id: 9007199254740993n,
        neg: -12345678901234567890n,
        safe: 9007199254740991,
        f: Number("0.12345678901234567"),
        e: 1e20,
        s: '9007199254740993 " 1234567890123456789',
        "9007199254740993": 1,
      },
    ]);
  });

  test("NaN and Infinity, as Python's json writes them, are numbers", async () => {
    expect(await rowsOf('{"a":NaN,"b":[Infinity,-Infinity],"c":"NaN","d":9007199254740993}\n')).toEqual([
      { a: NaN, b: [Infinity, -Infinity], c: "NaN", d: 9007199254740993n },
    ]);
  });
});

describe("an array", () => {
  test("gives its elements, over one line or several; rows are fresh each time", async () => {
    for (const text of ['[{"a":1},{"a":2}]', '[{"a":1},{"a":2}]\n'])
      expect(await all(await fromJsonLines(await fileOf("rows.json", text)))).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await rowsOf('[{"a":1},{"a":2}]\n')).toEqual([[{ a: 1 }, { a: 2 }]]);
    const rows = await fromJsonLines<{ a: number }>(await fileOf("rows.json", '[\n  {"a":1},\n  {"a":2}\n]\n'));
    (await rows.get(0)).a = 9;
    expect(await all(rows)).toEqual([{ a: 1 }, { a: 2 }]);
  });

  test("that is none is an error", async () => {
    const path = await fileOf("rows.json", '[\n{"a":1},\n');
    expect(await caught(() => fromJsonLines(path))).toMatchObject({
      code: "BAD_DATA",
      message: expect.stringContaining("begins as a JSON array, and is none"),
    });
  });
});

describe("what is no JSON", () => {
  test.each<[string, string | Uint8Array, number]>([
    ["a broken line", '{"a":1}\n\n{"a":1\n{"a":3}\n', 3],
    ["a number for a key", "1\n{9007199254740993: 1}\n", 2],
    ["a word", "1\n2\nnan\n", 3],
    ["no UTF-8", Buffer.concat([Buffer.from("1\n"), Buffer.of(0x22, 0xff, 0x22)]), 2],
  ])("%s: its row is an error that says the line, and the others are rows", async (_, text, line) => {
    const path = await fileOf("rows.jsonl", text);
    const rows = await fromJsonLines<unknown>(path);
    const errors: string[] = [];
    for (let i = 0; i < rows.length; i++)
      await Promise.resolve()
        .then(() => rows.get(i))
        .catch((error: Error) => errors.push(error.message));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(new RegExp(`rows\\.jsonl:${line}: it is not a line of JSON: `));
  });

  test("UTF-16 is told", async () => {
    expect((await caught(async () => rowsOf(Buffer.from('\ufeff{"a":1}', "utf16le")))).message).toMatch(/UTF-16/);
  });
});
