/** The exponents of growth, on costs whose growth is known. */
import { expect, test } from "vitest";
import { exponent, grown } from "../../../bench/growth/power.ts";
import type { Contest, Round } from "../../../bench/rounds.ts";

test("the exponent of a power is the power, and that of a fixed cost with a part for each lies below 1", () => {
  const sizes = [10, 100, 1000];
  expect(
    exponent(
      sizes,
      sizes.map((n) => 3 * n),
    ),
  ).toBeCloseTo(1, 12);
  expect(
    exponent(
      sizes,
      sizes.map((n) => 0.01 * n ** 2),
    ),
  ).toBeCloseTo(2, 12);
  expect(exponent(sizes, [5, 5, 5])).toBeCloseTo(0, 12);
  expect(
    exponent(
      sizes,
      sizes.map((n) => 100 + n),
    ),
  ).toBeLessThan(0.6);
});

test("a contest's name says how the time of all grows, though it measures the time of one", () => {
  const run = (): Promise<never> => Promise.reject(new Error("not run here"));
  const contest: Contest = {
    name: "things",
    primary: "us a thing",
    better: "lower",
    columns: ["us a thing"],
    variants: ["1", "10", "100"].map((name) => ({ name, run })),
  };
  // A fixed cost of 9, and 1 for each. At the end: 1.09 n against 1.9 n.
  const readings = { 1: { "us a thing": 10 }, 10: { "us a thing": 1.9 }, 100: { "us a thing": 1.09 } };
  const kept: Round[] = Array.from({ length: 6 }, () => ({ start: 0, foreign: 0, readings }));
  const { name } = grown({ contest, kept, dropped: 0 }, { sizes: [1, 10, 100], unit: "us a thing" }).contest;
  expect(name).toBe("things: the time of n grows as n^0.52 [0.52, 0.52], from 10 to 100 as n^0.76 [0.76, 0.76]");
  const quadratic = { 1: { "us a thing": 1 }, 10: { "us a thing": 10 }, 100: { "us a thing": 100 } };
  const worse = kept.map((round) => ({ ...round, readings: quadratic }));
  expect(
    grown({ contest, kept: worse, dropped: 0 }, { sizes: [1, 10, 100], unit: "us a thing" }).contest.name,
  ).toContain("n^2.00");
});
