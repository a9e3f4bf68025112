import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { NDArray } from "torchwire";
import { batches } from "../../../client/data/batches.ts";
import { arrayDataset, split, subset, take } from "../../../client/data/dataset.ts";
import { DataLoader, type DataLoaderOptions } from "../../../client/data/loader.ts";
import type { Position } from "../../../client/data/position.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { rows, turn, unchecked } from "../../tiny.ts";
import type { Data, Dataset, Inputs, Sample } from "../../../client/data/types.ts";
import { caught } from "../../observed.ts";

const later = (ms = 1): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const sampleOf = (i: number): Sample => ({
  xs: { dtype: "float32", shape: [2], data: Float32Array.of(10 * i, 10 * i + 1) },
  ys: i,
});

/** The same samples, each after some turns of the event loop, and what is known of the calls. */
class Slow implements Dataset {
  readonly length: number;
  readonly calls: number[] = [];
  running = 0;
  most = 0;

  constructor(length: number) {
    this.length = length;
  }

  async get(i: number): Promise<Sample> {
    this.calls.push(i);
    this.most = Math.max(this.most, ++this.running);
    // Later ones are often done first.
    for (let turns = 0; turns < 1 + ((7 * i) % 5); turns++) await turn();
    this.running--;
    return sampleOf(i);
  }
}

async function all<T>(data: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const batch of data) found.push(batch);
  return found;
}

const targetsOf = (found: readonly { ys: NDArray }[]): number[][] => found.map(({ ys }) => [...ys.data].map(Number));
const targets = async (data: AsyncIterable<{ ys: NDArray }>): Promise<number[][]> => targetsOf(await all(data));

/** The first `n` batches' targets of a pass that is then given up. */
async function some(data: AsyncIterable<{ ys: NDArray }>, n: number): Promise<number[][]> {
  const found: { ys: NDArray }[] = [];
  for await (const batch of data) if (found.push(batch) === n) break;
  return targetsOf(found);
}

const unhandled = vi.fn<(reason: unknown) => void>();
process.on("unhandledRejection", unhandled);
afterEach(async () => {
  await later();
  if (unhandled.mock.calls.length > 0) throw new Error("a rejection was not handled", { cause: unhandled.mock.calls });
});

const sources: [string, () => Dataset | { xs: NDArray; ys: NDArray }][] = [
  ["arrays", () => rows(11)],
  ["samples at once", () => ({ length: 11, get: sampleOf })],
  ["samples that take time", () => new Slow(11)],
  ["a subset of arrays", () => subset(rows(30), [...Array(11).keys()])],
];

