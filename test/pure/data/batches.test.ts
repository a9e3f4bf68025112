import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { type NDArray, toBytes } from "../../../bridge/values/ndarray.ts";
import { batches, numBatches } from "../../../client/data/batches.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { rows } from "../../tiny.ts";

const targets = (found: Iterable<{ ys: NDArray }>): number[][] => [...found].map(({ ys }) => [...ys.data].map(Number));

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("batches", () => {
  test("keeps the order of the data, and the last batch is what is left", () => {
    const found = [...batches(rows(5), { batchSize: 2 })];
    expect(found).toEqual([
      {
        xs: { dtype: "float32", shape: [2, 2], data: Float32Array.of(0, 1, 10, 11) },
        ys: { dtype: "int64", shape: [2], data: BigInt64Array.of(0n, 1n) },
      },
      {
        xs: { dtype: "float32", shape: [2, 2], data: Float32Array.of(20, 21, 30, 31) },
        ys: { dtype: "int64", shape: [2], data: BigInt64Array.of(2n, 3n) },
      },
      {
        xs: { dtype: "float32", shape: [1, 2], data: Float32Array.of(40, 41) },
        ys: { dtype: "int64", shape: [1], data: BigInt64Array.of(4n) },
      },
    ]);
  });

  test.each([
    { n: 5, batchSize: 2, dropLast: false, sizes: [2, 2, 1] },
    { n: 5, batchSize: 2, dropLast: true, sizes: [2, 2] },
    { n: 6, batchSize: 2, dropLast: true, sizes: [2, 2, 2] },
    { n: 6, batchSize: 3, dropLast: false, sizes: [3, 3] },
    { n: 3, batchSize: 4, dropLast: false, sizes: [3] },
    { n: 3, batchSize: 4, dropLast: true, sizes: [] },
    { n: 0, batchSize: 4, dropLast: false, sizes: [] },
  ])("$n rows by $batchSize, dropLast $dropLast: $sizes", ({ n, batchSize, dropLast, sizes }) => {
    const found = [...batches(rows(n), { batchSize, dropLast, shuffle: { seed: 1 } })];
    expect(found.map(({ xs }) => xs.shape)).toEqual(sizes.map((size) => [size, 2]));
    expect(numBatches(n, batchSize, dropLast)).toBe(sizes.length);
  });

  test("shuffled, rows follow the permutation and stay with their targets", () => {
    const found = [...batches(rows(11), { batchSize: 4, shuffle: { seed: 7, epoch: 2 } })];
    expect(targets(found).flat()).toEqual([...permutation(11, 7, 2)]);
    for (const { xs, ys } of found)
      expect([...xs.data]).toEqual([...ys.data].flatMap((y) => [10 * Number(y), 10 * Number(y) + 1]));
  });

  test("every epoch has its own order, the same each time", () => {
    const order = (epoch: number): number[][] =>
      targets(batches(rows(50), { batchSize: 8, shuffle: { seed: 3, epoch } }));
    expect(order(0)).toEqual(targets(batches(rows(50), { batchSize: 8, shuffle: { seed: 3 } })));
    expect(order(1)).toEqual(order(1));
    expect(order(1)).not.toEqual(order(0));
  });

  test("a batch shares no memory with the data", () => {
    for (const shuffle of [false, { seed: 0 }] as const) {
      const data = rows(4);
      for (const { xs, ys } of batches(data, { batchSize: 4, shuffle })) {
        toBytes(xs.data).fill(255);
        toBytes(ys.data).fill(255);
      }
      expect(data).toEqual(rows(4));
    }
  });

  test("data in the middle of a larger buffer", () => {
    const bytes = new Uint8Array(32).map((_, i) => i);
    const xs: NDArray = { dtype: "uint8", shape: [3, 2], data: bytes.subarray(5, 11) };
    const ys: NDArray = { dtype: "bool", shape: [3], data: Uint8Array.of(1, 0, 1).subarray(0) };
    const [first, second] = batches({ xs, ys }, { batchSize: 2 });
    expect([first?.xs.data, second?.xs.data]).toEqual([Uint8Array.of(5, 6, 7, 8), Uint8Array.of(9, 10)]);
    expect(first?.ys).toEqual({ dtype: "bool", shape: [2], data: Uint8Array.of(1, 0) });
  });

  test.each([0, -1, 1.5, Number.NaN, Infinity, 2 ** 60])("batchSize %s is refused at the call", (batchSize) => {
    expect(thrown(() => batches(rows(3), { batchSize }))).toMatchObject({
      code: "MISUSE",
      message: `batchSize must be a positive integer, not ${batchSize}`,
    });
  });

  test("data that do not go together are refused at the call", () => {
    const { xs } = rows(3);
    expect(thrown(() => batches({ xs, ys: rows(4).ys }, { batchSize: 2 }))).toMatchObject({
      code: "BAD_DATA",
      message: "xs has 3 rows and ys has 4; each row needs its target",
    });
    const scalar: NDArray = { dtype: "int64", shape: [], data: BigInt64Array.of(1n) };
    expect(thrown(() => batches({ xs, ys: scalar }, { batchSize: 2 }))).toMatchObject({
      code: "BAD_DATA",
      message: "ys is a single number, without rows to cut into batches",
    });
    expect(() => batches({ xs: { ...xs, shape: [3, 3] }, ys: rows(3).ys }, { batchSize: 2 })).toThrow(
      "xs: shape [3, 3] has 9 elements, data has 6",
    );
  });
});

