/**
 * A container without an engine: an image's file system, in namespaces of its own, with what docker/compose.yaml asks
 * for.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";

export interface Image {
  /** Its file system, mounted. */
  readonly root: string;
  /** The content of its Dockerfile. */
  readonly config: Config;
  /** Mounts that every container of it has. */
  readonly mounts: readonly Mount[];
}

export interface Config {
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly User: string;
  readonly WorkingDir: string;
  readonly StopSignal: "SIGTERM";
  readonly Healthcheck: { readonly Test: readonly ["CMD", ...string[]] };
}

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly write: boolean;
}

export interface Ended {
  readonly exitCode?: number | undefined;
  readonly stdout: string;
}

/** The status as docker reports it. */
export type Health = "healthy" | "unhealthy";

export interface Container extends AsyncDisposable {
  /** All that its processes wrote. */
  output(): string;
  readonly exited: Promise<Ended>;
  /** Runs a command in it, as its user. */
  exec(command: readonly string[]): Promise<Ended>;
  health(): Promise<Health>;
  /** The processes in it by their ids outside: the first is number 1 inside. */
  processes(): Promise<Process[]>;
  stop(): Promise<Ended>;
}

export interface Process {
  readonly pid: number;
  readonly command: string;
  /** The fields of /proc/PID/status. */
  readonly status: Readonly<Record<string, string>>;
}

const script = fileURLToPath(new URL("container.sh", import.meta.url));

/** `args` are in place of the image's own; `input` goes to its standard input. */
export async function run(
  { root, config, mounts: always }: Image,
  {
    args = config.Cmd,
    mounts = [],
    input = "",
  }: { args?: readonly string[]; mounts?: readonly Mount[]; input?: string } = {},
): Promise<Container> {
  const inside = ["env", "--ignore-environment", `--chdir=${config.WorkingDir}`, ...config.Env];
  const all = [...always, ...mounts].map(({ source, target, write }) => `${source}:${target}:${write ? "rw" : "ro"}`);
  const child = execa(
    "unshare",
    // prettier-ignore
    ["--mount", "--pid", "--ipc", "--uts", "--fork", "sh", script, root, config.User, ...all, "--", ...inside, ...config.Entrypoint, ...args],
    { input, reject: false, all: true, buffer: true },
  );
  let text = "";
  child.all.on("data", (data: Buffer) => (text += data.toString()));
  await once(child, "spawn");

  const first = async (): Promise<number> => {
    for (;;) {
      const [pid] = await children(child.pid!);
      if (pid !== undefined) return pid;
      if (child.exitCode !== null) throw new Error(`it has ended:\n${text}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const exec = async (command: readonly string[]): Promise<Ended> => {
    const [uid, gid] = config.User.split(":");
    const drop = [
      "setpriv",
      `--reuid=${uid}`,
      `--regid=${gid}`,
      "--clear-groups",
      "--no-new-privs",
      "--bounding-set=-all",
    ];
    const enter = ["--target", String(await first()), "--mount", "--pid", "--ipc", "--uts", "--root"];
    return execa("nsenter", [...enter, ...drop, ...inside, ...command], { reject: false });
  };
  return {
    output: () => text,
    exited: child,
    exec,
    health: async () => {
      const [, ...command] = config.Healthcheck.Test;
      return (await exec(command)).exitCode === 0 ? "healthy" : "unhealthy";
    },
    processes: async () => descendants(await first()),
    stop: async () => {
      process.kill(await first(), config.StopSignal);
      return child;
    },
    [Symbol.asyncDispose]: async () => {
      // With its first process all others end. (unshare's own --kill-child is forgotten when that process changes its
      // user.)
      for (const pid of await children(child.pid!)) process.kill(pid, "SIGKILL");
      await child;
    },
  };
}

async function children(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  return text.split(" ").filter(Boolean).map(Number);
}

async function descendants(pid: number): Promise<Process[]> {
  const [command, status] = await Promise.all(
    ["cmdline", "status"].map((name) => readFile(`/proc/${pid}/${name}`, "utf8")),
  );
  const fields = status!.split("\n").map((line) => line.split(":\t", 2).map((part) => part.trim()));
  const own = { pid, command: command!.replaceAll("\0", " ").trim(), status: Object.fromEntries(fields) };
  const below = await Promise.all((await children(pid)).map(descendants));
  return [own, ...below.flat()];
}
