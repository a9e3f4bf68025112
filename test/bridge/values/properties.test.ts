/**
 * Properties that hold for every value. Each is tried on hundreds of random values, through a real worker. A failure
 * prints the smallest value and the seed.
 */
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { py, type NDArray, type Worker } from "torchwire";
import type { DType } from "torchwire/bridge";
import { dtypes, fromBytes, isNDArray, itemSize, sizeOf, toBytes } from "../../../bridge/values/ndarray.ts";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { inverse } from "../../../client/formats/axes.ts";
import { batch, format, image, imagenet, same, sequence, video, type Format } from "../../../client/formats/index.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let identity: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  identity = await worker.import("torchwire_worker.helpers").identity;
});

/** An array of these types and shapes, every bit of it at random; those of bool are 0 or 1. */
const arrays = (types: readonly DType[], shapes: fc.Arbitrary<number[]>): fc.Arbitrary<NDArray> =>
  fc.tuple(fc.constantFrom(...types), shapes).chain(([dtype, shape]) => {
    const length = sizeOf(shape) * itemSize(dtype);
    const bits = fc.uint8Array({ minLength: length, maxLength: length, max: dtype === "bool" ? 1 : 255 });
    return bits.map((bytes) => fromBytes(dtype, shape, Uint8Array.from(bytes)));
  });

const shape = (axes: number, most = 4): fc.Arbitrary<number[]> =>
  fc.array(fc.nat(most), { minLength: axes, maxLength: axes });
const anyShape = fc.nat(5).chain((axes) => shape(axes));

/** Arrays as their bits, so that a NaN is the same as itself and another NaN is not. */
function bits(value: unknown): unknown {
  if (isNDArray(value))
    return {
      dtype: value.dtype,
      shape: value.shape,
      kind: value.data.constructor.name,
      hex: Buffer.from(toBytes(value.data)).toString("hex"),
    };
  if (Array.isArray(value)) return value.map(bits);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, bits(item)] as const));
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, bits(item)]));
}

/** Bytes come as a Uint8Array, and a Uint8Array goes as a tensor. */
function asBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return py.bytes(value);
  if (Array.isArray(value)) return value.map(asBytes);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, asBytes(item)] as const));
  if (typeof value !== "object" || value === null || isNDArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asBytes(item)]));
}

/** A value to send, and the value that must come back. */
interface Case {
  readonly sent: unknown;
  readonly expected: unknown;
}
const alike = (sent: unknown): Case => ({ sent, expected: sent });
const text = fc.string({ unit: "binary", maxLength: 20 });
const integer = (value: bigint): Case => ({
  sent: value,
  expected: BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value,
});

const values = fc.letrec<{ value: Case }>((tie) => {
  const list = fc.array(tie("value"), { maxLength: 4 });
  const entries = fc.array(fc.tuple(text, tie("value")), { maxLength: 4 });
  // Whole numbers past 1: in Python, 1, 1.0 and True are one key.
  const keys = fc.uniqueArray(fc.integer({ min: 2, max: 2 ** 40 }), { minLength: 1, maxLength: 3 });
  const scalars: fc.Arbitrary<Case>[] = [
    fc.constantFrom(null, true, false).map(alike),
    fc.constant({ sent: undefined, expected: null }),
    fc.integer({ min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }).map(alike),
    fc.double().map(alike),
    fc.double().map((x) => ({ sent: py.float(x), expected: x })),
    fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(integer),
    fc.constantFrom(0n, 1n, -1n).chain((by) => fc.constantFrom(53n, 63n, 64n).map((n) => integer(2n ** n + by))),
    text.map(alike),
    fc.uint8Array({ maxLength: 20 }).map((data) => ({ sent: py.bytes(data), expected: Uint8Array.from(data) })),
    arrays(dtypes, anyShape).map(alike),
  ];
  return {
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      ...scalars,
      list.map((items) => ({ sent: items.map(({ sent }) => sent), expected: items.map(({ expected }) => expected) })),
      list.map((items) => ({
        sent: py.tuple(...items.map(({ sent }) => sent)),
        expected: items.map(({ expected }) => expected),
      })),
      entries.map((all) => ({
        sent: Object.fromEntries(all.map(([key, { sent }]) => [key, sent])),
        expected: Object.fromEntries(all.map(([key, { expected }]) => [key, expected])),
      })),
      fc.tuple(keys, tie("value")).map(([all, { sent, expected }]) => ({
        sent: new Map(all.map((key) => [key, sent])),
        expected: new Map(all.map((key) => [key, expected])),
      })),
    ),
  };
}).value;