describe.each(sources)("a pass over %s", (_name, make) => {
  test("gives the batches that `batches` cuts", async () => {
    for (const dropLast of [false, true]) {
      const loader = new DataLoader(make(), { batchSize: 4, dropLast });
      const expected = [...batches(rows(11), { batchSize: 4, dropLast })];
      expect(await all(loader)).toEqual(expected);
      expect([loader.length, loader.samples, loader.batchSize]).toEqual([expected.length, 11, 4]);
    }
  });

  test("is the next epoch's order each time", async () => {
    const loader = new DataLoader(make(), { batchSize: 4, shuffle: { seed: 7 } });
    for (let epoch = 0; epoch < 3; epoch++)
      expect(await all(loader)).toEqual([...batches(rows(11), { batchSize: 4, shuffle: { seed: 7, epoch } })]);
  });

  test("starts where its position says", async () => {
    const options: DataLoaderOptions = { batchSize: 2, shuffle: true, seed: 3 };
    const reference = new DataLoader(rows(11), options);
    const epochs = [await targets(reference), await targets(reference), await targets(reference)] as const;
    const seen: Position[] = [];
    const loader = new DataLoader(make(), options);
    seen.push(loader.position);
    await some(loader, 4);
    const position = JSON.parse(JSON.stringify(loader.position)) as Position;
    expect(position).toEqual({ epoch: 0, batch: 4, seed: 3 });

    const resumed = new DataLoader(make(), { ...options, seed: 99 });
    resumed.position = position;
    expect(resumed.position).toEqual(position);
    expect(await targets(resumed)).toEqual(epochs[0].slice(4));
    expect(resumed.position).toEqual({ epoch: 1, batch: 0, seed: 3 });
    expect(await targets(resumed)).toEqual(epochs[1]);
    resumed.position = { epoch: 2, batch: 6, seed: 3 };
    expect(await targets(resumed)).toEqual([]);
    resumed.position = { epoch: 2, batch: 5, seed: 3 };
    expect(await targets(resumed)).toEqual(epochs[2].slice(5));
  });

  test("counts what was given out", async () => {
    const loader = new DataLoader(make(), { batchSize: 4 });
    const seen: Position[] = [loader.position];
    for await (const { ys } of loader) {
      expect(ys.dtype).toBe("int64");
      seen.push(loader.position);
    }
    seen.push(loader.position);
    expect(seen.map(({ epoch, batch }) => [epoch, batch])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [0, 3],
      [1, 0],
    ]);
  });

  test("that is left keeps its place; the iteration after it is the next epoch, from its start", async () => {
    const loader = new DataLoader(make(), { batchSize: 4, shuffle: true });
    const epoch = (n: number): number[][] =>
      targetsOf([...batches(rows(11), { batchSize: 4, shuffle: { seed: 0, epoch: n } })]);
    expect(await some(loader, 2)).toEqual(epoch(0).slice(0, 2));
    expect(loader.position).toEqual({ epoch: 0, batch: 2, seed: 0 });
    expect(await targets(loader)).toEqual(epoch(1));
    await some(loader, 1);
    // Assigning where it stands is going on from there.
    loader.position = { ...loader.position };
    expect(await targets(loader)).toEqual(epoch(2).slice(1));
    expect(loader.position).toEqual({ epoch: 3, batch: 0, seed: 0 });
  });

  test("does not disturb another one", async () => {
    const loader = new DataLoader(make(), { batchSize: 3, shuffle: true });
    const [first, second, third] = [loader, loader, loader].map((data) => data[Symbol.asyncIterator]());
    const found: { ys: NDArray }[][] = [[], [], []];
    const next = async (which: number, pass: typeof first): Promise<void> => {
      const { value } = await pass!.next();
      if (value !== undefined) found[which]!.push(value);
    };
    await next(0, first);
    await next(1, second);
    await Promise.all([next(0, first), next(1, second), next(2, third)]);
    await second!.return();
    expect(loader.position).toEqual({ epoch: 2, batch: 1, seed: 0 });
    for (let i = 0; i < 4; i++) await Promise.all([next(0, first), next(2, third), next(1, second)]);
    const epoch = (n: number): number[][] =>
      targetsOf([...batches(rows(11), { batchSize: 3, shuffle: { seed: 0, epoch: n } })]);
    expect(found.map(targetsOf)).toEqual([epoch(0), epoch(1).slice(0, 2), epoch(2)]);
    expect(loader.position).toEqual({ epoch: 3, batch: 0, seed: 0 });
  });
});

test("a pass that ends does not count for one that began after it", async () => {
  const loader = new DataLoader(rows(6), { batchSize: 2, shuffle: true });
  const old = loader[Symbol.asyncIterator]();
  await old.next();
  await some(loader, 1);
  for (let i = 0; i < 3; i++) await old.next();
  expect(loader.position).toEqual({ epoch: 1, batch: 1, seed: 0 });
  expect((await targets(loader)).flat()).toEqual([...permutation(6, 0, 2)]);
});

