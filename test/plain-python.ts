/** Runs a script of test/native with cases; the references of the parity tests. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { findPython } from "../bridge/environment/find.ts";

/** All cases in one process, on one thread. The script takes --cases, a file of JSON, and writes to --out its results, one for each. */
export async function plainPython<Result>(script: string, cases: readonly object[]): Promise<Result[]> {
  const { executable } = await findPython();
  const folder = await mkdtemp(join(tmpdir(), "plain-python-"));
  const [input, output] = [join(folder, "cases.json"), join(folder, "out.json")];
  try {
    await writeFile(input, JSON.stringify(cases));
    const file = fileURLToPath(new URL(`native/${script}`, import.meta.url));
    await execa(executable, [file, "--cases", input, "--out", output, "--threads", "1"]);
    return JSON.parse(await readFile(output, "utf8")) as Result[];
  } finally {
    await rm(folder, { recursive: true });
  }
}
