/** The private directory for a spawned worker's sockets. */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { othersCanWrite } from "../environment/owners.ts";
import { isRunning, processPlace } from "../environment/processes.ts";

/** The kernel limits the path of a socket (sun_path) to 108 bytes on Linux and 104 on macOS, with the final zero. */
const LONGEST_PATH = process.platform === "linux" ? 107 : 103;
const LONGEST_NAME = "control";

export interface SocketDirectory {
  /** Undefined where no folder serves. */
  readonly directory: string | undefined;
  /** The folders that were tried before, each with the reason why it does not serve. */
  readonly refused: readonly string[];
}

/**
 * Makes `…/torchwire-<uid>/<place>-<pid>-<random>`, mode 0700, in XDG_RUNTIME_DIR, else in the temporary folder, else
 * in /tmp. First it removes the directories of dead processes there.
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

/**
 * Makes the folder above, or checks it: where everybody may write, somebody may have made it first, to put their
 * sockets in the place of ours.
 */
function makeBase(base: string): void {
  try {
    mkdirSync(base, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const { uid, mode } = lstatSync(base);
  // (The mode of a symbolic link is open to all.)
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
    throw new Error(`${base} is not a folder that is this user's alone`);
}

/**
 * The place in which our process number counts, in a few characters: other machines and containers may share the
 * folder.
 */
const place = (): string => createHash("sha256").update(`${hostname()}/${processPlace()}`).digest("hex").slice(0, 10);

/** Removes the directories of killed processes. Only processes that we can see can be judged. */
function sweep(base: string): void {
  const here = place();
  for (const name of readdirSync(base)) {
    const [owner, pid] = name.split("-");
    if (owner === here && !isRunning(Number(pid))) removeDirectory(join(base, name));
  }
}
