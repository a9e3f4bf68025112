/**
 * The environments that torchwire makes: `<cache>/environments/<key>-<version>-<platform>[+<backend>]-<random>`.
 *
 * The key is a hash of the pinned requirements and of the platform, so another version of torchwire never meets the
 * wrong packages; a build of PyTorch that was asked for (`--torch-backend`) has its name in the folder's. The last part makes each attempt's name its own: an environment is built where it will stay (its
 * scripts hold absolute paths, so it could not be moved), and the marker, written last, is what makes it exist.
 * An installer orphaned by a SIGKILL can then only write into a folder that nobody uses.
 */

import { createHash, randomBytes } from "node:crypto";
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { othersCanWrite, type Fault, type OwnersOptions } from "./owners.ts";
import { lockedRequirements } from "./package.ts";
import { cacheDirectory, venvPython } from "./places.ts";
import type { Probed } from "./probe.ts";
import { readRegularFile } from "../runtime/regular-file.ts";
import { parseRecord } from "./untyped.ts";

export interface ManagedOptions {
  /** The pinned requirements. Default: the package's own. */
  requirements?: string | undefined;
  /** The folder that holds `environments`. Default: torchwire's folder in the user's cache. */
  cache?: string | undefined;
  /** Default: `process.env`. */
  env?: NodeJS.ProcessEnv | undefined;
}

/** Narrows environments down. */
export interface Made {
  /** The path of the interpreter that it was made from. */
  by?: string | undefined;
  /** An interpreter of its version and platform. */
  like?: Probed | undefined;
  /** The build of PyTorch that was asked for. Default: any. */
  backend?: string | undefined;
}

/** Where environments for these requirements lie or would lie. */
export interface Site {
  /** Holds every managed environment. */
  directory: string;
  requirements: string;
  key: string;
}

export interface Managed {
  folder: string;
  executable: string;
  /** Milliseconds since 1970; a later set-up that asks for this one by name makes it the newest. */
  finished: number;
  marker: Marker;
}

/** What the marker file holds. */
export interface Marker {
  /** The interpreter it was made from. */
  base: string;
  version: string;
  /** What installed the packages. */
  installer: string;
  /** The build of PyTorch that was asked for; absent where it is the package index's. */
  backend?: string;
}

export function site(options: ManagedOptions = {}): Site {
  const requirements = resolve(options.requirements ?? lockedRequirements());
  const hash = createHash("sha256").update(readRequirements(requirements));
  hash.update(`\0${process.platform}\0${process.arch}`);
  return {
    directory: join(resolve(options.cache ?? cacheDirectory(options.env)), "environments"),
    requirements,
    key: hash.digest("hex").slice(0, 12),
  };
}

/**
 * The finished environment, the newest where there are several. Starts no process.
 *
 * @throws {EnvironmentError} Others than this user and root can write it: what would be run is theirs to say.
 */
export function findManaged({ directory, key }: Site, { by, like, backend }: Made = {}): Managed | undefined {
  checkOwners(directory);
  const base = by === undefined ? undefined : realPath(by);
  const found = allManaged(directory)
    .filter(({ folder }) => basename(folder).startsWith(like === undefined ? `${key}-` : `${key}-${nameOf(like)}`))
    .filter(({ marker }) => base === undefined || realPath(marker.base) === base)
    .find(({ marker }) => backend === undefined || marker.backend === backend);
  if (found !== undefined) refuse(environmentFault(found.folder, { base: found.marker.base }));
  return found;
}

/** @throws {EnvironmentError} Others can write into the folder of environments. */
export function checkOwners(directory: string): void {
  refuse(othersCanWrite(directory));
}

/**
 * The first of what is run in an environment that others can write. The interpreter that it was made from may be anybody's, as those of a cluster
 * are an administrator's: the user has chosen it.
 */
