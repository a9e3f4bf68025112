/** Losses as values: their options, and the targets that each asks for. */
import { describe, expect, test } from "vitest";
import { bceWithLogits, crossEntropy, mse } from "torchwire";
import { l1, smoothL1, type Loss } from "torchwire/losses";
import { toTargets } from "../../../client/losses/spec.ts";
import { caught, untyped } from "../../observed.ts";
import { recorded } from "../recorded.ts";
import { unchecked } from "../../tiny.ts";

describe("options are checked when the spec is made", () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      "an unknown one",
      () => crossEntropy(unchecked({ label_smoothing: 0.1 })),
      /^crossEntropy has no option "label_smoothing"; it has weight, ignoreIndex, reduction, labelSmoothing$/,
    ],
    [
      "another loss's",
      () => smoothL1(unchecked({ delta: 1 })),
      /^smoothL1 has no option "delta"; it has reduction, beta$/,
    ],
    [
      "an unknown reduction",
      () => l1(unchecked({ reduction: "avg" })),
      /^l1: reduction is 'avg'; it must be "mean" or "sum" or "none"$/,
    ],
    [
      "a fraction as an index",
      () => crossEntropy(unchecked({ ignoreIndex: 0.5 })),
      /^crossEntropy: ignoreIndex is 0\.5; it must be a whole number$/,
    ],
    [
      "a number as a tensor",
      () => bceWithLogits(unchecked({ posWeight: 2 })),
      /^bceWithLogits: posWeight is 2; it must be an array of numbers or a reference to a tensor$/,
    ],
    [
      "strings as a tensor",
      () => crossEntropy(unchecked({ weight: ["1"] })),
      /^crossEntropy: weight is \[ '1' \]; it must be an array of numbers or a reference to a tensor$/,
    ],
    ["a number as options", () => crossEntropy(unchecked(0.1)), /^crossEntropy takes an object of options, not 0\.1$/],
  ])("%s", async (_what, run, message) => {
    const error = await caught(run);
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });
});

describe("targets arrive as the loss asks for them", () => {
  const dtypes = ["uint8", "int32", "int64", "bool", "float32", "float64"] as const;
  /** The methods that each dtype costs. */
  const conversions = (loss: Loss): unknown[] =>
    dtypes.map((dtype) => {
      const operations = recorded((worker) => toTargets(loss, untyped(worker, "y"), dtype));
      return operations[1]?.[2] ?? "as it is";
    });
  const asItIs = dtypes.map(() => "as it is");

  test("indices of classes as int64, and probabilities as they are", () => {
    expect(conversions(crossEntropy())).toEqual([["long"], ["long"], "as it is", ["long"], "as it is", "as it is"]);
  });

  test("values as floats", () => {
    const floats = [["float"], ["float"], ["float"], ["float"], "as it is", "as it is"];
    expect([mse(), l1(), bceWithLogits()].map(conversions)).toEqual([floats, floats, floats]);
  });

  test("what a loss of one's own gets is not touched", () => {
    expect(conversions((yhat) => yhat)).toEqual(asItIs);
  });
});
