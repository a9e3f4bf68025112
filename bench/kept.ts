/** A later epoch of samples that the worker keeps, over a line that is slow and long, against the same machine. */
import {
  adam,
  connectWorker,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  sgd,
  TrainingPhase,
  type Worker,
} from "torchwire";
import { serve } from "../test/fixtures/served.ts";
import { makeTraining, rgbDigits, type ModelName } from "../test/training.ts";
import { measure, type Contest, type Measured, type Opened, type Variant } from "./rounds.ts";
import type { Surroundings } from "./section.ts";
import { SlowLink, type Line } from "./slow-link.ts";
import { LEARNING_RATES, type Images } from "./torchwire-loop.ts";

const STARTS = 2;
const BATCH = 64;
const LINE: Line = { bitsPerSecond: 20e6, roundTripMs: 30 };
/** At the end of an epoch all steps are waited for, which costs a round trip: the epochs are as long as short ones are. */
const cases = [
  { model: "resnet18", steps: 40 },
  { model: "cnn", steps: 200 },
] as const satisfies readonly { model: ModelName; steps: number }[];

export async function measureKept(surroundings: Surroundings): Promise<Measured[]> {
  const images = await rgbDigits(BATCH * Math.max(...cases.map(({ steps }) => steps)));
  return measure(
    () => open(surroundings, images),
    surroundings.quick ? 1 : STARTS,
    surroundings,
    (text) => surroundings.progress(`kept: ${text}`),
  );
}

async function open({ python, sawVersions }: Surroundings, images: Images): Promise<Opened> {
  const served = await serve({ workers: 2, python });
  const link = await SlowLink.open(served.port + 2, LINE);
  const settings = { device: "cpu", seed: 0, timeout: 30_000 } as const;
  const near = await connectWorker(served.address, settings);
  const far = await connectWorker(link.address, settings);
  sawVersions(near.versions);
  const contests: Contest[] = [];
  for (const one of cases) contests.push(await epochs(near, far, images, one));
  return {
    contests,
    pids: [served.pid, near.pid, far.pid],
    async close() {
      await Promise.all([near.close(), far.close()]);
      await link[Symbol.asyncDispose]();
      await served[Symbol.asyncDispose]();
    },
  };
}

async function epochs(
  near: Worker,
  far: Worker,
  images: Images,
  { model: name, steps }: (typeof cases)[number],
): Promise<Contest> {
  const phase = new TrainingPhase();
  const variant = (title: string, worker: Worker, keep: boolean): Variant & { first: () => Promise<number> } => {
    const lr = LEARNING_RATES[name];
    const learner = new Learner(makeTraining(worker, name, lr).model, crossEntropy(), {
      input: image(),
      optimizer: name === "cnn" ? adam({ lr }) : sgd({ lr, momentum: 0.9 }),
      defaultCallbacks: false,
    });
    // Each batch that is sent takes 60 ms.
    const count = keep ? steps : Math.ceil(steps / 8);
    const rows = { xs: cut(images.xs, count * BATCH), ys: cut(images.ys, count * BATCH) };
    const loader = new DataLoader(rows, { batchSize: BATCH, shuffle: true, ...(keep && { keep: "worker" }) });
    const epoch = async (): Promise<{ readonly ms: number; readonly bytes: number }> => {
      const before = (await worker.stats()).bytesSent;
      const start = performance.now();
      await learner.epoch(phase, loader);
      const ms = performance.now() - start;
      return { ms, bytes: (await worker.stats()).bytesSent - before };
    };
    return {
      name: title,
      first: async () => (await epoch()).bytes,
      run: async () => {
        const { ms, bytes } = await epoch();
        return { "ms/step": ms / count, "KB/step": bytes / count / 1000 };
      },
    };
  };
  const variants = [
    variant("on this machine", near, true),
    variant("over 20 Mbit/s and 30 ms", far, true),
    variant("over 20 Mbit/s and 30 ms, each batch sent", far, false),
  ];
  const first: number[] = [];
  for (const one of variants) first.push(await one.first());
  for (const one of variants) await one.run();
  return {
    name: `${name}, batch ${BATCH}: a later epoch of kept samples`,
    primary: "ms/step",
    better: "lower",
    reference: "on this machine",
    columns: ["ms/step", "KB/step"],
    variants,
    facts: {
      "steps in an epoch": steps,
      "bytes of the first epoch": first[1]!,
    },
  };
}

const cut = <T extends Images["xs"]>(array: T, rows: number): T => ({
  ...array,
  shape: [rows, ...array.shape.slice(1)],
  data: array.data.subarray(0, (array.data.length / array.shape[0]!) * rows),
});
