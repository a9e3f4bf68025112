/** Values that can be logged. Each is complete when it is made, so that a mistake shows where it is made. */
import { basename } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { viewKind } from "../../bridge/runtime/kinds.ts";
import { isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { described } from "../options/keywords.ts";
import { histogramOf, type Bins } from "./bins.ts";
import { numbersIn } from "../data/plain-numbers.ts";
import { pixelsOf, type ImageAxes } from "./pixels.ts";
import { png } from "./png.ts";
import { wav } from "./wav.ts";

export interface LoggedValue {
  readonly kind: "value";
  readonly value: number;
}

export interface LoggedText {
  readonly kind: "text";
  readonly text: string;
}

export interface LoggedImage {
  readonly kind: "image";
  readonly width: number;
  readonly height: number;
  /** 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA. */
  readonly channels: number;
  /** The bytes of a PNG file. */
  readonly png: Uint8Array;
}

export interface LoggedAudio {
  readonly kind: "audio";
  /** Samples in a second. */
  readonly sampleRate: number;
  readonly channels: number;
  /** Samples of one channel. */
  readonly frames: number;
  /** The bytes of a WAV file, with 16 bits for each sample. */
  readonly wav: Uint8Array;
}

export interface LoggedHistogram extends Bins {
  readonly kind: "histogram";
}

export interface LoggedFile {
  readonly kind: "file";
  readonly path: string;
  readonly name: string;
}

export type Loggable = LoggedValue | LoggedText | LoggedImage | LoggedAudio | LoggedHistogram | LoggedFile;

export interface LoggedImageOptions {
  /** The order of the axes: "HWC" (default), JavaScript's, or "CHW", PyTorch's. */
  readonly axes?: ImageAxes;
}

export interface HistogramOptions {
  /** The number of bins, all of one width. Default: 50. */
  readonly bins?: number;
}

const value = (number: number): LoggedValue => {
  if (typeof number !== "number")
    throw misuse(`Loggables.value(${described(number)}): it must be a number; for a tensor, await loss.item()`);
  return { kind: "value", value: number };
};

const text = (markdown: string): LoggedText => {
  if (typeof markdown !== "string") throw misuse(`Loggables.text(${described(markdown)}): it must be a string`);
  return { kind: "text", text: markdown };
};

/**
 * Pixels are bytes from 0 to 255, or floats from 0 to 1, clamped. With one more axis in front, several pictures become
 * one.
 */
const image = (pixels: NDArray, { axes = "HWC" }: LoggedImageOptions = {}): LoggedImage => {
  const found = pixelsOf(pixels, axes);
  const { width, height, channels } = found;
  return { kind: "image", width, height, channels, png: png(found) };
};

/** Samples from -1 to 1, clamped, of shape [frames] or [frames, channels]. */
const audio = (samples: NDArray | Float32Array, sampleRate: number): LoggedAudio => {
  if (!Number.isSafeInteger(sampleRate) || sampleRate < 1)
    throw misuse(
      `Loggables.audio: sampleRate is ${described(sampleRate)}; it must be a whole number of samples in a second`,
    );
  const isArray = isNDArray(samples);
  if (!isArray && !(ArrayBuffer.isView(samples) && viewKind(samples) === "Float32Array"))
    throw misuse(
      `Loggables.audio: the samples are ${described(samples)}; they must be a Float32Array or { dtype, shape, data }`,
    );
  const shape = isArray ? samples.shape : [samples.length];
  const [frames = 0, channels = 1] = shape;
  if (shape.length < 1 || shape.length > 2 || frames < 1 || channels < 1 || channels > 0xffff)
    throw misuse(`Loggables.audio: the shape is [${shape.join(", ")}]; it must be [frames] or [frames, channels]`);
  const data = isArray ? numbersIn(samples, "Loggables.audio") : samples;
  return { kind: "audio", sampleRate, channels, frames, wav: wav(data, channels, sampleRate) };
};

/** The distribution of an array's numbers. NaN and infinities are counted apart. */
const histogram = (numbers: NDArray | ArrayLike<number>, { bins = 50 }: HistogramOptions = {}): LoggedHistogram => {
  if (!Number.isSafeInteger(bins) || bins < 1)
    throw misuse(`Loggables.histogram: bins is ${described(bins)}; it must be a whole number from 1`);
  const isArray = isNDArray(numbers);
  if (!isArray && typeof (numbers as Partial<ArrayLike<number>> | undefined)?.length !== "number")
    throw misuse(
      `Loggables.histogram(${described(numbers)}): it must be an array of numbers or { dtype, shape, data }`,
    );
  const all = isArray ? numbersIn(numbers, "Loggables.histogram") : numbers;
  return { kind: "histogram", ...histogramOf(all, bins) };
};

/** A file on this machine, to be copied. */
const file = (path: string): LoggedFile => ({ kind: "file", path, name: basename(path) });

/** Makes values to log, by FluxTraining's names: `Loggables.image(pixels)`. A plain number is a value too. */
export const Loggables: {
  readonly value: typeof value;
  readonly text: typeof text;
  readonly image: typeof image;
  readonly audio: typeof audio;
  readonly histogram: typeof histogram;
  readonly file: typeof file;
} = { value, text, image, audio, histogram, file };

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
