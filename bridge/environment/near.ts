/** Starts the set-up's Python half on this machine, in the interpreter that an environment is made from. */

import { join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { closePipesAtExit, forEachLine, LastLines } from "../process/lines.ts";
import { interruptible } from "./interrupt.ts";
import { Heard } from "./order.ts";
import { packageRoot } from "./package.ts";
import type { Progress } from "./progress.ts";
import { parseRecord } from "./untyped.ts";
import { pythonVariables } from "./variables.ts";

export interface NearOptions {
  env: NodeJS.ProcessEnv;
  progress: Progress;
}

/** Some twenty thousand files are to be removed. */
const grace = 60_000;
const keptLines = 20;

/**
 * Resolves to the last thing that it says. Its standard input is our life: where it ends, it removes what it has made.
 *
 * @throws {EnvironmentError} It has failed, or was interrupted.
 */
export async function runNear(
  python: string,
  order: object,
  { env, progress }: NearOptions,
): Promise<Readonly<Record<string, unknown>>> {
  // Loading it takes a tenth of a second, which finding a finished environment should not cost.
  const { execa } = await import("execa");
  const folder = join(packageRoot(), "python");
  return interruptible(async (signal) => {
    const child = execa(python, ["-I", "-c", bootstrap, folder], {
      cwd: folder,
      env: { ...env, ...pythonVariables(python) },
      extendEnv: false,
      // A group of its own: a Ctrl-C in the terminal is ours to handle.
      detached: process.platform !== "win32",
      windowsHide: true,
      cleanup: false,
      buffer: false,
      reject: false,
      stdin: "pipe",
    });
    const read = closePipesAtExit(child);
    const heard = new Heard(progress);
    const others = new LastLines(keptLines);
    const keep = (line: string): void => (line.trim() === "" ? undefined : others.keep(line));
    forEachLine(child.stderr, keep);
    forEachLine(child.stdout, (line) => {
      const said = parseRecord(line);
      if (said === undefined) keep(line);
      else heard.take(said);
    });
    // It may end before it has read this.
    child.stdin.on("error", () => undefined);
    child.stdin.write(`${JSON.stringify(order)}\n`);
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      child.stdin.end();
      timer = setTimeout(() => child.kill("SIGKILL"), grace);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    const { exitCode, failed, originalMessage, signal: name } = await child;
    await read;
    clearTimeout(timer);
    progress.close();
    if (signal.aborted) progress.line("torchwire: interrupted; what was made is removed again");
    signal.throwIfAborted();
    if (heard.failure !== undefined) {
      const { message, command } = heard.failure;
      throw new EnvironmentError(message, command ? { command } : {});
    }
    if (!failed) return heard.said;
    const how = exitCode === undefined ? (originalMessage ?? name) : `exit code ${exitCode}`;
    throw new EnvironmentError(`the set-up ended early (${how}): ${python}\n  ${others.lines.join("\n  ")}`, {
      command: "npx torchwire setup",
    });
  });
}

const bootstrap =
  "import sys; sys.path.insert(0, sys.argv[1]); from torchwire_worker.environment.main import main; main()";
