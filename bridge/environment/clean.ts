/** Removes managed environments: the Python half does it. */

import { findBase } from "./base.ts";
import { allManaged, checkOwners, environmentFault, type ManagedOptions, site } from "./managed.ts";
import { runNear } from "./near.ts";
import { isFolder, isProgram } from "./places.ts";
import { plainProgress, progressOn } from "./progress.ts";

export interface CleanOptions extends ManagedOptions {
  /** Also the one that this version of torchwire uses. */
  all?: boolean | undefined;
  /** Takes each line of progress. Default: stderr. */
  onProgress?: ((line: string) => void) | undefined;
}

export interface Cleaned {
  removed: string[];
  /** Those in which a program runs. */
  inUse: string[];
  /** Bytes in the files of those removed. */
  freed: number;
}

/**
 * Removes the environments that this version of torchwire would not use (`all`: every one) and the folders that killed
 * set-ups left, but none in which a program runs. Waits for a set-up that is at work.
 */
export async function clean(options: CleanOptions = {}): Promise<Cleaned> {
  const env = options.env ?? process.env;
  const { directory, key } = site(options);
  // No environment was ever made.
  if (!isFolder(directory)) return { removed: [], inUse: [], freed: 0 };
  const progress = options.onProgress ? plainProgress(options.onProgress) : progressOn(process.stderr, env);
  const order = { clean: { all: options.all ?? false }, directory, key, there: "" };
  const { cleaned } = await runNear(await anyPython(directory, env), order, { env, progress });
  return cleaned as Cleaned;
}

/** The first interpreter on `PATH` that serves, else one that an environment was made from. */
async function anyPython(directory: string, env: NodeJS.ProcessEnv): Promise<string> {
  try {
    return (await findBase(undefined, env)).executable;
  } catch (error) {
    checkOwners(directory);
    const mine = allManaged(directory).filter(({ folder, marker }) => !environmentFault(folder, marker));
    const base = mine.map(({ marker }) => marker.base).find(isProgram);
    if (base === undefined) throw error;
    return base;
  }
}
