/**
 * The meaning of a seed, in every version and on every platform: golden/order-v1.json, made by test/golden/order.py.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DataLoader, split } from "torchwire";
import { arrayDataset } from "torchwire/data";
import { splitIndices } from "../../../client/data/dataset.ts";
import { permutation } from "../../../client/data/shuffle.ts";

interface Described {
  readonly order?: readonly number[];
  readonly first?: readonly number[];
  readonly sha256?: string;
}
interface Golden {
  readonly orders: readonly ({ readonly n: number; readonly seed: number; readonly epoch: number } & Described)[];
  readonly splits: readonly {
    readonly n: number;
    readonly fraction: number;
    readonly seed: number;
    readonly sizes: readonly number[];
    readonly parts: readonly Described[];
  }[];
  readonly loaders: readonly {
    readonly n: number;
    readonly batchSize: number;
    readonly dropLast: boolean;
    readonly seed: number;
    readonly passes: readonly (readonly (readonly number[])[])[];
  }[];
}
const golden = JSON.parse(readFileSync(new URL("../../golden/order-v1.json", import.meta.url), "utf8")) as Golden;

function described(order: Uint32Array): Described {
  if (order.length <= 20) return { order: [...order] };
  return { first: [...order.subarray(0, 5)], sha256: createHash("sha256").update(order.join(",")).digest("hex") };
}

test.for(golden.orders)("the order of $n with seed $seed in epoch $epoch", ({ n, seed, epoch, ...expected }) => {
  expect(described(permutation(n, seed, epoch))).toEqual(expected);
});

test.for(golden.splits)("a split of $n at $fraction with seed $seed", ({ n, fraction, seed, sizes, parts }) => {
  const found = splitIndices(n, fraction, { seed });
  expect(found.map((part) => part.length)).toEqual(sizes);
  expect(found.map(described)).toEqual(parts);
});

const rows = (n: number): { xs: Float32Array; ys: number[] } => ({
  xs: Float32Array.from({ length: n }, (_, i) => i),
  ys: Array.from({ length: n }, (_, i) => i),
});

test.for(golden.loaders)(
  "three passes of a loader of $n in batches of $batchSize with seed $seed, dropLast: $dropLast",
  async ({ n, batchSize, dropLast, seed, passes }) => {
    const loader = new DataLoader(arrayDataset(rows(n)), { batchSize, dropLast, seed, shuffle: true });
    const found: number[][][] = [];
    for (let epoch = 0; epoch < 3; epoch++) {
      const batches: number[][] = [];
      for await (const { xs, ys } of loader) {
        expect([...xs.data]).toEqual([...ys.data].map(Number));
        batches.push([...xs.data].map(Number));
      }
      found.push(batches);
    }
    expect(found).toEqual(passes);
  },
);

test("a split gives the samples of its indices", async () => {
  const { n, fraction, seed, parts } = golden.splits.find((each) => each.n === 15)!;
  const found = split(arrayDataset(rows(n)), fraction, { seed });
  for (const [i, part] of found.entries()) {
    const targets: number[] = [];
    for await (const { ys } of new DataLoader(part, { batchSize: 4 })) targets.push(...[...ys.data].map(Number));
    expect(targets).toEqual(parts[i]!.order);
  }
});
