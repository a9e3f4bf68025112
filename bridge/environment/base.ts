/** Finds the interpreter that a managed environment is made from. */

import { resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { isFolder, isProgram, venvPython, which } from "./places.ts";
import { compareToSupported, newestPython, oldestPython, probe, type Probed } from "./probe.ts";

const range = `${oldestPython} to ${newestPython}`;

/**
 * Finds `python`, a path or a name on `PATH`, else the first of `python3`, `python`, `python3.13` … `python3.10` on
 * `PATH` whose version is supported. An error names each one found and why it does not serve.
 */
export async function findBase(python: string | undefined, env: NodeJS.ProcessEnv): Promise<Probed> {
  if (python !== undefined) {
    const path = programAt(python, env);
    if (path === undefined) {
      throw new EnvironmentError(`the interpreter asked for, ${python}, is not there or cannot be run.`, { command });
    }
    const { answer, fault } = await judge(path, env);
    if (answer === undefined) throw new EnvironmentError(`${path} cannot serve: ${fault}.`, { command });
    return answer;
  }
  const names = ["python3", "python", "python3.13", "python3.12", "python3.11", "python3.10"];
  const found: string[] = [];
  for (const path of new Set(names.flatMap((name) => which(name, env) ?? []))) {
    const { answer, fault } = await judge(path, env);
    if (answer !== undefined) return answer;
    found.push(`  ${path}: ${fault}`);
  }
  const listing = found.length === 0 ? "There is none on PATH." : `On PATH:\n${found.join("\n")}`;
  throw new EnvironmentError(`torchwire needs Python ${range}. ${listing}\nInstall one, or name it.`, { command });
}

/** Finds the program that a path, a folder of a virtual environment, or a bare name on `PATH` means. */
export function programAt(python: string, env: NodeJS.ProcessEnv, cwd: string = process.cwd()): string | undefined {
  if (!/[\\/]/.test(python)) return which(python, env);
  const path = resolve(cwd, python);
  const program = isFolder(path) ? venvPython(path) : path;
  return isProgram(program) ? program : undefined;
}

const command = "npx torchwire setup --python /path/to/python3";

async function judge(path: string, env: NodeJS.ProcessEnv): Promise<{ answer?: Probed; fault?: string }> {
  const answer = await probe(path, ["ensurepip", "virtualenv", "uv"], env);
  if ("failure" in answer) return { fault: answer.failure };
  if (compareToSupported(answer.version) === 0) return { answer };
  return { fault: `it is Python ${answer.version}, torchwire needs ${range}` };
}
