/** Predictions of many requests: how many a second, and what a fit beside them loses. */
import { adam, crossEntropy, image, Learner, spawnWorker, TrainingPhase, type NDArray } from "torchwire";
import { makeTraining, rgbDigits } from "../test/training.ts";
import { measure, type Contest, type Measured, type Opened, type Readings } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { again, LEARNING_RATES, some, type Images } from "./torchwire-loop.ts";

const IMAGES = 20_000;
const STARTS = 2;
const BATCH = 64;
/** Requests at once. */
const MANY = 300;
const NUMBERS = [1, 10, 100, 1000] as const;

export async function measureServing(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(IMAGES);
  return measure(
    () => open(surroundings, images),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`serving: ${text}`),
  );
}

/** Asks for something `count` times, and resolves when all of it has been answered. */
interface Requests {
  readonly name: string;
  readonly count: number;
  readonly ask: () => Promise<unknown>;
}

async function open({ python, runSeconds, sawVersions }: Surroundings, images: Images): Promise<Opened> {
  const worker = await spawnWorker({ python, device: "cpu", seed: 0 });
  sawVersions(worker.versions);
  const lr = LEARNING_RATES.cnn;
  const { model } = makeTraining(worker, "cnn", lr);
  const learner = new Learner(model, crossEntropy(), {
    input: image(),
    optimizer: adam({ lr }),
    defaultCallbacks: false,
  });
  const samples = Array.from({ length: Math.max(...NUMBERS) }, (_, i) => rowsOf(images.xs, i, 1));
  const requests = (count: number, together: boolean): Requests["ask"] => {
    const asked = samples.slice(0, count);
    return () => Promise.all(asked.map((one) => learner.predict(one, { topK: 1, together })));
  };
  const one: Requests = { name: "one after the other", count: 1, ask: requests(1, true) };
  const apart: Requests = { name: `${MANY} at once, each by itself`, count: MANY, ask: requests(MANY, false) };
  const together: Requests = { name: `${MANY} at once, together`, count: MANY, ask: requests(MANY, true) };
  const array = rowsOf(images.xs, 0, MANY);
  const whole: Requests = { name: `an array of ${MANY}`, count: MANY, ask: () => learner.predict(array, { topK: 1 }) };

  const batches = again(images, BATCH);
  const phase = new TrainingPhase();
  const fit = async (steps: number): Promise<number> => {
    const start = performance.now();
    await learner.epoch(phase, some(batches, steps));
    return (performance.now() - start) / steps;
  };
  // Warm up, and count the steps that fill the time.
  for (const { ask } of [one, apart, together, whole]) await ask();
  for (let i = 0; i < 3; i++) await fit(5);
  const steps = Math.max(5, Math.round((1000 * runSeconds) / (await fit(20))));

  const beside = async ({ ask, count }: Requests): Promise<Readings> => {
    let isOver = false;
    const training = fit(steps).finally(() => (isOver = true));
    const { asked, seconds } = await waves(ask, () => isOver);
    return {
      "ms/step": await training,
      "requests/s": (asked * count) / seconds,
      "ms a wave": (1000 * seconds) / asked,
    };
  };
  const alone: Contest = {
    name: "cnn, requests of one image",
    primary: "requests/s",
    better: "higher",
    reference: apart.name,
    columns: ["requests/s"],
    variants: [one, apart, together, whole].map(({ name, ask, count }) => ({
      name,
      async run() {
        const end = performance.now() + 1000 * runSeconds;
        const { asked, seconds } = await waves(ask, () => performance.now() >= end);
        return { "requests/s": (asked * count) / seconds };
      },
    })),
  };
  const losses: Contest = {
    name: `a fit of the cnn, batch ${BATCH}, beside them`,
    primary: "ms/step",
    better: "lower",
    reference: "no requests",
    columns: ["ms/step", "requests/s"],
    variants: [
      { name: "no requests", run: async () => ({ "ms/step": await fit(steps) }) },
      ...[one, apart, together].map((each) => ({ name: each.name, run: () => beside(each) })),
    ],
    facts: { "steps in a run": steps },
  };
  const growth: Contest = {
    name: "requests at once, together, beside a fit",
    primary: "ms a wave",
    better: "lower",
    columns: ["ms a wave", "requests/s", "ms/step"],
    variants: NUMBERS.map((count) => {
      const name = String(count);
      return { name, run: () => beside({ name, count, ask: requests(count, true) }) };
    }),
  };
  return { contests: [alone, losses, growth], pids: [worker.pid], close: () => worker.close() };
}

/** Asks again and again until `isOver`, once at least. */
async function waves(
  ask: () => Promise<unknown>,
  isOver: () => boolean,
): Promise<{ readonly asked: number; readonly seconds: number }> {
  const start = performance.now();
  let asked = 0;
  do {
    await ask();
    asked++;
  } while (!isOver());
  return { asked, seconds: (performance.now() - start) / 1000 };
}

function rowsOf({ dtype, shape: [, ...rest], data }: NDArray, start: number, count: number): NDArray {
  const size = rest.reduce((product, n) => product * n, 1);
  return { dtype, shape: [count, ...rest], data: data.subarray(start * size, (start + count) * size) };
}
