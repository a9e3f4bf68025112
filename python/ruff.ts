/**
 * Checks the Python files in this folder with ruff and the settings in pyproject.toml; with --fix, formats them.
 * ruff comes as an npm package, so this needs no Python.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { type Diagnostic, PositionEncoding, Workspace } from "@astral-sh/ruff-wasm-nodejs";
import { parse } from "smol-toml";

interface Project {
  readonly tool: { readonly ruff: { readonly "per-file-target-version": Readonly<Record<string, string>> } };
}

const { ruff } = (parse(await readFile(join(import.meta.dirname, "pyproject.toml"), "utf8")) as unknown as Project)
  .tool;
const workspace = new Workspace(ruff, PositionEncoding.Utf16);
/** Those for a file of that name, or for all files in a folder, which ends in "*". */
const others = Object.entries(ruff["per-file-target-version"]).map(([name, version]) => ({
  start: name.replace(/\*$/, ""),
  workspace: new Workspace({ ...ruff, "target-version": version }, PositionEncoding.Utf16),
}));
const fixes = process.argv.includes("--fix");

const entries = await readdir(import.meta.dirname, { recursive: true, withFileTypes: true });
const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(".py"));
let faults = 0;
for (const file of files) {
  const path = join(file.parentPath, file.name);
  const name = relative(import.meta.dirname, path).replaceAll("\\", "/");
  const used = others.find(({ start }) => name.startsWith(start))?.workspace ?? workspace;
  const text = await readFile(path, "utf8");
  const formatted = used.format(text);
  if (formatted !== text) {
    if (fixes) await writeFile(path, formatted);
    else fault(path, "not formatted; npm run format does that");
  }
  for (const { code, message, start_location: at } of used.check(formatted) as Diagnostic[])
    fault(`${path}:${at.row}:${at.column}`, `${code ?? "syntax"} ${message}`);
}
if (faults > 0) process.exitCode = 1;

function fault(place: string, message: string): void {
  faults++;
  console.log(`${relative(process.cwd(), place)}: ${message}`);
}
