/** `spawnWorker`: a worker process of one's own, over private sockets. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { pino, type Logger } from "pino";
import { findPython } from "./environment/find.ts";
import { packageVersion } from "./environment/package.ts";
import { TorchwireError } from "./errors.ts";
import type { Link } from "./link/link.ts";
import { openZmqLink } from "./link/zmq.ts";
import { Control } from "./process/control.ts";
import { makeSocketDirectory, removeDirectory } from "./process/directory.ts";
import { startProcess, WorkerExitedError, type WorkerProcess } from "./process/spawn.ts";
import { fatal, Session } from "./session.ts";
import { addToMessage, captureSite, formatSite, shortSite } from "./site.ts";
import { Worker, type WorkerInfo } from "./worker.ts";
import { MessageType } from "./wire/header.ts";
import { defaultLimits, type Limits } from "./wire/limits.ts";
import { decodeMessage, encodeMessage } from "./wire/meta.ts";

export interface SpawnOptions {
  /** The Python interpreter: a path, a name on PATH, or a virtual environment's folder. Default: the first that serves of TORCHWIRE_PYTHON, VIRTUAL_ENV, ./.venv, the managed environment. */
  readonly python?: string;
  /** "cuda" fails where there is none; "auto" (the default) takes it where there is one, and the CPU elsewhere. */
  readonly device?: "auto" | "cpu" | "cuda" | `cuda:${number}`;
  /** Seeds Python's, NumPy's and PyTorch's generators. Default: unseeded. */
  readonly seed?: number;
  /** Only deterministic algorithms (`torch.use_deterministic_algorithms`). Default false. */
  readonly deterministic?: boolean;
  /** Threads of PyTorch's operations (`torch.set_num_threads`). Default: as PyTorch chooses. */
  readonly threads?: number;
  /** Keep large activations mapped between steps (glibc's malloc only; see docs/performance.md). Default true. */
  readonly malloc?: boolean;
  /** The worker's current folder, from which it also imports. Default: this process's. */
  readonly cwd?: string;
  /** Environment variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Gets the worker's output and log records. Default: silent, or a pino logger to stderr at the level TORCHWIRE_LOG. */
  readonly logger?: Logger;
}

/**
 * Starts a worker process and connects to it. It ends with `close()`, with `await using`, or when this process ends.
 * @throws EnvironmentError (no usable Python, no torch), NO_DEVICE, WORKER_GONE.
 */
export async function spawnWorker(options: SpawnOptions = {}): Promise<Worker> {
  const site = formatSite(captureSite());
  try {
    return await spawn(options);
  } catch (error) {
    if (error instanceof TorchwireError && site !== undefined)
      addToMessage(error, `\n(spawnWorker at ${shortSite(site)})`);
    throw error;
  }
}

async function spawn(options: SpawnOptions): Promise<Worker> {
  checkOptions(options);
  const logger = options.logger ?? defaultLogger();
  const { executable } = await findPython({ python: options.python, cwd: options.cwd });
  const directory = makeSocketDirectory();
  const token = randomBytes(32).toString("hex");
  let child: WorkerProcess | undefined;
  try {
    const config = {
      token,
      directory,
      device: options.device ?? "auto",
      seed: options.seed ?? null,
      deterministic: options.deterministic ?? false,
      threads: options.threads ?? null,
      malloc: options.malloc ?? true,
    };
    child = await startProcess(executable, config, { cwd: options.cwd, env: options.env, logger });
    return await connect(child, directory, token, logger);
  } catch (error) {
    child?.kill("SIGKILL");
    removeDirectory(directory);
    throw error;
  }
}

async function connect(child: WorkerProcess, directory: string, token: string, logger: Logger): Promise<Worker> {
  const hello = encodeMessage(
    {
      type: MessageType.hello,
      meta: {
        token,
        client: { name: "torchwire", version: packageVersion(), node: process.versions.node },
        limits: { ...defaultLimits },
      },
    },
    defaultLimits,
  );
  let over: ((error: Error) => void) | undefined;
  const links: Link[] = [];
  let onData: (parts: Uint8Array[]) => void = () => undefined;
  const open = (name: string, heartbeats: boolean, onMessage: (parts: Uint8Array[]) => void): Link => {
    const link = openZmqLink(`ipc://${join(directory, name)}`, {
      heartbeats,
      frameBytes: defaultLimits.frameBytes,
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
      const message = decodeMessage(parts, defaultLimits);
      if (message.header.type === MessageType.fatal) throw fatal(message);
      if (message.header.type !== MessageType.welcome)
        throw new TorchwireError("PROTOCOL", "the worker did not welcome us");
      resolve(message.meta as unknown as WorkerInfo & { limits: Limits });
    };
    void child.exited.then((exit) => reject(new WorkerExitedError(exit)));
  });
  const data = open("data", false, (parts) => onData(parts));
  const controlLink = open("control", true, (parts) => control.receive(parts));
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
  session.limits = session.log.limits = smaller(info.limits, defaultLimits);
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
    removeDirectory(directory);
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
  const kill = async (): Promise<void> => {
    end(closedError());
    child.kill("SIGKILL");
    await gone;
  };
  return new Worker(info, session, control, {
    close: () => (closing ??= close()),
    kill: () => (closing ??= kill()),
  });
}

const closedError = (): TorchwireError => new TorchwireError("CLOSED", "the worker was closed by this program");

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function smaller(theirs: Limits, ours: Limits): Limits {
  return Object.fromEntries(
    Object.entries(ours).map(([name, limit]) => [name, Math.min(limit, theirs[name as keyof Limits])]),
  ) as unknown as Limits;
}

function defaultLogger(): Logger {
  const level = process.env["TORCHWIRE_LOG"];
  return level === undefined ? pino({ level: "silent" }) : pino({ name: "torchwire", level }, pino.destination(2));
}

function checkOptions({ device, seed, threads }: SpawnOptions): void {
  const refuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `spawnWorker: ${what}`);
  };
  if (device !== undefined && !/^(auto|cpu|cuda(:\d+)?)$/.test(device))
    refuse(`device is "${device}"; it may be auto, cpu, cuda or cuda:N`);
  if (seed !== undefined && !Number.isSafeInteger(seed)) refuse(`seed is ${seed}, not a whole number`);
  if (threads !== undefined && !(Number.isSafeInteger(threads) && threads > 0))
    refuse(`threads is ${threads}, not a whole number above 0`);
}
