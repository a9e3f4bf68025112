/** Makes the managed environment, once. */

import { accessSync, constants, existsSync, mkdirSync, rmdirSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../errors.ts";
import { findBase, programAt } from "./base.ts";
import { build } from "./build.ts";
import { interruptible } from "./interrupt.ts";
import { acquire } from "./lock.ts";
import { findManaged, type Managed, type ManagedOptions, markerOf, site } from "./managed.ts";
import { plainProgress, progressOn } from "./progress.ts";
import { codeOf } from "./untyped.ts";

export interface SetupOptions extends ManagedOptions {
  /** The interpreter to make it from, 3.10 to 3.13: a path or a name. Default: the first on `PATH` that serves. */
  python?: string | undefined;
  /** Takes each line of progress. Default: stderr, on a terminal with a line that is redrawn. */
  onProgress?: ((line: string) => void) | undefined;
}

export interface SetupResult {
  /** The environment's interpreter. */
  executable: string;
  /** False where it was there already. */
  created: boolean;
}

/**
 * Makes the environment that holds everything the worker needs, or finds the one made before, which starts no process.
 * Runs at the same time wait for each other. A run that fails or is interrupted removes what it made; what a killed one
 * left is removed by the next.
 *
 * @throws {EnvironmentError} No interpreter that serves, no space, or a step failed: with the last lines it printed.
 */
export async function setup(options: SetupOptions = {}): Promise<SetupResult> {
  const env = options.env ?? process.env;
  const place = site(options);
  const found = findManaged(place, { by: options.python && (programAt(options.python, env) ?? options.python) });
  if (found !== undefined) return existing(found, options);

  // Known by another path, perhaps: then its version tells.
  const base = await findBase(options.python, env);
  const find = (): Managed | undefined => findManaged(place, { like: options.python === undefined ? undefined : base });
  const alike = find();
  if (alike !== undefined) return existing(alike, options);

  const progress = options.onProgress ? plainProgress(options.onProgress) : progressOn(process.stderr, env);
  return interruptible(async (signal, abort) => {
    const outermost = makeDirectory(place.directory);
    let release: (() => void) | undefined;
    try {
      release = await acquire(join(place.directory, ".lock"), {
        signal,
        onWait: (owner) => progress.line(`torchwire: another set-up is at work (${owner}); waiting for it`),
        onLost: () => abort(new EnvironmentError("another set-up took over while this one was stopped.", { command })),
      });
      const made = find();
      if (made !== undefined) return existing(made, options);
      return { executable: await build(place, { base, env, signal, progress }), created: true };
    } finally {
      progress.close();
      release?.();
      removeEmpty(place.directory, outermost);
    }
  });
}

const command = "npx torchwire setup";

function existing({ folder, executable }: Managed, { python }: SetupOptions): SetupResult {
  // The one last asked for is the one that is found from now on.
  if (python !== undefined) utimesSync(markerOf(folder), new Date(), new Date());
  return { executable, created: false };
}

/** Makes a folder; returns the outermost of its parents that was not there. */
function makeDirectory(directory: string): string | undefined {
  try {
    // Step by step: Node's recursive mkdir reports a read-only file system as ENOENT.
    const missing: string[] = [];
    for (let folder = directory; !existsSync(folder); folder = dirname(folder)) missing.push(folder);
    for (const folder of missing.toReversed()) makeOne(folder);
    accessSync(directory, constants.W_OK);
    return missing.at(-1);
  } catch (cause) {
    throw new EnvironmentError(`no Python environment can be made in ${directory} (${codeOf(cause)}).`, {
      command: `TORCHWIRE_CACHE=/folder/that/can/be/written ${command}`,
      cause,
    });
  }
}

function makeOne(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    // Another set-up was faster.
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

/** Removes a folder and its parents up to `outermost`, as far as they are empty. */
function removeEmpty(folder: string, outermost: string | undefined): void {
  if (outermost === undefined || !folder.startsWith(outermost)) return;
  try {
    rmdirSync(folder);
  } catch (error) {
    // An environment is in it, or the lock of another set-up.
    if (["ENOTEMPTY", "EEXIST", "ENOENT"].includes(codeOf(error))) return;
    throw error;
  }
  removeEmpty(dirname(folder), outermost);
}
