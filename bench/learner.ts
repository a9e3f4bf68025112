/** The learner against a hand-written loop, and the cost of handlers. */
import {
  accuracy,
  adam,
  callback,
  crossEntropy,
  image,
  Learner,
  Metrics,
  MetricsPrinter,
  Phase,
  ProgressPrinter,
  py,
  Recorder,
  sgd,
  spawnWorker,
  TrainingPhase,
  type AnyRef,
  type BatchLike,
  type Step,
  type Worker,
} from "torchwire";
import { makeTraining, rgbDigits, type ModelName } from "../test/training.ts";
import { prices } from "./callbacks.ts";
import { measure, type Contest, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { again, LEARNING_RATES, runByHand, some, type Images } from "./torchwire-loop.ts";

const IMAGES = 20_000;
const STARTS = 4;
const cases = [
  { model: "cnn", batch: 64 },
  { model: "resnet18", batch: 64 },
] as const satisfies readonly { model: ModelName; batch: number }[];
const silent = { write: (): boolean => true };

export async function measureLearner(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(IMAGES);
  return measure(
    () => open(surroundings, images),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`learner: ${text}`),
  );
}

async function open({ python, runSeconds, sawVersions }: Surroundings, images: Images): Promise<Opened> {
  const worker = await spawnWorker({ python, device: "cpu", seed: 0 });
  sawVersions(worker.versions);
  const contests: Contest[] = [];
  for (const { model, batch } of cases) contests.push(await loops(worker, images, model, batch, runSeconds));
  contests.push(await handlers(worker));
  const priced = await prices(worker, images, runSeconds);
  contests.push(priced);
  return {
    contests,
    pids: [worker.pid],
    async close() {
      await worker.close();
      await priced.close();
    },
  };
}

async function loops(
  worker: Worker,
  images: Images,
  name: ModelName,
  batch: number,
  runSeconds: number,
): Promise<Contest> {
  const lr = LEARNING_RATES[name];
  const { step } = makeTraining(worker, name, lr);
  const byHand = again(images, batch);
  const { model } = makeTraining(worker, name, lr);
  // Asks for the loss and the number of right answers, as a hand-written loop does.
  const issue = (batch: Images): Promise<unknown>[] => {
    const asked: Promise<unknown>[] = [];
    const loss = step(batch, true, (yhat, y) => {
      asked.push(py.js(yhat.detach().argmax(1).eq(y).sum()));
    });
    return [py.js(loss.item()), ...asked];
  };
  const batches = again(images, batch);
  const phase = new TrainingPhase();
  const learner = new Learner(model, crossEntropy(), {
    input: image(),
    optimizer: name === "cnn" ? adam({ lr }) : sgd({ lr, momentum: 0.9 }),
    callbacks: [new Metrics(accuracy), new ProgressPrinter({ output: silent }), new MetricsPrinter({ output: silent })],
  });
  const runs: [string, (steps: number) => Promise<unknown>][] = [
    ["by hand", (steps) => runByHand(worker, issue, byHand, steps)],
    ["learner", (steps) => learner.epoch(phase, some(batches, steps))],
  ];
  const timed = async (run: (steps: number) => Promise<unknown>, steps: number): Promise<number> => {
    const start = performance.now();
    await run(steps);
    return (performance.now() - start) / steps;
  };
  // Warm up, and count the steps that fill the time.
  for (let i = 0; i < 3; i++) for (const [, run] of runs) await timed(run, 5);
  const steps = Math.max(5, Math.round((1000 * runSeconds) / (await timed(runs[0]![1], 5))));
  for (const [, run] of runs) await timed(run, steps);
  return {
    name: `${name}, batch ${batch}: default callbacks and accuracy, against the same steps and accuracy written by hand`,
    primary: "ms/step",
    better: "lower",
    reference: "by hand",
    columns: ["ms/step"],
    variants: runs.map(([variant, run]): Variant => {
      return { name: variant, run: async () => ({ "ms/step": await timed(run, steps) }) };
    }),
    facts: { "steps in a run": steps },
  };
}

/** Twelve callbacks, each with six handlers that read all they may, against none. */
async function handlers(worker: Worker): Promise<Contest> {
  const STEPS = 500;
  const torch = worker.import("torch");
  const batches: BatchLike[] = Array.from({ length: STEPS }, () => ({
    xs: py.keep(torch.ones(1)),
    ys: py.keep(torch.ones(1)),
  }));
  const learnerWith = (n: number): Learner => {
    const many = Array.from({ length: n }, (_, i) => {
      const look = ({ step }: { step: { readonly xs: unknown } }): void => void step.xs;
      return callback({
        name: `Looker${i}`,
        access: { step: { xs: "use" } },
        on: { stepBegin: look, lossBegin: look, backwardBegin: look, backwardEnd: look, stepEnd: look },
        observe: { stepEnd: ({ index }) => void index, epochEnd: ({ index }) => void index },
      });
    });
    const model = torch.nn.Linear(1, 1) as unknown as AnyRef;
    return new Learner(model, crossEntropy(), { defaultCallbacks: false, callbacks: [new Recorder(), ...many] });
  };
  const phase = new Bare();
  const variants = [0, 12].map((n): Variant => {
    const learner = learnerWith(n);
    return {
      name: n === 0 ? "no handlers" : `${6 * n} handlers a step`,
      async run() {
        const start = performance.now();
        await learner.epoch(phase, batches);
        return { "us/step": ((performance.now() - start) * 1000) / STEPS };
      },
    };
  });
  for (const { run } of variants) for (let i = 0; i < 5; i++) await run();
  return {
    name: "handlers, in steps that do nothing else",
    primary: "us/step",
    better: "lower",
    reference: "no handlers",
    columns: ["us/step"],
    variants,
    facts: { "steps in a run": STEPS },
  };
}

/** Runs all events of a training step, without training. */
class Bare extends Phase {
  readonly name = "bare";
  readonly data = "training";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (_step, handle) => {
      await handle("lossBegin");
      await handle("backwardBegin");
      await handle("backwardEnd");
    });
  }
}
