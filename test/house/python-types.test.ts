/**
 * The worker's Python, checked by pyright as Python 3.10, the oldest that is supported, whatever Python runs the tests.
 */
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { packageRoot } from "../../bridge/environment/package.ts";

const project = join(packageRoot(), "python");
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "torchwire-types-"));
});
afterEach(() => rm(folder, { recursive: true }));

/** Pyright's findings, one in each line. It is started by Node itself and downloads nothing. */
async function pyright(directory: string): Promise<string[]> {
  const { executable } = await findPython();
  const { stdout: prefix } = await execa(executable, ["-c", "import sys; print(sys.prefix)"]);
  // As an environment and not as an interpreter: pyright would add the interpreter's standard library to that of 3.10.
  const settings = { extends: join(directory, "pyproject.toml"), venvPath: dirname(prefix), venv: basename(prefix) };
  await writeFile(join(folder, "pyrightconfig.json"), JSON.stringify(settings));
  const program = createRequire(import.meta.url).resolve("pyright");
  const { stdout } = await execa(process.execPath, [program, "--project", folder, "--outputjson"], { reject: false });
  const found = JSON.parse(stdout) as {
    summary: { filesAnalyzed: number };
    generalDiagnostics: { file: string; range: { start: { line: number } }; message: string }[];
  };
  expect(found.summary.filesAnalyzed).toBeGreaterThan(0);
  return found.generalDiagnostics.map(({ file, range, message }) => `${file}:${range.start.line + 1}: ${message}`);
}

test("the worker's types fit, with Python 3.10 and its standard library", async () => {
  expect(await pyright(project)).toEqual([]);
});

test("what came with Python 3.11 is found, and so is what does not fit", async () => {
  await cp(join(project, "pyproject.toml"), join(folder, "pyproject.toml"));
  await mkdir(join(folder, "torchwire_worker"));
  const lines = ["import tomllib", "from typing import Self", "ExceptionGroup", "try: ...", "except* OSError: ..."];
  await writeFile(join(folder, "torchwire_worker", "new.py"), [...lines, "number: int = 'one'", ""].join("\n"));
  const found = (await pyright(folder)).join("\n");
  for (const what of [/new\.py:1: .*tomllib/, /:2: .*Self/, /:3: .*ExceptionGroup/, /:5: .*3\.11/, /:6: .*"int"/])
    expect(found).toMatch(what);
});
