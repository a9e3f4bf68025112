/**
 * The environments that torchwire makes: `<cache>/environments/<key>-<version>-<platform>[+<backend>]-<random>`.
 *
 * The key is a hash of the pinned requirements and of the platform, so another version of torchwire never meets the
 * wrong packages. A build of PyTorch that was asked for (`--torch-backend`) has its name in the folder's. The last part
 * makes each attempt's name its own. An environment with a project's packages says in its marker which: only a project
 * that wants the very same finds it. An environment is built where it will stay: its scripts hold absolute paths, so it
 * could not be moved. The marker makes it exist, and is written last. An installer orphaned by a SIGKILL can then only
 * write into a folder that nobody uses.
 *
 * Here they are found, without a process; the Python half (torchwire_worker/environment) makes and removes them.
 */

import { createHash } from "node:crypto";
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { othersCanWrite, type Fault, type OwnersOptions } from "./owners.ts";
import { readRequirements } from "./package.ts";
import { packagesIn, samePackages, wantedPackages, type Changes, type Packages, type Wanted } from "./packages.ts";
import { cacheDirectory, venvPython } from "./places.ts";
import type { Probed } from "./probe.ts";
import { readRegularFile } from "../runtime/regular-file.ts";
import { parseRecord } from "./untyped.ts";

export interface ManagedOptions {
  /** The file of the pinned requirements. Default: the package's own. */
  requirements?: string | undefined;
  /** The folder that holds `environments`. Default: torchwire's folder in the user's cache. */
  cache?: string | undefined;
  /**
   * A folder of the project whose `torchwire.packages.json` counts. Default: the current folder, else the program's.
   */
  project?: string | undefined;
  /** Default: `process.env`. */
  env?: NodeJS.ProcessEnv | undefined;
}

/** Narrows environments down. */
export interface Narrowed {
  /** The path of the interpreter that it was made from. */
  by?: string | undefined;
  /** An interpreter of its version and platform. */
  like?: Probed | undefined;
  /** The build of PyTorch that was asked for. Default: any. */
  backend?: string | undefined;
  /** Those of other projects count, too. */
  anyPackages?: boolean;
}

/** The folder of environments for these requirements, whether or not it exists. */
export interface Site {
  /** Holds every managed environment. */
  directory: string;
  /** The text of the list of packages. */
  requirements: string;
  key: string;
  /** What the project wants beside them; undefined: nothing. */
  wanted: Wanted | undefined;
}

export interface Managed {
  folder: string;
  executable: string;
  /** Milliseconds since 1970; a later set-up that asks for this one by name makes it the newest. */
  finished: number;
  marker: Marker;
}

/** The content of the marker file. */
export interface Marker {
  /** The interpreter it was made from. */
  base: string;
  version: string;
  /** The program that installed the packages. */
  installer: string;
  /** The build of PyTorch that was asked for; absent where it is the package index's. */
  backend?: string;
  /** What it has beside the worker's own packages. */
  packages?: Packages;
  /** The packages' files of the projects on this machine that it was made for. */
  projects?: readonly string[];
}

/** `changes`: what the project is to have from now on. */
export function site(options: ManagedOptions = {}, changes: Changes = {}): Site {
  const requirements = readRequirements(options.requirements);
  const hash = createHash("sha256").update(requirements);
  hash.update(`\0${process.platform}\0${process.arch}`);
  return {
    directory: join(resolve(options.cache ?? cacheDirectory(options.env)), "environments"),
    requirements,
    key: hash.digest("hex").slice(0, 12),
    wanted: wantedPackages(options.project, changes),
  };
}

/**
 * The finished environment, the newest where there are several. Starts no process.
 *
 * @throws {EnvironmentError} Others than this user and root can write it: they would say what is run.
 */
export function findManaged(
  place: Site,
  { by, like, backend, anyPackages = false }: Narrowed = {},
): Managed | undefined {
  const { directory, key, wanted } = place;
  checkOwners(directory);
  const base = by === undefined ? undefined : realPath(by);
  const found = allManaged(directory)
    .filter(({ folder }) => basename(folder).startsWith(like === undefined ? `${key}-` : `${key}-${nameOf(like)}`))
    .filter(({ marker }) => base === undefined || realPath(marker.base) === base)
    .filter(({ marker }) => anyPackages || samePackages(marker.packages, wanted))
    .find(({ marker }) => backend === undefined || marker.backend === backend);
  if (found !== undefined) refuse(environmentFault(found.folder, { base: found.marker.base }));
  return found;
}

/** @throws {EnvironmentError} Others can write into the folder of environments. */
export function checkOwners(directory: string): void {
  refuse(othersCanWrite(directory));
}

/**
 * The first part of an environment that is run and that others can write. The interpreter that it was made from may be
 * anybody's, as those of a cluster are an administrator's: the user has chosen it.
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

/** The folders of its packages: `lib/python3.11/site-packages`. */
function siteFolders(folder: string): string[] {
  const lib = join(folder, "lib");
  if (!existsSync(lib)) return [];
  return readdirSync(lib).flatMap((name) => [join(lib, name), join(lib, name, "site-packages")]);
}

function refuse(fault: Fault | undefined): void {
  if (fault === undefined) return;
  const { why, command = "TORCHWIRE_CACHE=/a/folder/of/your/own npx torchwire setup" } = fault;
  // Under sudo, the user's home belongs to another user than root.
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

export function markerOf(folder: string): string {
  return join(folder, "torchwire.json");
}

function read(folder: string): Managed | undefined {
  const executable = venvPython(folder);
  // The interpreter is a link to its base, which the user may have uninstalled: existsSync follows it.
  if (!existsSync(markerOf(folder)) || !existsSync(executable)) return undefined;
  const { base, version, installer, backend, packages, projects } =
    parseRecord(readRegularFile(markerOf(folder)).toString()) ?? {};
  if (typeof base !== "string") return undefined;
  const finished = statSync(markerOf(folder)).mtimeMs;
  const marker: Marker = { base, version: String(version), installer: String(installer) };
  if (typeof backend === "string") marker.backend = backend;
  if (packages !== undefined) marker.packages = packagesIn(packages) ?? { packages: ["?"], versions: {} };
  if (Array.isArray(projects)) marker.projects = projects.map(String);
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
