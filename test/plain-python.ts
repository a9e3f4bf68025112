/** Runs the scripts of test/native, the references of the parity tests. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { findPython } from "../bridge/environment/find.ts";

/** The Python files of the example with files of its user's own: its counterparts import them too. */
export const userFiles: string = fileURLToPath(new URL("../examples/unet", import.meta.url));

/**
 * Runs a script in one process, on one thread. It passes `cases`, if given, as a JSON file by --cases, and reads the
 * results from --out.
 */
export async function plainPython<Results>(
  script: string,
  { cases, ...more }: { readonly cases?: unknown; readonly data?: string },
): Promise<Results> {
  const { executable } = await findPython();
  const folder = await mkdtemp(join(tmpdir(), "plain-python-"));
  const [input, out] = [join(folder, "cases.json"), join(folder, "out.json")];
  try {
    if (cases !== undefined) await writeFile(input, JSON.stringify(cases));
    const file = fileURLToPath(new URL(`native/${script}`, import.meta.url));
    const flags = { ...more, ...(cases === undefined ? {} : { cases: input }), out, threads: "1" };
    const args = Object.entries(flags).flatMap(([key, value]) => [`--${key}`, value]);
    await execa(executable, [file, ...args], { env: { PYTHONPATH: userFiles } });
    return JSON.parse(await readFile(out, "utf8")) as Results;
  } finally {
    await rm(folder, { recursive: true });
  }
}
