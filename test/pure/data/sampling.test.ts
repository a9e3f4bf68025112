/** Weights of classes, and drawing by weight. */
import { describe, expect, test } from "vitest";
import { DataLoader, TorchwireError } from "torchwire";
import { balancedWeights, classWeights } from "torchwire/data";
import { weightedSample } from "../../../client/data/shuffle.ts";

const rows = (n: number): { xs: Float32Array; ys: Int32Array } => ({
  xs: Float32Array.from({ length: n }, (_, i) => i),
  ys: Int32Array.from({ length: n }, (_, i) => i),
});

async function passOf(loader: DataLoader): Promise<number[][]> {
  const found: number[][] = [];
  for await (const { ys } of loader) found.push(Array.from(ys.data, Number));
  return found;
}

describe("drawing by weight", () => {
  test("as often as the weights say, within what chance allows", () => {
    const weights = [1, 0, 3, 6];
    const counts = [0, 0, 0, 0];
    for (const index of weightedSample(weights, 40_000, 7)) counts[index]!++;
    expect(counts[1]).toBe(0);
    // Four standard deviations.
    for (const [i, weight] of weights.entries())
      expect(Math.abs(counts[i]! - 4000 * weight)).toBeLessThan(4 * Math.sqrt(40_000 * 0.25));
  });

  test("the same for a seed and an epoch, and another for others", () => {
    const draw = (seed: number, epoch: number): number[] => [...weightedSample([1, 2, 3, 4, 5], 12, seed, epoch)];
    expect(draw(3, 0)).toEqual(draw(3, 0));
    expect(draw(3, 1)).not.toEqual(draw(3, 0));
    expect(draw(4, 0)).not.toEqual(draw(3, 0));
    // The meaning of a seed does not change.
    expect(draw(3, 0)).toMatchInlineSnapshot(`
      [
        3,
        3,
        3,
        4,
        4,
        3,
        1,
        3,
        4,
        2,
        2,
        2,
      ]
    `);
  });

  test("the ends of the scale: the last is drawn, and a weight of 0 never", () => {
    expect(new Set(weightedSample([0, 0, 1], 100, 1))).toEqual(new Set([2]));
    expect(new Set(weightedSample([1, 0, 0], 100, 1))).toEqual(new Set([0]));
  });

  test.each([
    [[1, -1], "weight 1 is -1"],
    [[1, Number.NaN], "weight 1 is NaN"],
    [[0, 0], "add up to 0"],
    [[], "add up to 0"],
  ])("%j is refused", (weights, message) => {
    expect(() => weightedSample(weights, 1, 0)).toThrow(message);
  });
});

describe("a loader", () => {
  test("gives what is drawn, another draw in each epoch, and as many as it was told", async () => {
    const weights = [0, 1, 1, 0, 2];
    const loader = new DataLoader(rows(5), { batchSize: 3, seed: 9, sample: { weights, count: 8 } });
    expect([loader.length, loader.samples]).toEqual([3, 5]);
    const epochs = [await passOf(loader), await passOf(loader)];
    for (const [epoch, found] of epochs.entries()) {
      expect(found.map(({ length }) => length)).toEqual([3, 3, 2]);
      expect(found.flat()).toEqual([...weightedSample(weights, 8, 9, epoch)]);
    }
    const dropping = new DataLoader(rows(5), { batchSize: 3, sample: { weights, count: 8 }, dropLast: true });
    expect((await passOf(dropping)).map(({ length }) => length)).toEqual([3, 3]);
  });

  test("by default an epoch has as many as the data", async () => {
    const loader = new DataLoader(rows(4), { batchSize: 4, sample: { weights: [1, 1, 1, 1] } });
    expect((await passOf(loader)).flat()).toHaveLength(4);
  });

  test("of samples that are read one by one", async () => {
    const dataset = { length: 5, get: (i: number) => ({ xs: i, ys: i }) };
    const weights = [0, 1, 1, 0, 2];
    const loader = new DataLoader(dataset, { batchSize: 3, seed: 9, sample: { weights, count: 8 } });
    const found: number[] = [];
    for await (const { ys } of loader) found.push(...Array.from(ys.data, Number));
    expect(found).toEqual([...weightedSample(weights, 8, 9, 0)]);
  });

  test.each([
    [{ weights: [1, 2] }, {}, "there are 2 weights for 3 samples"],
    [{ weights: [1, 2, 3] }, { shuffle: true }, "shuffle and sample are both given"],
    [{ weights: [0, 0, 0] }, {}, "add up to 0"],
    [{ weights: [1, 1, 1], count: 0 }, {}, "sample.count must be an integer from 1"],
  ])("sample: %j with %j is refused", (sample, more, message) => {
    expect(() => new DataLoader(rows(3), { batchSize: 2, sample, ...more })).toThrow(message);
    expect(() => new DataLoader(rows(3), { batchSize: 2, sample, ...more })).toThrow(TorchwireError);
  });
});

describe("weights of classes", () => {
  test("balancedWeights: 1 over the number of its class", () => {
    expect([...balancedWeights([0, 1, 1, 2, 1, 2])]).toEqual([1, 1 / 3, 1 / 3, 1 / 2, 1 / 3, 1 / 2]);
    expect([...balancedWeights(BigInt64Array.of(5n, 5n))]).toEqual([0.5, 0.5]);
  });

  test("classWeights: scikit-learn's balanced", () => {
    expect([...classWeights([0, 1, 1, 1])]).toEqual([2, Math.fround(2 / 3)]);
    expect(() => classWeights([0, 2])).toThrow("class 1 has no sample");
    expect(() => classWeights([0, 3], 3)).toThrow("the label 3 is not one of the 3 classes");
    expect(() => classWeights([])).toThrow("there are no labels");
  });
});
