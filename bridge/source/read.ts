/** Reads the source of a module, and of the modules beside it that it imports. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { TorchwireError } from "../errors/errors.ts";
import { isPythonName } from "../reference/ref.ts";
import { cannotRead, readRegularFile } from "../runtime/regular-file.ts";
import { importsIn, type ImportStatement } from "./imports.ts";
import { besides, type Located } from "./locate.ts";

export interface Source extends Located {
  readonly files: readonly SourceFile[];
  /** Two sources with the same one are the same. */
  readonly digest: string;
}

export interface SourceFile {
  /** The full name of its module: `nets.blocks`. */
  readonly name: string;
  readonly path: string;
  readonly isPackage: boolean;
  /** Undefined for a folder without __init__.py. */
  readonly bytes: Buffer | undefined;
}

/** Of one module, with all that it holds. Source that people write has less. */
const MOST_BYTES = 8 * 2 ** 20;
const MOST_FILES = 2000;
const MOST_ENTRIES = 50_000;
const DEEPEST = 32;

/**
 * The source of `first`, and of all modules in the same folder that it imports, or that those import. A name that the
 * worker's Python may have is among them: only the worker knows.
 * @throws MISUSE where a file cannot be read, or there is too much.
 */
export function readSources(first: Located): Source[] {
  const folder = dirname(first.path);
  const sources: Source[] = [];
  const seen = new Set([first.name]);
  const waiting = [first];
  for (const each of waiting) {
    const source = readSource(each);
    sources.push(source);
    for (const [name, below] of namesIn(source)) {
      if (seen.has(name)) continue;
      const beside = besides(folder, name, below);
      if (beside !== undefined) {
        seen.add(name);
        waiting.push(beside);
      }
    }
  }
  return sources;
}

/** The modules that a source imports, by their first name, with what is asked of each below it. */
function namesIn({ files }: Source): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const statements = files.flatMap(({ bytes }): ImportStatement[] =>
    bytes === undefined ? [] : importsIn(bytes.toString()),
  );
  for (const { module, names } of statements) {
    const [top, second] = module;
    found.set(top!, [...(found.get(top!) ?? []), ...(second === undefined ? names : [second])]);
  }
  return found;
}

function readSource(located: Located): Source {
  const files =
    located.kind === "file" ? [readFile(located.name, located.path, false, MOST_BYTES)] : new Walk(located).files();
  const hash = createHash("sha256");
  for (const { name, isPackage, bytes } of files) {
    hash.update(JSON.stringify([name, isPackage, bytes?.length ?? null]));
    if (bytes !== undefined) hash.update(bytes);
  }
  return { ...located, files, digest: hash.digest("hex") };
}

function readFile(name: string, path: string, isPackage: boolean, most: number): SourceFile {
  try {
    return { name, path, isPackage, bytes: readRegularFile(path, most) };
  } catch (error) {
    throw new TorchwireError("MISUSE", `worker.module: ${cannotRead("", path, error)}`);
  }
}

/** A walk through the folder of a package. */
class Walk {
  readonly #top: Located;
  readonly #files = new Map<string, SourceFile>();
  #bytes = 0;
  #entries = 0;

  constructor(top: Located) {
    this.#top = top;
  }

  files(): SourceFile[] {
    this.#folder(this.#top.name, this.#top.path, [this.#top.real]);
    return [...this.#files.values()];
  }

  /** `above`: the folders that this one lies in, by which a circle of symbolic links is seen. */
  #folder(name: string, path: string, above: readonly string[]): void {
    const init = join(path, "__init__.py");
    if (existsSync(init)) this.#read(name, init, true);
    else this.#files.set(name, { name, path, isPackage: true, bytes: undefined });
    for (const entry of this.#list(path)) {
      const inner = join(path, entry);
      const stem = entry.endsWith(".py") ? entry.slice(0, -3) : entry;
      if (!isPythonName(stem) || LEFT_OUT.has(stem)) continue;
      const stats = statSync(inner, { throwIfNoEntry: false });
      const full = `${name}.${stem}`;
      if (stats?.isFile() === true && stem !== entry) {
        // Python prefers a package to a file beside it, and a file to a folder without __init__.py.
        if (this.#files.get(full)?.bytes === undefined) this.#read(full, inner, false);
      } else if (stats?.isDirectory() === true && stem === entry && !existsSync(join(inner, "pyvenv.cfg"))) {
        const real = realpathSync(inner);
        if (above.includes(real) || above.length >= DEEPEST) continue;
        const before = this.#files.size;
        this.#folder(full, inner, [...above, real]);
        // A folder without source, such as one of images, is no module.
        if (this.#files.size === before + 1 && this.#files.get(full)?.bytes === undefined) this.#files.delete(full);
      }
    }
  }

  #list(path: string): string[] {
    let entries: string[];
    try {
      entries = readdirSync(path).toSorted();
    } catch (error) {
      throw new TorchwireError("MISUSE", `worker.module: ${cannotRead("", path, error)}`);
    }
    if ((this.#entries += entries.length) > MOST_ENTRIES) this.#tooMuch(`more than ${MOST_ENTRIES} files`);
    return entries;
  }

  #read(name: string, path: string, isPackage: boolean): void {
    const file = readFile(name, path, isPackage, MOST_BYTES);
    this.#bytes += file.bytes!.length;
    this.#files.set(name, file);
    if (this.#bytes > MOST_BYTES) this.#tooMuch(`more than ${MOST_BYTES / 2 ** 20} MiB of Python`);
    if (this.#files.size > MOST_FILES) this.#tooMuch(`more than ${MOST_FILES} modules`);
  }

  #tooMuch(what: string): never {
    throw new TorchwireError(
      "MISUSE",
      `worker.module: ${this.#top.path} has ${what}, which is too much to send as the source of a package. ` +
        "Give the folder of the package itself; what is installed is had by worker.import",
    );
  }
}

const LEFT_OUT: ReadonlySet<string> = new Set(["__init__", "__pycache__", "node_modules"]);
