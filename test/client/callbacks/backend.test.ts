/** PyTorchBackend and its neighbours, bit for bit as in plain PyTorch: test/native/backend.py has the same loops. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  adamW,
  callback,
  Checkpointer,
  crossEntropy,
  DataLoader,
  EarlyStopping,
  freeze,
  kw,
  Learner,
  loadWeights,
  lrFind,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  saveWeights,
  sgd,
  TrainingPhase,
  unfreeze,
  type Callback,
  type LearnerOptions,
  type NDArray,
  type Network,
  type Worker,
} from "torchwire";
import {
  Augment,
  CutMix,
  EMA,
  MixUp,
  SanityCheck,
  SWA,
  type AveragedWeights,
  type PyTorchBackendOptions,
} from "torchwire/callbacks";
import { LogHistograms, RunFolder, tensorBoard } from "torchwire/logging";
import * as stopping from "torchwire/stopping";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { coefficient, threefold, setCoefficient, tiny } from "../../tiny.ts";
import { float32Bits, makeNoisyCnn, mnist, rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

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
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  images = await rgbDigits(128);
});

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
  expect(learner.explain()).toContain("steps in flight: 3 to 32");
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

/** Against plain PyTorch in the worker itself: test/native/by_hand.py. */
describe("weights go by tensor, and not by name", () => {
  let hand: AnyRef;
  beforeAll(() => {
    const path = fileURLToPath(new URL("../../native/by_hand.py", import.meta.url));
    hand = untyped(worker, "runpy").run_path(path);
  });

  const rows = 24;
  const numbers = (columns: number, phase: number): NDArray => ({
    dtype: "float32",
    shape: [rows, columns],
    data: Float32Array.from({ length: rows * columns }, (_, i) => Math.fround(Math.sin(i * i + phase))),
  });
  const xs = numbers(4, 0);
  const ys = numbers(1, 1);

  interface ByHand {
    readonly losses: readonly number[];
    readonly model: object;
    readonly averaged: object | null;
    readonly loss: object;
  }
  const byHand = (build: string, options: Record<string, unknown>): Promise<ByHand> =>
    worker.scope(() =>
      py.js(py.at(hand, "train")(py.at(hand, build), worker.tensor(xs), worker.tensor(ys), 3, kw(options))),
    ) as Promise<ByHand>;
  const tensorsOf = (model: AnyRef): Promise<object> =>
    worker.scope(() => py.js(py.at(hand, "tensors")(model))) as Promise<object>;

  function learnerOf(build: string, callbacks: readonly Callback[], rest: LearnerOptions = {}): Learner<AnyRef> {
    torch.manual_seed(0);
    const model: AnyRef = py.at(hand, build)();
    const learner = new Learner<AnyRef>(model, mse(), {
      data: {
        training: new DataLoader({ xs, ys }, { batchSize: 8 }),
        validation: new DataLoader({ xs, ys }, { batchSize: rows }),
      },
      optimizer: sgd({ lr: 0.05, momentum: 0.9 }),
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics(), ...callbacks],
      ...rest,
    });
    torch.manual_seed(5);
    return learner;
  }
  const validated = (learner: Learner): number[] =>
    learner.state.metricsEpoch["validation"]!["loss"]!.map(({ value }) => value);

  const ways: [title: string, options: Record<string, unknown>, callbacks: () => AveragedWeights][] = [
    ["EMA", { ema: py.float(0.8) }, () => new EMA({ decay: 0.8 })],
    ["EMA with buffers", { ema: py.float(0.8), buffers: true }, () => new EMA({ decay: 0.8, buffers: true })],
    ["SWA from epoch 2", { swa: 2 }, () => new SWA({ start: 2, validate: true })],
  ];

  test.each(ways)("%s of a model with tied, shared and other tensors", async (_, options, average) => {
    const reference = await byHand("tied", options);
    const own = average();
    const learner = learnerOf("tied", [own]);
    await learner.fit(3);
    expect(validated(learner)).toEqual(reference.losses);
    expect(await tensorsOf(learner.model)).toEqual(reference.model);
    expect(await tensorsOf(own.model)).toEqual(reference.averaged);
    expect(await py.js(learner.model.note)).toEqual({ runs: 9 });
  });

  test.each(ways)("%s of a lazy model", async (_, options, average) => {
    const reference = await byHand("lazy", options);
    const own = average();
    const learner = learnerOf("lazy", [own]);
    await learner.fit(3);
    expect(validated(learner)).toEqual(reference.losses);
    expect(await tensorsOf(learner.model)).toEqual(reference.model);
    expect(await tensorsOf(own.model)).toEqual(reference.averaged);
  });

  type Before = (learner: Learner<AnyRef>) => Promise<unknown>;
  test.each<[string, (folder: string) => Callback[], { readonly before?: Before; readonly look?: true }?]>([
    ["alone", () => []],
    ["after lrFind", () => [], { before: (learner) => lrFind(learner, { steps: 5 }) }],
    ["after a prediction", () => [], { before: (learner) => learner.predict(xs), look: true }],
    ["after a validation", () => [], { before: (learner) => learner.validate(), look: true }],
    ["after its summary", () => [], { before: (learner) => learner.summary() }],
    ["frozen and not", () => [], { before: async ({ model }) => void unfreeze(freeze(model)) }],
    ["with SanityCheck", () => [new SanityCheck()], { look: true }],
    ["with SWA and its batch normalisation", () => [new SWA({ start: 3 })]],
    ["with Checkpointer", (folder) => [new Checkpointer(folder)]],
    ["with EarlyStopping", () => [new EarlyStopping(stopping.never(), { restoreBest: true })]],
    ["with logs", (folder) => [new RunFolder(folder), new LogHistograms(tensorBoard(folder))]],
  ])("a lazy model %s is the one of plain PyTorch", async (_, callbacks, { before, look = false } = {}) => {
    const reference = await byHand("lazy", { look });
    const folder = await mkdtemp(join(tmpdir(), "lazy-"));
    try {
      const own = callbacks(folder);
      const learner = learnerOf("lazy", own);
      await before?.(learner);
      await learner.fit(3);
      const [swa, early] = [learner.getCallback(SWA), learner.getCallback(EarlyStopping)];
      await swa?.updateBatchNorm();
      expect(validated(learner).slice(-3)).toEqual(reference.losses);
      // What EarlyStopping puts back is the best of them.
      const best = early?.best?.value;
      expect(best).toBe(early && Math.min(...reference.losses));
      expect(best).toBe(early && (await learner.validate())["loss"]);
      const checkpointer = own.find((one) => one instanceof Checkpointer);
      await checkpointer?.load(learner.state.checkpoints.at(-1));
      const isLast = reference.losses.at(-1) === Math.min(...reference.losses);
      expect(early === undefined || isLast ? await tensorsOf(learner.model) : reference.model).toEqual(reference.model);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("what a module makes in validation and goes on with serves training", async () => {
    const reference = await byHand("caching", {});
    const learner = learnerOf("caching", []);
    await learner.predict(xs);
    await learner.validate();
    await learner.fit(3);
    expect(validated(learner).slice(-3)).toEqual(reference.losses);
    expect(await tensorsOf(learner.model)).toEqual(reference.model);
  });

  test.each(["clipGradNorm"] as const)("%s is of all that the optimizer has: a loss may have parameters", async () => {
    const reference = await byHand("tied", { clip: py.float(0.1) });
    torch.manual_seed(0);
    const model: AnyRef = py.at(hand, "tied")();
    const loss: AnyRef = py.at(hand, "Loss")();
    const learner = new Learner<AnyRef>(model, (yhat, y) => loss(yhat, y), {
      data: { training: new DataLoader({ xs, ys }, { batchSize: 8 }), validation: [] },
      optimizer: sgd({ lr: 0.05, momentum: 0.9, groups: { loss: { params: () => loss.parameters() } } }),
      defaultCallbacks: false,
      callbacks: [new PyTorchBackend({ clipGradNorm: 0.1 })],
    });
    const training = learner.data.training as DataLoader;
    for (let epoch = 0; epoch < 3; epoch++) await learner.epoch(new TrainingPhase(), training);
    expect(await tensorsOf(model)).toEqual(reference.model);
    expect(await tensorsOf(loss)).toEqual(reference.loss);
  });
});

describe("the average follows the model, where weights change otherwise than by an update", () => {
  const start = 1;
  const data = threefold(128, 1).xs.data as Float32Array;
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const lossAt = (c: number): number => Math.abs(c - 3) * mean;
  const lossesOf = (learner: Learner): number[] =>
    learner.state.metricsEpoch["validation"]!["loss"]!.map(({ value }) => value);
  const close = (found: number, expected: number): void => expect(found / expected).toBeCloseTo(1, 5);

  /** The coefficient after each training step, and when each training epoch has ended. */
  function watched(
    average: AveragedWeights,
    more: readonly Callback[] = [],
  ): { learner: Learner<AnyRef>; steps: number[]; ends: number[] } {
    const steps: number[] = [];
    const ends: number[] = [];
    const looks = callback({
      name: "Looks",
      phase: AbstractTrainingPhase,
      access: { model: "use" },
      measure: ({ model }) => ({ coefficient: model.weight.detach().clone().sum() }),
      observe: {
        stepEnd: ({ values }) => void steps.push(values.coefficient),
        epochEnd: () => void ends.push(steps.at(-1)!),
      },
    });
    const learner = tiny(worker, { start, callbacks: [new Recorder(), new Metrics(), looks, average, ...more] });
    return { learner, steps, ends };
  }
  const emaOf = (steps: readonly number[], decay: number): number =>
    steps.slice(1).reduce((average, step) => decay * average + (1 - decay) * step, steps[0]!);

  test("SWA before its first epoch: there is no mean, and the model itself is validated", async () => {
    const { learner, ends } = watched(new SWA({ start: 3, validate: true }));
    await learner.validate();
    await learner.fit(4);
    const [first, ...losses] = lossesOf(learner);
    close(first!, lossAt(start));
    const expected = [ends[0]!, ends[1]!, ends[2]!, (ends[2]! + ends[3]!) / 2].map(lossAt);
    expect(losses.map((loss, i) => Math.round((loss / expected[i]!) * 1e5) / 1e5)).toEqual([1, 1, 1, 1]);
  });

  let folder: string;
  let other: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "averages-"));
    other = join(folder, "other.safetensors");
    await tiny(worker, { start: 0.5 }).save(other);
  });
  afterAll(() => rm(folder, { recursive: true }));

  const replacements: { readonly [title: string]: (learner: Learner<AnyRef>) => unknown } = {
    "learner.load": (learner) => learner.load(other),
    "loadWeights of the model": ({ model }) => loadWeights(model, other),
    "load_state_dict in Python": ({ model }) =>
      void model.load_state_dict(tiny(worker, { start: 0.5 }).model.state_dict()),
    "by hand": ({ model }) => setCoefficient(model, 0.5),
    "another parameter": ({ model }) => {
      model.weight = torch.nn.Parameter(torch.full([1, 1], 0.5));
    },
    "a new model": (learner) => void (learner.model = tiny(worker, { start: 0.5 }).model),
    "Checkpointer.load": async (learner) => {
      const checkpointer = learner.getCallback(Checkpointer)!;
      await checkpointer.load({ ...checkpointer.best!, path: other });
    },
  };

  describe.each([0, 2])("after %i epochs", (before) => {
    const possible = Object.entries(replacements).filter(([title]) => before > 0 || title !== "Checkpointer.load");
    test.each(possible)("%s", async (title, replace) => {
      const ema = new EMA({ decay: 0.8 });
      const { learner, steps } = watched(ema, [new Checkpointer(join(folder, `${before} ${title}`))]);
      if (before > 0) await learner.fit(before);
      await replace(learner);
      close((await learner.validate())["loss"]!, lossAt(0.5));
      expect(await coefficient(learner.model)).toBe(0.5);
      if (title === "another parameter") return;
      const from = steps.length;
      await learner.fit(1);
      close(lossesOf(learner).at(-1)!, lossAt(emaOf(steps.slice(from), 0.8)));
      close(await coefficient(ema.model), emaOf(steps.slice(from), 0.8));
      expect(await coefficient(learner.model)).toBe(steps.at(-1));
    });
  });

  test.each(Object.entries(replacements).filter(([title]) => !/model$|parameter/.test(title)))(
    "%s in the midst of a validation that shows the averages: they are what the model has",
    async (_, replace) => {
      const replaces = callback({
        name: "Replaces",
        phase: AbstractValidationPhase,
        on: { epochEnd: async ({ epoch }) => void (epoch === 2 && (await replace(learner))) },
      });
      const { learner, steps } = watched(new EMA({ decay: 0.8 }), [
        new Checkpointer(join(folder, _ + " midst")),
        replaces,
      ]);
      await learner.fit(2);
      expect(await coefficient(learner.model)).toBe(0.5);
      close((await learner.validate())["loss"]!, lossAt(0.5));
      await learner.fit(1);
      close(lossesOf(learner).at(-1)!, lossAt(emaOf(steps.slice(-16), 0.8)));
    },
  );

  test("restoreBest: what was measured is validated again, and the mean of the fit stays until the next update", async () => {
    const early = new EarlyStopping(stopping.never(), { restoreBest: true });
    const swa = new SWA({ start: 1, validate: true });
    const { learner, ends } = watched(swa, [early]);
    learner.hyper.set("lr", 0.02);
    expect((await learner.fit(3)).status).toBe("completed");
    const whole = ends.reduce((sum, c) => sum + c) / 3;
    close((await learner.validate())["loss"]!, early.best!.value);
    close(await coefficient(swa.model), whole);
    await learner.fit(1);
    close(await coefficient(swa.model), ends.at(-1)!);
  });

  test("what leaves the weights as they were goes on: lrFind, another validation, a file that is refused", async () => {
    const ema = new EMA({ decay: 0.8 });
    const { learner, steps } = watched(ema);
    await learner.fit(1);
    await lrFind(learner, { steps: 4 });
    await learner.validate();
    const wrong = join(folder, "wrong.safetensors");
    await saveWeights(torch.nn.Linear(2, 2), wrong);
    await expect(learner.load(wrong)).rejects.toThrow("does not fit");
    await learner.fit(1);
    close(lossesOf(learner).at(-1)!, lossAt(emaOf(steps, 0.8)));
    expect(steps).toHaveLength(32);
  });

  test("while averages are shown, the averaged model is still the average", async () => {
    const ema = new EMA({ decay: 0.8 });
    const seen: number[] = [];
    const looks = callback({
      name: "LooksAtBoth",
      phase: AbstractValidationPhase,
      access: { model: "read" },
      on: { epochEnd: async ({ model }) => void seen.push(await coefficient(model), await coefficient(ema.model)) },
    });
    const { learner, steps } = watched(ema, [looks]);
    await learner.fit(1);
    for (const one of seen) close(one, emaOf(steps, 0.8));
    expect(seen[0]).toBe(seen[1]);
  });
});
