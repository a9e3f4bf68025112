/** What PyTorchBackend and its neighbours add, bit for bit as plain PyTorch does it: test/native/backend.py has the same loops. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  adamW,
  Augment,
  callback,
  crossEntropy,
  CutMix,
  DataLoader,
  EMA,
  kw,
  Learner,
  MixUp,
  PyTorchBackend,
  SWA,
  type Callback,
  type NDArray,
  type Network,
  type PyTorchBackendOptions,
  type Worker,
} from "torchwire";
import type { AnyRef } from "../bridge/types/core.ts";
import { untyped } from "./observed.ts";
import { plainPython } from "./plain-python.ts";
import { float32Bits, makeNoisyCnn, mnist, rgbDigits, weightsHash } from "./training.ts";
import { testWorker } from "./worker.ts";

const THREADS = 1;

interface Result {
  readonly losses: readonly string[];
  readonly validation: readonly string[];
  readonly weights: string;
  readonly averaged: string | null;
}

interface Way {
  readonly backend?: PyTorchBackendOptions;
  readonly callbacks?: () => Callback[];
}

const augment = (): Augment =>
  new Augment((v2) => v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(28, kw({ padding: 2 }))]));

const ways: { readonly [name: string]: Way } = {
  "clipping by value": { backend: { clipGradValue: 0.01 } },
  "clipping by norm and by value": { backend: { clipGradNorm: 1, clipGradValue: 0.05 } },
  bf16: { backend: { amp: "bf16" } },
  "fp16 with scaling": { backend: { amp: "fp16" } },
  "fp16 with scaling and clipping": { backend: { amp: "fp16", clipGradNorm: 0.5 } },
  EMA: { callbacks: () => [new EMA({ decay: 0.9 })] },
  "EMA with buffers": { callbacks: () => [new EMA({ decay: 0.9, buffers: true })] },
  "EMA and bf16": { backend: { amp: "bf16" }, callbacks: () => [new EMA({ decay: 0.9 })] },
  SWA: { callbacks: () => [new SWA({ start: 1 })] },
  // "eager" runs the graph that was captured as it is: a compiler of its own is not there everywhere.
  compiled: { backend: { compile: { backend: "eager" } } },
  augmented: { callbacks: () => [augment()] },
  MixUp: { callbacks: () => [new MixUp({ classes: 10, alpha: 0.4 })] },
  CutMix: { callbacks: () => [new CutMix({ classes: 10, alpha: 0.4 })] },
  "augmented and MixUp": { callbacks: () => [new MixUp({ classes: 10, alpha: 0.4 }), augment()] },
};

let worker: Worker;
let torch: AnyRef;
let natives: { readonly [name: string]: Result };
let images: { readonly xs: NDArray; readonly ys: NDArray };

beforeAll(async () => {
  natives = await plainPython<typeof natives>("backend.py", { data: mnist });
  worker = await testWorker({ threads: THREADS });
  torch = untyped(worker, "torch");
  images = await rgbDigits(128);
});
afterAll(() => worker?.close());

function part(start: number, end: number): { xs: NDArray; ys: NDArray } {
  const size = 28 * 28 * 3;
  const { xs, ys } = images;
  return {
    xs: { dtype: "uint8", shape: [end - start, 28, 28, 3], data: xs.data.subarray(start * size, end * size) },
    ys: { dtype: "uint8", shape: [end - start], data: ys.data.subarray(start, end) },
  };
}

async function trained({ backend = {}, callbacks }: Way): Promise<{ learner: Learner; result: Result }> {
  torch.manual_seed(0);
  const model = makeNoisyCnn(torch);
  const losses: { [phase: string]: string[] } = { training: [], validation: [] };
  const own = callbacks?.() ?? [];
  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(part(0, 96), { batchSize: 16 }),
      validation: new DataLoader(part(96, 128), { batchSize: 16 }),
    },
    optimizer: adamW({ lr: 1e-2 }),
    defaultCallbacks: false,
    callbacks: [
      ...own,
      new PyTorchBackend(backend),
      callback({
        name: "Losses",
        observe: { stepEnd: ({ phase, values }) => void losses[phase.name]!.push(float32Bits(values.loss)) },
      }),
    ],
  });
  expect(learner.explain()).toContain("steps in flight: 3");
  torch.manual_seed(5);
  expect(await learner.fit(2)).toMatchObject({ status: "completed", steps: 12 });
  const average = learner.getCallback(EMA) ?? learner.getCallback(SWA);
  if (average instanceof SWA) await average.updateBatchNorm();
  const hash = (one: AnyRef): Promise<string> => weightsHash(worker, one as unknown as Network);
  const result = {
    losses: losses["training"]!,
    validation: losses["validation"]!,
    weights: await hash(model),
    averaged: average === undefined ? null : await hash(average.model),
  };
  return { learner, result };
}

describe.each(Object.entries(ways))("%s", (name, way) => {
  test("has the bits of plain PyTorch", async () => {
    const reference = natives[name]!;
    expect([reference.losses.length, reference.validation.length]).toEqual([12, 4]);
    expect((await trained(way)).result).toEqual(reference);
  });

  test("is not what it is without it", () => {
    const others = Object.entries(natives).filter(([other]) => other !== name);
    for (const [, { losses, weights, averaged }] of others)
      expect([losses, weights, averaged]).not.toEqual([
        natives[name]!.losses,
        natives[name]!.weights,
        natives[name]!.averaged,
      ]);
  });
});

test("a fit that fails before the averages are shown, or while they are, leaves the model its own weights", async () => {
  const failing = (when: "before" | "while"): Callback =>
    callback({
      name: "Fails",
      // Added after EMA, it goes first.
      on: {
        [when === "before" ? "epochBegin" : "stepEnd"]: ({ phase }: { phase: { name: string } }) => {
          if (phase.name === "validation") torch.ones(1).no_such_method();
        },
      },
    });
  for (const when of ["before", "while"] as const) {
    torch.manual_seed(0);
    const model = makeNoisyCnn(torch);
    const ema = new EMA({ decay: 0.9 });
    let own: Promise<string> | undefined;
    const keep = callback({
      name: "Keep",
      on: {
        epochEnd: ({ phase }) => {
          if (phase.name === "training") own = weightsHash(worker, model as unknown as Network);
          return own?.then(() => undefined);
        },
      },
    });
    const learner = new Learner(model, crossEntropy(), {
      data: {
        training: new DataLoader(part(0, 32), { batchSize: 16 }),
        validation: new DataLoader(part(96, 128), { batchSize: 16 }),
      },
      optimizer: adamW({ lr: 1e-2 }),
      defaultCallbacks: false,
      callbacks: [ema, keep, failing(when)],
    });
    await expect(learner.fit(1)).rejects.toThrow("no_such_method");
    expect(await weightsHash(worker, model as unknown as Network)).toBe(await own);
    expect(await weightsHash(worker, ema.model as unknown as Network)).not.toBe(await own);
  }
});
