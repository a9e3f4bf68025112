import { oneLine } from "../../bridge/errors/shown.ts";
import { callback, CallbackObject } from "../callback/callback.ts";

/** What is printed to: process.stderr, or the like. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;
const WIDTH = 20;
const MIN_WIDTH = 5;

/**
 * A line for each epoch with samples a second, the loss and the time left. On a terminal it is a bar that is drawn again; elsewhere a plain
 * line, every few seconds and at the end.
 */
export class ProgressPrinter extends CallbackObject {
  constructor({ output = process.stderr }: { readonly output?: Output } = {}) {
    let started = 0;
    let drawn = 0;
    let steps = 0;
    let samples = 0;
    let first = 0;
    let loss: number | undefined;
    let shown = 0;
    const show = (now: number, name: string, batches: number | undefined): void => {
      drawn = now;
      shown = steps;
      const seconds = (now - started) / 1000;
      const rate = (samples - first) / seconds;
      const texts = [
        ...(batches === undefined ? [`${steps} batches`] : [`${steps}/${batches}`]),
        ...(Number.isFinite(rate) ? [`${rate.toFixed(rate < 10 ? 1 : 0)} samples/s`] : []),
        ...(loss === undefined ? [] : [`loss ${loss.toFixed(4)}`]),
        ...(batches === undefined || !Number.isFinite(rate)
          ? []
          : [`${duration(((batches - steps) * seconds) / Math.max(1, steps - 1))} left`]),
      ];
      const rest = texts.join("  ");
      // A terminal that does not know its size says 0.
      const { columns: given = 0 } = output;
      const columns = output.isTTY ? (given > 0 ? given : 80) - 1 : Infinity;
      // What does not fit is taken off the bar first.
      const width = Math.min(WIDTH, columns - name.length - rest.length - 6);
      const parts =
        batches === undefined || width < MIN_WIDTH ? [name, rest] : [name, bar(steps / batches, width), rest];
      const text = parts.join("  ");
      output.write(output.isTTY ? `\r\x1b[K${text.slice(0, columns)}` : `${text}\n`);
    };
    super(
      callback({
        name: "ProgressPrinter",
        runAfter: ["Recorder"],
        observe: {
          epochBegin: () => {
            started = drawn = performance.now();
            steps = samples = first = shown = 0;
            loss = undefined;
          },
          stepEnd: ({ phase, epoch, batches, values, size }) => {
            const now = performance.now();
            steps++;
            samples += size;
            // The first step is slower than the rest: the rate is that of those after it.
            if (steps === 1) [started, first] = [now, size];
            if (values.loss !== undefined) loss = loss === undefined ? values.loss : 0.95 * loss + 0.05 * values.loss;
            if (now - drawn < (output.isTTY ? REDRAW_MS : PLAIN_LINE_MS) && steps !== batches) return;
            show(now, `epoch ${epoch} ${oneLine(phase.name)}`, batches);
          },
          epochEnd: ({ phase, epoch, batches }) => {
            if (shown !== steps) show(performance.now(), `epoch ${epoch} ${oneLine(phase.name)}`, batches);
            if (output.isTTY && steps > 0) output.write("\n");
          },
          fitEnd: () => {
            // A fit that was stopped in mid-epoch leaves its bar standing.
            if (output.isTTY && steps > 0) output.write("\r\x1b[K");
          },
        },
      }),
    );
  }
}

function bar(fraction: number, width: number): string {
  const filled = Math.round(width * Math.min(1, fraction));
  return `[${"#".repeat(filled)}${"-".repeat(width - filled)}]`;
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}
