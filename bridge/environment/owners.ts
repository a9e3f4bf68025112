/**
 * Who may write a file decides what is in it: a file counts only where nobody but this user and root can write it, nor any folder above it up to
 * the root, nor what links on the way lead to; as sshd's StrictModes has it. The worker's side has the same rule, in owners.py.
 */
import { accessSync, constants, lstatSync, openSync, readlinkSync, type Stats } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { codeOf } from "./untyped.ts";

/** What others can write, in words, and the command that mends it, where one does. */
export interface Fault {
  readonly path: string;
  readonly why: string;
  readonly command: string | undefined;
}

export interface OwnersOptions {
  /** A group may write, as in a project that several people work on. */
  readonly shared?: boolean;
  /** Whose it may be, beside this user's and root's: any owner's, where the user has named the place. */
  readonly anyOwner?: boolean;
  /** False: where the last part is a link, the link itself is looked at, and not what it leads to. */
  readonly follow?: boolean;
}

/** The first fault on the way to a path; else the real path. Throws the system's error where it cannot be looked at. */
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

/** The first fault on the way to a path; undefined where there is none, or nothing is there. */
export function othersCanWrite(path: string, options: OwnersOptions = {}): Fault | undefined {
  try {
    const looked = lookAtOwners(path, options);
    return "fault" in looked ? looked.fault : undefined;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Opens a real path to be read: no link is followed any more, and a named pipe is not waited for. */
export const openReal = (real: string): number =>
  // (Windows has neither.)
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
      // A folder above it is not to be taken from its owner.
      command: isLast && !isLink ? `chown ${own} ${path}` : undefined,
    };
  if (isLink || (mode & (shared ? 0o002 : 0o022)) === 0) return undefined;
  const isFolder = found.isDirectory();
  // Where the sticky bit is set, nobody takes away or replaces what is ours; but others may add to what is listed.
  if (isFolder && (mode & sticky) !== 0 && !isLast) return undefined;
  if (isReadOnly(path)) return undefined;
  const fitting = shared ? "o-w" : !isLast || (!isFolder && (mode & 0o111) !== 0) ? "go-w" : isFolder ? "700" : "600";
  return {
    path,
    why: `others can write ${isFolder ? "into " : ""}${path} (uid ${uid}, mode ${octal(mode)})`,
    command: `chmod ${fitting} ${path}`,
  };
}

/** Of a file system that is mounted so, as that of a container may be: whatever the modes say, nobody writes there. */
function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return codeOf(error) === "EROFS";
  }
}
