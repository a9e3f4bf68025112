/** Recipes of several fits go on in the fit that was interrupted, with the same bits. */
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import {
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  fineTune,
  fitOneCycle,
  image,
  imageFolder,
  Learner,
  py,
  type AnyRef,
  type FitOptions,
  type Report,
  type Worker,
} from "torchwire";
import { untyped } from "../../observed.ts";
import { makeNoisyCnn, rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let data: Awaited<ReturnType<typeof rgbDigits>>;
let folder: string;

beforeAll(async () => {
  worker = await warmWorker();
  data = await rgbDigits(40);
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "recipes-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const layers = { first: 0, norm: 1, second: 4, head: 9 };
const groups = Object.fromEntries(
  Object.entries(layers).map(([name, i]) => [name, { params: (model: AnyRef) => model[i] as AnyRef }]),
);

type Recipe = (learner: Learner<AnyRef>, options: FitOptions) => Promise<Report>;

/** A program with a seed of its own, which is interrupted after so many training steps. */
async function run(recipe: Recipe, seed: number, options: FitOptions = {}, stopAt?: number) {
  const torch = untyped(worker, "torch");
  torch.manual_seed(seed);
  const interrupt = new AbortController();
  let steps = 0;
  const stop = callback({
    name: "stop",
    on: {
      stepEnd: () => {
        if (++steps === stopAt) interrupt.abort("stopped");
      },
    },
  });
  const learner = new Learner(makeNoisyCnn(torch), crossEntropy(), {
    input: image(),
    data: { training: new DataLoader(data, { batchSize: 8, shuffle: true }) },
    optimizer: adamW({ groups }),
    callbacks: [stop],
  });
  learner.removeCallback("ProgressPrinter");
  learner.removeCallback("MetricsPrinter");
  const { resumed, ...report } = await recipe(learner, { ...options, signal: interrupt.signal });
  const state = JSON.parse(JSON.stringify(learner.state)) as unknown;
  const optimizer: unknown = await py.js(learner.optimizer.state_dict() as AnyRef);
  const required: unknown = await py.js(
    untyped(worker, "builtins").eval("lambda m: [p.requires_grad for p in m.parameters()]")(learner.model),
  );
  return {
    resumed,
    whole: { weights: await weightsHash(worker, learner.model as never), optimizer, state, required, report },
  };
}

const recipes: [string, Recipe, number[]][] = [
  ["fitOneCycle", (learner, options) => fitOneCycle(learner, 3, 0.01, options), [7]],
  ["fineTune", (learner, options) => fineTune(learner, 2, { ...options, freezeEpochs: 2 }), [3, 10, 13]],
];

test.each(recipes)("%s", async (_, recipe, stops) => {
  const { whole } = await run(recipe, 1);
  for (const stopAt of stops) {
    const resume = { folder: join(folder, String(stopAt)), every: 2 };
    const { whole: first } = await run(recipe, 1, { resume }, stopAt);
    expect(first.report.status).toBe("interrupted");
    const { whole: second } = await run(recipe, 2, { resume });
    expect(second).toEqual(whole);
  }
  const { whole: cold } = await run(recipe, 2);
  expect(cold.weights).not.toBe(whole.weights);
});

test("each part of fineTune has a folder of its own", async () => {
  const resume = join(folder, "new", "run");
  await run(recipes[1]![1], 1, { resume });
  expect((await readdir(resume)).toSorted()).toEqual(["all", "head"]);
  const { resumed, whole } = await run(recipes[1]![1], 2, { resume });
  expect({ steps: whole.report.steps, resumed }).toMatchObject({ steps: 20, resumed: { steps: 10, times: 1 } });
});

test("other images are another program", async () => {
  const photos = join(folder, "photos");
  const add = async (...path: string[]): Promise<void> => {
    await mkdir(join(photos, ...path.slice(0, -1)), { recursive: true });
    await sharp({ create: { width: 8, height: 8, channels: 3, background: "teal" } }).toFile(join(photos, ...path));
  };
  for (const name of ["0.jpg", "1.jpg"]) for (const kind of ["cat", "dog"]) await add(kind, name);
  const { nn } = untyped(worker, "torch");
  const fitted = async (root: string): Promise<Report> => {
    const images = new DataLoader(await imageFolder(root, { size: 8 }), { batchSize: 2, shuffle: true });
    const model = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 3, 2)) as AnyRef;
    const learner = new Learner(model, crossEntropy(), { data: { training: images }, defaultCallbacks: false });
    return learner.fit(1, { resume: join(folder, "run") });
  };
  await fitted(photos);
  // The folder may have moved.
  await cp(photos, join(folder, "elsewhere"), { recursive: true });
  expect(await fitted(join(folder, "elsewhere"))).toMatchObject({ resumed: { steps: 2 } });
  await rm(join(photos, "cat", "1.jpg"));
  await add("cat", "2.jpg");
  await expect(fitted(photos)).rejects.toThrow(/of another program: training data: its images and classes was/);
});
