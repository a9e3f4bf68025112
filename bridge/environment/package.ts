/** Where torchwire's own files lie. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { parseRecord } from "./untyped.ts";

/** The folder of the package, found from this file upwards: it is another depth from source than from `dist`. */
export function packageRoot(): string {
  // (In a bundle of CommonJS there is no import.meta.)
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

function manifest(folder: string): Record<string, unknown> | undefined {
  const file = join(folder, "package.json");
  return existsSync(file) ? parseRecord(readFileSync(file, "utf8")) : undefined;
}
