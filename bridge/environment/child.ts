/** Child processes of the set-up: silent, in a process group of their own, gone with all their descendants. */

import { EnvironmentError } from "../errors/errors.ts";
import { closePipesAtExit } from "../process/lines.ts";
import { codeOf } from "./untyped.ts";

export interface RunOptions {
  cwd: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

const quotedLines = 20;
const grace = 2_000;

/** Resolves to a program's output. A failure quotes the last lines of it; an abort rejects with its reason. */
export async function run(what: string, file: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { cwd, env, signal } = options;
  const { execa } = await import("execa");
  signal.throwIfAborted();
  // A group of its own: venv and pip have children, which would go on writing into the folder that is being removed.
  const detached = process.platform !== "win32";
  // What is made is written by nobody else, whatever the umask of the program is.
  const [program, ...before] = detached ? ["/bin/sh", "-c", 'umask go-w; exec "$0" "$@"', file] : [file];
  const child = execa(program, [...before, ...args], {
    cwd,
    env,
    extendEnv: false,
    reject: false,
    all: true,
    stdin: "ignore",
    detached,
  });
  void closePipesAtExit(child);

  const kill = (name: NodeJS.Signals): void => {
    if (child.pid === undefined) return;
    try {
      if (detached) process.kill(-child.pid, name);
      else child.kill(name);
    } catch (error) {
      if (codeOf(error) !== "ESRCH") throw error;
    }
  };
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    kill("SIGTERM");
    timer = setTimeout(kill, grace, "SIGKILL");
  };
  const onExit = (): void => kill("SIGKILL");
  signal.addEventListener("abort", onAbort, { once: true });
  process.once("exit", onExit);
  try {
    const result = await child;
    if (signal.aborted) {
      kill("SIGKILL");
      throw signal.reason;
    }
    if (!result.failed) return result.all;
    // pip names each package of another platform that it passes over.
    const said = result.all
      .trimEnd()
      .split("\n")
      .filter((line) => !line.startsWith("Ignoring "));
    const lines = said.slice(-quotedLines).join("\n  ");
    const how =
      result.exitCode === undefined ? result.originalMessage || result.signal : `exit code ${result.exitCode}`;
    throw new EnvironmentError(`${what} failed (${how}): ${file} ${args.join(" ")}\n  ${lines}\nWhen that is mended:`, {
      command: "npx torchwire setup",
    });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    process.off("exit", onExit);
  }
}
