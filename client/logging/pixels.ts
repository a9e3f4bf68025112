/** Turns arrays into pixels: bytes of one picture, channels last. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isFloating, isNDArray, type NDArray } from "../../bridge/values/ndarray.ts";
import { described } from "../options/keywords.ts";
import { numbersIn } from "../data/plain-numbers.ts";

export type ImageAxes = "HWC" | "CHW";

export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  /** Row by row, channels last. */
  readonly bytes: Uint8Array;
}

/** The gap between the pictures of a batch, in pixels. */
const GAP = 2;

/** Throws MISUSE where `array` is not an image. */
export function pixelsOf(array: NDArray, axes: ImageAxes): Pixels {
  if (axes !== "HWC" && axes !== "CHW") throw misuse(`axes is ${described(axes)}; it must be "HWC" or "CHW"`);
  if (!isNDArray(array)) throw misuse(`the pixels are ${described(array)}; they must be { dtype, shape, data }`);
  const { dtype, shape } = array;
  const [count, height, width, channels] = dimensions(shape, axes);
  if (!(channels >= 1 && channels <= 4) || Math.min(count, height, width) < 1)
    throw misuse(
      `the shape is [${shape.join(", ")}]; it must be [${axes === "HWC" ? "height, width, channels" : "channels, height, width"}] with 1 to 4 ` +
        `channels; one channel may be left out, and several pictures have their number in front` +
        (axes === "HWC" && shape.at(-3)! <= 4 ? '; for PyTorch\'s images, say axes: "CHW"' : ""),
    );
  const numbers = numbersIn(array, "Loggables.image");
  const scale = isFloating(dtype) || dtype === "bool" ? 255 : 1;
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const full = columns * (width + GAP) - GAP;
  const all = { width: full, height: rows * (height + GAP) - GAP, channels };
  // Zeros make the gaps black, or transparent. This array clamps and rounds what it stores, and makes NaN 0.
  const bytes = new Uint8ClampedArray(all.width * all.height * channels);
  const [ofRow, ofColumn, ofChannel] = axes === "HWC" ? [width * channels, channels, 1] : [width, 1, height * width];
  for (let n = 0; n < count; n++) {
    const corner = Math.floor(n / columns) * (height + GAP) * full + (n % columns) * (width + GAP);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const from = n * height * width * channels + y * ofRow + x * ofColumn;
        const to = (corner + y * full + x) * channels;
        for (let c = 0; c < channels; c++) bytes[to + c] = numbers[from + c * ofChannel]! * scale;
      }
  }
  return { ...all, bytes: new Uint8Array(bytes.buffer) };
}

/** The shape as [count, height, width, channels]. */
function dimensions(shape: readonly number[], axes: ImageAxes): [number, number, number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = shape;
  if (shape.length === 2) return [1, a, b, 1];
  if (shape.length === 3) return axes === "HWC" ? [1, a, b, c] : [1, b, c, a];
  if (shape.length === 4) return axes === "HWC" ? [a, b, c, d] : [a, c, d, b];
  return [0, 0, 0, 0];
}

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", `Loggables.image: ${message}`);
