/** Asks an interpreter about itself, in one short child process that imports nothing heavy. */

import { closePipesAtExit } from "../process/lines.ts";
import { parseRecord } from "./untyped.ts";
import { questionVariables } from "./variables.ts";

export interface Probed {
  /** Its own path, behind any launcher script. */
  executable: string;
  version: string;
  /** The name that wheels use: `linux-x86_64`, `macosx-14.0-arm64`, `win-amd64`. */
  platform: string;
  /** The modules that were asked for and that it does not have. */
  missing: string[];
}

/** Why an interpreter could not be asked. */
export interface Unanswered {
  failure: string;
}

export const oldestPython = "3.10";
export const newestPython = "3.13";

/**
 * Asks an interpreter for its version and which of `modules` it lacks. They are looked up, not imported: torch takes
 * seconds. Runs on any Python from 2.7, so that an old one is named and not just "failed".
 */
export async function probe(
  executable: string,
  modules: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<Probed | Unanswered> {
  // Loading it takes a tenth of a second, which finding a finished environment should not cost.
  const { execa } = await import("execa");
  // A launcher may wait for something. Python itself needs some 20 ms.
  const child = execa(executable, ["-c", script, ...modules], {
    env: questionVariables(executable, env),
    extendEnv: false,
    reject: false,
    stdin: "ignore",
    timeout: 20_000,
  });
  void closePipesAtExit(child);
  const result = await child;
  if (result.failed) {
    const said = result.stderr?.trim().split("\n").at(-1) || result.shortMessage || "no output";
    return { failure: result.timedOut ? "it did not answer within 20 s" : said };
  }
  const {
    executable: own,
    version,
    platform,
    missing,
  } = parseRecord(result.stdout.trim().split("\n").at(-1) ?? "") ?? {};
  if (
    typeof own !== "string" ||
    typeof version !== "string" ||
    typeof platform !== "string" ||
    !Array.isArray(missing)
  ) {
    return { failure: `it does not answer like Python: ${JSON.stringify(result.stdout.slice(0, 80))}` };
  }
  return { executable: own, version, platform, missing: missing.map(String) };
}

/** -1 below the supported versions, 0 within, 1 above. */
export function compareToSupported(version: string): -1 | 0 | 1 {
  if (rank(version) < rank(oldestPython)) return -1;
  return rank(version) > rank(newestPython) ? 1 : 0;
}

function rank(version: string): number {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major * 1000 + minor;
}

// The folder that it runs in does not count: a project may have one named torch. A bare folder of that name elsewhere
// does not count either: Python would take it for a namespace package.
const script = `
import json, sys, sysconfig
sys.path = [p for p in sys.path if p]
def there(name):
    import importlib.util
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
old = sys.version_info < (3, 4)
print(json.dumps({
    "executable": sys.executable,
    "version": "%d.%d.%d" % sys.version_info[:3],
    "platform": sysconfig.get_platform(),
    "missing": [name for name in sys.argv[1:] if old or not there(name)],
}))
`;
