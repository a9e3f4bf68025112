/** The training loop of test/native/bench_loop.py: plain PyTorch in a process of its own. */
import { fileURLToPath } from "node:url";
import { mnist, type ModelName } from "../test/training.ts";
import { startAsked } from "./asked.ts";
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

export async function startNativeLoop(
  python: string,
  options: { readonly mallopt: boolean; readonly model: ModelName; readonly batch: number },
): Promise<NativeLoop> {
  const script = fileURLToPath(new URL("../test/native/bench_loop.py", import.meta.url));
  const { pid, ask, close } = startAsked(python, script, options.mallopt ? ["--mallopt"] : []);
  const { threads } = await ask<{ threads: number }>({
    cmd: "init",
    model: options.model,
    batch: options.batch,
    data: mnist,
  });
  return {
    pid,
    threads,
    async run(steps) {
      const waitedBefore = waitedSeconds(pid);
      const { seconds, cpu_seconds, minor_faults, loss } = await ask<Ran>({ cmd: "run", steps, item: true });
      const waited = waitedSeconds(pid);
      const readings: Record<string, number> = {
        "ms/step": (1000 * seconds) / steps,
        "CPU ms/step": (1000 * cpu_seconds) / steps,
        "faults/step": minor_faults / steps,
      };
      if (waitedBefore !== undefined && waited !== undefined)
        readings["waited ms/step"] = (1000 * (waited - waitedBefore)) / steps;
      return { readings, loss };
    },
    close,
  };
}
