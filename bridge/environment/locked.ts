/** Work on the folder of managed environments: by one process at a time, interruptible, and without empty folders left. */

import { accessSync, constants, existsSync, mkdirSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { interruptible } from "./interrupt.ts";
import { acquire } from "./lock.ts";
import { checkOwners } from "./managed.ts";
import type { Progress } from "./progress.ts";
import { codeOf } from "./untyped.ts";

/** Runs `work` with the lock of `directory`, which is made where it is missing. */
export async function locked<T>(
  directory: string,
  progress: Progress,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return interruptible(async (signal, abort) => {
    const outermost = makeDirectory(directory);
    let release: (() => void) | undefined;
    try {
      checkOwners(directory);
      release = await acquire(join(directory, ".lock"), {
        signal,
        onWait: (owner) => progress.line(`torchwire: another set-up is at work (${owner}); waiting for it`),
        onLost: () => abort(new EnvironmentError("another set-up took over while this one was stopped.", { command })),
      });
      return await work(signal);
    } finally {
      progress.close();
      release?.();
      removeEmpty(directory, outermost);
    }
  });
}

const command = "npx torchwire setup";

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
    mkdirSync(folder, { mode: 0o755 });
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
