/** `spawnWorker`: a worker process of one's own, over private sockets. */
import { randomBytes } from "node:crypto";
import { endianness } from "node:os";
import { pino, type Logger } from "pino";
import { findPython } from "./environment/find.ts";
import { packageVersion } from "./environment/package.ts";
import { TorchwireError } from "./errors.ts";
import { keyed, type Owned } from "./keyed.ts";
import type { Link } from "./link/link.ts";
import { openZmqLink } from "./link/zmq.ts";
import { Control } from "./process/control.ts";
import { removeDirectory } from "./process/directory.ts";
import { startProcess, WorkerExitedError, type WorkerProcess } from "./process/spawn.ts";
import { openTransport, type Transport } from "./process/transport.ts";
import { fatal, Session } from "./session.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "./site.ts";
import { Worker, type WorkerInfo } from "./worker.ts";
import { MessageType } from "./wire/header.ts";
import { defaultLimits, limitsOf, longestPart, smaller, told, type Limits } from "./wire/limits.ts";
import { decodeMessage, encodeMessage } from "./wire/meta.ts";

export interface SpawnOptions {
  /** The Python interpreter: a path, a name on PATH, or a virtual environment's folder. Default: the first that serves of TORCHWIRE_PYTHON, VIRTUAL_ENV, ./.venv, the managed environment. */
  readonly python?: string;
  /** "cuda" fails where there is none; "auto" (the default) takes it where there is one, and the CPU elsewhere. */
  readonly device?: "auto" | "cpu" | "cuda" | `cuda:${number}`;
  /** Seeds Python's, NumPy's and PyTorch's generators. Default: unseeded. */
  readonly seed?: number;
  /**
   * Only deterministic algorithms (`torch.use_deterministic_algorithms`): an operation that has none is an error. With "warn" it runs all the same, and
   * `worker.stats()` names it, as `worker.nondeterministic`. Default false.
   */
  readonly deterministic?: boolean | "warn";
  /** Threads of PyTorch's operations (`torch.set_num_threads`). Default: as PyTorch chooses. */
  readonly threads?: number;
  /** Keep large activations mapped between steps (glibc's malloc only; see docs/performance.md). Default true. */
  readonly malloc?: boolean;
  /** The worker's current folder, from which it also imports. Default: this process's. */
  readonly cwd?: string;
  /** Environment variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * One worker per key in a process: the next call with this key gets the worker that is there, until it is closed. For
   * modules that a dev server evaluates anew. The options named then must be those it has (but for the logger).
   */
  readonly key?: string;
  /**
   * "ipc": sockets in a private folder. "tcp": ports of 127.0.0.1, guarded by a secret that only this process and its worker
   * know. Default: TORCHWIRE_TRANSPORT, else "ipc", and "tcp" on Windows and where no folder can hold sockets.
   */
  readonly transport?: Transport;
  /** The folder torchwire_worker with the worker's Python files, where a bundler has packed torchwire. Default: the package's own. */
  readonly workerDir?: string;
  /** What one message, one value and what is in flight may be, here and in the worker; see docs/wire.md. */
  readonly limits?: Partial<Limits>;
  /** Gets the worker's output and log records. Default: silent, or a pino logger to stderr at the level TORCHWIRE_LOG. */
  readonly logger?: Logger;
}

/**
 * Starts a worker process and connects to it. It ends with `close()`, with `await using`, or when this process ends.
 * @throws EnvironmentError (no usable Python, no torch), NO_DEVICE, WORKER_GONE, MISUSE.
 */
export async function spawnWorker(options: SpawnOptions = {}): Promise<Worker> {
  const site = formatSite(captureSite());
  try {
    checkOptions(options);
    const { key, logger: _, ...others } = options;
    if (key === undefined) return (await spawn(options)).worker;
    const named = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined));
    return await keyed(key, { options: { ...defaults, ...named }, named }, () => spawn(options));
  } catch (error) {
    if (error instanceof TorchwireError && site !== undefined)
      addToMessage(error, `\n(spawnWorker at ${shortSite(site)})`);
    throw error;
  }
}

const defaults = { device: "auto", deterministic: false, malloc: true } as const;

async function spawn(options: SpawnOptions): Promise<Owned> {
  if (endianness() === "BE")
    throw new TorchwireError(
      "ENVIRONMENT",
      "arrays are sent little-endian, as they lie in memory; this machine is not",
    );
  const logger = options.logger ?? defaultLogger();
  const { executable } = await findPython({ python: options.python, cwd: options.cwd });
  const directory = openTransport(options.transport, logger);
  const token = randomBytes(32).toString("hex");
  const limits = limitsOf(options.limits ?? {});
  let child: WorkerProcess | undefined;
  try {
    const config = {
      token,
      directory: directory ?? null,
      device: options.device ?? defaults.device,
      seed: options.seed ?? null,
      deterministic: options.deterministic ?? defaults.deterministic,
      threads: options.threads ?? null,
      malloc: options.malloc ?? defaults.malloc,
      limits,
    };
    const { workerDir, cwd, env } = options;
    child = await startProcess(executable, config, { workerDir, cwd, env, logger });
    void child.exited.then(() => removeSockets(directory));
    // In a bundle there is no package to ask for its version.
    return await connect(child, token, limits, logger, workerDir === undefined ? packageVersion() : "bundled");
  } catch (error) {
    child?.kill("SIGKILL");
    removeSockets(directory);
    throw error;
  }
}

