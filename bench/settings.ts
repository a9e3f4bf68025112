/** The options of a run. */
import { parseArgs } from "node:util";

export const sectionNames = [
  "loops",
  "learner",
  "resume",
  "startup",
  "roundtrip",
  "ops",
  "payload",
  "transports",
  "kept",
  "loading",
  "peers",
  "serving",
  "gpu",
  "growth",
] as const;
export type SectionName = (typeof sectionNames)[number];

/** Fewer rounds are not a measurement. */
export const FEWEST_ROUNDS = 20;
const DEFAULT_ROUNDS = 24;
// The interval of a median is computed with 2 to the power of minus this number.
const MOST_ROUNDS = 1000;

export interface Settings {
  readonly sections: readonly SectionName[];
  /** The rounds to keep in each group. */
  readonly rounds: number;
  /** How long a variant works in a round, at least. */
  readonly runSeconds: number;
  /** A trial drops nothing and writes nothing. */
  readonly quick: boolean;
}

export const help: string = `Measures torchwire against plain PyTorch and bare ZeroMQ on this machine; bench/README.md says how.

    npm run bench -- [options]

    --only NAME   ${sectionNames.join(", ")}; can be given several times    (default: all)
    --rounds N    rounds to be kept of everything, ${FEWEST_ROUNDS} to ${MOST_ROUNDS}           (default ${DEFAULT_ROUNDS})
    --quick       three short rounds, to see that it works; the figures mean nothing and are not written
    --help

The table goes to stdout, progress to stderr, and the figures to bench/results/<machine>.json.
`;

/** Undefined where the user asked for help. Throws where an option is wrong. */
export function readSettings(args: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", multiple: true },
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const { only, quick } = values;
  for (const name of only ?? [])
    if (!sectionNames.some((known) => known === name))
      throw new Error(`--only cannot be "${name}"; known are ${sectionNames.join(", ")}`);
  const rounds = Number(values.rounds ?? DEFAULT_ROUNDS);
  if (!Number.isInteger(rounds) || rounds < FEWEST_ROUNDS || rounds > MOST_ROUNDS)
    throw new Error(
      `--rounds cannot be "${values.rounds}"; it is a whole number from ${FEWEST_ROUNDS} to ${MOST_ROUNDS}. To try the bench: --quick`,
    );
  if (quick && values.rounds !== undefined)
    throw new Error("--quick has three rounds; leave out one of --quick and --rounds");
  return {
    sections: sectionNames.filter((name) => only === undefined || only.includes(name)),
    rounds: quick ? 3 : rounds,
    runSeconds: quick ? 0.1 : 0.3,
    quick,
  };
}