describe("permutation", () => {
  test("holds every index once, for many lengths and seeds", () => {
    for (const n of [...Array(70).keys(), 255, 256, 257, 1000, 4096, 60000]) {
      for (const seed of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
        const sorted = permutation(n, seed).toSorted();
        expect(sorted.length).toBe(n);
        expect(sorted.every((value, i) => value === i)).toBe(true);
      }
    }
  });

  // From test/native/shuffle.py: these never change, or a seed would mean another training.
  const reference = [
    { n: 10, seed: 0, epoch: 0, order: [9, 2, 0, 3, 4, 6, 7, 1, 8, 5] },
    { n: 10, seed: 0, epoch: 1, order: [8, 4, 1, 3, 2, 6, 5, 0, 7, 9] },
    { n: 10, seed: Number.MAX_SAFE_INTEGER, epoch: 7, order: [8, 4, 7, 1, 0, 2, 3, 5, 9, 6] },
  ];
  test.each(reference)("of $n with seed $seed in epoch $epoch", ({ n, seed, epoch, order }) => {
    expect([...permutation(n, seed, epoch)]).toEqual(order);
  });

  test("of 60,000, by the hash of its decimal numbers", () => {
    const text = permutation(60000, 2026, 3).join(",");
    expect(createHash("sha256").update(text).digest("hex")).toBe(
      "ef23eabda9863ff59072cd5040158718a5313346cb26ee581cd93727b6a5007e",
    );
  });

  test("is what test/native/shuffle.py finds", async (context) => {
    const python = process.env["TORCHWIRE_PYTHON"] ?? "python3";
    const run = promisify(execFile);
    if (process.env["TORCHWIRE_PYTHON"] === undefined) {
      const works = await run(python, ["--version"]).then(
        () => true,
        () => false,
      );
      if (!works) context.skip("no Python: TORCHWIRE_PYTHON is not set and python3 is not on the path");
    }
    const cases: [n: number, seed: number, epoch: number][] = [
      ...reference.map(({ n, seed, epoch }): [number, number, number] => [n, seed, epoch]),
      ...[0, 1, 2, 3, 17, 64, 65, 1000, 20000].flatMap((n): [number, number, number][] => [
        [n, 1, 0],
        [n, 2 ** 32 + 5, 4294967295],
        [n, 123456789012345, 12],
      ]),
    ];
    const script = fileURLToPath(new URL("../../native/shuffle.py", import.meta.url));
    const { stdout } = await run(python, ["-B", script, JSON.stringify(cases)], { maxBuffer: 1 << 24 });
    expect(cases.map((each) => [...permutation(...each)])).toEqual(JSON.parse(stdout));
  });

  test("every order of four comes equally often", () => {
    const draws = 24_000;
    const counts = new Map<string, number>();
    for (let seed = 0; seed < draws; seed++) {
      const order = permutation(4, seed).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    const expected = draws / 24;
    const chiSquared = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    expect(counts.size).toBe(24);
    // The 99.9 % point with 23 degrees of freedom. The seeds are fixed, so this holds always or never.
    expect(chiSquared).toBeLessThan(49.73);
  });

  test.each([
    { n: -1, seed: 0, epoch: 0, name: "n" },
    { n: 2 ** 32, seed: 0, epoch: 0, name: "n" },
    { n: 1, seed: 0.5, epoch: 0, name: "seed" },
    { n: 1, seed: 2 ** 53, epoch: 0, name: "seed" },
    { n: 1, seed: Number.NaN, epoch: 0, name: "seed" },
    { n: 1, seed: 0, epoch: -1, name: "epoch" },
  ])("refuses $name out of range: $n, $seed, $epoch", ({ n, seed, epoch, name }) => {
    expect(thrown(() => permutation(n, seed, epoch))).toMatchObject({
      code: "MISUSE",
      message: expect.stringMatching(`^${name} must be an integer from 0 to`),
    });
  });
});
