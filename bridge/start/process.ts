/** Starts a worker's process, reads its output and waits for its end. */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { execa } from "execa";
import type { Logger } from "pino";
import { packageRoot } from "../environment/package.ts";
import { parseRecord } from "../environment/untyped.ts";
import { pythonVariables } from "../environment/variables.ts";
import { EnvironmentError, TorchwireError, type ErrorCode } from "../errors/errors.ts";
import type { Endpoints } from "../link/link.ts";
import type { Limits } from "../wire/limits.ts";
import type { WireSettings } from "../wire/settings.ts";
import { closePipesAtExit, forEachLine, LastLines } from "../process/lines.ts";
import { longestSilence, Silence } from "../process/silence.ts";

/** The worker reads this from its standard input, in one line. Others could see its arguments and environment. */
export interface WorkerConfig extends WireSettings {
  readonly token: string;
  /** The folder for its sockets; null: ports of 127.0.0.1. */
  readonly directory: string | null;
  /** Default: the worker's own limits, which are the same. */
  readonly limits?: Limits;
}

export interface WorkerProcess {
  readonly pid: number;
  readonly endpoints: Endpoints;
  readonly exited: Promise<WorkerExit>;
  kill(signal: NodeJS.Signals): void;
}

export interface WorkerExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** The last lines it wrote to stdout and stderr. */
  readonly lastLines: readonly string[];
  /** The process that has ended, where it is not the worker's own: "the ssh to gpu-box". */
  readonly carrier?: string;
}

/** The worker process has ended. `signal` or `exitCode` says how; `lastLines` are the last lines that it wrote. */
export class WorkerExitedError extends TorchwireError {
  override name = "WorkerExitedError";
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly lastLines: readonly string[];

  constructor({ code, signal, lastLines, carrier }: WorkerExit) {
    const how = signal === undefined ? `with code ${code}` : `by ${signal}`;
    const guess = signal === "SIGKILL" ? " (the system's out-of-memory killer does this)" : "";
    const said = lastLines.length === 0 ? "" : ` It last wrote:\n${lastLines.map((line) => `    ${line}`).join("\n")}`;
    const what =
      carrier === undefined
        ? `the worker was ended ${how}${guess}.`
        : `${carrier} was ended ${how}, and the worker with it.`;
    super("WORKER_GONE", `${what}${said}`);
    this.exitCode = code;
    this.signal = signal;
    this.lastLines = lastLines;
  }
}

const KEPT_LINES = 50;

/**
 * `started` comes before anything is loaded, and says that reports get through. Then comes one of the others, which is
 * the last.
 */
type Report = { started: number } | { ready: Endpoints } | { error: ReportedError };

interface ReportedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly command?: string;
}

