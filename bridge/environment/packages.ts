/**
 * A project's own Python packages: the file `torchwire.packages.json` beside its package.json. It says what was asked
 * for, and the versions that came of it, so that another machine gets the same. Program and file are one project's:
 * who can write the one can write the other.
 */

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { messageOf } from "../runtime/kinds.ts";
import { normal, readRequirement, type Requirement } from "./requirement.ts";
import { isRecord, parseRecord } from "./untyped.ts";

export interface Packages {
  /** What was asked for, sorted: `["einops", "timm>=1.0"]`. */
  readonly packages: readonly string[];
  /** The versions of everything that was installed for that, beside the worker's own packages; by sorted names. */
  readonly versions: Readonly<Record<string, string>>;
}

/** What a project wants of its environment. */
export interface Wanted extends Packages {
  /** Its file. It need not exist yet. */
  readonly file: string;
  /** The versions of some are still to be found, and to be recorded. */
  readonly open: boolean;
}

/** What a command changes. */
export interface Changes {
  readonly added?: readonly Requirement[];
  /** Versions are found anew: of those that are named, or of all where none is. */
  readonly upgrade?: boolean;
}

const fileName = "torchwire.packages.json";

/**
 * What the project of a folder wants, with what is to be added; undefined where that is nothing. Without a folder the
 * project is that of the current folder, else the one that the program lies in.
 */
export function wantedPackages(project?: string, { added = [], upgrade = false }: Changes = {}): Wanted | undefined {
  const starts = project === undefined ? [process.cwd(), ...programFolder()] : [resolve(project)];
  const file = starts.flatMap(projectFolders).map((folder) => join(folder, fileName));
  const found = file.find((path) => existsSync(path));
  const { packages, versions } = found === undefined ? { packages: [], versions: {} } : readPackages(found);
  const fresh = added.filter(({ text }) => upgrade || !packages.includes(text));
  const named = new Set(fresh.map(({ name }) => name));
  const kept = packages.map((text) => readRequirement(text)).filter(({ name }) => !named.has(name));
  const all = [...kept, ...fresh];
  if (all.length === 0) return undefined;
  const anew = upgrade && named.size === 0;
  return {
    file: found ?? file[0]!,
    packages: [...new Set(all.map(({ text }) => text))].toSorted(),
    versions: anew ? {} : Object.fromEntries(Object.entries(versions).filter(([name]) => !named.has(name))),
    open: anew || fresh.length > 0 || all.some(({ name, hasVersion }) => hasVersion && versions[name] === undefined),
  };
}

/** Records what came of it. The file is there as a whole or as it was. */
export function writePackages(file: string, { packages, versions }: Packages): void {
  const draft = `${file}.${process.pid}.tmp`;
  writeFileSync(draft, `${JSON.stringify({ packages, versions: sorted(versions) }, undefined, 2)}\n`);
  renameSync(draft, file);
}

/** Packages in a value that was JSON, in the form that is compared; undefined where they have none. */
export function packagesIn(value: unknown): Packages | undefined {
  if (!isRecord(value)) return undefined;
  const { packages, versions = {} } = value;
  if (!Array.isArray(packages) || !packages.every((each) => typeof each === "string")) return undefined;
  if (!isRecord(versions) || !Object.values(versions).every((each) => typeof each === "string")) return undefined;
  return { packages: [...new Set(packages)].toSorted(), versions: sorted(versions as Packages["versions"]) };
}

export function samePackages(a: Packages | undefined, b: Packages | undefined): boolean {
  const text = (each: Packages | undefined): string =>
    JSON.stringify(each && [each.packages, Object.entries(sorted(each.versions))]) ?? "";
  return text(a) === text(b);
}

function readPackages(file: string): Packages {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new EnvironmentError(`${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const found = packagesIn(parseRecord(text));
  if (found === undefined)
    throw new EnvironmentError(
      `${file} is not what "npx torchwire add" writes: { "packages": ["timm"], "versions": { "timm": "1.0.0" } }. Mend it, or ` +
        "remove it and add the packages again.",
    );
  // They become lines of a file that the installer reads.
  for (const [name, version] of Object.entries(found.versions))
    if (!/^[\w.-]+$/.test(name) || !/^[\w.!+-]+$/.test(version))
      throw new EnvironmentError(
        `${file} has ${JSON.stringify(`${name}: ${version}`)}, which is no version of a package.`,
      );
  return {
    packages: found.packages.map((each) => readRequirement(each, file).text).toSorted(),
    versions: sorted(Object.fromEntries(Object.entries(found.versions).map(([name, it]) => [normal(name), it]))),
  };
}

/** The nearest folder with a package.json, and the workspaces' roots above it. Without one, the folder itself. */
function projectFolders(start: string): string[] {
  const above: string[] = [];
  for (let folder = start; above.at(-1) !== folder; folder = dirname(folder)) above.push(folder);
  const own = above.findIndex((folder) => existsSync(join(folder, "package.json")));
  if (own < 0) return [start];
  return [above[own]!, ...above.slice(own + 1).filter(hasWorkspaces)];
}

function hasWorkspaces(folder: string): boolean {
  if (existsSync(join(folder, "pnpm-workspace.yaml"))) return true;
  const manifest = join(folder, "package.json");
  return existsSync(manifest) && parseRecord(readFileSync(manifest, "utf8"))?.["workspaces"] !== undefined;
}

function programFolder(): string[] {
  const program = process.argv[1];
  return program === undefined ? [] : [dirname(resolve(program))];
}

function sorted(versions: Packages["versions"]): Record<string, string> {
  // (Names are ASCII: one order here and in Python.)
  return Object.fromEntries(Object.entries(versions).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
