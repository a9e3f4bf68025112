/**
 * Starts a worker on another machine over the user's own ssh. ssh carries the start, the sockets, and the end when it
 * ends.
 */
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import type { Logger } from "pino";
import { site } from "../environment/managed.ts";
import { openFar, type SshEnd, type SshTarget } from "../ssh/far.ts";
import { LastLines } from "../process/lines.ts";
import { workerFolder, WorkerExitedError, type WorkerConfig, type WorkerExit, type WorkerProcess } from "./process.ts";
import { orderedPackages, type HalfFailure, type OrderedPackages } from "../environment/order.ts";
import { farError, nameOf, noTunnel, sshError } from "../ssh/errors.ts";

const KEPT_LINES = 50;

/**
 * Resolves when the far worker listens and is reached. Rejects with the error of ssh or of the far side, or with how it
 * ended.
 */
export async function startOverSsh(
  target: SshTarget,
  config: Omit<WorkerConfig, "directory">,
  options: {
    /** The folder for the near ends of the worker's sockets; undefined: ports of 127.0.0.1. */
    directory: string | undefined;
    /** The next four are of the far side. */
    python: string | undefined;
    workerDir: string | undefined;
    cwd: string | undefined;
    env: Readonly<Record<string, string>> | undefined;
    logger: Logger;
  },
): Promise<WorkerProcess> {
  const { directory, workerDir, logger } = options;
  const near = directory === undefined ? await freePorts() : [join(directory, "data"), join(directory, "control")];
  const last = new LastLines(KEPT_LINES);
  const lastLines = last.lines;
  const keep = (stream: string, line: string): void => {
    last.keep(line);
    logger.info({ stream }, line);
  };
  let ready!: () => void;
  const listening = new Promise<"listening">((resolve) => {
    ready = () => resolve("listening");
  });
  let failure: HalfFailure | undefined;
  let exit: Omit<WorkerExit, "lastLines"> | undefined;
  const order = {
    config,
    python: options.python ?? null,
    cwd: options.cwd ?? null,
    env: options.env ?? {},
    // A bundle has no package to look in: there the interpreter must be named.
    ...(workerDir === undefined ? environment() : { requirements: "", packages: null }),
  };
  const far = openFar(target, order, {
    workerFolder: workerFolder(workerDir),
    directory,
    forwards: [
      [near[0]!, "data"],
      [near[1]!, "control"],
    ],
    onLine: (line) => logger.info({ stream: "ssh" }, line),
    onSaid: (said) => {
      for (const stream of ["stdout", "stderr"]) if (stream in said) keep(stream, String(said[stream]));
      if ("ready" in said) ready();
      if ("error" in said) failure = said["error"] as HalfFailure;
      if ("exit" in said) {
        const { code, signal } = said["exit"] as { code: number | null; signal: string | null };
        exit = { code: code ?? undefined, signal: signal ?? undefined };
      }
      // Nothing more is said. ssh would wait for connections through it, which are tried again and again.
      if ("exit" in said) far.end(true);
    },
  });
  const exited = far.ended.then((end) => exitOf(target, end, exit, lastLines));
  const first = await Promise.race([listening, far.ended]);
  if (first === "listening") {
    const reached = await Promise.race([answers(near[0]!), far.ended]);
    if (reached === true)
      return {
        pid: far.pid!,
        endpoints: { data: url(near[0]!), control: url(near[1]!) },
        exited,
        kill: () => far.end(),
      };
    far.end();
    if (reached === false) throw noTunnel(target, (await far.ended).said);
  }
  const end = await far.ended;
  if (failure !== undefined) throw farError(failure, target);
  throw exit === undefined && first !== "listening" ? sshError(target, end) : new WorkerExitedError(await exited);
}

/** The environment that the far side is to find. */
function environment(): { requirements: string; packages: OrderedPackages | null } {
  const { requirements, wanted } = site();
  return { requirements, packages: orderedPackages(wanted, false) };
}

/** The worker's end, as the far side tells it. Else ssh has ended, and the worker with it. */
function exitOf(
  target: SshTarget,
  end: SshEnd,
  exit: Omit<WorkerExit, "lastLines"> | undefined,
  lastLines: readonly string[],
): WorkerExit {
  if (exit !== undefined) return { ...exit, lastLines };
  return {
    code: end.code,
    signal: end.signal,
    lastLines: [...lastLines, ...end.said],
    carrier: `the ssh to ${nameOf(target)}`,
  };
}

/** Whether the worker is at the other end. It speaks first; and ssh cuts off a socket that it may not forward. */
function answers(near: string | number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof near === "number" ? connect(near, "127.0.0.1") : connect(near);
    const settle = (answer: boolean): void => {
      resolve(answer);
      socket.destroy();
    };
    socket.once("data", () => settle(true));
    socket.once("error", () => settle(false));
    socket.once("close", () => settle(false));
  });
}

const url = (near: string | number): string => (typeof near === "number" ? `tcp://127.0.0.1:${near}` : `ipc://${near}`);

/** Two ports of the loopback interface that are free now. */
async function freePorts(): Promise<number[]> {
  const servers = [createServer(), createServer()];
  const ports = servers.map(
    (server) =>
      new Promise<number>((resolve, reject) => {
        server.once("error", reject);
        server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
      }),
  );
  try {
    return await Promise.all(ports);
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}
