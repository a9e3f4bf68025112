/** Removes managed environments. */

import { readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, sep } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { locked } from "./locked.ts";
import { allManaged, findManaged, leftovers, type ManagedOptions, markerOf, site } from "./managed.ts";
import { isFolder } from "./places.ts";
import { plainProgress, progressOn } from "./progress.ts";
import { folderSize, gigabytes } from "./space.ts";
import { codeOf } from "./untyped.ts";

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
 * Removes the environments that this version of torchwire would not use (`all`: every one) and what killed set-ups
 * left, but none in which a program runs. Waits for a set-up that is at work.
 */
export async function clean(options: CleanOptions = {}): Promise<Cleaned> {
  const place = site(options);
  const progress = options.onProgress
    ? plainProgress(options.onProgress)
    : progressOn(process.stderr, options.env ?? process.env);
  const cleaned: Cleaned = { removed: [], inUse: [], freed: 0 };
  // Nothing was ever made: the folder is not made for this either.
  if (!isFolder(place.directory)) return cleaned;
  await locked(place.directory, progress, async (signal) => {
    const kept = options.all ? undefined : findManaged(place)?.folder;
    const managed = allManaged(place.directory).map(({ folder }) => folder);
    const running = commandsRunning();
    for (const folder of [...managed, ...leftovers(place)]) {
      if (folder === kept) continue;
      signal.throwIfAborted();
      if (running.some((command) => command.startsWith(folder + sep))) {
        cleaned.inUse.push(folder);
        progress.line(`torchwire: kept, because a program runs in it: ${folder}`);
        continue;
      }
      progress.live(`  removing ${folder}`);
      const size = await folderSize(folder);
      await remove(folder);
      cleaned.removed.push(folder);
      cleaned.freed += size;
      progress.line(`torchwire: removed ${folder} (${gigabytes(size)})`);
    }
  });
  return cleaned;
}

async function remove(folder: string): Promise<void> {
  try {
    // The marker goes first: what is left of a removal that is killed does not count as an environment.
    await rm(markerOf(folder), { force: true });
    await rm(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 200 });
  } catch (cause) {
    throw new EnvironmentError(`${folder} cannot be removed (${codeOf(cause)}): is a program running in it?`, {
      command: "npx torchwire setup --clean",
      cause,
    });
  }
}

/** How each process was started, as far as the system tells: on Linux. Elsewhere a program that runs keeps its open files. */
function commandsRunning(): string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(join("/proc", pid, "cmdline"), "utf8");
      } catch {
        // It has ended meanwhile, or is not ours to see.
        return "";
      }
    });
}
