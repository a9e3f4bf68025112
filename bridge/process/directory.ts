/** The private directory that a spawned worker's sockets are in. */
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { TorchwireError } from "../errors.ts";

/** The kernel's own limit for the path of a socket (sun_path) is 108 bytes on Linux and 104 on macOS, with the final zero. */
const LONGEST_PATH = process.platform === "linux" ? 107 : 103;

/** Makes `…/torchwire-<uid>/<namespace>-<pid>-<random>`, mode 0700, after removing those of dead processes. */
export function makeSocketDirectory(): string {
  const base = join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), `torchwire-${userInfo().uid}`);
  mkdirSync(base, { recursive: true, mode: 0o700 });
  sweep(base);
  const directory = mkdtempSync(join(base, `${processNamespace()}-${process.pid}-`));
  const longest = Buffer.byteLength(join(directory, "control"));
  if (longest > LONGEST_PATH) {
    removeDirectory(directory);
    throw new TorchwireError(
      "ENVIRONMENT",
      `the path of the worker's socket would be ${longest} bytes long, the system allows ${LONGEST_PATH}: ${directory}. Set TMPDIR (or XDG_RUNTIME_DIR) to a shorter folder.`,
    );
  }
  return directory;
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

/** A killed process leaves its directory; whoever starts next removes it. Only those of our own process namespace can be judged. */
function sweep(base: string): void {
  const namespace = processNamespace();
  for (const name of readdirSync(base)) {
    const [owner, pid] = name.split("-");
    if (owner === namespace && !isAlive(Number(pid))) removeDirectory(join(base, name));
  }
}

function processNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))![0];
  } catch {
    // Not Linux: there is one namespace.
    return "0";
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
