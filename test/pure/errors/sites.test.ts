/** The lines of operations: those of a batch that goes as an earlier one went are taken from it. */
import { describe, expect, test } from "vitest";
import { SitePredictor } from "../../../bridge/errors/sites.ts";
import type { CallSite } from "../../../bridge/errors/site.ts";

const FULL = Array.from({ length: 256 }, () => "()");
/** The rest of a step of 300 operations. */
const REST = [...FULL.slice(0, 44), "fetch", "release"];

/** Makes batches, all in one line, and gives how many of the lines of each were not known from an earlier one. */
function batchesOf(...batches: readonly (readonly string[])[]): number[] {
  const predictor = new SitePredictor();
  const known = new Set<CallSite>();
  return batches.map((keys) => {
    const batch = predictor.begin();
    for (const key of keys) batch.add(key);
    batch.end();
    const { sites } = batch;
    expect(sites).toHaveLength(keys.length);
    const fresh = sites.filter((site) => !known.has(site)).length;
    for (const site of sites) known.add(site);
    return fresh;
  });
}

describe("the lines of a batch", () => {
  test("are known once one like it was seen twice", () => {
    expect(batchesOf(REST, REST, REST, REST)).toEqual([REST.length, REST.length, 0, 0]);
  });

  test("are known where a step makes several batches, which begin in one line and end differently", () => {
    const steps = Array.from({ length: 40 }, () => [FULL, FULL, REST]).flat();
    const fresh = batchesOf(...steps);
    expect(fresh.slice(6).every((one) => one === 0)).toBe(true);
    // Those that were seen first are known by what they have in common.
    expect(fresh.slice(0, 6).reduce((sum, one) => sum + one, 0)).toBeLessThan(3 * FULL.length + REST.length);
  });

  test("are known of a batch that ends where a longer one goes on", () => {
    const short = FULL.slice(0, 10);
    expect(batchesOf(FULL, FULL, short, short, FULL, short, FULL).slice(3)).toEqual([0, 0, 0, 0]);
  });

  test("are taken anew where no earlier batch went so, and from there on", () => {
    const other = [...FULL.slice(0, 100), "[]", ...FULL.slice(0, 20)];
    expect(batchesOf(FULL, FULL, FULL, other).at(-1)).toBeGreaterThanOrEqual(21);
  });
});
