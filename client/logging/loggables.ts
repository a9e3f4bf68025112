/** What can be logged: numbers, and what is looked at. Each is whole when it is made, so that a mistake shows where it is. */
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
  /** The file. */
  readonly png: Uint8Array;
}

export interface LoggedAudio {
  readonly kind: "audio";
  /** Samples a second. */
  readonly sampleRate: number;
  readonly channels: number;
  /** Samples of one channel. */
  readonly frames: number;
  /** The file, of 16 bits a sample. */
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
  /** Where the channels are: "HWC", as JavaScript has them (default), or "CHW", as PyTorch has them. */
  readonly axes?: ImageAxes;
}

export interface HistogramOptions {
  /** Default 50, all of one width. */
  readonly bins?: number;
}

const value = (number: number): LoggedValue => {
  if (typeof number !== "number")
    throw misuse(`Loggables.value(${described(number)}): it is to be a number; of a tensor, await loss.item()`);
  return { kind: "value", value: number };
};

const text = (markdown: string): LoggedText => {
  if (typeof markdown !== "string") throw misuse(`Loggables.text(${described(markdown)}): it is to be a string`);
  return { kind: "text", text: markdown };
};

/** Pixels as bytes, 0 to 255, or as floats, 0 to 1 (what is beyond is cut off). Several, with one more axis before, become one picture of them all. */
const image = (pixels: NDArray, { axes = "HWC" }: LoggedImageOptions = {}): LoggedImage => {
  const found = pixelsOf(pixels, axes);
  const { width, height, channels } = found;
  return { kind: "image", width, height, channels, png: png(found) };
};

/** Samples from -1 to 1 (what is beyond is cut off), [frames] or [frames, channels]. */
const audio = (samples: NDArray | Float32Array, sampleRate: number): LoggedAudio => {
  if (!Number.isSafeInteger(sampleRate) || sampleRate < 1)
    throw misuse(
      `Loggables.audio: sampleRate is ${described(sampleRate)}; it is to be a whole number of samples a second`,
    );
  const isArray = isNDArray(samples);
  if (!isArray && !(ArrayBuffer.isView(samples) && viewKind(samples) === "Float32Array"))
    throw misuse(
      `Loggables.audio: the samples are ${described(samples)}; they are to be a Float32Array or { dtype, shape, data }`,
    );
  const shape = isArray ? samples.shape : [samples.length];
  const [frames = 0, channels = 1] = shape;
  if (shape.length < 1 || shape.length > 2 || frames < 1 || channels < 1 || channels > 0xffff)
    throw misuse(`Loggables.audio: the shape is [${shape.join(", ")}]; it is to be [frames] or [frames, channels]`);
  const data = isArray ? numbersIn(samples, "Loggables.audio") : samples;
  return { kind: "audio", sampleRate, channels, frames, wav: wav(data, channels, sampleRate) };
};

/** How the numbers of an array are distributed. Those that are not finite are counted apart. */
const histogram = (numbers: NDArray | ArrayLike<number>, { bins = 50 }: HistogramOptions = {}): LoggedHistogram => {
  if (!Number.isSafeInteger(bins) || bins < 1)
    throw misuse(`Loggables.histogram: bins is ${described(bins)}; it is to be a whole number from 1`);
  const isArray = isNDArray(numbers);
  if (!isArray && typeof (numbers as Partial<ArrayLike<number>> | undefined)?.length !== "number")
    throw misuse(`Loggables.histogram(${described(numbers)}): it takes an array of numbers or { dtype, shape, data }`);
  const all = isArray ? numbersIn(numbers, "Loggables.histogram") : numbers;
  return { kind: "histogram", ...histogramOf(all, bins) };
};

/** A file on this machine, which is copied. */
const file = (path: string): LoggedFile => ({ kind: "file", path, name: basename(path) });

/** What can be logged, by FluxTraining's names: `Loggables.image(pixels)`. A plain number stands for a value. */
export const Loggables: {
  readonly value: typeof value;
  readonly text: typeof text;
  readonly image: typeof image;
  readonly audio: typeof audio;
  readonly histogram: typeof histogram;
  readonly file: typeof file;
} = { value, text, image, audio, histogram, file };

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
