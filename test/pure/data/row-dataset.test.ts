/** What one does to rows: map, filter, split, select; columns and images; and rows of one's own. */
import { basename, dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fromCsv, fromJsonLines, fromParquet } from "../../../client/data/from-files.ts";
import { loadDataset } from "../../../client/data/load-dataset.ts";
import { DataLoader } from "../../../client/data/loader.ts";
import { rowDataset } from "../../../client/data/own-rows.ts";
import type { RowDataset } from "../../../client/data/row-dataset.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { caught } from "../../observed.ts";
import { dot, folder, picture, pngOf } from "../../pictures.ts";
import { all, expected, fileOf, golden } from "../../tables.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

const numbers = (n: number): RowDataset<{ i: number }> => rowDataset(Array.from({ length: n }, (_, i) => ({ i })));
const turn = (): Promise<void> => new Promise((go) => setImmediate(go));

describe("map", () => {
  test("runs when a row is asked for, each time, with its index; sync rows stay sync", async () => {
    const calls: number[] = [];
    const rows = numbers(4).map(({ i }, index) => {
      calls.push(index);
      return i * 10;
    });
    expect(calls).toEqual([]);
    expect(rows.get(3)).toBe(30);
    expect([rows.get(1), rows.get(1)]).toEqual([10, 10]);
    expect(calls).toEqual([3, 1, 1]);
    expect(await all(rows.map(async (x) => (await turn(), x + 1)))).toEqual([1, 11, 21, 31]);
  });

  test("gives a loader its samples, and the fault of one names it", async () => {
    const rows = numbers(10).map(({ i }) => {
      if (i === 7) throw new RangeError("seven");
      return { xs: Float32Array.of(i), ys: i };
    });
    const seen: number[] = [];
    const error = await caught(async () => {
      for await (const { ys } of new DataLoader(rows, { batchSize: 4 })) seen.push(...Array.from(ys.data, Number));
    });
    expect(seen).toEqual([0, 1, 2, 3]);
    expect(error).toMatchObject({ code: "BAD_DATA", message: /sample 7 could not be read: seven/ });
    expect(error.cause).toBeInstanceOf(RangeError);
  });
});

describe("filter", () => {
  test("keeps the rows for which the function says true, in order, also by promise", async () => {
    const even = await numbers(9).filter(({ i }) => i % 2 === 0);
    expect(await all(even)).toEqual([0, 2, 4, 6, 8].map((i) => ({ i })));
    const late = await even.filter(async ({ i }, index) => (await turn(), i === 2 * index && i > 2));
    expect(await all(late)).toEqual([4, 6, 8].map((i) => ({ i })));
    expect((await late.filter(() => false)).length).toBe(0);
  });

  test("narrows the rows' type", async () => {
    const rows = rowDataset<{ x: number | null }>([{ x: 1 }, { x: null }]);
    const known = await rows.filter((row): row is { x: number } => row.x !== null);
    const values: number[] = await known.column("x");
    expect(values).toEqual([1]);
  });

  test("throws what the function throws, and MISUSE where it gives no answer", async () => {
    const thrown = new Error("no");
    const failing = numbers(30).filter(async ({ i }) => {
      await turn();
      if (i > 3) throw thrown;
      return true;
    });
    expect(await caught(() => failing)).toBe(thrown);
    const none = numbers(3).filter((() => undefined) as never);
    expect(await caught(() => none)).toMatchObject({ code: "MISUSE", message: /gave nothing for row 0/ });
    expect(await caught(() => numbers(3).filter(3 as never))).toMatchObject({ code: "MISUSE" });
    expect(await caught(() => numbers(3).map(3 as never))).toMatchObject({ code: "MISUSE" });
  });
});