describe("samples are read", () => {
  test("by so many calls at once, in order, each once", async () => {
    for (const [workers, least] of [
      [1, 1],
      [3, 3],
      [20, 8],
    ] as const) {
      const data = new Slow(17);
      const loader = new DataLoader(data, { batchSize: 4, workers, prefetch: 3, shuffle: true });
      expect((await targets(loader)).flat()).toEqual([...permutation(17, 0, 0)]);
      expect(data.most).toBeLessThanOrEqual(Math.min(workers, 16));
      expect(data.most).toBeGreaterThanOrEqual(least);
      expect(data.calls).toEqual([...permutation(17, 0, 0)]);
    }
  });

  test("ahead of the loop by `prefetch` batches and no further", async () => {
    for (const [prefetch, read] of [
      [0, 2],
      [1, 4],
      [3, 8],
      [100, 12],
    ] as const) {
      const data = new Slow(12);
      const pass = new DataLoader(data, { batchSize: 2, prefetch })[Symbol.asyncIterator]();
      await pass.next();
      await later(20);
      expect(data.calls).toHaveLength(read);
      expect(data.running).toBe(0);
      await pass.return();
    }
  });

  test("as far ahead as a loop takes batches at once, up to 16, unless `prefetch` says how far", async () => {
    /** The batches that are ready before each burst. */
    const readyFor = async (burst: number, options: { prefetch?: number }): Promise<number[]> => {
      const data = new Slow(200);
      const pass = new DataLoader(data, { batchSize: 1, ...options })[Symbol.asyncIterator]();
      const ready: number[] = [];
      for (let taken = 0; taken + burst <= 150; taken += burst) {
        ready.push(data.calls.length - taken);
        for (let i = 0; i < burst; i++) await pass.next();
        await later(30);
        expect(data.running).toBe(0);
      }
      await pass.return();
      return ready;
    };
    // Twice as many with each burst that had to wait.
    expect((await readyFor(8, {})).slice(0, 6)).toEqual([0, 2, 4, 8, 8, 8]);
    expect((await readyFor(30, {})).at(-1)).toBe(16);
    // A loop that takes one at a time never waits, and reads no further ahead.
    expect((await readyFor(1, {})).slice(0, 6)).toEqual([0, 2, 2, 2, 2, 2]);
    expect((await readyFor(8, { prefetch: 2 })).at(-1)).toBe(2);
  });

  test("no further ahead where reading is the slower side", async () => {
    const data = new Slow(60);
    const pass = new DataLoader(data, { batchSize: 1, workers: 1 })[Symbol.asyncIterator]();
    // The loop always waits, and reading never stands still.
    for (let i = 0; i < 40; i++) await pass.next();
    await later(30);
    expect(data.calls.length - 40).toBe(2);
    await pass.return();
  });

  test("not at all that `dropLast` leaves out", async () => {
    const data = new Slow(11);
    await all(new DataLoader(data, { batchSize: 4, dropLast: true, prefetch: 9 }));
    expect(data.calls).toHaveLength(8);
  });

  test("and where the loop is left, no call is underway afterwards, and none comes", async () => {
    const data = new Slow(100);
    const loader = new DataLoader(data, { batchSize: 5, workers: 8, prefetch: 4 });
    for await (const batch of loader) {
      expect(batch.ys.shape).toEqual([5]);
      await turn();
      expect(data.running).toBeGreaterThan(0);
      break;
    }
    expect(data.running).toBe(0);
    const { length } = data.calls;
    await later(10);
    expect(data.calls).toHaveLength(length);
  });

  test("a pass whose loop throws ends as well", async () => {
    const data = new Slow(100);
    const error = await caught(async () => {
      for await (const batch of new DataLoader(data, { batchSize: 5, workers: 8 }))
        throw new Error(`seen ${batch.ys.shape[0]}`);
    });
    expect([error.message, data.running]).toEqual(["seen 5", 0]);
  });
});

