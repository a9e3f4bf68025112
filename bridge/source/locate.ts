/** Finds the module that a path means: a Python file, or a folder that is a package. */
import { existsSync, readdirSync, realpathSync, statSync, type Stats } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { captureSite, formatSite } from "../errors/site.ts";
import { isPythonName } from "../reference/ref.ts";
import { isURL } from "../runtime/kinds.ts";
import { cannotRead } from "../runtime/regular-file.ts";

export interface Located {
  /** As Python imports it. */
  readonly name: string;
  /** The file or the folder. */
  readonly path: string;
  /** The same without symbolic links. */
  readonly real: string;
  readonly kind: "file" | "package" | "namespace";
}

/** @throws MISUSE where it is no Python source, or cannot be imported under its name. */
export function locate(given: unknown): Located {
  const path = pathOf(given);
  const stats = statsOf(path, given);
  const file = basename(path);
  if (stats.isDirectory()) {
    if (file === "") return refuse(`${path} is the root of all folders, not a package`);
    if (!isFile(join(path, "__init__.py")))
      return refuse(`${path} has no __init__.py, so it is no package${into(path)}`);
    return located(path, file, "package");
  }
  if (!stats.isFile()) return refuse(`${path} is neither a file nor a folder`);
  if (extname(path) !== ".py")
    return refuse(
      `${path} is no Python source: it takes a .py file, or a folder with an __init__.py` +
        (extname(path) === ".ipynb" ? `. This makes a file of it: jupyter nbconvert --to script ${file}` : ""),
    );
  if (file === "__init__.py") return refuse(`${path} is a part of a package: give its folder, ${dirname(path)}`);
  return located(path, file.slice(0, -3), "file");
}

/**
 * The module that `import name` would find in `folder`; undefined where it would find none. A folder without
 * __init__.py counts where one of `below` lies in it.
 */
export function besides(folder: string, name: string, below: readonly string[]): Located | undefined {
  const path = join(folder, name);
  if (isFile(join(path, "__init__.py"))) return located(path, name, "package");
  if (isFile(`${path}.py`)) return located(`${path}.py`, name, "file");
  const isNamespace = below.some((each) => isFile(join(path, `${each}.py`)) || isFolder(join(path, each)));
  return isNamespace ? located(path, name, "namespace") : undefined;
}

function located(path: string, name: string, kind: Located["kind"]): Located {
  if (isPythonName(name)) return { name, path, real: realpathSync(path), kind };
  const fit = name.replaceAll(/[^\p{ID_Continue}]/gu, "_").replace(/^(?=[^\p{ID_Start}_])/u, "_");
  return refuse(
    `${path}: Python cannot import ${JSON.stringify(name)}, because it is no name in Python. Rename it, e.g. to ${fit}${kind === "file" ? ".py" : ""}`,
  );
}

function pathOf(given: unknown): string {
  if (typeof given === "string" && /[\r\n]/.test(given))
    return refuse(
      "it takes the path of a file, and was given lines of source: write them into a file, and give its path",
    );
  if (typeof given === "string" && given !== "" && !given.includes("\0") && !/^\w[\w+.-]+:/.test(given))
    return resolve(given);
  try {
    if (isURL(given) || (typeof given === "string" && given.startsWith("file:"))) return resolve(fileURLToPath(given));
  } catch {
    // It is a URL of something else.
  }
  return refuse(
    `${inspect(given, { depth: 0 })} is not the path of a Python file or package; it takes "./my_unet.py", ` +
      `or new URL("./my_unet.py", import.meta.url)`,
  );
}

function statsOf(path: string, given: unknown): Stats {
  try {
    return statSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return refuse(cannotRead("", path, error));
    return refuse(`there is no ${path}${typeof given === "string" ? elsewhere(path, given) : ""}`);
  }
}

/** Says that the path was meant to begin somewhere else, if that is so. */
function elsewhere(path: string, given: string): string {
  if (isFile(`${path}.py`)) return `; there is ${basename(path)}.py`;
  const caller = formatSite(captureSite())?.replace(/:\d+:\d+$/, "");
  const beside = caller === undefined ? undefined : resolve(dirname(caller), given);
  if (beside === undefined || beside === path) return "";
  return existsSync(beside)
    ? `: a path begins at the current folder. There is one beside ${basename(caller!)}: new URL(${JSON.stringify(given)}, import.meta.url)`
    : `: a path begins at the current folder, ${process.cwd()}`;
}

/** Says how to use a folder that is no package. */
function into(folder: string): string {
  const files = readdirSync(folder).filter((name) => name.endsWith(".py"));
  const one =
    files.length === 0
      ? ""
      : `, or give one of its files: ${files.slice(0, 5).join(", ")}${files.length > 5 ? ", …" : ""}`;
  return `. Put an empty one there${one}`;
}

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;
const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

function refuse(why: string): never {
  throw new TorchwireError("MISUSE", `worker.module: ${why}`);
}
