/**
 * The native training loop against torchwire's, by hand with one and three steps in flight and in bursts, and by a
 * Learner; and against one fed by ZeroMQ alone.
 */
import { rgbDigits, type ModelName } from "../test/training.ts";
import { startFedLoop } from "./fed-loop.ts";
import { startNativeLoop, type NativeLoop } from "./native-loop.ts";
import { measure, type Contest, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { LearnerLoop, TorchwireLoop, type Images } from "./torchwire-loop.ts";

interface Case {
  readonly model: ModelName;
  readonly batch: number;
}

const cases: readonly Case[] = [
  { model: "mlp", batch: 8 },
  { model: "cnn", batch: 16 },
  { model: "cnn", batch: 64 },
  { model: "cnn", batch: 256 },
  { model: "resnet18", batch: 64 },
];
/** The steps in flight of loops by hand. */
const WINDOWS = { "1 in flight": 1, "3 in flight": 3, "in bursts": undefined } as const;
/** The same number as in test/native/bench_loop.py. */
const IMAGES = 20_000;
/** Each case runs with this many fresh sets of processes. */
const STARTS = 4;
const FEWEST_STEPS = 3;
/** Steps before the warm-up. Their losses tell whether all sides train the same thing. */
const FIRST_STEPS = 5;
/** V8 compiles our side of a loop again and again in its first thousands of steps. */
const WARM_UP = { steps: 5000, seconds: 6 };

interface Runner {
  readonly name: string;
  readonly run: (steps: number) => ReturnType<NativeLoop["run"]>;
}

export async function measureLoops(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(IMAGES);
  const measured: Measured[] = [];
  for (const one of cases) {
    const name = `${one.model}, batch ${one.batch}`;
    let steps: number | undefined;
    const open = async (): Promise<Opened> => {
      const opened = await openCase(one, name, images, surroundings, steps);
      ({ steps } = opened);
      return opened;
    };
    measured.push(
      ...(await measure(open, surroundings.quick ? 1 : STARTS, surroundings, (text) =>
        surroundings.progress(`loops, ${name}: ${text}`),
      )),
    );
  }
  return measured;
}

async function openCase(
  { model, batch }: Case,
  name: string,
  images: Images,
  { python, glibc, runSeconds, quick, sawVersions }: Surroundings,
  knownSteps: number | undefined,
): Promise<Opened & { steps: number }> {
  // Without glibc's malloc there is one native loop only.
  const kinds = glibc ? [false, true] : [false];
  const [torchwire, learner, fed, ...natives] = await Promise.all([
    TorchwireLoop.start(python, { model, batch, images }),
    LearnerLoop.start(python, { model, batch, images }),
    startFedLoop(python, { model, batch, images }),
    ...kinds.map((mallopt) => startNativeLoop(python, { mallopt, model, batch })),
  ]);
  sawVersions(torchwire.versions);
  for (const { threads } of [learner, ...natives])
    if (threads !== torchwire.threads)
      throw new Error(`PyTorch has ${threads} threads in another loop and ${torchwire.threads} in the worker`);

  const nativeRunners = natives.map((native, i): Runner => {
    const malloc = !glibc ? "" : kinds[i] ? ", worker's malloc" : ", default malloc";
    return { name: `native${malloc}`, run: (steps) => native.run(steps) };
  });
  const torchwireRunners = [
    ...Object.entries(WINDOWS).map(([name, window]): Runner => {
      return { name: `torchwire, ${name}`, run: (steps) => torchwire.run(steps, window) };
    }),
    { name: "torchwire, a Learner", run: (steps: number) => learner.run(steps) },
  ];
  const fedRunner: Runner = { name: "native, fed by bare ZeroMQ, 3 in flight", run: (steps) => fed.run(steps) };
  const reference = nativeRunners.at(-1)!;

  const first: number[] = [];
  for (const { run } of [...nativeRunners, fedRunner, torchwireRunners[0]!, torchwireRunners.at(-1)!])
    first.push((await run(FIRST_STEPS)).loss);

  const steps = knownSteps ?? (await stepsFor(runSeconds, reference));
  const runners = [...nativeRunners, fedRunner, ...torchwireRunners];
  for (const { run } of runners) await run(steps);
  // This process lives through all starts, and V8 compiles its side of the loop in the first one.
  if (knownSteps === undefined)
    for (const { run } of torchwireRunners) await warmUp(run, quick ? FIRST_STEPS : WARM_UP.steps);

  const contest: Contest = {
    name,
    primary: "ms/step",
    better: "lower",
    reference: reference.name,
    columns: ["ms/step", "faults/step", "CPU ms/step", "client CPU ms/step", "client wakes/step", "waited ms/step"],
    variants: runners.map(toVariant(steps)),
    facts: {
      "steps in a run": steps,
      threads: torchwire.threads,
      [`all sides have the same loss after ${FIRST_STEPS} steps`]: first.every((loss) => loss === first[0]),
    },
  };
  return {
    steps,
    contests: [contest],
    pids: [torchwire.pid, learner.pid, fed.pid, ...natives.map(({ pid }) => pid)],
    async close() {
      await Promise.all([torchwire.close(), learner.close(), fed.close(), ...natives.map((native) => native.close())]);
    },
  };
}

async function warmUp(run: Runner["run"], steps: number): Promise<void> {
  const end = performance.now() + 1000 * WARM_UP.seconds;
  for (let ran = 0; ran < steps && performance.now() < end; ran += 100) await run(Math.min(100, steps));
}

async function stepsFor(runSeconds: number, { run }: Runner): Promise<number> {
  for (let steps = FEWEST_STEPS; ; steps *= 2) {
    const seconds = ((await run(steps)).readings["ms/step"]! * steps) / 1000;
    if (seconds >= runSeconds / 2) return Math.max(FEWEST_STEPS, Math.round((steps * runSeconds) / seconds));
  }
}

function toVariant(steps: number): (runner: Runner) => Variant {
  return ({ name, run }) => ({
    name,
    async run() {
      // Caches and sleeping threads still belong to the variant before.
      await run(1);
      return (await run(steps)).readings;
    },
  });
}
