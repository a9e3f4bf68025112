/** `spawnWorker`: a worker process of the program's own, over private sockets. */
import { randomBytes } from "node:crypto";
import { endianness } from "node:os";
import type { Logger } from "pino";
import { attach } from "./attach.ts";
import { findPython } from "../environment/find.ts";
import { packageVersion } from "../environment/package.ts";
import { TorchwireError } from "../errors/errors.ts";
import { keyed, type Owned } from "./keyed.ts";
import { defaultLogger } from "./logger.ts";
import { removeDirectory } from "./directory.ts";
import type { SshTarget } from "../ssh/far.ts";
import { checkFolder } from "./folder.ts";
import { startOverSsh } from "./ssh.ts";
import { startProcess, WorkerExitedError, type WorkerProcess } from "./process.ts";
import { openSocketFolder, type TransportName } from "./sockets.ts";
import { connect, type ConnectOptions } from "./connect.ts";
import { defaultSettings, settingsOf, type WorkerSettings } from "../wire/settings.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "../errors/site.ts";
import { variable } from "../runtime/variables.ts";
import type { Worker } from "../worker.ts";
import { limitsOf } from "../wire/limits.ts";

export interface SpawnOptions extends WorkerSettings {
  /**
   * The Python interpreter: a path, a name on PATH, or a virtual environment's folder. Default: the first that serves
   * of TORCHWIRE_PYTHON, VIRTUAL_ENV, ./.venv, the managed environment.
   */
  readonly python?: string;
  /** The worker's current folder. It also imports from there. Default: this process's. */
  readonly cwd?: string;
  /** Environment variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Another machine to run it on, as the user's own ssh knows it ("gpu-box"), or ssh's arguments (["-p", "2222",
   * "gpu-box"]). `python`, `cwd` and `env` then mean that machine. `npx torchwire setup --ssh gpu-box` makes an
   * environment there. The worker ends with the connection.
   */
  readonly ssh?: SshTarget;
  /**
   * One worker per key in a process: the next call with this key gets the same worker, until it is closed. It
   * is meant for modules that a dev server evaluates anew. The options of the next call must be the same (but for the
   * logger).
   */
  readonly key?: string;
  /**
   * "ipc": sockets in a private folder. "tcp": ports of 127.0.0.1, guarded by a secret that only this process and its
   * worker know. Default: TORCHWIRE_TRANSPORT, else "ipc", and "tcp" on Windows and where no folder can hold sockets.
   */
  readonly transport?: TransportName;
  /**
   * The folder torchwire_worker with the worker's Python files, where a bundler has packed torchwire. Default: the
   * package's own.
   */
  readonly workerDir?: string;
  /**
   * Gets the worker's output and log records. Default: silent, or a pino logger to stderr at the level TORCHWIRE_LOG.
   */
  readonly logger?: Logger;
}

/**
 * Starts a worker process and connects to it. It ends with `close()`, with `await using`, or when this process ends.
 *
 * Where TORCHWIRE_WORKER is set, the program runs elsewhere without an edit: tcp://gpu-box:5555 is `connectWorker` (both
 * ports, with a comma between, where the second is not the next one), ssh://gpu-box is the option `ssh`. Options that say where the worker runs are passed over then (python, cwd, env,
 * transport, workerDir).
 * @throws EnvironmentError (no usable Python, no torch), NO_DEVICE, WORKER_GONE, MISUSE; and those of `connectWorker`.
 */
export async function spawnWorker(options: SpawnOptions = {}): Promise<Worker> {
  const site = formatSite(captureSite());
  try {
    settingsOf("spawnWorker", options);
    const { key, logger: _, ...others } = options;
    if (key !== undefined && (typeof key !== "string" || key === ""))
      throw new TorchwireError("MISUSE", `spawnWorker: key is ${JSON.stringify(key)}, not a name`);
    if (key === undefined) return (await start(options)).worker;
    const named = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined));
    return await keyed(key, { options: { ...defaultSettings, ...named }, named }, () => start(options));
  } catch (error) {
    if (error instanceof TorchwireError && site !== undefined)
      addToMessage(error, `\n(spawnWorker at ${shortSite(site)})`);
    throw error;
  }
}

/** Starts it here, or where TORCHWIRE_WORKER says. */
function start(options: SpawnOptions): Promise<Owned> {
  return options.ssh === undefined ? startAt(variable("TORCHWIRE_WORKER") ?? HERE, options) : spawn(options);
}

/** This machine, as a place. */
export const HERE = "here";

/** Starts it at a place: `HERE`, or one elsewhere, where options that say where a worker of this machine runs do not count. */
export function startAt(
  place: string,
  options: SpawnOptions & Pick<ConnectOptions, "profile" | "timeout">,
): Promise<Owned> {
  if (place === HERE) return spawn(options);
  const { python: _, cwd: _cwd, env: _env, transport: _transport, workerDir: _dir, ...others } = options;
  if (place.startsWith("ssh://")) return spawn({ ...others, ssh: place });
  const { device, seed, deterministic, threads, malloc, limits, logger, profile, timeout } = others;
  const asked = { device, seed, deterministic, threads, malloc, limits, logger, profile, timeout };
  return connect(place, asked as ConnectOptions);
}

export async function spawn(options: SpawnOptions): Promise<Owned> {
  if (endianness() === "BE")
    throw new TorchwireError(
      "ENVIRONMENT",
      "arrays are sent little-endian, as they lie in memory; this machine is not",
    );
  const logger = options.logger ?? defaultLogger();
  const { workerDir, cwd, env, python, ssh } = options;
  if (ssh === undefined) checkFolder(cwd);
  const executable = ssh === undefined ? (await findPython({ python, cwd })).executable : undefined;
  const directory = openSocketFolder(options.transport, logger);
  const token = randomBytes(32).toString("hex");
  const limits = limitsOf(options.limits ?? {});
  let child: WorkerProcess | undefined;
  try {
    const settings = settingsOf("spawnWorker", options);
    const config = { token, ...settings, limits };
    child =
      executable === undefined
        ? await startOverSsh(ssh!, config, { directory, python, workerDir, cwd, env, logger })
        : await startProcess(executable, { ...config, directory: directory ?? null }, { workerDir, cwd, env, logger });
    void child.exited.then(() => removeSockets(directory));
    const { endpoints, exited } = child;
    return await attach({
      endpoints,
      token,
      settings,
      limits,
      logger,
      // A bundle has no package.json to tell the version.
      version: workerDir === undefined ? packageVersion() : "bundled",
      over: ssh === undefined ? "machine" : "ssh",
      process: { exited: exited.then((exit) => new WorkerExitedError(exit)), kill: () => child?.kill("SIGKILL") },
    });
  } catch (error) {
    child?.kill("SIGKILL");
    removeSockets(directory);
    throw error;
  }
}

function removeSockets(directory: string | undefined): void {
  if (directory !== undefined) removeDirectory(directory);
}
