/**
 * The far side of an ssh connection. A Python there gets our files and one order in one line, and answers in lines of
 * JSON.
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { execa } from "execa";
import { parseRecord } from "../environment/untyped.ts";
import { which } from "../environment/places.ts";
import { EnvironmentError, TorchwireError } from "../errors/errors.ts";
import { closePipesAtExit, forEachLine, LastLines } from "../process/lines.ts";
import { longestSilence, Silence } from "../process/silence.ts";

/** A name that ssh knows, `user@host`, or `ssh://user@host:port`; or ssh's own arguments, which end in one of these. */
export type SshTarget = string | readonly string[];

/** The order to the far side. The worker's files are sent with it. */
export interface Order {
  readonly python: string | null;
  readonly requirements: string;
  readonly [name: string]: unknown;
}

export interface FarOptions {
  /** The folder of the worker's Python files. */
  readonly workerFolder: string;
  /**
   * Our sockets (a path, or a port of 127.0.0.1), each with the name in the far side's folder that it is connected to.
   */
  readonly forwards?: readonly (readonly [near: string | number, far: string])[];
  /** A folder of ours that is removed when ssh ends, however this process ends. */
  readonly directory?: string | undefined;
  /** Milliseconds for the far side to end. Default 2000. */
  readonly graceMs?: number;
  /** Milliseconds without a line until our Python there is given up. Default: half a minute. */
  readonly longestSilence?: number;
  /** Called with each message of the far side. */
  readonly onSaid: (said: Readonly<Record<string, unknown>>) => void;
  /** Called with each line of ssh, and of the far side's login scripts. */
  readonly onLine: (line: string) => void;
}

export interface Far {
  readonly pid: number | undefined;
  /** Resolves when ssh has ended, and with it everything on the far side. */
  readonly ended: Promise<SshEnd>;
  /**
   * Lets the far side end its work and say so if it can; then ssh ends. `now`: the far side has nothing left to say.
   */
  end(now?: boolean): void;
}

export interface SshEnd {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** The last lines of ssh, and of the far side's login scripts. */
  readonly said: readonly string[];
  /** We have ended it, because our Python was not heard of. */
  readonly silent?: boolean;
}

const KEPT_LINES = 20;
/** A line of the worker's output is longer in JSON, where each character may take six. */
const LONGEST_SAID = 2 ** 20;

/** @throws MISUSE where `target` cannot be one, ENVIRONMENT where there is no ssh. */
export function openFar(target: SshTarget, order: Order, options: FarOptions): Far {
  checkTarget(target, order.python);
  const ssh = which("ssh");
  if (ssh === undefined)
    throw new EnvironmentError("there is no ssh on PATH: install OpenSSH's client (Debian's package openssh-client).");
  const { directory, forwards = [], graceMs = 2000, onLine } = options;
  const folder = `/tmp/torchwire-${randomBytes(16).toString("hex")}`;
  // Ports that somebody else has taken meanwhile must make ssh fail: they would be told the token. Sockets in a folder
  // of ours are tried later. There the forwards of the user's own configuration, which another ssh may have, are no
  // reason to fail.
  const strict = forwards.some(([near]) => typeof near === "number");
  const args = [
    ...settings,
    "-o",
    `ExitOnForwardFailure=${strict ? "yes" : "no"}`,
    ...forwards.flatMap(([near, far]) => ["-L", `${nearEnd(near)}:${folder}/${far}`]),
    ...(typeof target === "string" ? [target] : target),
    command(order.python),
  ];
  const [file, before] = process.platform === "win32" ? [ssh, []] : ["sh", ["-c", thenRemove, directory ?? "", ssh]];
  const child = execa(file, [...before, ...args], {
    // A process group of its own: the program handles a Ctrl-C in the terminal.
    detached: true,
    windowsHide: true,
    cleanup: false,
    buffer: false,
    reject: false,
    stdin: "pipe",
  });
  const read = closePipesAtExit(child);
  const said = new LastLines(KEPT_LINES);
  const keep = (line: string): void => {
    if (line.trim() === "") return;
    said.keep(line);
    onLine(line);
  };
  forEachLine(child.stderr, keep);
  forEachLine(
    child.stdout,
    (line) => {
      const told = parseRecord(line);
      silence.heard();
      // The order is sent when our Python asks for it: a start file there that reads standard input must not get it.
      if (told !== undefined && "waiting" in told) {
        silence.end();
        child.stdin.write(whole);
      } else if (told === undefined) keep(line);
      else options.onSaid(told);
    },
    LONGEST_SAID,
  );
  // ssh may end before it has read this.
  child.stdin.on("error", () => undefined);
  const whole = `${JSON.stringify({ ...order, folder, files: filesOf(options.workerFolder) })}\n`;
  let silent = false;
  const silence = new Silence(options.longestSilence ?? longestSilence, () => {
    silent = true;
    kill("SIGINT");
    timer ??= setTimeout(kill, graceMs, "SIGKILL");
  });

  let timer: NodeJS.Timeout | undefined;
  let over = false;
  const kill = (signal: NodeJS.Signals): void => {
    try {
      // This ends the programs too that ssh has started to get through a proxy.
      if (process.platform !== "win32") process.kill(-child.pid!, signal);
      else child.kill(signal);
    } catch {
      // It has ended.
    }
  };
  const ended = child.then(async ({ exitCode, signal }) => {
    over = true;
    await read;
    silence.end();
    clearTimeout(timer);
    return { ...byShell(exitCode, signal), said: said.lines, silent };
  });
  return {
    pid: child.pid,
    ended,
    end: (now = false) => {
      // Its number may be another process's by now.
      if (over) return;
      child.stdin.end();
      if (now) kill("SIGINT");
      timer ??= setTimeout(kill, graceMs, "SIGKILL");
    },
  };
}

