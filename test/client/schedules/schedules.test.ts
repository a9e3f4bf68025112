/**
 * Schedules on real optimizers: the values are PyTorch's, and a fit with them is the plain Python loop, bit for bit.
 */
import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import {
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  Learner,
  oneCycle,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  StopOnNaNLoss,
  type NDArray,
  type Network,
  type Worker,
} from "torchwire";
import { relative, type Schedules } from "torchwire/callbacks";
import type { OptimizerSpec } from "torchwire/optim";
import type { Schedule } from "torchwire/schedules";
import * as schedules from "torchwire/schedules";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { float32Bits, makeNoisyCnn, mnist, rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

const { constant, cosineAnnealingWarmRestarts, linearLR, oneCycleLR, oneCycleMomentum, warmUp } = schedules;

/** The arguments of test/native/schedules.py. Its docstring describes them. */
interface Training {
  readonly optimizer: "AdamW" | "SGD";
  readonly options: { readonly lr: number; readonly momentum?: number; readonly nesterov?: boolean };
  readonly head_lr: number | null;
  readonly schedule: "one-cycle" | "linear-warm-up" | readonly [string, object];
  readonly top?: number;
  readonly epochs: number;
  readonly images: number;
  readonly batch_size: number;
  readonly clip: number | null;
  readonly accumulate: number;
}

interface Trained {
  readonly losses: readonly string[];
  readonly rates: readonly (readonly number[])[];
  readonly betas: readonly number[];
  readonly weights_sha256: string;
}

/** Three epochs of five batches, the last one of 12. */
const plain = { epochs: 3, images: 108, batch_size: 24, clip: null, accumulate: 1, head_lr: null };
const STEPS = 15;
const nesterov = { optimizer: "SGD", options: { lr: 0.05, momentum: 0.9, nesterov: true } } as const;

interface Case {
  readonly native: Training;
  readonly schedules: Schedules;
  readonly faults: readonly string[];
  /** The rates have the very bits of Python's: nothing is computed but sums, products and quotients. */
  readonly exact?: true;
}

const cases: { readonly [title: string]: Case } = {
  "one-cycle AdamW with clipping": {
    native: { ...plain, optimizer: "AdamW", options: { lr: 1e-3 }, clip: 1, schedule: "one-cycle", top: 0.01 },
    schedules: { lr: oneCycle("run", 0.01) },
    faults: ["late", "nudge", "constant"],
  },
  "one-cycle AdamW with clipping by PyTorch's own OneCycleLR, which moves the first beta too": {
    native: {
      ...plain,
      optimizer: "AdamW",
      options: { lr: 1e-3 },
      clip: 1,
      schedule: ["OneCycleLR", { max_lr: 0.01, total_steps: STEPS }],
    },
    schedules: {
      lr: oneCycleLR(0.01, { totalSteps: "run" }),
      "betas.0": oneCycleMomentum({ totalSteps: "run" }),
    },
    faults: ["late", "constant"],
  },
  "one-cycle AdamW whose steps are of two batches each, of one at the end of an epoch": {
    native: {
      ...plain,
      optimizer: "AdamW",
      options: { lr: 1e-3 },
      accumulate: 2,
      clip: 1,
      schedule: "one-cycle",
      top: 0.01,
    },
    schedules: { lr: oneCycle("run", 0.01) },
    faults: ["late", "nudge"],
  },
  "SGD with Nesterov's momentum and linear warm-up": {
    native: { ...plain, ...nesterov, schedule: "linear-warm-up", top: 0.05 },
    schedules: { lr: warmUp("1ep", constant(0.05)) },
    faults: ["late", "nudge", "constant"],
    exact: true,
  },
  "SGD with Nesterov's momentum and PyTorch's own LinearLR, which multiplies what was there before": {
    native: { ...plain, ...nesterov, schedule: ["LinearLR", { start_factor: 0.1, total_iters: 7 }] },
    schedules: { lr: linearLR(0.05, { startFactor: 0.1, totalIters: 7 }) },
    faults: ["late", "constant"],
  },
  "cosine restarts with two groups": {
    native: {
      ...plain,
      optimizer: "SGD",
      options: { lr: 0.02, momentum: 0.9 },
      head_lr: 0.1,
      schedule: ["CosineAnnealingWarmRestarts", { T_0: 4, T_mult: 2 }],
    },
    schedules: { lr: relative(cosineAnnealingWarmRestarts(1, { t0: 4, tMult: 2 })) },
    faults: ["late", "constant", "head"],
  },
};

/** [class, keywords, start, ours]: of each of PyTorch's, the values over 40 steps. */
const valued: readonly (readonly [string, object, number, Schedule, momentum?: Schedule])[] = [
  ["StepLR", { step_size: 7, gamma: 0.5 }, 0.3, schedules.stepLR(0.3, { stepSize: 7, gamma: 0.5 })],
  [
    "MultiStepLR",
    { milestones: [3, 10, 10, 25], gamma: 0.3 },
    0.3,
    schedules.multiStepLR(0.3, { milestones: [3, 10, 10, 25], gamma: 0.3 }),
  ],
  ["ConstantLR", {}, 0.3, schedules.constantLR(0.3)],
  ["ConstantLR", { factor: 0.2, total_iters: 9 }, 0.3, schedules.constantLR(0.3, { factor: 0.2, totalIters: 9 })],
  ["LinearLR", {}, 0.3, schedules.linearLR(0.3)],
  [
    "LinearLR",
    { start_factor: 1, end_factor: 0.1, total_iters: 30 },
    0.3,
    schedules.linearLR(0.3, { startFactor: 1, endFactor: 0.1, totalIters: 30 }),
  ],
  ["ExponentialLR", { gamma: 0.93 }, 0.3, schedules.exponentialLR(0.3, { gamma: 0.93 })],
  ["PolynomialLR", {}, 0.3, schedules.polynomialLR(0.3)],
  ["PolynomialLR", { total_iters: 33, power: 1.7 }, 0.3, schedules.polynomialLR(0.3, { totalIters: 33, power: 1.7 })],
  [
    "CosineAnnealingLR",
    { T_max: 13, eta_min: 0.01 },
    0.3,
    schedules.cosineAnnealingLR(0.3, { tMax: 13, etaMin: 0.01 }),
  ],
  ["CosineAnnealingWarmRestarts", { T_0: 7 }, 0.3, cosineAnnealingWarmRestarts(0.3, { t0: 7 })],
  [
    "CosineAnnealingWarmRestarts",
    { T_0: 3, T_mult: 2, eta_min: 0.01 },
    0.3,
    cosineAnnealingWarmRestarts(0.3, { t0: 3, tMult: 2, etaMin: 0.01 }),
  ],
  [
    "CyclicLR",
    { base_lr: 0.1, max_lr: 0.5, step_size_up: 4, cycle_momentum: false },
    0.3,
    schedules.cyclicLR(0.1, 0.5, { stepSizeUp: 4 }),
  ],
  [
    "CyclicLR",
    { base_lr: 0.1, max_lr: 0.5, step_size_up: 4, step_size_down: 9, mode: "triangular2", cycle_momentum: false },
    0.3,
    schedules.cyclicLR(0.1, 0.5, { stepSizeUp: 4, stepSizeDown: 9, mode: "triangular2" }),
  ],
  [
    "CyclicLR",
    { base_lr: 0.1, max_lr: 0.5, step_size_up: 4, mode: "exp_range", gamma: 0.9, cycle_momentum: false },
    0.3,
    schedules.cyclicLR(0.1, 0.5, { stepSizeUp: 4, mode: "exp_range", gamma: 0.9 }),
  ],
  [
    "OneCycleLR",
    { max_lr: 0.5, total_steps: 40 },
    0.3,
    oneCycleLR(0.5, { totalSteps: 40 }),
    oneCycleMomentum({ totalSteps: 40 }),
  ],
  [
    "OneCycleLR",
    {
      max_lr: 0.5,
      total_steps: 40,
      three_phase: true,
      anneal_strategy: "linear",
      pct_start: 0.35,
      div_factor: 10,
      final_div_factor: 100,
      base_momentum: 0.8,
      max_momentum: 0.9,
    },
    0.3,
    oneCycleLR(0.5, {
      totalSteps: 40,
      threePhase: true,
      annealStrategy: "linear",
      pctStart: 0.35,
      divFactor: 10,
      finalDivFactor: 100,
    }),
    oneCycleMomentum({
      totalSteps: 40,
      threePhase: true,
      annealStrategy: "linear",
      pctStart: 0.35,
      base: 0.8,
      top: 0.9,
    }),
  ],
];
const COUNT = 40;

interface Natives {
  readonly values: readonly { readonly rates: readonly number[]; readonly momenta: readonly number[] }[];
  readonly trainings: ReadonlyMap<string, Trained>;
}
const keyOf = (title: string, fault: string | null): string => `${title}: ${fault ?? "right"}`;

/** All in one process. */
async function runNative(): Promise<Natives> {
  const wanted = Object.entries(cases).flatMap(([title, { native, faults }]) =>
    [null, ...faults].map((fault) => ({ key: keyOf(title, fault), one: { ...native, fault } })),
  );
  const values = valued.map(([name, keywords, start]) => [name, keywords, start, COUNT]);
  const asked = { values, plateaus: [], trainings: wanted.map(({ one }) => one) };
  const results = await plainPython<{ values: Natives["values"]; trainings: Trained[] }>("schedules.py", {
    data: mnist,
    cases: asked,
  });
  return { values: results.values, trainings: new Map(wanted.map(({ key }, i) => [key, results.trainings[i]!])) };
}

let worker: Worker;
let torch: AnyRef;
let natives: Natives;
let images: { readonly xs: NDArray; readonly ys: NDArray };
beforeAll(async () => {
  natives = await runNative();
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  images = await rgbDigits(plain.images);
});

/**
 * Largest difference, relative to the value. Cosines and powers of JavaScript and of C differ in the last bit, now and
 * then.
 */
function difference(found: readonly number[], expected: readonly number[]): number {
  expect(found).toHaveLength(expected.length);
  return Math.max(
    ...found.map((value, i) => Math.abs(value - expected[i]!) / Math.max(Math.abs(expected[i]!), 1e-300)),
  );
}

test.each(valued.map(([name, keywords], i) => [name, JSON.stringify(keywords), i] as const))(
  "torch.optim.lr_scheduler.%s %s has our values",
  (_name, _keywords, i) => {
    const { rates, momenta } = natives.values[i]!;
    const [, , , schedule, momentum] = valued[i]!;
    const at = Array.from({ length: COUNT }, (_, t) => schedule(t + 1));
    // Near the foot of a cosine 1 + cos(x) has few digits left: what counts there is how far that is from 0.
    const floor = Math.max(...rates) * 1e-15;
    expect(at.map((value, t) => Math.abs(value - rates[t]!) <= Math.abs(rates[t]!) * 1e-12 + floor)).not.toContain(
      false,
    );
    const moving = momentum === undefined ? [] : Array.from({ length: COUNT }, (_, t) => momentum(t + 1));
    expect(difference(moving, momentum === undefined ? [] : momenta)).toBeLessThan(1e-12);
  },
);

function optimizerOf({ optimizer, options, head_lr }: Training): OptimizerSpec {
  const head = head_lr === null ? {} : { groups: { head: { params: (m: AnyRef) => py.at(m, -1), lr: head_lr } } };
  return optimizer === "AdamW" ? adamW({ ...options, ...head }) : sgd({ ...options, ...head });
}

async function throughLearner({ native, schedules: own }: Case): Promise<Trained> {
  torch.manual_seed(0);
  const model = makeNoisyCnn(torch, false);
  const losses: string[] = [];
  const learner = new Learner(model, crossEntropy(), {
    data: { training: new DataLoader(images, { batchSize: native.batch_size }) },
    optimizer: optimizerOf(native),
    defaultCallbacks: false,
    callbacks: [
      new StopOnNaNLoss(),
      new Recorder(),
      new Scheduler(own),
      new PyTorchBackend({
        accumulate: native.accumulate,
        ...(native.clip === null ? {} : { clipGradNorm: native.clip }),
      }),
      callback({ name: "Losses", observe: { stepEnd: ({ values }) => void losses.push(float32Bits(values.loss)) } }),
    ],
  });
  expect(learner.explain()).toContain("steps in flight: 3 to 32");
  expect(await learner.fit(native.epochs)).toMatchObject({ status: "completed" });
  const { hyperparams } = learner.state;
  const recorded = (name: string): number[] => hyperparams[name]?.map(({ value }) => value) ?? [];
  const groups = native.head_lr === null ? [recorded("lr")] : [recorded("lr/default"), recorded("lr/head")];
  return {
    losses,
    rates: groups[0]!.map((_, i) => groups.map((group) => group[i]!)),
    betas: recorded("betas.0"),
    weights_sha256: await weightsHash(worker, model as unknown as Network),
  };
}

describe.each(Object.entries(cases))("%s", (title, one) => {
  test("has the bits of plain PyTorch: every loss, and the weights; and its rates, to 12 digits", async () => {
    const reference = natives.trainings.get(keyOf(title, null))!;
    expect(reference.losses).toHaveLength(STEPS);
    const found = await throughLearner(one);
    expect(found.losses).toEqual(reference.losses);
    expect(found.weights_sha256).toBe(reference.weights_sha256);
    expect(!one.exact || isDeepStrictEqual(found.rates, reference.rates)).toBe(true);
    expect(difference(found.rates.flat(), reference.rates.flat())).toBeLessThan(1e-12);
    const betas = one.schedules["betas.0"] === undefined ? [] : reference.betas;
    expect(difference(found.betas, betas)).toBeLessThan(1e-12);
  });

  test.each(one.faults)("and not those of a loop in which there is a mistake: %s", (fault) => {
    const [right, wrong] = [null, fault].map((of) => natives.trainings.get(keyOf(title, of))!);
    expect(wrong!.weights_sha256).not.toBe(right!.weights_sha256);
    expect(wrong!.losses).not.toEqual(right!.losses);
  });
});
