/** The private directory that a spawned worker's sockets are in. */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { othersCanWrite } from "../environment/owners.ts";
import { isRunning, processPlace } from "../environment/processes.ts";

/** The kernel's own limit for the path of a socket (sun_path) is 108 bytes on Linux and 104 on macOS, with the final zero. */
const LONGEST_PATH = process.platform === "linux" ? 107 : 103;
const LONGEST_NAME = "control";

export interface SocketDirectory {
  /** Undefined where no folder serves. */
  readonly directory: string | undefined;
  /** What was tried before, each with the reason why it does not serve. */
  readonly refused: readonly string[];
}

/**
 * Makes `…/torchwire-<uid>/<place>-<pid>-<random>`, mode 0700, after removing those of dead processes: in
 * XDG_RUNTIME_DIR, else in the temporary folder, else in /tmp.
 */
export function makeSocketDirectory(): SocketDirectory {
  const refused: string[] = [];
  for (const parent of new Set([process.env["XDG_RUNTIME_DIR"], tmpdir(), "/tmp"])) {
    if (parent === undefined || parent === "") continue;
    try {
      return { directory: makeIn(parent), refused };
    } catch (error) {
      refused.push(`${parent}: ${(error as Error).message}`);
    }
  }
  return { directory: undefined, refused };
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

function makeIn(parent: string): string {
  // (A user without an entry in passwd has a number all the same.)
  const base = join(parent, `torchwire-${process.getuid?.() ?? 0}`);
  const prefix = join(base, `${place()}-${process.pid}-`);
  const length = Buffer.byteLength(join(`${prefix}XXXXXX`, LONGEST_NAME));
  if (length > LONGEST_PATH)
    throw new Error(`a socket's path would be ${length} bytes long, the system allows ${LONGEST_PATH}`);
  makeBase(base);
  const fault = othersCanWrite(base);
  if (fault !== undefined) throw new Error(fault.why);
  sweep(base);
  return mkdtempSync(prefix);
}

/** In a folder where everybody writes, somebody may have been there first, to put sockets of theirs in the place of ours. */
function makeBase(base: string): void {
  try {
    mkdirSync(base, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const { uid, mode } = lstatSync(base);
  // (A link is open to all.)
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
    throw new Error(`${base} is not a folder that is this user's alone`);
}

/** Where our process number counts, in a few characters: a folder may be shared with other machines and containers. */
const place = (): string => createHash("sha256").update(`${hostname()}/${processPlace()}`).digest("hex").slice(0, 10);

/** A killed process leaves its directory; whoever starts next removes it. Only those of processes that we can see can be judged. */
function sweep(base: string): void {
  const here = place();
  for (const name of readdirSync(base)) {
    const [owner, pid] = name.split("-");
    if (owner === here && !isRunning(Number(pid))) removeDirectory(join(base, name));
  }
}
