/** Digits in the terminal, five in a row, each above its prediction. */
import type { Prediction } from "torchwire/model";
import { cut, pictures, type Digits } from "../digits.ts";

const PER_ROW = 5;

export function gallery(digits: Digits, predictions: readonly Prediction[]): string {
  const rows: string[] = [];
  for (let start = 0; start < predictions.length; start += PER_ROW) {
    const row = predictions.slice(start, start + PER_ROW);
    const captions = row.map(({ label, probability }, i) => {
      const is = Number(digits.ys.data[start + i]);
      return `${label} (${(100 * probability).toFixed(1)} %)${Number(label) === is ? "" : `, is ${is}`}`.padEnd(28);
    });
    rows.push(`${pictures(cut(digits, start, start + row.length).xs)}\n${captions.join(" ")}\n\n`);
  }
  return rows.join("");
}