describe("parts", () => {
  test("split draws by the seed, shares no row, and keeps their order", async () => {
    for (const seed of [0, 5]) {
      const [first, second] = numbers(10).split(0.7, { seed });
      const order = [...permutation(10, seed)];
      const sorted = (part: number[]): number[] => part.toSorted((a, b) => a - b);
      expect(await first.column("i")).toEqual(sorted(order.slice(0, 7)));
      expect(await second.column("i")).toEqual(sorted(order.slice(7)));
    }
    expect(await caught(() => numbers(3).split(80))).toMatchObject({ code: "MISUSE" });
  });

  test("select and take, also of each other", async () => {
    const rows = numbers(10).select([9, 3, 3, 5]);
    expect(await rows.column("i")).toEqual([9, 3, 3, 5]);
    expect(await rows.select([1, 0]).column("i")).toEqual([3, 9]);
    expect(await rows.take(2).column("i")).toEqual([9, 3]);
    expect(rows.take(99).length).toBe(4);
    for (const wrong of [[10], [-1], [0.5], [NaN]])
      expect(await caught(() => numbers(10).select(wrong))).toMatchObject({ code: "MISUSE", message: /no row/ });
    expect(await caught(() => numbers(3).take(-1))).toMatchObject({ code: "MISUSE" });
  });

  test("of a file keep its columns, and read its rows", async () => {
    const rows = await fromParquet<{ i: number; s: string }>(golden("gzip.parquet"));
    const few = (await rows.filter(({ i }) => i > 37)).select([1, 0]);
    expect([few.columnNames, await all(few), await few.column("s")]).toEqual([
      ["i", "s"],
      [
        { i: 39, s: "row 39" },
        { i: 38, s: "row 38" },
      ],
      ["row 39", "row 38"],
    ]);
  });
});

describe("columns", () => {
  test("column and unique, in the rows' order", async () => {
    const rows = await fromCsv(await fileOf("rows.csv", "k,s\n1,b\n2,a\n3,b\n"), { types: { s: "string" } });
    const names: string[] = await rows.unique("s");
    expect([await rows.column("s"), names]).toEqual([
      ["b", "a", "b"],
      ["b", "a"],
    ]);
    expect(await caught(() => rows.column("x"))).toMatchObject({
      code: "MISUSE",
      message: /no column "x"; there are k, s/,
    });
  });

  test("a row that lacks it is an error", async () => {
    const rows = await fromJsonLines<{ a: number }>(await fileOf("rows.jsonl", '{"a":1}\n{"b":1}\n'));
    expect(await caught(() => rows.column("a"))).toMatchObject({ code: "BAD_DATA", message: 'row 1 has no "a"' });
  });
});

