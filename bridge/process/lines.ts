/** Reads the output of a child process, line by line, until the process ends. */
import { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/** The limit is in characters. A longer line is told in parts, as a served worker does too (output.py). */
const LONGEST_LINE = 2 ** 16;

/** Calls `onLine` for each line of `stream`, and for the rest at its end. "\n", "\r\n" and "\r" end a line. */
export function forEachLine(stream: Readable, onLine: (line: string) => void, longest: number = LONGEST_LINE): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const take = (text: string): void => {
    // A "\r" may be the first half of "\r\n".
    const cut = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = (rest + text.slice(0, cut)).split(/\r?\n|\r/);
    rest = lines.pop()! + text.slice(cut);
    for (const line of lines) tellInParts(line);
    while (rest.length > longest) {
      onLine(rest.slice(0, longest));
      rest = rest.slice(longest);
    }
  };
  const tellInParts = (line: string): void => {
    for (let start = 0; start === 0 || start < line.length; start += longest)
      onLine(line.slice(start, start + longest));
  };
  stream.on("data", (chunk: Buffer) => take(decoder.write(chunk)));
  stream.once("close", () => {
    take(decoder.end());
    if (rest !== "") tellInParts(rest.replace(/\r$/, ""));
    rest = "";
  });
}

/** Keeps the last lines of an output for an error's message. Long lines are cut. */
export class LastLines {
  readonly lines: string[] = [];
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  keep(line: string): void {
    const more = line.length - LONGEST_KEPT;
    this.lines.push(more > 0 ? `${line.slice(0, LONGEST_KEPT)}… (${more} more characters)` : line);
    if (this.lines.length > this.#most) this.lines.shift();
  }
}

const LONGEST_KEPT = 1000;

interface Started {
  readonly pid?: number | undefined;
  readonly stdio: readonly unknown[];
  once(event: "exit", listener: () => void): unknown;
}

/** The pipes of a process that has ended are read until they were quiet for QUIET_MS, and for MOST_MS at most. */
const QUIET_MS = 100;
const MOST_MS = 1000;

/**
 * Closes the pipes of a process after its exit, when they have been read to their end. Resolves when they are closed:
 * all lines have been told. (The promise of execa may resolve before.) A process is over with its exit, but its pipes
 * may stay open for ever: a daemon that it left behind has inherited them.
 */
export function closePipesAtExit(child: Started): Promise<void> {
  // It could not be started.
  if (child.pid === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => {
      const open = new Set<Readable>();
      for (const stream of child.stdio.slice(1)) if (stream instanceof Readable && !stream.closed) open.add(stream);
      if (open.size === 0) return resolve();
      let came = false;
      const end = (): void => {
        for (const stream of open) stream.destroy();
      };
      // A program that has held up its event loop finds the timer first, and the waiting output right after it.
      const afterReading = (act: () => void) => () => setImmediate(() => setImmediate(act));
      const look = (): void => {
        if (!came) return end();
        came = false;
        quiet.refresh();
      };
      const quiet = setTimeout(afterReading(look), QUIET_MS);
      const most = setTimeout(afterReading(end), MOST_MS);
      for (const stream of open) {
        stream.on("data", () => (came = true));
        stream.once("close", () => {
          open.delete(stream);
          if (open.size > 0) return;
          clearTimeout(quiet);
          clearTimeout(most);
          resolve();
        });
      }
    });
  });
}
