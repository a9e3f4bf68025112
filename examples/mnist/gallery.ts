/** Images in the terminal, five in a row, each over what it was taken for. */
import type { Prediction } from "torchwire";
import type { Data } from "./train.ts";

const SHADES = " .:-=+*#%@";
const PER_ROW = 5;

/** Grey images [n, height, width, 1], two rows of pixels in a line of text. */
export function gallery({ xs, ys }: Data, predictions: readonly Prediction[]): string {
  const [n, height, width] = xs.shape as [number, number, number];
  const lines: string[] = [];
  for (let start = 0; start < n; start += PER_ROW) {
    const row = Array.from({ length: Math.min(PER_ROW, n - start) }, (_, i) => start + i);
    for (let y = 0; y < height; y += 2) lines.push(row.map((i) => line(i, y)).join(" "));
    lines.push(row.map((i) => caption(i).padEnd(width)).join(" "), "");
  }
  return `${lines.join("\n")}\n`;

  function line(i: number, y: number): string {
    const at = (row: number, x: number): number =>
      Number(xs.data[(i * height + Math.min(row, height - 1)) * width + x]);
    const shade = (x: number): string => SHADES[Math.floor(((at(y, x) + at(y + 1, x)) / 2 / 256) * SHADES.length)]!;
    return Array.from({ length: width }, (_, x) => shade(x)).join("");
  }

  function caption(i: number): string {
    const { label, probability } = predictions[i]!;
    const is = Number(ys.data[i]);
    return `${label} (${(100 * probability).toFixed(1)} %)${Number(label) === is ? "" : `, is ${is}`}`;
  }
}
