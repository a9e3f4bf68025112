/** Python files of the program's own, by the name of a module that the worker lacks. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** A file or a folder with Python, and how `worker.module` is given it. */
export interface Beside {
  readonly path: string;
  readonly call: string;
}

/** `NAME.py`, or a folder NAME with Python files, in the current folder or beside the program. */
export function besideProgram(module: string): Beside | undefined {
  const [name] = module.split(".") as [string];
  if (!/^[\p{ID_Start}_]\p{ID_Continue}*$/u.test(name)) return undefined;
  const here = process.cwd();
  const [, program] = process.argv;
  const folders = program === undefined ? [here] : [here, dirname(resolve(program))];
  for (const folder of folders)
    for (const file of [`${name}.py`, name]) {
      const path = join(folder, file);
      if (!holdsPython(path)) continue;
      const given = JSON.stringify(`./${file}`);
      return { path, call: `worker.module(${folder === here ? given : `new URL(${given}, import.meta.url)`})` };
    }
  return undefined;
}

function holdsPython(path: string): boolean {
  try {
    return statSync(path).isFile() ? path.endsWith(".py") : readdirSync(path).some((name) => name.endsWith(".py"));
  } catch {
    // It is not there, or cannot be read.
    return false;
  }
}
