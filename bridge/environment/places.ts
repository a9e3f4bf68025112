/** Where interpreters, programs and caches lie on each platform. */

import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";

/**
 * torchwire's folder in the user's cache: `TORCHWIRE_CACHE`, else `torchwire` in `XDG_CACHE_HOME` or `~/.cache`, in
 * `~/Library/Caches` on macOS, in `LOCALAPPDATA` on Windows. It need not exist.
 */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.TORCHWIRE_CACHE) return env.TORCHWIRE_CACHE;
  if (process.platform === "win32") return join(env.LOCALAPPDATA || join(home(env), "AppData", "Local"), "torchwire");
  if (process.platform === "darwin") return join(home(env), "Library", "Caches", "torchwire");
  // The XDG specification says to ignore a relative path.
  const xdg = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : undefined;
  return join(xdg ?? join(home(env), ".cache"), "torchwire");
}

/**
 * torchwire's folder among the user's settings: `TORCHWIRE_CONFIG`, else `torchwire` in `XDG_CONFIG_HOME` or
 * `~/.config`, in `~/Library/Application Support` on macOS, in `APPDATA` on Windows. It need not exist.
 */
export function configDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.TORCHWIRE_CONFIG) return env.TORCHWIRE_CONFIG;
  const folder = (...parts: string[]): string => join(home(env, "TORCHWIRE_CONFIG"), ...parts);
  if (process.platform === "win32") return join(env.APPDATA || folder("AppData", "Roaming"), "torchwire");
  if (process.platform === "darwin") return folder("Library", "Application Support", "torchwire");
  const xdg = env.XDG_CONFIG_HOME && isAbsolute(env.XDG_CONFIG_HOME) ? env.XDG_CONFIG_HOME : undefined;
  return join(xdg ?? folder(".config"), "torchwire");
}

/** The interpreter of a virtual environment; it need not exist. */
export function venvPython(folder: string): string {
  return process.platform === "win32" ? join(folder, "Scripts", "python.exe") : join(folder, "bin", "python");
}

/** The first program of that name on `PATH`. */
export function which(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const names = process.platform === "win32" ? [`${name}.exe`, name] : [name];
  return (env.PATH ?? env.Path ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "")
    .flatMap((folder) => names.map((each) => join(folder, each)))
    .find(isProgram);
}

/** Whether a file is there that may be run. */
export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // It is not there, or this user may not look at it: it does not serve either way.
    return false;
  }
}

function home(env: NodeJS.ProcessEnv, instead = "TORCHWIRE_CACHE"): string {
  if (process.platform !== "win32" && env.HOME) return env.HOME;
  try {
    return homedir();
  } catch (cause) {
    throw new EnvironmentError(`this user has no home folder: set ${instead} to a folder for torchwire's files.`, {
      cause,
    });
  }
}
