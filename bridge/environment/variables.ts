/** The variables of the program's environment that do not reach a Python that we start. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * For an interpreter that is started. Variables that change how it ends, or where an environment's library is, do not
 * reach it: a virtual environment's `activate` takes PYTHONHOME away, too. All others apply, PYTHONPATH for one.
 */
export function pythonVariables(python: string): Record<string, undefined> {
  const isEnvironment = existsSync(join(dirname(python), "..", "pyvenv.cfg"));
  return {
    PYTHONINSPECT: undefined,
    __PYVENV_LAUNCHER__: undefined,
    ...(isEnvironment ? { PYTHONHOME: undefined, PYTHONPLATLIBDIR: undefined } : {}),
  };
}

/** For a question to an interpreter, which is answered in one line of JSON. */
export function questionVariables(python: string, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const quiet = ["PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME", "PYTHONDEVMODE"];
  return {
    ...env,
    ...Object.fromEntries(quiet.map((name) => [name, undefined])),
    ...pythonVariables(python),
    PYTHONIOENCODING: "utf-8",
  };
}
