/** The worker's process: started, listened to, waited for. */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { execa } from "execa";
import type { Logger } from "pino";
import { packageRoot } from "../environment/package.ts";
import { EnvironmentError, TorchwireError, type ErrorCode } from "../errors.ts";
import type { Endpoints } from "../link/link.ts";
import type { Limits } from "../wire/limits.ts";

/** What the worker reads from its standard input, in one line: never in its arguments or environment, which others can see. */
export interface WorkerConfig {
  readonly token: string;
  /** Where its sockets are to be; null: ports of 127.0.0.1. */
  readonly directory: string | null;
  readonly device: string;
  readonly seed: number | null;
  readonly deterministic: boolean | "warn";
  readonly threads: number | null;
  readonly malloc: boolean;
  /** Default: the worker's own, which are the same. */
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
  /** What has ended, where that is not the worker's own process: "the ssh to gpu-box". */
  readonly carrier?: string;
}

/** The worker process ended. `signal` or `exitCode` says how, `lastLines` what it last wrote. */
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

type Report = { ready: Endpoints } | { error: { code: ErrorCode; message: string; command?: string } };

/** Resolves when the worker listens. Rejects with what it said was missing, or with how it ended. */
export async function startProcess(
  python: string,
  config: WorkerConfig,
  options: {
    /** The folder of the worker's Python files. Default: the package's own. */
    workerDir?: string | undefined;
    cwd: string | undefined;
    env: Readonly<Record<string, string>> | undefined;
    logger: Logger;
  },
): Promise<WorkerProcess> {
  const main = join(workerFolder(options.workerDir), "__main__.py");
  const child = execa(python, [main], {
    // Its own process group: a Ctrl-C in the terminal is the program's to handle, not the worker's.
    detached: true,
    windowsHide: true,
    cleanup: false,
    buffer: false,
    reject: false,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { PYTHONUNBUFFERED: "1", ...options.env },
  });
  const lastLines: string[] = [];
  for (const [stream, name] of [
    [child.stdout, "stdout"],
    [child.stderr, "stderr"],
  ] as const) {
    forEachLine(stream, (line) => {
      lastLines.push(line);
      if (lastLines.length > KEPT_LINES) lastLines.shift();
      options.logger.info({ stream: name }, line);
    });
  }
  const exited = child.then(({ exitCode, signal }) => ({ code: exitCode, signal, lastLines }));
  const reported = new Promise<Report | undefined>((resolve) => {
    const stream = child.stdio[3];
    forEachLine(stream, (line) => resolve(JSON.parse(line) as Report));
    stream.once("close", () => resolve(undefined));
  });
  // It may die before it has read this.
  child.stdin.on("error", () => undefined);
  child.stdin.write(`${JSON.stringify(config)}\n`);

  const report = await reported;
  if (report !== undefined && "ready" in report) {
    return { pid: child.pid!, endpoints: report.ready, exited, kill: (signal) => void child.kill(signal) };
  }
  const exit = await exited;
  if (report === undefined) {
    if (child.pid === undefined)
      throw new EnvironmentError(`${python} cannot be started`, { command: "npx torchwire setup" });
    throw new WorkerExitedError(exit);
  }
  const { code, message, command } = report.error;
  if (code === "ENVIRONMENT") throw new EnvironmentError(message, command === undefined ? {} : { command });
  throw new TorchwireError(code, message);
}

export function workerFolder(given: string | undefined): string {
  if (given === undefined) return join(packageRoot(), "python", "torchwire_worker");
  const folder = resolve(given);
  // Its name is that of the Python package.
  if (basename(folder) === "torchwire_worker" && existsSync(join(folder, "__main__.py"))) return folder;
  throw new EnvironmentError(
    `workerDir is ${folder}, which is not the folder torchwire_worker with the worker's Python files: copy ` +
      "node_modules/torchwire/python/torchwire_worker to where the program is deployed, and give the path of that copy.",
  );
}

function forEachLine(stream: Readable, onLine: (line: string) => void): void {
  createInterface({ input: stream, crlfDelay: Infinity }).on("line", onLine);
}
