/** Samples of different lengths in one batch: lists, padding, and batches of similar length. */
import { describe, expect, test } from "vitest";
import { DataLoader, type NDArray } from "torchwire";
import {
  ArrayList,
  list,
  pad,
  split,
  stack,
  type Collation,
  type Dataset,
  type MaskOptions,
  type PadOptions,
} from "torchwire/data";
import { float16 } from "torchwire/bridge";
import { permutation } from "../../../client/data/shuffle.ts";
import { caught } from "../../observed.ts";
import { unchecked } from "../../tiny.ts";

const float32 = (shape: readonly number[], ...data: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(data),
});
const counted = (...shape: readonly number[]): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i + 1),
});
const rowsOf = ({ shape, data }: NDArray): number[][] =>
  Array.from({ length: shape[0]! }, (_, i) =>
    Array.from(data.subarray((i * data.length) / shape[0]!, ((i + 1) * data.length) / shape[0]!), Number),
  );

/** Sample i has `lengths[i]` tokens, all of them i + 1. */
const sentences = (lengths: readonly number[]): Dataset<{ xs: Int32Array; ys: number }> => ({
  length: lengths.length,
  get: (i) => ({ xs: new Int32Array(lengths[i]!).fill(i + 1), ys: i }),
});

const sorted = (numbers: readonly number[]): number[] => numbers.toSorted((a, b) => a - b);

async function all<T>(data: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const batch of data) found.push(batch);
  return found;
}

