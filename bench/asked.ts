/** A program that answers each line of its input, an object in JSON, by one. */
import { execa } from "execa";

export interface Asked {
  readonly pid: number;
  readonly ask: <T>(message: object) => Promise<T>;
  readonly close: () => Promise<void>;
}

/** The process ends with ours: its standard input ends, or our signal reaches it. */
export function startAsked(python: string, script: string, args: readonly string[] = []): Asked {
  const child = execa(python, [script, ...args], { env: { PYTHONUNBUFFERED: "1" } });
  // The next request hears how it ended.
  child.catch(() => undefined);
  const answers = child.iterable();
  return {
    pid: child.pid!,
    async ask<T>(message: object) {
      child.stdin.write(`${JSON.stringify(message)}\n`);
      const { value, done } = await answers.next().catch((error: unknown) => {
        throw new Error(`the native loop ended: ${(error as Error).message}`);
      });
      if (done) throw new Error(`the native loop, ${script}, ended without an answer`);
      const answer = JSON.parse(value) as T & { error?: string };
      if (answer.error !== undefined) throw new Error(`${script}: ${answer.error}`);
      return answer;
    },
    async close() {
      child.stdin.end(`${JSON.stringify({ cmd: "quit" })}\n`);
      await child;
    },
  };
}
