/** Curves for a terminal. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { checkNumbers, type Schedule } from "./schedule.ts";

export interface PlotOptions {
  /** The length of the run. Default: 100. */
  readonly steps?: number;
  /** Needed for durations in epochs. */
  readonly stepsPerEpoch?: number;
  /** Characters in a line, including the numbers at its left. Default: 72. */
  readonly width?: number;
  /** Lines above the axis. Default: 12. */
  readonly height?: number;
}

/** Plots a schedule over a run, as text: `console.log(plot(oneCycle("run", 1e-3), { steps: 500 }))`. */
export function plot(schedule: Schedule, options: PlotOptions = {}): string {
  const { steps = 100, stepsPerEpoch, width, height } = options;
  if (!Number.isSafeInteger(steps) || steps < 1)
    throw new TorchwireError("MISUSE", `plot: steps must be a whole number from 1, not ${String(steps)}`);
  const run = { steps, stepsPerEpoch };
  const values = Array.from({ length: steps }, (_, i) => schedule(i + 1, run));
  return curve(values, { from: "1", to: String(steps), width, height });
}

export interface CurveOptions {
  /** Labels below the first and the last value. */
  readonly from: string;
  readonly to: string;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
}

/**
 * Plots values at equal distances, joined by lines. A braille character is two dots wide and four high. Infinities and
 * NaN are left out.
 */
export function curve(values: readonly number[], { from, to, width = 72, height = 12 }: CurveOptions): string {
  checkNumbers("plot", { width, height });
  const finite = values.filter(Number.isFinite);
  const [low, high] = finite.length === 0 ? [0, 0] : [least(finite), -least(finite.map((value) => -value))];
  const labels = [short(high), short(low)];
  const margin = Math.max(...labels.map(({ length }) => length)) + 1;
  const columns = Math.max(4, Math.floor(width) - margin - 1);
  const rows = Math.max(2, Math.floor(height));
  const dots = Array.from({ length: rows }, () => new Uint8Array(columns));
  const [across, down] = [2 * columns, 4 * rows];
  const yOf = (value: number): number =>
    high === low ? down - 1 : Math.round(((high - value) / (high - low)) * (down - 1));
  let before: number | undefined;
  for (let x = 0; x < across; x++) {
    const value = values[Math.round((x / (across - 1)) * (values.length - 1))];
    if (value === undefined || !Number.isFinite(value)) {
      before = undefined;
      continue;
    }
    const y = yOf(value);
    // Draw down to the value before, so that a jump is a line.
    const [top, bottom] = [Math.min(y, before ?? y), Math.max(y, before ?? y)];
    for (let each = top; each <= bottom; each++) dots[each >> 2]![x >> 1]! |= BRAILLE[x & 1]![each & 3]!;
    before = y;
  }
  const lines = dots.map((line, i) => {
    const label = i === 0 ? labels[0]! : i === rows - 1 ? labels[1]! : "";
    return `${label.padStart(margin)}│${[...line].map((bits) => String.fromCharCode(0x2800 + bits)).join("")}`.trimEnd();
  });
  const axis = `${" ".repeat(margin)}└${"─".repeat(columns)}`;
  const ends = `${" ".repeat(margin + 1)}${from}${to.padStart(Math.max(1, columns - from.length))}`;
  return [...lines, axis, ends].join("\n");
}

/** The bit of each dot, by column and row. */
const BRAILLE = [
  [0x01, 0x02, 0x04, 0x40],
  [0x08, 0x10, 0x20, 0x80],
];

const least = (values: readonly number[]): number => values.reduce((a, b) => Math.min(a, b));

/** Rounds to three digits. */
const short = (value: number): string => String(Number(value.toPrecision(3)));
