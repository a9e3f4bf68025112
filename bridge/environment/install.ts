/** The steps that turn an interpreter and a list of packages into an environment. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { withoutEnsurepip } from "./base.ts";
import { run, type RunOptions } from "./child.ts";
import { venvPython, which } from "./places.ts";
import type { Probed } from "./probe.ts";
import { parseRecord } from "./untyped.ts";
import { installerVariables, pipSettings, pipVariables } from "./variables.ts";

export interface Job extends RunOptions {
  base: Probed;
  folder: string;
  requirements: string;
  /** The build of PyTorch that was asked for. Default: the package index's. */
  backend?: string | undefined;
  /** Called as each step begins. */
  onStep: (step: string) => void;
  /** Called before pip installs the packages; may throw. */
  onPip: () => void;
}

/** A program and the arguments that come first. */
type Command = readonly [file: string, ...args: string[]];

/** The build of PyTorch that was asked for is not to be had here; the package index's may be. */
export class NoBackend extends EnvironmentError {}

/**
 * Makes the environment in `folder` and resolves to the name of what installed the packages: uv where it is found, else
 * a uv fetched into the fresh environment, else pip.
 *
 * Python runs isolated (`-I`), so that neither PYTHONPATH nor the user's own packages pass for installed ones. Of the
 * variables and settings of uv and pip those apply that are meant (indexes, proxies, caches; see variables.ts): others
 * would install elsewhere, where it would stay.
 *
 * @throws {NoBackend} PyTorch's own index cannot be reached, or there is no uv, which alone knows it.
 */
export async function install(asked: Job): Promise<string> {
  const job = { ...asked, env: installerVariables(asked.env) };
  const uv = await findUv(job);
  job.onStep("making the environment");
  await (uv === undefined ? makeWithoutUv(job) : makeWithUv(job, uv));
  const installer = await (uv === undefined
    ? installWithFetched(job, pick(asked.env, "PIP_CONFIG_FILE"))
    : installWithUv(job, uv));
  const modules = importable(readFileSync(job.requirements, "utf8"));
  if (modules.length > 0) {
    job.onStep("importing the packages");
    await python(job, "importing the packages", "-c", `import ${modules.join(", ")}`);
  }
  return installer;
}

async function makeWithUv(job: Job, [file, ...args]: Command): Promise<void> {
  const venv = [...args, "venv", "--no-project", "--python", job.base.executable, job.folder];
  await run("making the environment", file, venv, job);
}

async function makeWithoutUv(job: Job): Promise<void> {
  const { executable, missing } = job.base;
  const program = which("virtualenv", job.env);
  if (!missing.includes("ensurepip")) {
    await run("making the environment", executable, ["-I", "-m", "venv", job.folder], job);
  } else if (!missing.includes("virtualenv")) {
    await run("making the environment", executable, ["-m", "virtualenv", job.folder], job);
  } else if (program !== undefined) {
    await run("making the environment", program, ["--python", executable, job.folder], job);
  } else throw withoutEnsurepip(job.base);
}

async function installWithUv(job: Job, [file, ...args]: Command): Promise<string> {
  const install = [...args, "pip", "install", "--python", venvPython(job.folder)];
  const uv = async (what: string, more: readonly string[], variables: NodeJS.ProcessEnv = {}): Promise<void> => {
    try {
      await run(what, file, [...install, ...more], { ...job, env: { ...job.env, ...variables } });
    } catch (error) {
      // uv trusts certificates of its own; behind a proxy that opens connections only the system's do.
      if (!(error instanceof EnvironmentError) || !error.message.includes("certificate")) throw error;
      const env = { UV_SYSTEM_CERTS: "1", UV_NATIVE_TLS: "1", ...job.env, ...variables };
      await run(what, file, [...install, ...more], { ...job, env });
    }
  };

  const probe = small(job);
  job.onStep("asking the package index");
  if (probe !== undefined)
    await uv(reaching, ["--dry-run", "--no-deps", probe], { UV_HTTP_RETRIES: "1", UV_HTTP_TIMEOUT: "10" });
  job.onStep("installing with uv");
  if (job.backend === undefined) {
    await uv("installing the packages", ["-r", job.requirements]);
    return "uv";
  }
  try {
    await uv("installing the packages", ["--torch-backend", job.backend, "-r", withoutLibraries(job)]);
  } catch (error) {
    // The package index was reached just now: this is PyTorch's.
    if (!(error instanceof EnvironmentError) || !/Failed to fetch|error sending request/.test(error.message))
      throw error;
    throw new NoBackend(`PyTorch's own index, which has its build "${job.backend}", cannot be reached`);
  }
  return "uv";
}