/** Resolves when the worker listens. Rejects with the error that it reports, or with how it ended. */
export async function startProcess(
  python: string,
  config: WorkerConfig,
  options: {
    /** The folder of the worker's Python files. Default: the package's own. */
    workerDir?: string | undefined;
    cwd: string | undefined;
    env: Readonly<Record<string, string>> | undefined;
    logger: Logger;
    /** Milliseconds. Default: half a minute. */
    longestSilence?: number;
  },
): Promise<WorkerProcess> {
  const main = join(workerFolder(options.workerDir), "__main__.py");
  const child = execa(python, [main], {
    // A process group of its own: the program handles a Ctrl-C in the terminal, and not the worker.
    detached: true,
    windowsHide: true,
    cleanup: false,
    buffer: false,
    reject: false,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...pythonVariables(python), PYTHONUNBUFFERED: "1", ...options.env },
  });
  const read = closePipesAtExit(child);
  const last = new LastLines(KEPT_LINES);
  let giveUp!: (error: Error) => void;
  const killAll = (): void => {
    try {
      // With a launcher, this ends all that it has started.
      process.kill(process.platform === "win32" ? child.pid! : -child.pid!, "SIGKILL");
    } catch {
      // It has ended.
    }
  };
  const silence = new Silence(options.longestSilence ?? longestSilence, () => {
    killAll();
    giveUp(
      new EnvironmentError(
        `${python} was started, and nothing is heard of a worker. ${mustPassOn}${quoted(last.lines)}`,
      ),
    );
  });
  for (const [stream, name] of [
    [child.stdout, "stdout"],
    [child.stderr, "stderr"],
  ] as const) {
    forEachLine(stream, (line) => {
      last.keep(line);
      silence.heard();
      options.logger.info({ stream: name }, line);
    });
  }
  const exited = child.then(async ({ exitCode, signal }) => {
    await read;
    return { code: exitCode, signal, lastLines: last.lines };
  });
  const reported = new Promise<Exclude<Report, { started: number }> | undefined>((resolve, reject) => {
    giveUp = reject;
    const stream = child.stdio[3];
    forEachLine(stream, (line) => {
      silence.end();
      const report = parseRecord(line) as Report | undefined;
      if (report === undefined || !("started" in report)) resolve(report);
    });
    stream.once("close", () => {
      silence.end();
      resolve(undefined);
    });
  });
  // The worker may die before it has read this.
  child.stdin.on("error", () => undefined);
  child.stdin.write(`${JSON.stringify(config)}\n`);

  const report = await reported;
  if (report !== undefined && "ready" in report) {
    return { pid: child.pid!, endpoints: report.ready, exited, kill: (signal) => void child.kill(signal) };
  }
  // The worker has ended, or is about to; its launcher may not.
  const launcher = report === undefined ? undefined : setTimeout(killAll, 1000);
  const exit = await exited;
  clearTimeout(launcher);
  if (report !== undefined) throw reportedError(python, report.error);
  if (child.pid === undefined) throw notStarted(python, (await child) as { message?: string });
  throw endedError(python, exit);
}

function reportedError(python: string, { code, message, command }: ReportedError): TorchwireError {
  if (message.startsWith(notPassed)) return launcherError(python, message);
  if (code === "ENVIRONMENT") return new EnvironmentError(message, command === undefined ? {} : { command });
  return new TorchwireError(code, message);
}

function notStarted(python: string, { message = "" }: { message?: string }): EnvironmentError {
  // (The first line of a script may name a program that is missing.)
  const why = /\b(E[A-Z]+)\b/.exec(message)?.[1];
  return new EnvironmentError(`${python} cannot be started${why === undefined ? "" : ` (${why})`}`, {
    command: "npx torchwire setup",
  });
}

/** The error of a worker that has ended without a report. */
function endedError(python: string, exit: WorkerExit): TorchwireError {
  // A worker that cannot report writes this line.
  const said = exit.lastLines.find((line) => line.startsWith(notPassed));
  return said === undefined ? new WorkerExitedError(exit) : launcherError(python, said);
}

const launcherError = (python: string, said: string): EnvironmentError =>
  new EnvironmentError(`${python} ${said.slice(notPassed.length)} ${mustPassOn}`);

/** The worker begins its message with this where its launcher stands in the way. */
const notPassed = "torchwire-worker: its launcher ";

const mustPassOn =
  "A launcher must hand its standard input and descriptor 3 on to the Python that it starts, and run as long as that does: conda run needs " +
  "--no-capture-output, sudo needs --close-from=4. A container has a worker of its own, which serves: docs/container.md.";

const quoted = (lines: readonly string[]): string =>
  lines.length === 0 ? "" : ` What it said:\n${lines.map((line) => `    ${line}`).join("\n")}`;

export function workerFolder(given: string | undefined): string {
  if (given === undefined) return join(packageRoot(), "python", "torchwire_worker");
  const folder = resolve(given);
  // The folder must have the name of the Python package.
  if (basename(folder) === "torchwire_worker" && existsSync(join(folder, "__main__.py"))) return folder;
  throw new EnvironmentError(
    `workerDir is ${folder}, which is not the folder torchwire_worker with the worker's Python files: copy ` +
      "node_modules/torchwire/python/torchwire_worker to where the program is deployed, and give the path of that copy.",
  );
}