describe("pad", () => {
  test("fills up at the right or the left end, to the longest or to a multiple", () => {
    const values = [Int32Array.of(1, 2, 3), Int32Array.of(4), Int32Array.of()];
    const padded = (options?: PadOptions): number[][] => rowsOf(pad(options)(values));
    expect(padded()).toEqual([[1, 2, 3], [4, 0, 0], [0, 0, 0]]); // oxfmt-ignore
    expect(padded({ value: -7, side: "left" })).toEqual([[1, 2, 3], [-7, -7, 4], [-7, -7, -7]]); // oxfmt-ignore
    expect(padded({ multipleOf: 4 })[1]).toEqual([4, 0, 0, 0]);
    expect(pad({ multipleOf: 3 })(values).shape).toEqual([3, 3]);
    expect(pad()(values).dtype).toBe("int32");
  });

  test("axes after the padded one stay, and several axes may be padded", () => {
    const points = [counted(2, 2), counted(1, 2)];
    expect(pad()(points)).toEqual(float32([2, 2, 2], 1, 2, 3, 4, 1, 2, 0, 0));
    const images = [counted(1, 3, 2), counted(2, 1, 2), counted(0, 2, 2)];
    const [padded, mask] = pad({ axes: [0, 1], value: 9, mask: true })(images);
    // oxfmt-ignore
    expect(rowsOf(padded)).toEqual([
      [1, 2, 3, 4, 5, 6, 9, 9, 9, 9, 9, 9],
      [1, 2, 9, 9, 9, 9, 3, 4, 9, 9, 9, 9],
      Array(12).fill(9),
    ]);
    expect([padded.shape, mask.shape, mask.dtype]).toEqual([[3, 2, 3, 2], [3, 2, 3], "bool"]);
    expect(rowsOf(mask)).toEqual([[1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]); // oxfmt-ignore
    const [left] = pad({ axes: [0, 1], value: 9, side: "left", mask: true })(images);
    expect(rowsOf(left)[1]).toEqual([9, 9, 9, 9, 1, 2, 9, 9, 9, 9, 3, 4]);
    // An axis that is not the first.
    expect(pad({ axes: [1] })([counted(2, 1), counted(2, 2)])).toEqual(float32([2, 2, 2], 1, 0, 2, 0, 1, 2, 3, 4));
  });

  test("a mask marks values or padding, in any dtype", () => {
    const marks = (mask: MaskOptions & { name?: undefined }): NDArray =>
      pad({ mask, side: "left" })([Int8Array.of(5, 5), Int8Array.of(5)])[1];
    expect(marks({})).toEqual({ dtype: "bool", shape: [2, 2], data: Uint8Array.of(1, 1, 0, 1) });
    expect(marks({ marks: "padding", dtype: "int64" })).toEqual({
      dtype: "int64",
      shape: [2, 2],
      data: BigInt64Array.of(0n, 0n, 1n, 0n),
    });
    expect(float16.toFloat32(marks({ dtype: "float16" }).data as Uint16Array)).toEqual(Float32Array.of(1, 1, 0, 1));
  });

  test.each<[NDArray["dtype"], NDArray["data"], number | bigint | boolean, ArrayLike<number | bigint>]>([
    ["bool", Uint8Array.of(0), true, [0, 1]],
    ["int64", BigInt64Array.of(3n), 2n ** 62n, [3n, 2n ** 62n]],
    ["uint8", Uint8Array.of(3), 255n, [3, 255]],
    ["float32", Float32Array.of(3), -Infinity, [3, -Infinity]],
    ["float64", Float64Array.of(3), 0.1, [3, 0.1]],
    ["float16", float16.from([3]), 65504, [...float16.from([3, 65504])]],
    ["complex64", Float32Array.of(3, 4), 2, [3, 4, 2, 0]],
  ])("a value that %s holds", (dtype, data, value, expected) => {
    const one: NDArray = { dtype, shape: [1], data };
    const none: NDArray = { dtype, shape: [0], data: data.slice(0, 0) };
    const both = Array.from(pad({ value })([one, none]).data as Uint8Array) as unknown[];
    expect(both).toEqual(Array.from(expected));
  });

  test.each<[NDArray["dtype"], NDArray["data"], number | bigint]>([
    ["uint8", new Uint8Array(1), -1],
    ["uint8", new Uint8Array(1), 256],
    ["int64", new BigInt64Array(1), 0.5],
    ["int64", new BigInt64Array(1), 2n ** 63n],
    ["int32", new Int32Array(1), Number.NaN],
    ["bool", new Uint8Array(1), 2],
    ["float16", new Uint16Array(1), 1e5],
    ["float32", new Float32Array(1), 1e39],
  ])("a value that %s cannot hold is refused", async (dtype, data, value) => {
    const error = await caught(() => pad({ value })([{ dtype, shape: [1], data }]));
    expect([error.code, error.message]).toEqual([
      "BAD_DATA",
      `pad: the value for the part is ${value}, which ${dtype} cannot hold`,
    ]);
  });

  test.each<[readonly unknown[], RegExp]>([
    [[], /^pad: there are no values for the part; a batch has at least one sample$/],
    [[counted(2, 3), counted(2)], /^samples 0 and 1 .*: the part is float32 \[2, 3\] in the one and float32 \[2\]/],
    [[Float32Array.of(1), Float64Array.of(1)], /a Float32Array in the one and a Float64Array in the other/],
    [[counted(2), { ...counted(2), dtype: "complex64", shape: [1] }], /float32 \[2\] .* complex64 \[1\] in the other$/],
    [[counted(2, 3), counted(1, 4)], /float32 \[1, 4\] in the other; pad fills up axes \[0\] alone$/],
    [[counted()], /sample 0 is float32 \[\], which has no axis 0 to pad/],
    [[3, 4], /sample 0 is a number, and only arrays have axes to pad/],
    [[{ a: counted(1) }], /is a record of a, and only arrays have axes to pad; name the parts of a record/],
    [[[1, 2]], /is a list of numbers/],
    [[[]], /is an empty list, which has neither dtype nor axes/],
    [[{ ...counted(2), shape: [3] }], /shape \[3\] has 3 elements, data has 2/],
  ])("what does not go together is refused: %#", async (values, message) => {
    expect((await caught(() => pad()(values))).message).toMatch(message);
  });

  test.each<[unknown, RegExp]>([
    [{ axis: 0 }, /pad has no option "axis"; it has value, mask, axes, side, multipleOf/],
    [{ value: "0" }, /value is '0'; it must be a number, a bigint, true or false/],
    [{ axes: [] }, /axes is \[\]/],
    [{ axes: [0, 0] }, /a list of different axes/],
    [{ axes: [-1] }, /counted from 0/],
    [{ side: "end" }, /side is 'end'; it must be "right" or "left"/],
    [{ multipleOf: 0 }, /multipleOf is 0/],
    [{ mask: { marks: "all" } }, /pad: mask: marks is 'all'/],
    [{ mask: { dtype: "int" } }, /pad: mask: dtype is 'int'/],
    [{ mask: 3 }, /mask is 3/],
    [[1], /takes an object of options/],
  ])("options that do not fit: %#", async (options, message) => {
    const error = await caught(() => pad(unchecked(options)));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toMatch(message);
  });
});

describe("list", () => {
  test("keeps arrays as they are, in one array", () => {
    const images = [counted(2, 3), counted(1, 1), counted(0, 4)];
    const made = list(images);
    expect(made).toBeInstanceOf(ArrayList);
    expect([made.length, made.items]).toEqual([3, images]);
  });

  test.each<NDArray>([
    { dtype: "bool", shape: [1], data: Uint8Array.of(1) },
    { dtype: "int64", shape: [1], data: BigInt64Array.of(2n ** 60n) },
    { dtype: "bfloat16", shape: [1], data: Uint16Array.of(0x3f80) },
    { dtype: "complex64", shape: [1], data: Float32Array.of(1, 2) },
  ])("of $dtype", (one) => {
    const none = { ...one, shape: [0], data: one.data.slice(0, 0) };
    expect(list([one, none, one]).items).toEqual([one, none, one]);
    expect(list([{ ...one, shape: [] }]).items).toEqual([{ ...one, shape: [] }]);
  });

  test("of records, lists and numbers: each sample has its own", () => {
    const targets = [
      { boxes: counted(2, 4), labels: Int32Array.of(1, 2), id: 5, pair: [counted(1), 0.5] },
      { boxes: counted(0, 4), labels: Int32Array.of(), id: 6, pair: [counted(3), 1] },
    ];
    const items = list(targets).items as unknown as { boxes: NDArray; labels: NDArray; id: NDArray; pair: NDArray[] }[];
    expect(items.map(({ boxes }) => boxes)).toEqual(targets.map(({ boxes }) => boxes));
    expect(items[1]!.labels).toEqual({ dtype: "int32", shape: [0], data: Int32Array.of() });
    expect(items[1]!.id).toEqual({ dtype: "int64", shape: [], data: BigInt64Array.of(6n) });
    expect(items[0]!.pair[1]).toEqual(float32([], 0.5));
    // A record that looks like the inner workings.
    const odd = [{ flat: counted(1), shapes: counted(2) }];
    expect(list(odd).items).toEqual(odd);
  });

  test.each<[readonly unknown[], RegExp]>([
    [[], /^list: there are no values for the part/],
    [[counted(2), counted(2, 1)], /float32 \[2\] in the one and float32 \[2, 1\].*one number of axes$/],
    [
      [{ a: counted(1) }, { a: counted(1), b: counted(1) }],
      /a record of a in the one and a record of a, b in the other/,
    ],
    [[{ a: counted(1) }, { a: [] }], /part\.a is an array in the one and an empty list, which has neither dtype nor/],
    [[[], []], /has no array; without elements, give \{ dtype: "float32", shape: \[0, 4\]/],
    [[{}], /has no array/],
    [["text"], /is a string; samples are made of/],
  ])("what does not go together is refused: %#", async (values, message) => {
    const error = await caught(() => list(values));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toMatch(message);
  });
});

describe("a DataLoader that collates", () => {
  const lengths = [3, 1, 2, 5, 4];

  test("pads, and puts a mask beside", async () => {
    const data = {
      length: 5,
      get: (i: number) => ({ xs: { ids: new Int32Array(lengths[i]!).fill(i + 1), kind: i }, ys: i }),
    };
    const loader = new DataLoader<{ ids: NDArray; mask: NDArray; kind: NDArray }>(data, {
      batchSize: 2,
      collate: { xs: { ids: pad({ value: -1, mask: "mask" }) } },
    });
    const [first, , last] = await all(loader);
    expect(Object.keys(first!.xs)).toEqual(["ids", "mask", "kind"]);
    expect(rowsOf(first!.xs.ids)).toEqual([[1, 1, 1], [2, -1, -1]]); // oxfmt-ignore
    expect(rowsOf(first!.xs.mask)).toEqual([[1, 1, 1], [1, 0, 0]]); // oxfmt-ignore
    expect([first!.xs.kind.shape, first!.ys.dtype, last!.xs.ids.shape]).toEqual([[2], "int64", [1, 4]]);
  });

  test("infers what its batches are", async () => {
    const listed = new DataLoader(sentences(lengths), { batchSize: 5, collate: { xs: list } });
    const [first] = await all(listed);
    expect(first!.xs.items.map((one) => (one as NDArray).shape)).toEqual(lengths.map((n) => [n]));
    const masked = new DataLoader(sentences(lengths), {
      batchSize: 5,
      collate: { xs: pad({ mask: true }), ys: stack },
    });
    for await (const { xs: both } of masked) expect([both[0].shape, both[1].dtype]).toEqual([[5, 5], "bool"]);
    const own = new DataLoader(sentences(lengths), {
      batchSize: 2,
      collate: (samples, { indices, part }) => ({
        xs: {
          tokens: pad({ value: 9 })(
            samples.map((one) => one.xs),
            part("xs.tokens"),
          ),
        },
        ys: { dtype: "int32", shape: [indices.length], data: Int32Array.from(indices) },
        size: samples.length,
      }),
    });
    const batches = await all(own);
    expect(batches.map((one) => [one.xs.tokens.shape, Array.from(one.ys.data as Int32Array)])).toEqual([
      [[2, 3], [0, 1]],
      [[2, 5], [2, 3]],
      [[1, 4], [4]],
    ]); // oxfmt-ignore
  });

  test("goes through arrays too, and their subsets", async () => {
    const arrays = { xs: counted(6, 2), ys: Int32Array.from([0, 1, 2, 3, 4, 5]) };
    const [part] = split(arrays, 0.5, { seed: 1 });
    const loader = new DataLoader(part, { batchSize: 3, collate: (samples) => [stack(samples.map((one) => unchecked(one).xs)), counted(3)] }); // oxfmt-ignore
    const [first] = await all(loader);
    expect(rowsOf(first!.xs)).toEqual([...part.indices].map((i) => [2 * i + 1, 2 * i + 2]));
  });

  test("a shuffled order, positions and clones are those of any loader", async () => {
    const options = { batchSize: 2, shuffle: { seed: 3 }, collate: { xs: list } } as const;
    const loader = new DataLoader<ArrayList>(sentences(lengths), options);
    await all(loader);
    const order = (await all(loader.clone())).flatMap(({ ys }) => Array.from(ys.data, Number));
    expect(order).toEqual([...permutation(5, 3, 1)]);
    loader.position = { epoch: 1, batch: 2, seed: 3 };
    expect((await all(loader)).flatMap(({ ys }) => Array.from(ys.data, Number))).toEqual(order.slice(4));
  });

  test("samples that go together only in a list are told so", async () => {
    const error = await caught(() => all(new DataLoader(sentences([2, 3]), { batchSize: 2 })));
    expect(error.message).toMatch(
      /xs is int32 \[2\] in the one and int32 \[3\] in the other; collate that part by list/,
    );
  });

  test("errors come at their batch, name samples, and end nothing else", async () => {
    const loader = new DataLoader(sentences([1, 1, 1]), {
      batchSize: 1,
      collate: (samples, { indices }) => {
        if (indices[0] === 1) throw new RangeError("no");
        return [list(samples.map((one) => one.xs)), counted(1)];
      },
    });
    let batches = 0;
    const error = await caught(async () => {
      for await (const _ of loader) batches++;
    });
    expect([batches, error.code, error.message]).toEqual([1, "BAD_DATA", "collate failed for samples 1: no"]);
    expect(error.cause).toBeInstanceOf(RangeError);
  });

  test.each<[unknown, RegExp]>([
    [list, /^collate gave .*ArrayList.* for samples 0; it must return \{ xs, ys \} or \[xs, ys\]$/],
    [async () => [counted(1), counted(1)], /^collate gave a Promise for samples 0; it must return at once/],
    [() => undefined, /^collate gave undefined/],
    [() => ({ xs: counted(1), ys: undefined }), /^the collator of ys gave undefined; it must return at once an array/],
    [() => ({ xs: counted(), ys: counted(1) }), /^the collator of xs gave a single number/],
    [{ xs: () => Promise.resolve() }, /^the collator of xs gave a Promise/],
    [{ xs: { ids: list } }, /^collate has names for the parts of xs, and sample 0 has a Int32Array there$/],
    [{ xs: [list] }, /^collate has a list for the parts of xs/],
    [{ xs: pad({ mask: "mask" }) }, /^pad: the mask mask stands beside a part that has a name, and xs has none/],
    [{ xs: pad }, /^pad takes an object of options/],
    [{ ys: pad() }, /^pad: ys of sample 0 is a number/],
  ])("a collate that gives no batch: %#", async (collate, message) => {
    const loader = new DataLoader(sentences([1]), unchecked({ batchSize: 1, collate }));
    expect((await caught(() => all(loader))).message).toMatch(message);
  });

  test("a part that no sample has, and a mask that has a part's name", async () => {
    const data = { length: 1, get: () => ({ xs: { ids: counted(1) }, ys: 0 }) };
    const failing = async (xs: unknown): Promise<string> =>
      (await caught(() => all(new DataLoader(data, unchecked({ batchSize: 1, collate: { xs } }))))).message;
    expect(await failing({ id: list })).toMatch(/^collate has xs\.id, and sample 0 has a record of ids there$/);
    expect(await failing({ ids: pad({ mask: "ids" }) })).toMatch(/^collate: xs has a part ids already/);
  });

  test.each<[unknown, RegExp]>([
    [3, /collate is 3; collate is \{ xs, ys \} with stack, list, pad/],
    [{ x: list }, /collate has x;/],
    [{ xs: { a: [null] } }, /collate\.xs\.a\[0\] is null;/],
  ])("a collate that is none: %#", async (collate, message) => {
    const error = await caught(() => new DataLoader(sentences([1]), unchecked({ batchSize: 1, collate })));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toMatch(message);
  });

  test("the memory of lists and padded arrays comes from the loader", async () => {
    const made: NDArray[] = [];
    const spy = (values: readonly unknown[], how: Collation): ArrayList =>
      list(values, { ...how, array: (dtype, shape) => made[made.push(how.array(dtype, shape)) - 1]! });
    const big = { length: 4, get: (i: number) => ({ xs: counted(1000 + i), ys: i }) };
    const loader = new DataLoader(big, { batchSize: 2, collate: { xs: spy } });
    await all(loader);
    // One array for a batch, and a block of the loader's for each.
    expect([made.length, loader.memory.made]).toEqual([2, 2]);
  });
});

describe("bucketBy", () => {
  const n = 1003;
  const lengths = Array.from({ length: n }, (_, i) => 1 + ((i * 7919) % 97));
  const passOf = async (loader: DataLoader): Promise<number[][]> =>
    (await all(loader)).map(({ ys }) => Array.from(ys.data, Number));
  const data = {
    xs: Float32Array.from({ length: n }, (_, i) => i),
    ys: Int32Array.from({ length: n }, (_, i) => i),
  };
  const loaderOf = (more: object = {}): DataLoader =>
    new DataLoader(data, { batchSize: 8, shuffle: { seed: 5 }, bucketBy: lengths, ...more });
  /** The elements that padding adds. */
  const waste = (batches: readonly number[][]): number =>
    batches.reduce((sum, batch) => {
      const found = batch.map((i) => lengths[i]!);
      return sum + Math.max(...found) * found.length - found.reduce((a, b) => a + b, 0);
    }, 0);

  test("each sample once in an epoch, in batches of similar length, in an order that changes", async () => {
    const loader = loaderOf();
    const [first, second] = [await passOf(loader), await passOf(loader)];
    for (const pass of [first, second]) {
      expect(sorted(pass.flat())).toEqual([...Array(n).keys()]);
      expect(pass.map(({ length }) => length)).toEqual([...Array(125).fill(8), 3]);
    }
    const plain = await passOf(new DataLoader(data, { batchSize: 8, shuffle: { seed: 5 } }));
    expect(waste(first)).toBeLessThan(0.1 * waste(plain));
    expect(waste([first.at(-1)!])).toBeLessThan(0.2 * waste([plain.at(-1)!]));
    // Not the same batches in another order.
    const sets = new Set(first.map((batch) => sorted(batch).join()));
    expect(second.filter((batch) => sets.has(sorted(batch).join())).length).toBeLessThan(10);
    // Nor from short to long.
    const longest = first.map((batch) => Math.max(...batch.map((i) => lengths[i]!)));
    const steps = longest.slice(1).filter((length, i) => length < longest[i]!).length;
    expect(steps).toBeGreaterThan(30);
  });

  test("it follows from seed and epoch, so a position leads on", async () => {
    const [once, again] = [loaderOf(), loaderOf()];
    await passOf(once);
    const second = await passOf(once);
    again.position = { epoch: 1, batch: 100, seed: 5 };
    expect(await passOf(again)).toEqual(second.slice(100));
    const other = loaderOf({ shuffle: { seed: 6 } });
    other.position = { epoch: 1, batch: 0, seed: 6 };
    expect(await passOf(other)).not.toEqual(second);
    // The meaning of a seed does not change.
    const small = new DataLoader(data, { batchSize: 8, shuffle: true, bucketBy: (i) => lengths[i]! });
    const [head] = await passOf(small);
    expect(head).toMatchInlineSnapshot(`
      [
        619,
        73,
        400,
        594,
        885,
        921,
        242,
        339,
      ]
    `);
  });

  test("where the smaller batch is dropped, no length is left out more often", async () => {
    const few = { xs: data.xs.slice(0, 20), ys: data.ys.slice(0, 20) };
    const loader = new DataLoader(few, { batchSize: 8, shuffle: true, dropLast: true, bucketBy: (i) => i });
    const left = Array<number>(20).fill(0);
    for (let epoch = 0; epoch < 400; epoch++) {
      const there = new Set((await passOf(loader)).flat());
      expect(there.size).toBe(16);
      for (let i = 0; i < 20; i++) if (!there.has(i)) left[i]!++;
    }
    // 400 epochs leave out 4 of 20: half of them by chance among the shorter.
    const short = left.slice(0, 10).reduce((a, b) => a + b, 0);
    expect(short).toBeGreaterThan(600);
    expect(short).toBeLessThan(1000);
  });

  test("without shuffling, the shortest first; with weights, what was drawn", async () => {
    const few = { xs: [[1], [2], [3], [4]], ys: [0, 1, 2, 3] };
    expect(await passOf(new DataLoader(few, { batchSize: 3, bucketBy: [5, 1, 5, 2] }))).toEqual([[1, 3, 0], [2]]);
    const drawn = await passOf(
      new DataLoader(few, { batchSize: 2, sample: { weights: [1, 0, 1, 0], count: 9 }, bucketBy: [5, 1, 2, 2] }),
    );
    expect(drawn.map(({ length }) => length)).toEqual([2, 2, 2, 2, 1]);
    expect(new Set(drawn.flat())).toEqual(new Set([0, 2]));
  });

  test("fewer samples than a batch, samples of one length, and none", async () => {
    const few = { xs: [[1], [2], [3]], ys: [0, 1, 2] };
    const shuffled = { shuffle: true, bucketBy: [1, 1, 1] };
    expect((await passOf(new DataLoader(few, { batchSize: 5, ...shuffled }))).map(sorted)).toEqual([[0, 1, 2]]);
    const orders = new Set<string>();
    const loader = new DataLoader(few, { batchSize: 1, ...shuffled });
    for (let epoch = 0; epoch < 20; epoch++) orders.add((await passOf(loader)).join());
    expect(orders.size).toBeGreaterThan(3);
    const none = { length: 0, get: () => [0, 0] as const };
    expect(await passOf(new DataLoader(none, { batchSize: 2, shuffle: true, bucketBy: [] }))).toEqual([]);
  });

  test.each<[unknown, RegExp]>([
    [[1, 2], /there are 2 lengths for 3 samples; each sample needs one/],
    [[1, Number.NaN, 3], /the length of sample 1 is NaN; it must be a number$/],
    [(i: number) => Promise.resolve(i), /the length of sample 0 is a Promise; it must be a number, given at once/],
    [7, /bucketBy is 7; give the length of each sample, or a function/],
  ])("lengths that are none: %#", async (bucketBy, message) => {
    const few = { xs: [[1], [2], [3]], ys: [0, 1, 2] };
    const error = await caught(() => new DataLoader(few, unchecked({ batchSize: 1, bucketBy })));
    expect(error.code).toBe("MISUSE");
    expect(error.message).toMatch(message);
  });

  test("data that can only be iterated has no samples by index", async () => {
    const stream = { *[Symbol.iterator]() {} };
    const error = await caught(() => new DataLoader(unchecked(stream), { batchSize: 1, bucketBy: [1] }));
    expect([error.code, error.message]).toEqual([
      "MISUSE",
      "the data can be iterated, but has no samples by index, which shuffling and buckets need: give a list of them, or { length, get(index) }",
    ]);
  });
});
