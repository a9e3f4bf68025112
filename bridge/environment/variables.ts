/** Which variables of the program's environment mean the Python that we start, and which are somebody else's settings. */
import { existsSync } from "node:fs";
import { devNull } from "node:os";
import { dirname, join } from "node:path";

/**
 * For an interpreter that is started. What changes how it ends, and what moves an environment's own library, is not meant for it: a virtual
 * environment's `activate` takes PYTHONHOME away, too. Everything else applies, PYTHONPATH for one.
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

/**
 * What is meant for a set-up, of pip's and uv's variables: where packages come from, through which proxy, with which certificates, how patiently,
 * and where downloads are kept. The far side's set-up has the same list, in far/variables.py.
 */
const pip = [
  ["INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "TRUSTED_HOST", "KEYRING_PROVIDER"],
  ["PROXY", "CERT", "CLIENT_CERT", "USE_FEATURE"],
  ["TIMEOUT", "DEFAULT_TIMEOUT", "RETRIES", "RESUME_RETRIES"],
  ["CACHE_DIR", "NO_CACHE_DIR"],
].flat();
const uv = [
  [
    "INDEX",
    "DEFAULT_INDEX",
    "INDEX_URL",
    "EXTRA_INDEX_URL",
    "INDEX_STRATEGY",
    "FIND_LINKS",
    "NO_INDEX",
    "KEYRING_PROVIDER",
  ],
  ["INSECURE_HOST", "SYSTEM_CERTS", "NATIVE_TLS", "OFFLINE", "CONFIG_FILE", "NO_CONFIG"],
  ["HTTP_TIMEOUT", "REQUEST_TIMEOUT", "HTTP_CONNECT_TIMEOUT", "HTTP_RETRIES"],
  ["CONCURRENT_DOWNLOADS", "CONCURRENT_BUILDS", "CONCURRENT_INSTALLS", "CACHE_DIR", "NO_CACHE", "LINK_MODE"],
].flat();
const meant = new Set([
  ...pip.map((name) => `PIP_${name}`),
  ...uv.map((name) => `UV_${name}`),
  "PYTHON_KEYRING_BACKEND",
]);
const isMeant = (name: string): boolean => meant.has(name) || /^UV_INDEX_\w+_(USERNAME|PASSWORD)$/.test(name);

/** Addressed to pip, uv, virtualenv, setuptools or Python: where something is installed, what is left out, how it runs. */
const isInstallers = (name: string): boolean =>
  /^(PIP_|UV_|PYTHON|VIRTUALENV_|VIRTUAL_ENV|CONDA_|SETUPTOOLS_|DISTUTILS_|__PYVENV_LAUNCHER__)/.test(name);

/** The set-up's environment: what is not addressed to an installer (PATH, proxies, certificates, the user's own), and what is meant of the rest. */
export function installerVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !isInstallers(name.toUpperCase()) || isMeant(name.toUpperCase()));
  // A virtualenv.ini may ask for packages from elsewhere.
  return { ...Object.fromEntries(kept), VIRTUALENV_CONFIG_FILE: devNull };
}

/**
 * The same of what pip's own files say: they are read once, and then not by pip any more. `listed` is what pipSettings prints, from all files and
 * variables, the strongest last.
 */
export function pipVariables(listed: Readonly<Record<string, unknown>>): NodeJS.ProcessEnv {
  const found: NodeJS.ProcessEnv = { PIP_CONFIG_FILE: devNull };
  for (const section of ["global", "install", ":env:"])
    for (const [name, value] of Object.entries(listed)) {
      if (!name.startsWith(`${section}.`) || typeof value !== "string" || value === "") continue;
      const variable = `PIP_${name
        .slice(section.length + 1)
        .toUpperCase()
        .replaceAll("-", "_")}`;
      if (meant.has(variable)) found[variable] = value;
    }
  return found;
}

/** Prints what pip's files and variables say, as JSON. (`pip config list` has a line for each, with the value as Python writes it.) */
export const pipSettings = `
import ast, json, subprocess, sys
said = subprocess.check_output([sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "config", "list"])
pairs = (line.partition("=") for line in said.decode().splitlines() if "=" in line)
print(json.dumps({name: ast.literal_eval(value) for name, _, value in pairs}))
`;
