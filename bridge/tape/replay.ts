/** Runs the file of a tape in a Python of its own. */
import { join } from "node:path";
import { execa } from "execa";
import { findPython } from "../environment/find.ts";
import { workerFolder } from "../start/process.ts";
import { pythonVariables } from "../environment/variables.ts";

export interface ReplayOptions {
  readonly trust?: boolean | undefined;
  readonly until?: string | undefined;
  readonly print?: readonly string[] | undefined;
  readonly python?: string | undefined;
  readonly "in-python"?: string | undefined;
}

/** Resolves with the exit code. Python says the rest on this process's output. */
export async function replay(file: string, { print = [], python, ...options }: ReplayOptions): Promise<number> {
  const { executable } = await findPython({ python });
  const args = [
    ...(options.trust === true ? ["--trust"] : []),
    ...(options.until === undefined ? [] : ["--until", options.until]),
    ...(options["in-python"] === undefined ? [] : ["--in-python", options["in-python"]]),
    ...print.flatMap((name) => ["--print", name]),
  ];
  const { exitCode = 1 } = await execa(
    executable,
    [join(workerFolder(undefined), "__main__.py"), "replay", ...args, "--", file],
    { stdio: "inherit", reject: false, env: pythonVariables(executable) },
  );
  return exitCode;
}