/** uv needs a third of pip's time, but may be missing from the index or not get through to it where pip does. */
async function installWithFetched(job: Job, configFile: NodeJS.ProcessEnv): Promise<string> {
  // What its files say is read, and what is meant of it said once more, by variables; then it does not read them any more.
  const settings = await run("reading pip's settings", venvPython(job.folder), ["-I", "-c", pipSettings], {
    ...job,
    env: { ...job.env, ...configFile },
  });
  const said = parseRecord(settings.trim().split("\n").at(-1) ?? "") ?? {};
  const pip: Job = { ...job, env: { ...job.env, ...pipVariables(said) } };
  const fetched = await attempt(job, async () => {
    // uv does not read pip's settings: where they name an index, pip is what the user means.
    if (pip.env.PIP_INDEX_URL ?? pip.env.PIP_EXTRA_INDEX_URL ?? pip.env.PIP_NO_INDEX) return undefined;
    job.onStep("fetching uv");
    await python(pip, "fetching uv", "-m", "pip", "install", ...quiet, ...impatient, "--only-binary", ":all:", "uv");
    return installWithUv(job, [venvPython(job.folder), "-I", "-m", "uv"]);
  });
  if (fetched !== undefined) return fetched;
  if (job.backend !== undefined) {
    throw new NoBackend(`--torch-backend ${job.backend} needs uv, and none that works here was found or fetched`);
  }
  const probe = small(job);
  job.onStep("asking the package index");
  const dry = ["--dry-run", "--no-deps", "--ignore-installed"];
  if (probe !== undefined) await python(pip, reaching, "-m", "pip", "install", ...quiet, ...impatient, ...dry, probe);
  job.onPip();
  job.onStep("installing with pip");
  await python(pip, "installing the packages", "-m", "pip", "install", ...quiet, "-r", job.requirements);
  return "pip";
}

const pick = (env: NodeJS.ProcessEnv, name: string): NodeJS.ProcessEnv =>
  env[name] === undefined ? {} : { [name]: env[name] };

const reaching = "reaching the package index (its address and proxies are settings of uv and pip)";
const quiet = ["--no-input", "--disable-pip-version-check"];
// An index that cannot be reached is an error within a minute, whatever patience the settings have for large files.
const impatient = ["--retries", "1", "--timeout", "10"];

/** One of the packages, a small one, to see whether the index answers. */
function small({ requirements }: Job): string | undefined {
  return /^msgspec==[^\s;]+/m.exec(readFileSync(requirements, "utf8"))?.[0];
}

/** The list without the pinned libraries of one build of PyTorch: another build has others, or none. */
function withoutLibraries({ folder, requirements }: Job): string {
  const file = join(folder, "requirements.txt");
  writeFileSync(file, readFileSync(requirements, "utf8").replace(/^(nvidia-|cuda-|triton)[^\n]*==[^\n]*\n/gm, ""));
  return file;
}

/** uv on `PATH`, or as a module of the interpreter, where it runs. */
async function findUv(job: Job): Promise<Command | undefined> {
  const program = which("uv", job.env);
  const found: Command[] = program === undefined ? [] : [[program]];
  if (!job.base.missing.includes("uv")) found.push([job.base.executable, "-m", "uv"]);
  for (const [file, ...args] of found) {
    const version = await attempt(job, () => run("looking for uv", file, [...args, "--version"], job));
    if (version !== undefined) return [file, ...args];
  }
  return undefined;
}

/** Undefined where `work` fails; an interruption is no failure. */
async function attempt(job: Job, work: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await work();
  } catch (error) {
    if (job.signal.aborted || !(error instanceof EnvironmentError) || error instanceof NoBackend) throw error;
    return undefined;
  }
}

function python(job: Job, what: string, ...args: string[]): Promise<string> {
  return run(what, venvPython(job.folder), ["-I", ...args], job);
}

/**
 * The modules to try, of those that the worker imports. It finds the packages that install and then do not load, and
 * leaves compiled files behind, which makes the first worker start in seconds.
 */
function importable(requirements: string): string[] {
  const names = { torch: "torch", torchvision: "torchvision", pyzmq: "zmq", msgspec: "msgspec", numpy: "numpy" };
  return Object.entries(names)
    .filter(([name]) => new RegExp(`^${name}( *[=@].*)?$`, "m").test(requirements))
    .map(([, module]) => module);
}
