/** How many operations per second pass through the whole chain when Python does next to nothing in them. */
import { py, spawnWorker, type AnyRef } from "torchwire";
import { measure, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { stream } from "./stream.ts";

const STARTS = 2;
/** The additions in a scope. A batch holds 256 operations, so even the longest goes out as one batch. */
const LENGTHS = [10, 100, 250] as const;
/** The number of scopes in flight. */
const WINDOW = 64;

export async function measureOps(surroundings: Surroundings): Promise<Measured[]> {
  return measure(
    () => open(surroundings),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`operations: ${text}`),
  );
}

async function open({ python, runSeconds, sawVersions }: Surroundings): Promise<Opened> {
  const worker = await spawnWorker({ python, device: "cpu" });
  sawVersions(worker.versions);
  const { add } = worker.import("operator");
  const zero: AnyRef = worker.import("builtins").int(0);

  /** Each addition takes the result of the one before. */
  const chain = (length: number): Promise<unknown> =>
    worker.scope(() => {
      let x = zero;
      for (let i = 0; i < length; i++) x = add(x, 1);
      return py.js(x);
    });
  const variants = LENGTHS.map((length): Variant => {
    return {
      name: `${length} additions in a scope`,
      async run() {
        const { count, seconds } = await stream(runSeconds, WINDOW, () => chain(length));
        return { "ops/s": (length * count) / seconds };
      },
    };
  });
  for (const [i, length] of LENGTHS.entries()) {
    const sum = await chain(length);
    if (sum !== length) throw new Error(`${length} additions of 1 came to ${String(sum)}`);
    await variants[i]!.run();
  }
  return {
    contests: [
      {
        name: "chains of operator.add on a Python int",
        primary: "ops/s",
        better: "higher",
        columns: ["ops/s"],
        variants,
        facts: { "scopes in flight": WINDOW },
      },
    ],
    pids: [worker.pid],
    close: () => worker.close(),
  };
}
