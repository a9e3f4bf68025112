/** How the cost of each thing grows with the number of things. Nothing may grow faster than in proportion. */
import { grown, spelled, type Sizes } from "./growth/power.ts";
import { kept, operations, parameters, predictions, steps, tensors, type Growing } from "./growth/workloads.ts";
import { measure, type Measured, type Opened } from "./rounds.ts";
import type { Surroundings } from "./section.ts";

interface Kind extends Sizes {
  readonly name: string;
  readonly columns?: readonly string[];
  readonly open: (sizes: readonly number[], surroundings: Surroundings) => Promise<Growing>;
}

const kinds: readonly Kind[] = [
  { name: "operations in a step", unit: "us an operation", sizes: [20, 200, 2000, 20_000], open: operations },
  { name: "tensors in a batch", unit: "us a tensor", sizes: [1, 10, 100, 1000], open: tensors },
  {
    name: "parameters, with AdamW, clipping, a schedule and EMA",
    unit: "us a parameter",
    sizes: [10, 100, 1000],
    open: parameters,
  },
  {
    name: "steps of one session",
    unit: "us a step",
    columns: ["worker's MiB"],
    sizes: [1000, 10_000, 100_000],
    open: steps,
  },
  {
    name: "references kept, beside other work",
    unit: "us an operation",
    columns: ["worker's MiB"],
    sizes: [10_000, 100_000, 1_000_000],
    open: kept,
  },
  {
    name: "predictions at the same time, run together, beside a fit",
    unit: "us a prediction",
    columns: ["steps/s of the fit"],
    sizes: [1, 10, 100, 1000],
    open: predictions,
  },
];
/** There are many runs, and what takes minutes is made before the first. */
const ROUNDS = 20;
/** A trial makes fewer of what is made before the first round. */
const LESS = 100;

export async function measureGrowth(surroundings: Surroundings): Promise<Measured[]> {
  const { progress, quick } = surroundings;
  const measured: Measured[] = [];
  for (const { name, unit, columns = [], sizes: all, open } of kinds) {
    const sizes = quick
      ? all.map((size) => (size >= 1000 * LESS || all.at(-1)! >= 1000 * LESS ? size / LESS : size))
      : all;
    const opened = async (): Promise<Opened> => {
      const { pids, runs, facts, close } = await open(sizes, surroundings);
      const variants = runs.map((run, i) => ({ name: spelled(sizes[i]!), run }));
      const contest = {
        name,
        primary: unit,
        better: "lower",
        reference: variants[0]!.name,
        columns: [unit, ...columns],
        variants,
        rounds: ROUNDS,
        facts: facts ?? {},
      } as const;
      return { contests: [contest], pids, close };
    };
    const [one] = await measure(opened, 1, surroundings, (text) => progress(`growth, ${name}: ${text}`));
    measured.push(grown(one!, { sizes, unit }));
  }
  return measured;
}