/** ssh asks nothing, shares no connection that others may end, and carries only what this program asks for. */
const settings = [
  ["-T", "-a", "-x"],
  ["-o", "BatchMode=yes"],
  ["-o", "ConnectTimeout=10"],
  ["-o", "ControlMaster=no"],
  ["-o", "ControlPath=none"],
  ["-o", "LogLevel=INFO"],
  ["-o", "RemoteCommand=none"],
  ["-o", "ServerAliveCountMax=4"],
  ["-o", "ServerAliveInterval=15"],
  ["-o", "StreamLocalBindMask=0177"],
].flat();

/**
 * A shell that removes a folder when ssh has ended: it is still there where this process is killed. Systemd and Slurm
 * send SIGTERM to all processes of a job, and a fit still fetches its checkpoint then: ssh inherits that it is ignored.
 * SIGINT, which comes from us alone, ends ssh, and not the shell.
 */
const thenRemove =
  'trap "" TERM HUP; trap : INT; exec 3>&2 2>/dev/null; (exec "$@" 2>&3 3>&-); code=$?; [ -z "$0" ] || rm -rf -- "$0"; exit $code';

/** How ssh ended. A shell between us tells its signal by a number. */
function byShell(code: number | undefined, signal: string | undefined): Omit<SshEnd, "said" | "silent"> {
  const names: Readonly<Record<number, string>> = { 129: "SIGHUP", 130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM" };
  const name = code === undefined ? signal : names[code];
  return name === undefined ? { code, signal } : { code: undefined, signal: name };
}

/** Our end of a forward. ssh takes a colon for the end of a path. */
const nearEnd = (near: string | number): string =>
  typeof near === "number" ? `127.0.0.1:${near}` : near.replaceAll(/[\\:]/g, "\\$&");

/**
 * Reads the order, makes the folder and the files in it, and goes on there. It is one line without single quotes,
 * backslashes or exclamation marks, so that every login shell passes it on as it is (fish and csh too).
 */
const bootstrap = [
  "import json,os,sys",
  // (The first line ends a line that a login script may have begun.)
  "print()",
  'print(json.dumps({"waiting":1}),flush=True)',
  "o=json.loads(sys.stdin.buffer.readline().decode())",
  'd=o["folder"]',
  // The mode is 0700. This fails where somebody was there first.
  "os.mkdir(d,448)",
  "p=lambda n:os.path.join(d,n)",
  'w=lambda n,t:(os.makedirs(os.path.dirname(p(n)),exist_ok=True),open(p(n),"w",encoding="utf-8").write(t))',
  '[w(n,t) for n,t in o.pop("files").items()]',
  "sys.path.insert(0,d)",
  "from torchwire_worker.far.main import main",
  "main(o)",
].join(";");

/**
 * The far side's command, for any login shell. Our Python runs in the first python3 there is, else in the one that was
 * named.
 */
function command(python: string | null): string {
  const first =
    'for p in python3 "$1" "$1/bin/python"; do command -v "$p" >/dev/null 2>&1 && exec "$p" -I -c "$0"; done; exit 127';
  return `sh -c '${first}' '${bootstrap}' '${python ?? ""}'`;
}

function checkTarget(target: unknown, python: string | null): void {
  const refuse = (why: string): never => {
    throw new TorchwireError("MISUSE", why);
  };
  const parts: readonly unknown[] = Array.isArray(target) ? target : [target];
  if (parts.length === 0 || !parts.every((part) => typeof part === "string" && part !== ""))
    refuse(`ssh is ${JSON.stringify(target)}; it may be a host's name, or an array of ssh's arguments`);
  if (typeof target === "string" && /^-|\s/.test(target))
    refuse(
      `ssh is ${JSON.stringify(target)}, not a host's name; ssh's own options are given as an array: ["-p", "2222", "gpu-box"]`,
    );
  // A login shell reads it in the command.
  if (python !== null && /['\\!\n]/.test(python))
    refuse(`python is ${JSON.stringify(python)}; with ssh it may not hold quotes, backslashes or exclamation marks`);
}

/** All Python files of the worker, by their paths in the far side's folder. */
function filesOf(workerFolder: string): Record<string, string> {
  const above = join(workerFolder, "..");
  const files: Record<string, string> = {};
  for (const entry of readdirSync(workerFolder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".py")) continue;
    const path = join(entry.parentPath, entry.name);
    files[relative(above, path).split(sep).join("/")] = readFileSync(path, "utf8");
  }
  return files;
}
