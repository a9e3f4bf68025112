/** Where torchwire's own files lie. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../errors.ts";
import { parseRecord } from "./untyped.ts";

/** The folder of the package, found from this file upwards: it is another depth from source than from `dist`. */
export function packageRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (manifest(folder)?.name === "torchwire") return folder;
    if (folder === dirname(folder)) break;
  }
  throw new EnvironmentError(
    `torchwire's package.json was not found above ${import.meta.dirname}: torchwire must lie in node_modules as ` +
      "installed; where a bundler packs the program, mark it as external.",
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
