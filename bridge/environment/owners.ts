/**
 * A file counts only where nobody but this user and root can write it: who can write a file decides what is in it. The
 * same holds for each folder above it up to the root, and for the targets of links on the way. sshd's StrictModes has
 * this rule too. The worker's side has it in owners.py.
 */
import { accessSync, constants, lstatSync, openSync, readlinkSync, type Stats } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { codeOf } from "./untyped.ts";

/** Others can write a path: why, and the command that mends it, where one does. */
export interface Fault {
  readonly path: string;
  readonly why: string;
  readonly command: string | undefined;
}

export interface OwnersOptions {
  /** A group may write, as in a project that several people work on. */
  readonly shared?: boolean;
  /** It may be anybody's, not just this user's and root's: the user has named the place. */
  readonly anyOwner?: boolean;
  /** False: where the last part is a link, the link itself is looked at, and not its target. */
  readonly follow?: boolean;
}

/** Finds the first fault on the way to a path; else the real path. Throws the system's error where it cannot look. */
export function lookAtOwners(path: string, options: OwnersOptions = {}): { fault: Fault } | { real: string } {
  // Windows has no modes, and a user's folder there is the user's alone.
  if (process.platform === "win32") return { real: path };
  let real = "/";
  let links = 0;
  const fault = faultOf(real, lstatSync(real), false, options);
  if (fault !== undefined) return { fault };
  const rest = resolve(path).split("/").toReversed();
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      real = dirname(real);
      continue;
    }
    const here = join(real, name);
    const found = lstatSync(here);
    const isLast = rest.every((each) => each === "");
    const wrong = faultOf(here, found, isLast, options);
    if (wrong !== undefined) return { fault: wrong };
    if (!found.isSymbolicLink() || (isLast && links === 0 && options.follow === false)) {
      real = here;
      continue;
    }
    if (++links > mostLinks) throw Object.assign(new Error(`too many links: ${path}`), { code: "ELOOP" });
    const target = readlinkSync(here);
    if (target.startsWith("/")) real = "/";
    rest.push(...target.split("/").toReversed());
  }
  return { real };
}

/** Finds the first fault on the way to a path; undefined where there is none, or where the path does not exist. */
export function othersCanWrite(path: string, options: OwnersOptions = {}): Fault | undefined {
  try {
    const looked = lookAtOwners(path, options);
    return "fault" in looked ? looked.fault : undefined;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Opens a real path to read it: it follows no link any more, and does not wait for a named pipe. */
export const openReal = (real: string): number =>
  // Windows has neither flag.
  openSync(real, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));

export const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, "0");

const mostLinks = 40;
const sticky = 0o1000;

function faultOf(
  path: string,
  found: Stats,
  isLast: boolean,
  { shared = false, anyOwner = false }: OwnersOptions,
): Fault | undefined {
  const { uid, mode } = found;
  const own = process.getuid?.() ?? uid;
  const isLink = found.isSymbolicLink();
  // The owner of / is root, also where root has no number: in a user namespace without it.
  if (!anyOwner && ![own, 0, lstatSync("/").uid].includes(uid))
    return {
      path,
      why: `${path} belongs to another user (uid ${uid}, mode ${octal(mode)}), who could put anything there`,
      // The owner of a folder above it must keep that folder.
      command: isLast && !isLink ? `chown ${own} ${path}` : undefined,
    };
  if (isLink || (mode & (shared ? 0o002 : 0o022)) === 0) return undefined;
  const isFolder = found.isDirectory();
  // The sticky bit keeps others from removing or replacing our files; but they may add files to the folder.
  if (isFolder && (mode & sticky) !== 0 && !isLast) return undefined;
  if (isReadOnly(path)) return undefined;
  const fitting = shared ? "o-w" : !isLast || (!isFolder && (mode & 0o111) !== 0) ? "go-w" : isFolder ? "700" : "600";
  return {
    path,
    why: `others can write ${isFolder ? "into " : ""}${path} (uid ${uid}, mode ${octal(mode)})`,
    command: `chmod ${fitting} ${path}`,
  };
}

/** Nobody writes to a file system that is mounted read-only, whatever the modes say. A container may have one. */
function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return codeOf(error) === "EROFS";
  }
}