function removeSockets(directory: string | undefined): void {
  if (directory !== undefined) removeDirectory(directory);
}

async function connect(
  child: WorkerProcess,
  token: string,
  limits: Limits,
  logger: Logger,
  version: string,
): Promise<Owned> {
  const hello = encodeMessage(
    {
      type: MessageType.hello,
      meta: {
        token,
        client: { name: "torchwire", version, node: process.versions.node },
        limits: told(limits),
      },
    },
    defaultLimits,
  );
  let over: ((error: Error) => void) | undefined;
  const links: Link[] = [];
  let onData: (parts: Uint8Array[]) => void = () => undefined;
  const open = (endpoint: string, heartbeats: boolean, onMessage: (parts: Uint8Array[]) => void): Link => {
    const link = openZmqLink(endpoint, {
      heartbeats,
      frameBytes: longestPart(limits),
      onMessage,
      onError: (error) => over?.(asError(error)),
      onUp: () => link.send(hello),
    });
    links.push(link);
    return link;
  };

  const welcomed = new Promise<WorkerInfo & { limits: Limits }>((resolve, reject) => {
    over = reject;
    onData = (parts) => {
      const message = decodeMessage(parts, limits);
      if (message.header.type === MessageType.fatal) throw fatal(message);
      if (message.header.type !== MessageType.welcome)
        throw new TorchwireError("PROTOCOL", "the worker did not welcome us");
      resolve(message.meta as unknown as WorkerInfo & { limits: Limits });
    };
    void child.exited.then((exit) => reject(new WorkerExitedError(exit)));
  });
  const data = open(child.endpoints.data, false, (parts) => onData(parts));
  const controlLink = open(child.endpoints.control, true, (parts) => control.receive(parts));
  const control = new Control(controlLink, logger);
  let info;
  try {
    [info] = await Promise.all([welcomed, control.welcomed]);
  } catch (error) {
    for (const link of links) link.close();
    throw error;
  }

  const finished = deferred();
  const session = new Session(data, finished.resolve);
  session.limits = session.log.limits = smaller(limits, info.limits);
  onData = (parts) => session.receive(parts);
  let closing: Promise<void> | undefined;

  const end = (error: Error): void => {
    session.end(error);
    control.end(error);
    for (const link of links) link.close();
    finished.resolve();
  };
  over = (error) => {
    end(error);
    child.kill("SIGKILL");
  };
  const gone = child.exited.then((exit) => {
    end(closing === undefined ? new WorkerExitedError(exit) : closedError());
  });

  const close = async (): Promise<void> => {
    if (session.ended !== undefined) return gone;
    session.sendClose();
    await finished.promise;
    // A failure that nobody has awaited is told here.
    const { failure, thrown } = session.log.mainLane.generation;
    end(closedError());
    await gone;
    if (failure !== undefined && !thrown) throw failure.error;
  };
  const kill = async (why: Error): Promise<void> => {
    end(why);
    child.kill("SIGKILL");
    await gone;
  };
  const worker = new Worker(info, session, control, {
    close: () => (closing ??= close()),
    kill: () => (closing ??= kill(closedError())),
  });
  return {
    worker,
    get over() {
      return closing !== undefined || session.ended !== undefined;
    },
    gone,
    end: (why) => (closing ??= kill(new TorchwireError("CLOSED", why))),
  };
}

const closedError = (): TorchwireError =>
  new TorchwireError("CLOSED", "the worker was closed by this program; spawn another one");

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function defaultLogger(): Logger {
  const level = process.env["TORCHWIRE_LOG"];
  return level === undefined ? pino({ level: "silent" }) : pino({ name: "torchwire", level }, pino.destination(2));
}

function checkOptions({ device, seed, deterministic = false, threads, key, limits = {} }: SpawnOptions): void {
  const refuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `spawnWorker: ${what}`);
  };
  if (device !== undefined && !/^(auto|cpu|cuda(:\d+)?)$/.test(device))
    refuse(`device is "${device}"; it may be auto, cpu, cuda or cuda:N`);
  if (seed !== undefined && !Number.isSafeInteger(seed)) refuse(`seed is ${seed}, not a whole number`);
  if (typeof deterministic !== "boolean" && deterministic !== "warn")
    refuse(`deterministic must be true, false or "warn", not ${JSON.stringify(deterministic)}`);
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads > 0))
    refuse(`threads is ${threads}, not a whole number above 0`);
  limitsOf(limits);
  if (key !== undefined && (typeof key !== "string" || key === "")) refuse(`key is ${JSON.stringify(key)}, not a name`);
}
