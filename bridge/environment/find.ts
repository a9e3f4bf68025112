/** Finds the Python that the worker runs in. */

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { programAt } from "./base.ts";
import { environmentFault, findManaged, type ManagedOptions, site } from "./managed.ts";
import { isProgram, venvPython } from "./places.ts";
import { compareToSupported, oldestPython, probe } from "./probe.ts";

export interface FindOptions extends ManagedOptions {
  /** The interpreter to use: a path, a name on `PATH`, or the folder of a virtual environment. */
  python?: string | undefined;
  /** The folder of `.venv` and of relative paths. Default: the current folder. */
  cwd?: string | undefined;
}

export interface Python {
  executable: string;
  source: "option" | "TORCHWIRE_WORKER" | "TORCHWIRE_PYTHON" | "VIRTUAL_ENV" | ".venv" | "managed";
}

/** A place where no usable interpreter was, and why not. */
export interface Place {
  name: string;
  reason: string;
}

/** The modules that a worker cannot start without. */
const modules = ["torch", "zmq", "msgspec"];

/**
 * Finds the interpreter to use: the option, `TORCHWIRE_PYTHON`, `VIRTUAL_ENV`, `.venv`, the managed environment (the
 * one with the project's packages, where the project has a `torchwire.packages.json`), in that order.
 * The first two are taken as they stand; the next two only where they have torch, pyzmq and msgspec.
 *
 * @throws {EnvironmentError} The option or `TORCHWIRE_PYTHON` names nothing that can be run, or nothing was found. Then
 *   it lists every place and why it did not serve.
 */
export async function findPython(options: FindOptions = {}): Promise<Python> {
  const { python, looked } = await lookForPython(options);
  if (python !== undefined) return python;
  const width = Math.max(...looked.map(({ name }) => name.length));
  const lines = looked.map(({ name, reason }) => `  ${name.padEnd(width)}  ${reason}`);
  const found = `no Python with PyTorch was found. Looked at:\n${lines.join("\n")}`;
  const variable = serverless.find((name) => (options.env ?? process.env)[name]);
  if (variable === undefined) throw new EnvironmentError(found, { command: "npx torchwire setup" });
  throw new EnvironmentError(
    `${found}\nThis is a serverless function (${variable} is set), which has neither the room for PyTorch nor the time to ` +
      "train: run the program on a machine of its own (see docs/platforms.md).",
  );
}

/** Each provider of functions sets one of these variables. */
const serverless = ["AWS_LAMBDA_FUNCTION_NAME", "VERCEL", "NETLIFY", "FUNCTION_TARGET", "FUNCTIONS_WORKER_RUNTIME"];

/** As `findPython`, but finding nothing is an answer. */
export async function lookForPython(options: FindOptions = {}): Promise<{ python?: Python; looked: Place[] }> {
  const env = options.env ?? process.env;
  const cwd = options.cwd ?? process.cwd();
  const looked: Place[] = [];

  if (options.python) return { python: named("option", "the option python", options.python, env, cwd), looked };
  looked.push({ name: "option python", reason: "not given" });
  const variable = env.TORCHWIRE_PYTHON;
  if (variable) return { python: named("TORCHWIRE_PYTHON", "TORCHWIRE_PYTHON", variable, env, cwd), looked };
  looked.push({ name: "TORCHWIRE_PYTHON", reason: "not set" });

  const tried = new Set<string>();
  for (const [source, folder] of [
    ["VIRTUAL_ENV", env.VIRTUAL_ENV && resolve(cwd, env.VIRTUAL_ENV)],
    [".venv", join(cwd, ".venv")],
  ] as const) {
    // An activated .venv is both.
    if (folder && tried.has(folder)) continue;
    const fault = folder ? (source === ".venv" && notNamed(folder)) || (await faultOf(folder, env)) : "not set";
    if (folder && fault === undefined) return { python: { executable: venvPython(folder), source }, looked };
    if (folder) tried.add(folder);
    looked.push({ name: source, reason: folder ? `${folder} ${fault}` : "not set" });
  }

  const place = site(options);
  const managed = findManaged(place);
  if (managed !== undefined) return { python: { executable: managed.executable, source: "managed" }, looked };
  const packages = place.wanted === undefined ? "" : ` with the packages of ${place.wanted.file}`;
  const reason = `none for this version of torchwire${packages} in ${place.directory}`;
  looked.push({ name: "managed environment", reason });
  return { looked };
}

/** Why the `.venv` where the program was started does not count; undefined where it does. Nobody has named it. */
function notNamed(folder: string): string | undefined {
  const fault = existsSync(folder) ? environmentFault(folder, { shared: true }) : undefined;
  return fault && `does not count, because ${fault.why}; TORCHWIRE_PYTHON=${folder} makes it count`;
}

function named(source: Python["source"], what: string, value: string, env: NodeJS.ProcessEnv, cwd: string): Python {
  const executable = programAt(value, env, cwd);
  if (executable !== undefined) return { executable, source };
  throw new EnvironmentError(
    `${what} names ${value}, which is not there or cannot be run. ` +
      "Name an interpreter that has PyTorch; or name none, and have one made.",
    { command: "npx torchwire setup" },
  );
}

/** Why the environment in `folder` cannot serve; undefined where it can. */
async function faultOf(folder: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const executable = venvPython(folder);
  if (!isProgram(executable)) return "has no python";
  const answer = await probe(executable, modules, env);
  if ("failure" in answer) return `does not run: ${answer.failure}`;
  if (compareToSupported(answer.version) < 0) return `is Python ${answer.version}, older than ${oldestPython}`;
  return answer.missing.length > 0 ? `lacks ${answer.missing.join(", ")}` : undefined;
}