describe("where get fails", () => {
  const failing = (at: readonly number[], how: (i: number) => Sample | Promise<Sample>): Dataset => {
    const data = new Slow(20);
    return { length: 20, get: (i) => (at.includes(i) ? how(i) : data.get(i)) };
  };
  const ways: [string, (i: number) => Sample | Promise<Sample>][] = [
    [
      "at once",
      (i) => {
        throw new Error(`no file ${i}`);
      },
    ],
    ["later", (i) => later(i === 13 ? 3 : 0).then(() => Promise.reject(new Error(`no file ${i}`)))],
  ];

  test.each(ways)(
    "%s: the batches before are given, the error names the first index, nothing else is thrown",
    async (_, how) => {
      const loader = new DataLoader(failing([13, 14, 17, 19], how), { batchSize: 4, prefetch: 3, workers: 9 });
      const found: { ys: NDArray }[] = [];
      const error = await caught(async () => {
        for await (const batch of loader) found.push(batch);
      });
      expect(targetsOf(found).flat()).toEqual([...Array(12).keys()]);
      expect(error).toMatchObject({
        code: "BAD_DATA",
        message: "sample 13 could not be read: no file 13",
        cause: expect.objectContaining({ message: "no file 13" }),
      });
      // The batch was not given out.
      expect(loader.position).toEqual({ epoch: 0, batch: 3, seed: 0 });
    },
  );

  test("the index is the data set's own, shuffled or not, and reading it again goes on", async () => {
    let broken = true;
    const data = {
      length: 20,
      get: (i: number) => (i === 7 && broken ? Promise.reject(new Error("gone")) : sampleOf(i)),
    };
    const loader = new DataLoader(data, { batchSize: 4, shuffle: true });
    const found: { ys: NDArray }[] = [];
    const run = async (): Promise<void> => {
      for await (const batch of loader) found.push(batch);
    };
    expect(await caught(run)).toMatchObject({ message: "sample 7 could not be read: gone" });
    broken = false;
    loader.position = { ...loader.position };
    await run();
    expect(targetsOf(found).flat()).toEqual([...permutation(20, 0, 0)]);
  });

  test("in a batch that nobody waits for, nobody is told", async () => {
    const loader = new DataLoader(
      failing([6], () => Promise.reject(new Error("no"))),
      { batchSize: 2, prefetch: 9 },
    );
    for await (const batch of loader) {
      expect(batch.ys.shape).toEqual([2]);
      await later(20);
      break;
    }
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe("a batch of samples", () => {
  const batchOf = async (
    samples: readonly unknown[],
    batchSize = samples.length,
  ): Promise<{ xs: Inputs; ys: Inputs }> => {
    const data = { length: samples.length, get: (i: number) => samples[i] as Sample };
    const loader = new DataLoader<Inputs, Inputs>(data, { batchSize });
    return (await all(loader)).at(-1)!;
  };
  const array = (dtype: NDArray["dtype"], shape: number[], data: NDArray["data"]): NDArray => ({ dtype, shape, data });

  test("pairs and records of xs and ys, typed arrays and arrays", async () => {
    expect(await batchOf([[Float32Array.of(1, 2), 3], { xs: Float32Array.of(4, 5), ys: 6 }])).toEqual({
      xs: array("float32", [2, 2], Float32Array.of(1, 2, 4, 5)),
      ys: array("int64", [2], BigInt64Array.of(3n, 6n)),
    });
  });

  test("several by name and by position, each stacked", async () => {
    const sample = (i: number): unknown => ({
      xs: { left: Int32Array.of(i), rest: [array("uint8", [1, 2], Uint8Array.of(i, i)), i / 2] },
      ys: { label: i, sure: i % 2 === 0 },
    });
    expect(await batchOf([sample(1), sample(2)])).toEqual({
      xs: {
        left: array("int32", [2, 1], Int32Array.of(1, 2)),
        rest: [array("uint8", [2, 1, 2], Uint8Array.of(1, 1, 2, 2)), array("float32", [2], Float32Array.of(0.5, 1))],
      },
      ys: {
        label: array("int64", [2], BigInt64Array.of(1n, 2n)),
        sure: array("bool", [2], Uint8Array.of(0, 1)),
      },
    });
  });

  test("numbers: whole ones are int64, others float32; the first batch settles it", async () => {
    const pairs = (ys: readonly unknown[]): unknown[] => ys.map((y) => [Float32Array.of(0), y]);
    expect((await batchOf(pairs([1, 2]))).ys).toEqual(array("int64", [2], BigInt64Array.of(1n, 2n)));
    expect((await batchOf(pairs([1, 2.5]))).ys).toEqual(array("float32", [2], Float32Array.of(1, 2.5)));
    expect((await batchOf(pairs([0.5, 2]), 1)).ys).toEqual(array("float32", [1], Float32Array.of(2)));
    expect((await batchOf(pairs([true, false]))).ys).toEqual(array("bool", [2], Uint8Array.of(1, 0)));
    expect((await batchOf(pairs([5n, -1n]))).ys).toEqual(array("int64", [2], BigInt64Array.of(5n, -1n)));
    expect(await caught(() => batchOf(pairs([1, 2.5]), 1))).toMatchObject({
      code: "BAD_DATA",
      message: expect.stringMatching(/^ys of sample 1 is 2.5, and all before it were whole numbers/),
    });
  });

  const x = Float32Array.of(1, 2);
  test.each<[string, unknown, string]>([
    [
      "another shape",
      [Float32Array.of(1, 2, 3), 0],
      "xs is float32 [2] in the one and float32 [3] in the other; collate that part by list, which keeps arrays of different shapes, or by pad({ value: 0 })",
    ],
    [
      "another dtype",
      [array("int32", [2], Int32Array.of(1, 2)), 0],
      "xs is a Float32Array in the one and an array in the other",
    ],
    ["another typed array", [Int32Array.of(1, 2), 0], "xs is a Float32Array in the one and a Int32Array in the other"],
    ["other parts", [[x, x], 0], "xs is a Float32Array in the one and a list of 2 parts in the other"],
    ["no target", { xs: x, ys: undefined }, "ys is a number in the one and undefined in the other"],
  ])("refuses %s, naming both samples", async (_, sample, message) => {
    expect(await caught(() => batchOf([[x, 0], [x, 0], sample]))).toMatchObject({
      code: "BAD_DATA",
      message: `samples 0 and 2 do not go into one batch: ${message}`,
    });
  });

  test.each<[string, unknown, string]>([
    ["no pair", [x], "sample 0 is a list of 1 parts; a sample is { xs, ys } or [xs, ys]"],
    ["a number", 5, "sample 0 is a number; a sample is"],
    ["plain lists", [[1, 2], 0], "xs of sample 0 is a list of numbers; samples are made of"],
    ["text", [x, "cat"], "ys of sample 0 is a string"],
    ["a function, as a reference is", [x, () => 0], "ys of sample 0 is a function"],
    [
      "an array that lies",
      [array("uint8", [3], Uint8Array.of(1)), 0],
      "xs of sample 0: shape [3] has 3 elements, data has 1",
    ],
  ])("refuses %s", async (_, sample, message) => {
    expect((await caught(() => batchOf([sample]))).message).toContain(message);
  });

  test("an array of the data set is copied", async () => {
    const own = Float32Array.from({ length: 4000 }, (_, i) => i);
    const loader = new DataLoader({ length: 2, get: () => [own, 0] as never }, { batchSize: 2 });
    const [batch] = await all(loader);
    batch!.xs.data.fill(-1 as never);
    expect([own.length, own[3999]]).toEqual([4000, 3999]);
  });
});

describe("arrays as data", () => {
  test("several by name and by position are cut together", async () => {
    const { xs, ys } = rows(5);
    const loader = new DataLoader<Inputs, Inputs>({ xs: { a: xs, b: [ys, xs] }, ys }, { batchSize: 2, shuffle: true });
    const expected = [...batches(rows(5), { batchSize: 2, shuffle: { seed: 0 } })];
    expect(await all(loader)).toEqual(expected.map((cut) => ({ xs: { a: cut.xs, b: [cut.ys, cut.xs] }, ys: cut.ys })));
  });

  test("whatever is an array: nested numbers, labels, tensors that have to be waited for", async () => {
    let reads = 0;
    const data = async (): Promise<Float32Array> => (await later(), reads++, Float32Array.of(1, 2, 3));
    const loader = new DataLoader<Inputs>(
      {
        xs: {
          numbers: [
            [1, 2],
            [3, 4],
            [5, 6],
          ],
          late: { dtype: "float32", shape: [3], data },
        },
        ys: [0, 2, 1],
      },
      { batchSize: 2 },
    );
    expect([loader.samples, loader.length]).toEqual([3, 2]);
    for (let epoch = 0; epoch < 2; epoch++)
      expect((await all(loader)).at(-1)).toEqual({
        xs: {
          numbers: { dtype: "float32", shape: [1, 2], data: Float32Array.of(5, 6) },
          late: { dtype: "float32", shape: [1], data: Float32Array.of(3) },
        },
        ys: { dtype: "int64", shape: [1], data: BigInt64Array.of(1n) },
      });
    expect(reads).toBe(1);
  });

  test("numbers that are no labels stay float32", async () => {
    for (const ys of [
      [0.5, 1],
      [[0], [1]],
    ]) {
      const [batch] = await all(new DataLoader({ xs: [[1], [2]], ys }, { batchSize: 2 }));
      expect(batch!.ys.dtype).toBe("float32");
    }
  });

  test("a tensor that cannot be read fails the loop, and is asked again by the next", async () => {
    let broken = true;
    const data = (): Promise<Float32Array> =>
      broken ? Promise.reject(new Error("lost")) : Promise.resolve(Float32Array.of(1, 2));
    const loader = new DataLoader({ xs: { dtype: "float32", shape: [2], data }, ys: [0, 1] }, { batchSize: 2 });
    expect(await caught(() => all(loader))).toMatchObject({ message: "lost" });
    broken = false;
    expect(await all(loader)).toHaveLength(1);
  });

  test("refuses what does not go together", async () => {
    const make = (data: unknown) => () => new DataLoader(data as Dataset, { batchSize: 2 });
    for (const [data, code, message] of [
      [{ xs: rows(3).xs, ys: rows(4).ys }, "BAD_DATA", "xs has 3 rows and ys has 4; each row needs its target"],
      [{ xs: [rows(3).xs, rows(4).xs], ys: [0, 0, 0] }, "BAD_DATA", "xs[0] has 3 rows and xs[1] has 4"],
      [{ xs: 5, ys: 5 }, "BAD_DATA", "xs is a single number"],
      [{ xs: {}, ys: [] }, "BAD_DATA", "xs holds no array"],
      [{ xs: [], ys: {} }, "BAD_DATA", "ys holds no array"],
      [{ xs: { a: "text" }, ys: [0] }, "BAD_DATA", "xs.a is not an array: found a string"],
      [{ xs: [[1, 2], [3]], ys: [0, 1] }, "BAD_DATA", "xs[1] has 1 elements"],
      [rows(3).xs, "MISUSE", "data must be a list of samples, { length, get(index) }, or { xs, ys }"],
      [null, "MISUSE", "data must be"],
      [
        { get: sampleOf },
        "MISUSE",
        "the length of a data set must be a whole number, not undefined; data is a list of samples, { length, get(index) } or { xs, ys }",
      ],
    ] as const)
      expect(await caught(make(data))).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test.each([
    ["in the order of the file", {}],
    ["shuffled", { shuffle: true }],
  ])(
    "whose memory goes in the middle of an epoch end it, %s: no batch holds rows of an earlier one",
    async (_, options) => {
      // Blocks of memory that are worth while to be used again.
      const buffer = Reflect.construct(ArrayBuffer, [64 * 4096, { maxByteLength: 64 * 4096 }]) as ArrayBuffer & {
        resize(bytes: number): void;
      };
      const xs: NDArray = { dtype: "float32", shape: [64, 1024], data: new Float32Array(buffer, 0, 64 * 1024) };
      const labels = new BigInt64Array(64);
      const ys: NDArray = { dtype: "int64", shape: [64], data: labels };
      for (const lose of [() => buffer.resize(4096), () => structuredClone(labels, { transfer: [labels.buffer] })]) {
        let seen = 0;
        const loader = new DataLoader({ xs, ys }, { batchSize: 8, prefetch: 1, ...options });
        const error = await caught(async () => {
          for await (const _ of loader) if (++seen === 2) lose();
        });
        expect(error.message).toMatch(/its memory is gone: the ArrayBuffer was transferred, or made smaller/);
        expect(seen).toBeLessThan(5);
        buffer.resize(64 * 4096);
      }
    },
  );

  test("of another realm, in a record and in lists of there, are arrays", async () => {
    const data = runInNewContext("({ xs: { a: Float32Array.of(1, 2), b: [[3], [4]] }, ys: [0, 1] })") as never;
    const [batch] = await all(new DataLoader<Inputs, Inputs>(data, { batchSize: 2 }));
    expect(batch!.ys).toMatchObject({ dtype: "int64", data: BigInt64Array.of(0n, 1n) });
    expect(batch!.xs).toMatchObject({ a: { data: Float32Array.of(1, 2) }, b: { shape: [2, 1] } });
  });

  test("one row is a sample", async () => {
    const data = arrayDataset({ xs: { a: rows(3).xs }, ys: [0, 1, 2] });
    expect(await data.get(2)).toEqual({
      xs: { a: { dtype: "float32", shape: [2], data: Float32Array.of(20, 21) } },
      ys: { dtype: "int64", shape: [], data: BigInt64Array.of(2n) },
    });
    for (const wrong of [-1, 3, 0.5]) expect(await caught(() => data.get(wrong))).toMatchObject({ code: "MISUSE" });
  });
});

describe("options", () => {
  test.each<[DataLoaderOptions, string]>([
    [{ batchSize: 0 }, "batchSize must be a positive integer, not 0"],
    [{ batchSize: 2, workers: 0 }, "workers must be an integer from 1 on, not 0"],
    [{ batchSize: 2, prefetch: -1 }, "prefetch must be an integer from 0 on, not -1"],
    [{ batchSize: 2, prefetch: Infinity }, "prefetch must be an integer from 0 on, not Infinity"],
    [{ batchSize: 2, seed: 0.5 }, "seed must be an integer from 0 on, not 0.5"],
    [
      unchecked({ batchSize: 2, shuffel: true }),
      'DataLoader has no option "shuffel"; it has batchSize, shuffle, seed, sample, dropLast, collate, bucketBy, prefetch, workers, keep',
    ],
    [{ batchSize: 2, shuffle: { seed: 1 }, seed: 2 }, "two seeds: shuffle has 1, seed is 2; give one"],
  ])("%o are refused", (options, message) => {
    expect(() => new DataLoader(rows(3), options)).toThrow(expect.objectContaining({ code: "MISUSE", message }));
  });

  test("a position that is none of this loader's is refused, and changes nothing", async () => {
    const loader = new DataLoader(rows(4), { batchSize: 2 });
    for (const wrong of [{ batch: 3 }, { batch: -1 }, { epoch: 0.5 }, { seed: NaN }, { epoch: undefined }])
      expect(
        await caught(() => {
          loader.position = { epoch: 1, batch: 1, seed: 1, ...wrong } as Position;
        }),
      ).toMatchObject({ code: "MISUSE" });
    expect(loader.position).toEqual({ epoch: 0, batch: 0, seed: 0 });
  });

  test("a loader is data to a learner, and no data is no batch", async () => {
    const data: Data = new DataLoader({ length: 0, get: sampleOf }, { batchSize: 2 });
    expect(data.length).toBe(0);
    expect(await all(data as AsyncIterable<unknown>)).toEqual([]);
  });
});

describe("parts of data", () => {
  const indices = (part: { indices: Uint32Array }): number[] => [...part.indices];

  test("split: two parts that share nothing and hold all, the same each time", () => {
    for (const data of [rows(50), { length: 50, get: sampleOf }, arrayDataset(rows(50))]) {
      const [training, validation] = split(data, 0.8, { seed: 4 });
      expect([training.length, validation.length]).toEqual([40, 10]);
      expect([...indices(training), ...indices(validation)].toSorted((a, b) => a - b)).toEqual([...Array(50).keys()]);
      expect(split(data, 0.8, { seed: 4 }).map(indices)).toEqual([training, validation].map(indices));
      expect(indices(split(data, 0.8, { seed: 5 })[1])).not.toEqual(indices(validation));
      expect(indices(validation)).toEqual(Array.from(permutation(50, 4).slice(40).toSorted()));
    }
  });

  test("a list of samples is a data set, and what holds for those holds for it", async () => {
    const samples = Array.from({ length: 10 }, (_, i) => sampleOf(i));
    const same = { length: 10, get: sampleOf };
    const options = { batchSize: 4, shuffle: true, bucketBy: (i: number) => i % 3 };
    expect(await all(new DataLoader(samples, options))).toEqual(await all(new DataLoader(same, options)));
    for (const [i, part] of split(samples, 0.5).entries()) {
      expect(indices(part)).toEqual(indices(split(same, 0.5)[i]!));
      expect(await part.get(1)).toBe(samples[part.indices[1]!]);
    }
    expect(await targets(new DataLoader(subset(samples, [3, 1]), { batchSize: 2 }))).toEqual([[3, 1]]);
    expect(await targets(new DataLoader(take(samples, 1), { batchSize: 2 }))).toEqual([[0]]);
  });

  test("parts of parts count in the whole, and are cut as the whole is", async () => {
    const [training] = split(rows(20), 0.5, { seed: 1 });
    const [inner] = training.split(0.5, { seed: 2 });
    expect(inner.length).toBe(5);
    expect(indices(inner).every((i) => indices(training).includes(i))).toBe(true);
    const loader = new DataLoader(inner, { batchSize: 2, shuffle: true });
    expect((await targets(loader)).flat()).toEqual([...permutation(5, 0, 0)].map((i) => inner.indices[i]));
    expect(await inner.get(1)).toEqual({
      xs: expect.objectContaining({ data: Float32Array.of(10 * inner.indices[1]!, 10 * inner.indices[1]! + 1) }),
      ys: expect.objectContaining({ data: BigInt64Array.of(BigInt(inner.indices[1]!)) }),
    });
  });

  test("subset and take", async () => {
    const data = { length: 10, get: sampleOf };
    expect(await targets(new DataLoader(subset(data, [3, 1, 3]), { batchSize: 9 }))).toEqual([[3, 1, 3]]);
    expect(await targets(new DataLoader(take(data, 2), { batchSize: 9 }))).toEqual([[0, 1]]);
    expect([take(data, 99).length, take(data, 0).length]).toEqual([10, 0]);
    expect((await caught(() => subset(data, [0, 10]))).message).toContain("there is no sample 10: the data set has 10");
    expect(await caught(() => take(data, 0.5))).toMatchObject({ code: "MISUSE" });
    expect(await caught(() => take(data, 3).get(3))).toMatchObject({ code: "MISUSE" });
  });

  test.each([0, 1, -0.5, 80, Number.NaN])("a fraction of %s is refused", (fraction) => {
    expect(() => split(rows(4), fraction)).toThrow(expect.objectContaining({ code: "MISUSE" }));
  });
});
