/** The steps that turn an interpreter and a list of packages into an environment. */

import { readFileSync } from "node:fs";
import { EnvironmentError } from "../errors.ts";
import { withoutEnsurepip } from "./base.ts";
import { run, type RunOptions } from "./child.ts";
import { venvPython, which } from "./places.ts";
import type { Probed } from "./probe.ts";

export interface Job extends RunOptions {
  base: Probed;
  folder: string;
  requirements: string;
  /** Called as each step begins. */
  onStep: (step: string) => void;
}

/**
 * Makes the environment in `folder` and resolves to the name of what installed the packages: uv where it is found, else
 * a uv fetched into the fresh environment, else pip.
 *
 * Python runs isolated (`-I`), so that neither PYTHONPATH nor the user's own packages pass for installed ones; the
 * variables and user settings of uv and pip (indexes, proxies, caches) apply as they stand.
 */
export async function install(job: Job): Promise<string> {
  const uv = await findUv(job);
  job.onStep("making the environment");
  await (uv === undefined ? makeWithVenv(job) : makeWithUv(job, uv));
  const installer = await (uv === undefined ? installWithFetched(job) : installWithUv(job, [uv]));
  const modules = importable(readFileSync(job.requirements, "utf8"));
  if (modules.length > 0) {
    job.onStep("importing the packages");
    await python(job, "importing the packages", "-c", `import ${modules.join(", ")}`);
  }
  return installer;
}

async function makeWithUv(job: Job, uv: string): Promise<void> {
  const args = ["venv", "--no-project", "--python", job.base.executable, job.folder];
  await run("making the environment", uv, args, job);
}

async function makeWithVenv(job: Job): Promise<void> {
  if (job.base.missing.includes("ensurepip")) throw withoutEnsurepip(job.base);
  await run("making the environment", job.base.executable, ["-I", "-m", "venv", job.folder], job);
}

async function installWithUv(job: Job, [file, ...args]: [file: string, ...args: string[]]): Promise<string> {
  job.onStep("installing with uv");
  const install = ["pip", "install", "--python", venvPython(job.folder), "-r", job.requirements];
  try {
    await run("installing the packages", file, [...args, ...install], job);
  } catch (error) {
    // uv trusts certificates of its own; behind a proxy that opens connections only the system's do.
    if (!(error instanceof EnvironmentError) || !error.message.includes("certificate")) throw error;
    const env = { UV_SYSTEM_CERTS: "1", UV_NATIVE_TLS: "1", ...job.env };
    await run("installing the packages", file, [...args, ...install], { ...job, env });
  }
  return "uv";
}

/** uv needs a third of pip's time, but may be missing from the index or not get through to it where pip does. */
async function installWithFetched(job: Job): Promise<string> {
  const fetched = await attempt(job, async () => {
    // uv does not read pip's settings: where they name an index, pip is what the user means.
    const settings = await python(job, "reading pip's settings", "-m", "pip", "config", "list");
    if (/\.(index-url|extra-index-url|no-index)=/.test(settings)) return undefined;
    job.onStep("fetching uv");
    const once = ["--retries", "1", "--only-binary", ":all:"];
    await python(job, "fetching uv", "-m", "pip", "install", ...quiet, ...once, "uv");
    return installWithUv(job, [venvPython(job.folder), "-I", "-m", "uv"]);
  });
  if (fetched !== undefined) return fetched;
  job.onStep("installing with pip");
  await python(job, "installing the packages", "-m", "pip", "install", ...quiet, "-r", job.requirements);
  return "pip";
}

const quiet = ["--no-input", "--disable-pip-version-check"];

/** uv on `PATH`, where it runs. */
async function findUv(job: Job): Promise<string | undefined> {
  const uv = which("uv", job.env);
  if (uv === undefined) return undefined;
  return attempt(job, async () => {
    await run("looking for uv", uv, ["--version"], job);
    return uv;
  });
}

/** Undefined where `work` fails; an interruption is no failure. */
async function attempt(job: Job, work: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await work();
  } catch (error) {
    if (job.signal.aborted || !(error instanceof EnvironmentError)) throw error;
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
