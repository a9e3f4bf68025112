/**
 * Runs TypeScript programs in one process, one after the other: to start Node and tsx for each costs a second and more.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Asked, Ran } from "./fixtures/programs.ts";

const runner = fileURLToPath(new URL("fixtures/programs.ts", import.meta.url));

export class Programs implements Disposable {
  readonly #process: ChildProcess;
  #stderr = "";

  constructor({ cwd, env }: { readonly cwd: string; readonly env: Readonly<Record<string, string>> }) {
    // From here tsx is found, wherever the programs run.
    const tsx = import.meta.resolve("tsx");
    this.#process = fork(runner, {
      cwd,
      env: { ...process.env, ...env },
      execArgv: ["--import", tsx, "--conditions=torchwire-source"],
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    this.#process.stderr!.setEncoding("utf8").on("data", (text: string) => (this.#stderr += text));
  }

  /** The standard output of `file`, which is run once. Rejects where it throws, or ends the process. */
  async run(file: string, ...args: readonly string[]): Promise<string> {
    const asked: Asked = { file, args };
    const ran = await new Promise<Ran>((resolve) => {
      const end = (code: number | null): void => resolve({ error: `the process has ended with ${code}` });
      this.#process.once("exit", end).once("message", (message) => {
        this.#process.off("exit", end);
        resolve(message as Ran);
      });
      this.#process.send(asked, (error) => error === null || resolve({ error: String(error) }));
    });
    if ("error" in ran) throw new Error(`${file}: ${ran.error}\n${this.#stderr}`);
    return ran.stdout;
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }
}
