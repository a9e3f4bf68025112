import { oneLine } from "../../bridge/errors/shown.ts";
import { CallbackObject, type Callback, type KeptState, type Observers } from "../callback/callback.ts";
import type { Phase } from "../training/phases.ts";

/** A place to print to: process.stderr, or the like. */
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
 * Prints a line for each epoch with samples a second, the loss and the time left. On a terminal it draws a bar again
 * and again; elsewhere it prints a plain line every few seconds and at the end.
 */
export class ProgressPrinter extends CallbackObject {
  override readonly name = "ProgressPrinter";
  override readonly runAfter: Callback["runAfter"] = ["Recorder"];
  readonly #output: Output;
  #started = 0;
  #drawn = 0;
  #steps = 0;
  #samples = 0;
  /** Samples of the first step. */
  #first = 0;
  #loss: number | undefined;
  /** The number of steps that the last line shows. */
  #shown = 0;

  constructor({ output = process.stderr }: { readonly output?: Output } = {}) {
    super();
    this.#output = output;
  }

  override readonly observe: Observers<{}> = {
    epochBegin: () => {
      this.#started = this.#drawn = performance.now();
      this.#steps = this.#samples = this.#first = this.#shown = 0;
      this.#loss = undefined;
    },
    stepEnd: ({ phase, epoch, batches, values: { loss }, size }) => {
      const now = performance.now();
      this.#steps++;
      this.#samples += size;
      // The first step is slower than the rest: the rate counts only those after it.
      if (this.#steps === 1) [this.#started, this.#first] = [now, size];
      if (loss !== undefined) this.#loss = this.#loss === undefined ? loss : 0.95 * this.#loss + 0.05 * loss;
      const pause = this.#output.isTTY ? REDRAW_MS : PLAIN_LINE_MS;
      if (now - this.#drawn >= pause || this.#steps === batches) this.#show(now, titleOf(phase, epoch), batches);
    },
    epochEnd: ({ phase, epoch, batches }) => {
      if (this.#shown !== this.#steps) this.#show(performance.now(), titleOf(phase, epoch), batches);
      if (this.#output.isTTY && this.#steps > 0) this.#output.write("\n");
    },
    fitEnd: () => {
      // A fit that stops in mid-epoch leaves a bar: clear it.
      if (this.#output.isTTY && this.#steps > 0) this.#output.write("\r\x1b[K");
    },
  };

  override readonly state: KeptState = {
    save: () => [performance.now() - this.#started, this.#steps, this.#samples, this.#first, this.#loss],
    load: ([passed, steps, samples, first, loss]) => {
      this.#drawn = performance.now();
      this.#started = this.#drawn - (passed as number);
      [this.#steps, this.#samples, this.#first, this.#loss] = [steps, samples, first, loss];
    },
  };

  #show(now: number, title: string, batches: number | undefined): void {
    this.#drawn = now;
    this.#shown = this.#steps;
    const rest = this.#facts(now, batches).join("  ");
    // A terminal that does not know its size says 0.
    const { isTTY, columns: given = 0 } = this.#output;
    const columns = isTTY ? (given > 0 ? given : 80) - 1 : Infinity;
    // The bar shrinks first where the line is too long.
    const width = Math.min(WIDTH, columns - title.length - rest.length - 6);
    const bars = batches === undefined || width < MIN_WIDTH ? [] : [bar(this.#steps / batches, width)];
    const text = [title, ...bars, rest].join("  ");
    this.#output.write(isTTY ? `\r\x1b[K${text.slice(0, columns)}` : `${text}\n`);
  }

  #facts(now: number, batches: number | undefined): string[] {
    const [steps, loss] = [this.#steps, this.#loss];
    const seconds = (now - this.#started) / 1000;
    const rate = (this.#samples - this.#first) / seconds;
    const isKnown = Number.isFinite(rate);
    return [
      batches === undefined ? `${steps} batches` : `${steps}/${batches}`,
      ...(isKnown ? [`${rate.toFixed(rate < 10 ? 1 : 0)} samples/s`] : []),
      ...(loss === undefined ? [] : [`loss ${loss.toFixed(4)}`]),
      ...(batches === undefined || !isKnown
        ? []
        : [`${duration(((batches - steps) * seconds) / Math.max(1, steps - 1))} left`]),
    ];
  }
}

const titleOf = (phase: Phase, epoch: number): string => `epoch ${epoch} ${oneLine(phase.name)}`;

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