export function environmentFault(
  folder: string,
  { shared = false, base }: { shared?: boolean; base?: string } = {},
): Fault | undefined {
  const python = venvPython(folder);
  const options: OwnersOptions = { shared, follow: false };
  const chosen = base === undefined || realPath(base) === realPath(python);
  return (
    [folder, dirname(python), python, join(folder, "pyvenv.cfg"), markerOf(folder), ...siteFolders(folder)]
      .map((path) => othersCanWrite(path, options))
      .find((fault) => fault !== undefined) ?? othersCanWrite(python, { shared: true, anyOwner: chosen })
  );
}

/** Where its packages are: `lib/python3.11/site-packages`. */
function siteFolders(folder: string): string[] {
  const lib = join(folder, "lib");
  if (!existsSync(lib)) return [];
  return readdirSync(lib).flatMap((name) => [join(lib, name), join(lib, name, "site-packages")]);
}

function refuse(fault: Fault | undefined): void {
  if (fault === undefined) return;
  const { why, command = "TORCHWIRE_CACHE=/a/folder/of/your/own npx torchwire setup" } = fault;
  // (Of root by sudo, the user's own home is another user's.)
  const sudo = process.getuid?.() === 0 && process.env["SUDO_UID"] !== undefined ? " Or run it without sudo." : "";
  throw new EnvironmentError(
    `${why}. No environment from there is used: what is run there, runs as this user. TORCHWIRE_CACHE takes another place; an interpreter that you ` +
      `trust all the same is named by TORCHWIRE_PYTHON.${sudo}`,
    { command },
  );
}

/** Every finished environment in a folder, whatever it was made for, the newest first. */
export function allManaged(directory: string): Managed[] {
  return folders(directory)
    .map((name) => read(join(directory, name)))
    .filter((managed) => managed !== undefined)
    .toSorted((a, b) => b.finished - a.finished);
}

/** A folder name that no other attempt has. */
export function newFolder({ directory, key }: Site, base: Probed, backend?: string): string {
  const build = backend === undefined ? "" : `+${backend}`;
  return join(directory, `${key}-${nameOf(base)}${build}-${randomBytes(3).toString("hex")}`);
}

/** Makes the environment in `folder` count. */
export function finish(folder: string, marker: Marker): void {
  const draft = markerOf(folder) + ".draft";
  try {
    writeFileSync(draft, JSON.stringify(marker, undefined, 2) + "\n", { mode: 0o644 });
    renameSync(draft, markerOf(folder));
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** What killed runs left: folders of ours without a marker, or whose interpreter is gone. */
export function leftovers({ directory }: Pick<Site, "directory">): string[] {
  return folders(directory)
    .map((name) => join(directory, name))
    .filter((folder) => read(folder) === undefined);
}

export function markerOf(folder: string): string {
  return join(folder, "torchwire.json");
}

function read(folder: string): Managed | undefined {
  const executable = venvPython(folder);
  // The interpreter is a link to its base, which the user may have uninstalled: existsSync follows it.
  if (!existsSync(markerOf(folder)) || !existsSync(executable)) return undefined;
  const { base, version, installer, backend } = parseRecord(readRegularFile(markerOf(folder)).toString()) ?? {};
  if (typeof base !== "string") return undefined;
  const finished = statSync(markerOf(folder)).mtimeMs;
  const marker: Marker = { base, version: String(version), installer: String(installer) };
  if (typeof backend === "string") marker.backend = backend;
  return { folder, executable, finished, marker };
}

/** Only names of our form: TORCHWIRE_CACHE may point to a folder with other things in it. */
function folders(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((name) => /^[0-9a-f]{12}-\d+\.\d+\.\d+-.+-[0-9a-f]{6}$/.test(name));
}

function nameOf({ version, platform }: Probed): string {
  return `${version}-${platform}`;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function readRequirements(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new EnvironmentError(`the list of Python packages cannot be read: ${file}.`, {
      command: "npm install torchwire",
      cause,
    });
  }
}
