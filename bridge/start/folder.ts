/**
 * Checks the folder that a worker is started in. The system would blame the program for it: "spawn …/python ENOENT".
 */
import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";
import { codeOf } from "../environment/untyped.ts";
import { EnvironmentError } from "../errors/errors.ts";

/** @throws ENVIRONMENT where the folder is missing, is no folder, or cannot be entered. */
export function checkFolder(cwd: string | undefined): void {
  const here = cwd === undefined || cwd === "";
  try {
    const folder = here ? process.cwd() : resolve(cwd);
    if (!statSync(folder).isDirectory()) throw Object.assign(new Error(), { code: "ENOTDIR" });
    accessSync(folder, constants.X_OK);
  } catch (cause) {
    const what = here ? "the current folder" : `cwd is ${cwd}, which`;
    const why =
      { ENOENT: "is not there", ENOTDIR: "is no folder", EACCES: "this user may not enter" }[codeOf(cause)] ??
      `cannot be looked at (${codeOf(cause)})`;
    throw new EnvironmentError(
      `${what} ${why}: a worker is started in a folder. Name another one with the option cwd.`,
      {
        cause,
      },
    );
  }
}
