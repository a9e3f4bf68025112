/** Shows how far the set-up is: lines that stay, and one line that is replaced. */

import { oneLine, printable } from "../errors/shown.ts";

export interface Progress {
  /** Shows a line that stays. */
  line(text: string): void;
  /** Shows a line that replaces the last one of this kind. */
  live(text: string): void;
  /** Ends the live line. */
  close(): void;
}

/** The part of `process.stderr` that is used. */
export interface Output {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

const interval = 10_000;

/** On a terminal the live line is redrawn in place; elsewhere a plain line comes every ten seconds. */
export function progressOn(stream: Output, env: NodeJS.ProcessEnv = process.env): Progress {
  if (!stream.isTTY || env.TERM === "dumb") return plainProgress((text) => void stream.write(`${text}\n`));
  const clear = "\r\x1b[2K";
  let shown = false;
  const close = (): void => {
    if (shown) stream.write(clear);
    shown = false;
  };
  return {
    line: (text) => {
      close();
      stream.write(`${printable(text)}\n`);
    },
    live: (text) => {
      stream.write(clear + oneLine(text).slice(0, (stream.columns || 80) - 1));
      shown = true;
    },
    close,
  };
}

export function plainProgress(print: (line: string) => void): Progress {
  let last = performance.now();
  return {
    line: (text) => print(printable(text)),
    live: (text) => {
      if (performance.now() - last < interval) return;
      last = performance.now();
      print(oneLine(text));
    },
    close: () => undefined,
  };
}

/** `42 s`, `3 min 05 s`. */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}
