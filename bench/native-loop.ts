/** The training loop of test/native/bench_loop.py: plain PyTorch in a process of its own. */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { mnist, type ModelName } from "../test/training.ts";
import type { Readings } from "./rounds.ts";
import { waitedSeconds } from "./usage.ts";

export interface NativeLoop {
  readonly pid: number;
  readonly threads: number;
  /** Runs `steps` steps and reads the loss of each. Also returns the last loss. */
  readonly run: (steps: number) => Promise<{ readonly readings: Readings; readonly loss: number }>;
  readonly close: () => Promise<void>;
}

interface Ran {
  readonly seconds: number;
  readonly cpu_seconds: number;
  readonly minor_faults: number;
  readonly loss: number;
}

/** The process ends with ours: its standard input ends, or our signal reaches it. */
export async function startNativeLoop(
  python: string,
  options: { readonly mallopt: boolean; readonly model: ModelName; readonly batch: number },
): Promise<NativeLoop> {
  const script = fileURLToPath(new URL("../test/native/bench_loop.py", import.meta.url));
  const child = execa(python, [script, ...(options.mallopt ? ["--mallopt"] : [])], { env: { PYTHONUNBUFFERED: "1" } });
  // The next request hears how it ended.
  child.catch(() => undefined);
  const answers = child.iterable();
  const ask = async <T>(message: object): Promise<T> => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    const { value, done } = await answers.next().catch((error: unknown) => {
      throw new Error(`the native loop ended: ${(error as Error).message}`);
    });
    if (done) throw new Error(`the native loop, ${script}, ended without an answer`);
    const answer = JSON.parse(value) as T & { error?: string };
    if (answer.error !== undefined) throw new Error(`${script}: ${answer.error}`);
    return answer;
  };
  const { threads } = await ask<{ threads: number }>({
    cmd: "init",
    model: options.model,
    batch: options.batch,
    data: mnist,
  });
  return {
    pid: child.pid!,
    threads,
    async run(steps) {
      const waitedBefore = waitedSeconds(child.pid!);
      const { seconds, cpu_seconds, minor_faults, loss } = await ask<Ran>({ cmd: "run", steps, item: true });
      const waited = waitedSeconds(child.pid!);
      const readings: Record<string, number> = {
        "ms/step": (1000 * seconds) / steps,
        "CPU ms/step": (1000 * cpu_seconds) / steps,
        "faults/step": minor_faults / steps,
      };
      if (waitedBefore !== undefined && waited !== undefined)
        readings["waited ms/step"] = (1000 * (waited - waitedBefore)) / steps;
      return { readings, loss };
    },
    async close() {
      child.stdin.end(`${JSON.stringify({ cmd: "quit" })}\n`);
      await child;
    },
  };
}