describe("values", () => {
  test("of every kind come back from Python as what they are, and again", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(values, { minLength: 1, maxLength: 5 }), async (cases) => {
        const back = await Promise.all(cases.map(({ sent }) => py.js(identity([sent]))));
        expect(back.map(bits)).toStrictEqual(cases.map(({ expected }) => bits([expected])));
        const again = await Promise.all(back.map((value) => py.js(identity(asBytes(value)))));
        expect(again.map(bits)).toStrictEqual(back.map(bits));
      }),
      { numRuns: 200 },
    );
  });

  test("are in Python what its own reader makes of their text", async () => {
    const same = worker.import("builtins").eval(
      // Past 2^53 a number of JavaScript's is a float.
      "lambda value, text: __import__('json').loads(text, parse_int=lambda s: int(s) if abs(int(s)) < 2**53 else float(s)) == value",
    );
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ maxDepth: 4 }), async (value) => {
        expect(await same(value, JSON.stringify(value))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

describe("axes", () => {
  /** `shape` and a permutation of its axes. */
  const permuted = fc.integer({ min: 0, max: 5 }).chain((axes) =>
    fc.tuple(
      arrays(dtypes, shape(axes, 3)),
      fc.shuffledSubarray(
        Array.from({ length: axes }, (_, i) => i),
        { minLength: axes, maxLength: axes },
      ),
    ),
  );

  /** Element by element, in JavaScript. */
  function moved({ dtype, shape, data }: NDArray, axes: readonly number[]): NDArray {
    const size = itemSize(dtype);
    const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)) * size);
    const bytes = toBytes(data);
    const out = new Uint8Array(bytes.length);
    const target = axes.map((axis) => shape[axis]!);
    for (let i = 0; i < sizeOf(shape); i++) {
      let rest = i;
      let from = 0;
      for (let axis = target.length - 1; axis >= 0; axis--) {
        from += (rest % target[axis]!) * strides[axes[axis]!]!;
        rest = Math.floor(rest / target[axis]!);
      }
      out.set(bytes.subarray(from, from + size), i * size);
    }
    return fromBytes(dtype, target, out);
  }

  test("a permutation in the worker is the one in JavaScript, and its inverse undoes it", async () => {
    await fc.assert(
      fc.asyncProperty(permuted, async ([array, axes]) => {
        const there = worker.tensor(array) as unknown as AnyRef;
        // As a view, whose elements do not lie in their order.
        const [found, back] = [there.permute(axes), there.permute(axes).permute(inverse(axes))];
        expect(bits(await py.ndarray(found))).toEqual(bits(moved(array, axes)));
        expect(bits(await py.ndarray(back))).toEqual(bits(array));
        expect(bits(moved(moved(array, axes), inverse(axes)))).toEqual(bits(array));
      }),
      { numRuns: 150 },
    );
  });

  const pixels = ["uint8", "float32", "float64"] as const;
  const channels = (axes: number, of: number): fc.Arbitrary<number[]> => shape(axes, 3).map((sizes) => [...sizes, of]);
  const cases: [string, Format, fc.Arbitrary<NDArray>, { channelsLast?: boolean }][] = [
    ["same", same, arrays(dtypes, anyShape), {}],
    ["batch(same)", batch(same), arrays(dtypes, shape(3)), {}],
    ["image()", batch(image()), arrays(pixels, shape(4, 3)), {}],
    ["image() with channelsLast", batch(image()), arrays(pixels, shape(4, 3)), { channelsLast: true }],
    ["image(imagenet) of bytes", batch(image(imagenet)), arrays(["uint8"], channels(3, 3)), {}],
    [
      "image({ channels: 3 }) of bytes",
      batch(image({ ...imagenet, channels: 3 })),
      arrays(["uint8"], channels(3, 1)),
      {},
    ],
    ["image() of a batch of batches", batch(batch(image())), arrays(pixels, shape(5, 2)), {}],
    ["video()", batch(video()), arrays(pixels, shape(5, 2)), {}],
    [
      "sequence()",
      sequence(),
      arrays(
        dtypes,
        fc.integer({ min: 2, max: 4 }).chain((axes) => shape(axes)),
      ),
      {},
    ],
    ["sequence({ batchFirst: true })", sequence({ batchFirst: true }), arrays(dtypes, shape(3)), {}],
  ];

  test.for(cases)("%s: fromTorch(toTorch(a)) is a", async ([, chosen, all, how]) => {
    await fc.assert(
      fc.asyncProperty(all, async (array) => {
        const context = { worker, dtype: array.dtype, shape: array.shape, ...how };
        const there = worker.tensor(array) as unknown as AnyRef;
        expect(bits(await py.ndarray(chosen.fromTorch(chosen.toTorch(there, context), context)))).toEqual(bits(array));
      }),
      { numRuns: 30 },
    );
  });

  test("a format of one's own axes: fromTorch(toTorch(a)) is a", async () => {
    await fc.assert(
      fc.asyncProperty(permuted, async ([array, axes]) => {
        const own = format({ name: "own", axes, batched: true });
        const context = { worker, dtype: array.dtype, shape: array.shape };
        const there = own.toTorch(worker.tensor(array) as unknown as AnyRef, context);
        expect(bits(await py.ndarray(there))).toEqual(bits(moved(array, axes)));
        expect(bits(await py.ndarray(own.fromTorch(there, context)))).toEqual(bits(array));
      }),
      { numRuns: 100 },
    );
  });
});
