/** The folders of torchwire's own files. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { parseRecord } from "./untyped.ts";

/** The folder of the package, found upwards from this file: it lies deeper in `dist` than in the source. */
export function packageRoot(): string {
  // A bundle of CommonJS has no import.meta.
  const here = import.meta.dirname ?? __dirname;
  for (let folder = here; ; folder = dirname(folder)) {
    if (manifest(folder)?.name === "torchwire") return folder;
    if (folder === dirname(folder)) break;
  }
  throw new EnvironmentError(
    `torchwire's package.json was not found above ${here}: torchwire must lie in node_modules as installed. Where a ` +
      "bundler packs the program, mark it as external; or give spawnWorker workerDir, a copy of " +
      "node_modules/torchwire/python/torchwire_worker, and python, an interpreter that has PyTorch.",
  );
}

export function packageVersion(): string {
  return String(manifest(packageRoot())?.version);
}

/** The file that pins every Python package. */
export function lockedRequirements(): string {
  return join(packageRoot(), "python", "requirements.lock");
}

/** The text of a list of Python packages. */
export function readRequirements(file: string = lockedRequirements()): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new EnvironmentError(`the list of Python packages cannot be read: ${resolve(file)}.`, {
      command: "npm install torchwire",
      cause,
    });
  }
}

function manifest(folder: string): Record<string, unknown> | undefined {
  const file = join(folder, "package.json");
  return existsSync(file) ? parseRecord(readFileSync(file, "utf8")) : undefined;
}
