/** Formats: what they refuse, which is the default, and the operations that they are. */
import { describe, expect, test } from "vitest";
import type { NDArray, Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import {
  batch,
  format,
  image,
  imagenet,
  same,
  sequence,
  video,
  type Format,
  type FormatContext,
} from "../../../client/formats/index.ts";
import { defaultFormat } from "../../../client/formats/default.ts";
import { ofBatch } from "../../../client/formats/format.ts";
import { caught } from "../../observed.ts";
import { recorded } from "../recorded.ts";
import { bytes, floats, unchecked } from "../../tiny.ts";

describe("what is refused before anything is sent", () => {
  const how = (array: NDArray): FormatContext => ({ worker: unchecked(undefined), ...array });
  const refused = async (format: Format, array: NDArray): Promise<string> => {
    const error = await caught(() => void ofBatch(format).toTorch(unchecked(undefined), how(array)));
    expect(error.code).toBe("MISUSE");
    return error.message;
  };

  test.each<[string, Format, NDArray, string]>([
    ["no channels", image(), bytes(2, 28, 28), "image takes [N, H, W, C], not an array of shape [2, 28, 28]"],
    ["no batch", video(), bytes(2, 8, 8, 3), "video takes [N, T, H, W, C], not an array of shape [2, 8, 8, 3]"],
    [
      "images of a batch of batches",
      batch(batch(image())),
      bytes(2, 8, 8, 3),
      "image takes [N, N2, H, W, C], not an array of shape [2, 8, 8, 3]",
    ],
    [
      "grey with a mean for each of three",
      image(imagenet),
      bytes(2, 4, 4, 1),
      "image: mean has 3 values for 1 channels of an array of shape [2, 4, 4, 1]; channels: 3 repeats the only channel",
    ],
    [
      "four channels with a std for each of three",
      image({ std: [1, 2, 3] }),
      bytes(2, 4, 4, 4),
      "image: std has 3 values for 4 channels of an array of shape [2, 4, 4, 4]",
    ],
    [
      "repeating three channels",
      image({ channels: 3 }),
      bytes(2, 4, 4, 3),
      "image: channels repeats the one channel of grey images, but this array, [2, 4, 4, 3], has 3",
    ],
    [
      "pixels that are int32",
      image(),
      { dtype: "int32", shape: [1, 1, 1, 1], data: Int32Array.of(1) },
      "image takes uint8 from 0 to 255, float32 or float64, not int32",
    ],
    ["a sequence of one axis", sequence(), floats(3), "sequence takes [N, T, …], not an array of shape [3]"],
    [
      "other axes than one's own",
      format({ name: "volume", axes: [1, 0] }),
      floats(3, 3),
      "volume takes [N, axis 0, axis 1], not an array of shape [3, 3]",
    ],
  ])("%s", async (_what, format, array, message) => {
    expect(await refused(format, array)).toBe(message);
  });

  test.each<[string, () => unknown, RegExp]>([
    ["a std of 0", () => image({ mean: 0, std: [1, 0, 1] }), /^image: std is 0 for a channel/],
    [
      "no mean at all",
      () => video({ mean: [] }),
      /^video: mean is \[\]; it must be a number, or one for each channel$/,
    ],
    ["NaN", () => image({ mean: Number.NaN }), /^image: mean is NaN; it must be a number/],
    ["half a channel", () => image({ channels: 0.5 }), /^image: channels is 0\.5, not a whole number above 0$/],
    [
      "an axis twice",
      () => format({ name: "odd", axes: [0, 0] }),
      /^odd: axes is \[0, 0\], which is not 0 to 1 in some order$/,
    ],
  ])("%s", async (_what, run, message) => {
    const error = await caught(run);
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });
});

describe("the default", () => {
  const shaped = (dtype: NDArray["dtype"], ...shape: number[]): Pick<NDArray, "dtype" | "shape"> => ({ dtype, shape });

  test.each([1, 3, 4])("bytes [N, H, W, %i] are images", (channels) => {
    expect(defaultFormat(shaped("uint8", 64, 28, 28, channels)).name).toBe("image");
  });

  test.each([
    shaped("uint8", 64, 3, 28, 28),
    shaped("uint8", 64, 28, 28, 2),
    shaped("uint8", 64, 28, 3),
    shaped("uint8", 2, 2, 2, 2, 3),
    shaped("int64", 64, 28, 28, 3),
    shaped("bool", 64, 28, 28, 3),
    shaped("float32", 64, 784),
    shaped("float32", 64, 8, 28, 28, 3),
    shaped("float64"),
  ])("$dtype $shape is sent as it is", (array) => {
    expect(defaultFormat(array)).toBe(same);
  });

  test.each(["float32", "float64"] as const)("%s of four dimensions is asked about", async (dtype) => {
    const error = await caught(() => defaultFormat(shaped(dtype, 64, 32, 32, 3), "target"));
    expect(error.message).toBe(
      `target is ${dtype} of shape [64, 32, 32, 3], which may be [N, H, W, C] or [N, C, H, W]. Say which it is: ` +
        `"target: image({ … })" for the first, "target: same" for the second`,
    );
    expect(error.code).toBe("MISUSE");
  });
});

describe("operations", () => {
  const x = (worker: Worker): AnyRef => worker.import("x");

  test("of images are those that one would have written", () => {
    const how = { dtype: "uint8", shape: [2, 4, 4, 3] } as const;
    const found = recorded((worker) => batch(image()).toTorch(x(worker), { worker, ...how }));
    expect(found).toEqual(recorded((worker) => x(worker).permute(0, 3, 1, 2).contiguous().float().div(255)));
    const view = recorded((worker) => batch(image()).toTorch(x(worker), { worker, ...how, channelsLast: true }));
    expect(view).toEqual(recorded((worker) => x(worker).permute(0, 3, 1, 2).float().div(255)));
  });

  test("of what is left as it is are none", () => {
    const nothing = recorded(x);
    for (const format of [same, batch(same), sequence({ batchFirst: true })]) {
      expect(recorded((worker) => format.toTorch(x(worker), { worker, dtype: "float32" }))).toEqual(nothing);
      expect(recorded((worker) => format.fromTorch(x(worker), { worker, dtype: "float32" }))).toEqual(nothing);
    }
  });
});

test("what describes a sample is lifted, and what describes a batch is not", () => {
  expect(ofBatch(image()).name).toBe("batch(image)");
  for (const format of [sequence(), batch(image())]) expect(ofBatch(format)).toBe(format);
});
