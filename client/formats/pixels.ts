/** Images and videos, whose channels come last in JavaScript. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { described } from "../options/keywords.ts";
import { checkAxes, inverse, permuted, shapeText } from "./axes.ts";
import type { Format, FormatContext } from "./format.ts";

/** One number, or one for each channel, for images whose pixels are 0 to 1. */
export interface Normalization {
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
}

/** The normalisation that torchvision's pretrained models expect. */
export const imagenet: Normalization = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** Mean and standard deviation of all pixels of CIFAR-10's training images. */
export const cifar10: Normalization = { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] };
/** Mean and standard deviation of all pixels of MNIST's training images. */
export const mnist: Normalization = { mean: 0.1307, std: 0.3081 };

export interface PixelOptions {
  /** Subtracted from the pixels. Default: 0. Without both `mean` and `std`, nothing is normalised. */
  readonly mean?: number | readonly number[];
  /** Divides the pixels. Default: 1. */
  readonly std?: number | readonly number[];
  /** Repeats the one channel of grey images, for a model that takes this many. The way back gives one channel again. */
  readonly channels?: number;
}

/**
 * Images: [H, W, C] → [C, H, W]; a batch is [N, H, W, C] → [N, C, H, W]. Bytes become float32 from 0 to 1 and are then
 * normalised: `x.permute(0, 3, 1, 2).contiguous().float().div(255)`, `.sub(mean).div(std)`. These are the bits of
 * torchvision's ToTensor and Normalize. Floats are only permuted and normalised: they must have the right scale.
 *
 * The way back is exact where the images were bytes: it rounds, and clamps to 0 to 255. Normalised floats come back as
 * near as float32 allows. Throws MISUSE for other element types, and for a shape or channels that do not fit.
 */
export const image = (options: PixelOptions = {}): Format => pixels("image", ["H", "W", "C"], options);

/** Videos: [T, H, W, C] → [C, T, H, W]; a batch is [N, T, H, W, C] → [N, C, T, H, W]. All else is as in `image`. */
export const video = (options: PixelOptions = {}): Format => pixels("video", ["T", "H", "W", "C"], options);

function pixels(name: string, axes: readonly string[], { mean, std, channels }: PixelOptions): Format {
  const last = axes.length - 1;
  const channelsFirst = [last, ...axes.keys()].slice(0, axes.length);
  const channelsLast = inverse(channelsFirst);
  const normalized = mean !== undefined || std !== undefined;
  const means = perChannel(name, "mean", mean ?? 0);
  const stds = perChannel(name, "std", std ?? 1);
  if (stds.includes(0))
    throw new TorchwireError("MISUSE", `${name}: std is 0 for a channel; nothing can be divided by 0`);
  if (channels !== undefined && !(Number.isSafeInteger(channels) && channels > 0))
    throw new TorchwireError("MISUSE", `${name}: channels is ${described(channels)}, not a whole number above 0`);

  const check = (how: FormatContext): void => {
    checkAxes(name, axes, how);
    const found = how.shape?.at(-1);
    if (found === undefined) return;
    if (channels !== undefined && found !== 1)
      throw new TorchwireError(
        "MISUSE",
        `${name}: channels repeats the one channel of grey images, but this array, ${shapeText(how.shape!)}, has ${found}`,
      );
    for (const [option, values] of Object.entries({ mean: means, std: stds }))
      if (values.length > 1 && values.length !== (channels ?? found))
        throw new TorchwireError(
          "MISUSE",
          `${name}: ${option} has ${values.length} values for ${channels ?? found} channels of an array of shape ${shapeText(how.shape!)}` +
            (found === 1 && channels === undefined ? `; channels: ${values.length} repeats the only channel` : ""),
        );
  };

  return {
    name,
    batched: false,
    toTorch(x, how) {
      checkType(name, how);
      check(how);
      const { lead = 0 } = how;
      let y = x;
      if (channels !== undefined) y = y.expand(...Array.from({ length: lead + last }, () => -1), channels);
      if (how.channelsLast === true) {
        // A repeated channel has no memory of its own yet, so make it contiguous. Everything else stays a view.
        if (channels !== undefined) y = y.contiguous();
        y = permuted(y, channelsFirst, how);
      } else y = permuted(y, channelsFirst, how).contiguous();
      if (how.dtype === "uint8") y = y.float().div(255);
      return normalized ? helpers(how.worker).normalize(y, means, stds, last) : y;
    },
    fromTorch(y, how) {
      checkType(name, how);
      let x = how.dtype === "float64" ? y.double() : y.float();
      if (normalized) x = helpers(how.worker).denormalize(x, means, stds, last);
      if (channels !== undefined) x = x.narrow(how.lead ?? 0, 0, 1);
      if (how.dtype === "uint8") x = x.mul(255).round().clamp(0, 255).byte();
      return permuted(x, channelsLast, how).contiguous();
    },
  };
}

/**
 * The worker makes mean and std, once for each device. A reference kept here could come from a lane that failed, or
 * from inference mode, and would then be useless.
 */
const helpers = (worker: Worker): AnyRef => worker.import("torchwire_worker.helpers.formats");

function perChannel(format: string, option: string, value: number | readonly number[]): readonly number[] {
  const values = Array.isArray(value) ? (value as readonly number[]) : [value as number];
  if (values.length === 0 || !values.every(Number.isFinite))
    throw new TorchwireError(
      "MISUSE",
      `${format}: ${option} is ${described(value)}; it must be a number, or one for each channel`,
    );
  return values;
}

function checkType(format: string, { dtype }: FormatContext): void {
  if (dtype !== "uint8" && dtype !== "float32" && dtype !== "float64")
    throw new TorchwireError("MISUSE", `${format} takes uint8 from 0 to 255, float32 or float64, not ${dtype}`);
}
