/** The checkpoints that stay, and their names. */
import { expect, test } from "vitest";
import { bestFirst, checkpointName, keptOf, splitMonitor } from "../../../client/stopping/checkpoints.ts";

const files = (...values: readonly (number | undefined)[]): { i: number; value: number | undefined }[] =>
  values.map((value, i) => ({ i, value }));
const places = (of: readonly { readonly i: number }[]): number[] => of.map(({ i }) => i);

test("the best come first, what has no value last, and of those the latest first", () => {
  const some = files(2, undefined, 1, NaN, 3, -Infinity);
  expect(places(bestFirst(some, "min"))).toEqual([5, 2, 0, 4, 3, 1]);
  expect(places(bestFirst(some, "max"))).toEqual([4, 0, 2, 5, 3, 1]);
});

test.each<[number, "min" | "max", number[]]>([
  [Infinity, "min", [0, 1, 2, 3]],
  [2, "min", [0, 2, 3]],
  [2, "max", [1, 3]],
  [1, "max", [3]],
  [0, "min", [3]],
])("the %f best by %s, and the last, in their order", (keep, mode, kept) => {
  expect(places(keptOf(files(1, 3, 2, 4), keep, mode))).toEqual(kept);
});

test("a monitor's phase", () => {
  expect(["loss", "validation.accuracy", "training.top.5"].map(splitMonitor)).toEqual([
    [undefined, "loss"],
    ["validation", "accuracy"],
    ["training", "top.5"],
  ]);
});

test("names: what they say, in letters that every disk takes", () => {
  const name = (value: number | undefined, monitor = "loss", step?: number): string =>
    checkpointName({ epoch: 7, step, monitor, value });
  expect(name(0.123449)).toBe("checkpoint_epoch_007_loss_0.1234.safetensors");
  expect(name(0.5, "validation.top 5/%")).toBe("checkpoint_epoch_007_validation_top_5__0.5.safetensors");
  expect(name(1e5)).toBe("checkpoint_epoch_007_loss_100000.safetensors");
  expect(name(1.23456e-7)).toBe("checkpoint_epoch_007_loss_1.235e-7.safetensors");
  expect(name(NaN)).toBe("checkpoint_epoch_007_loss_NaN.safetensors");
  expect(name(undefined, "loss", 123)).toBe("checkpoint_epoch_007_step_123.safetensors");
  expect(checkpointName({ epoch: 1234, step: undefined, monitor: "loss", value: -2 })).toBe(
    "checkpoint_epoch_1234_loss_-2.safetensors",
  );
});