describe("images", () => {
  let python: Record<string, any>;
  beforeAll(async () => {
    python = await expected();
  });

  test("as Hugging Face's datasets keep them: bytes in a struct, with the names of the classes", async () => {
    const { train, test } = await loadDataset<{ image: { bytes: Uint8Array; path: string }; label: number }>(
      golden("digits"),
    );
    expect(train!.classNames("label")).toEqual(["even", "odd"]);
    expect(train!.features!["image"]).toMatchObject({ _type: "Image" });
    for (const [rows, wanted] of [[train!, python["digits"].train] as const, [test!, python["digits"].test] as const]) {
      const images = rows.decodeImage("image");
      const found = await all(images);
      expect(found.map(({ image }) => [image.dtype, ...image.shape])).toEqual(found.map(() => ["uint8", 4, 4, 3]));
      const sum = (data: ArrayLike<number>): number => Array.from(data).reduce((a, b) => a + b, 0);
      expect(found.map(({ image, label }) => [image.data[0], sum(image.data as Uint8Array), label])).toEqual(wanted);
      expect(await images.column("label")).toEqual(wanted.map(([, , label]: number[]) => label));
    }
    const batches = new DataLoader(
      train!.decodeImage("image", { size: 2 }).map(({ image, label }) => [image, label] as const),
      {
        batchSize: 4,
      },
    );
    for await (const { xs, ys } of batches) expect([xs.shape.slice(1), ys.dtype]).toEqual([[2, 2, 3], "int64"]);
  });

  test("as paths from the folder of the table, from another folder, or absolute; and as bytes", async () => {
    const pixels = picture(3, 2, 3);
    const root = await folder({ "photos/a.png": await pngOf(3, 2, pixels), "b.png": dot });
    const { writeFile } = await import("node:fs/promises");
    await writeFile(`${root}/rows.csv`, `file,k\nphotos/a.png,0\nb.png,1\n${root}/b.png,2\n`);
    const rows = await fromCsv(`${root}/rows.csv`, { types: { file: "string" } });
    const images = rows.decodeImage("file");
    expect((await images.get(0)).file.data).toEqual(Uint8Array.from(pixels));
    expect((await images.get(1)).file.shape).toEqual([1, 1, 3]);
    expect((await images.get(2)).file).toEqual((await images.get(1)).file);
    const inside = rows
      .map(({ file }) => ({ file: basename(file) }))
      .take(1)
      .decodeImage("file", { folder: `${root}/photos` });
    expect((await inside.get(0)).file.data).toEqual(Uint8Array.from(pixels));
    const bytes = rowDataset([
      { image: dot, k: 1 },
      { image: { bytes: null, path: `${root}/b.png` } as never, k: 2 },
    ]);
    expect((await all(bytes.decodeImage("image"))).map(({ image }) => image.shape)).toEqual([
      [1, 1, 3],
      [1, 1, 3],
    ]);
  });

  test("that are missing or broken are errors with their place", async () => {
    const path = await fileOf("rows.csv", "file\nnone.png\n,\n".replace(",\n", '""\n'));
    const rows = await fromCsv(path, { types: { file: "string" } });
    const images = rows.decodeImage("file");
    expect(await caught(() => images.get(0))).toMatchObject({
      code: "BAD_DATA",
      message: expect.stringContaining(`${path}:2, file: cannot read the image ${dirname(path)}/none.png: ENOENT`),
    });
    expect((await caught(() => images.get(1))).message).toMatch(
      /:3, file: an image is its file's bytes, a path, or .*, not a string$/,
    );
    const own = rowDataset<any>([{ image: null }, { image: Uint8Array.of(1, 2) }, {}, 5]).decodeImage("image");
    expect((await caught(() => own.get(0))).message).toMatch(/^row 0, image: an image is .* not null$/);
    expect((await caught(() => own.get(1))).message).toMatch(/^row 1, image: cannot read the image \(2 bytes\)/);
    expect((await caught(() => own.get(2))).message).toMatch(/^row 2, image: the row has no such column/);
    expect((await caught(() => own.get(3))).message).toMatch(/^row 3, image/);
    expect(await caught(() => rows.decodeImage("x" as never))).toMatchObject({
      code: "MISUSE",
      message: /no column "x"/,
    });
    expect(await caught(() => rows.decodeImage("file", { size: 0 }))).toMatchObject({ code: "MISUSE" });
  });

  test("class names that the file does not have are told", async () => {
    const rows = await fromParquet(golden("none.parquet"));
    expect(await caught(() => rows.classNames("s"))).toMatchObject({ code: "MISUSE", message: /unique\("s"\) gives/ });
  });
});

describe("rows of one's own", () => {
  test("a list, or a length and a get", async () => {
    const own = rowDataset({ length: 3, get: (i) => Promise.resolve(i * i) });
    expect([own.length, await all(own), own.columnNames]).toEqual([3, [0, 1, 4], undefined]);
    expect(await all(rowDataset(["a", "b"]).map((text) => text.toUpperCase()))).toEqual(["A", "B"]);
  });

  test.each([[undefined], [null], [5], [{ length: 3 }], [{ length: -1, get: () => 1 }], [new Set([1])], ["text"]])(
    "%s is refused",
    async (rows) => {
      expect(await caught(() => rowDataset(rows as never))).toMatchObject({ code: "MISUSE", message: /a list, or/ });
    },
  );
});
