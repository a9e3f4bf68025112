/**
 * Twenty steps of every optimiser are those of plain PyTorch, bit for bit: the loss of each and the weights in the end.
 */
import { beforeAll, describe, expect, test } from "vitest";
import {
  adam,
  adamW,
  callback,
  kw,
  Learner,
  mse,
  py,
  sgd,
  TrainingPhase,
  type NDArray,
  type Network,
  type Worker,
} from "torchwire";
import { adaDelta, adaGrad, adaMax, amsGrad, descent, momentum, nAdam, nesterov, rAdam, rmsProp } from "torchwire/flux";
import {
  adadelta,
  adafactor,
  adagrad,
  adamax,
  asgd,
  chain,
  clipNorm,
  clipValue,
  expDecay,
  invDecay,
  lbfgs,
  muon,
  nadam,
  radam,
  rmsprop,
  rprop,
  sparseAdam,
  weightDecay,
  type OptimizerSpec,
} from "torchwire/optim";
import * as exported from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { float32Bits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

type Model = "mlp" | "dropout" | "matrices" | "sparse";
type Parts = readonly (readonly [string, readonly number[]])[];

/** The arguments of test/native/optimizers.py. Its docstring describes them. */
interface Case {
  readonly optimizer: string;
  readonly options: object;
  readonly model: Model;
  readonly head: object | null;
  readonly before: Parts;
  readonly after: Parts;
}
interface Result {
  readonly losses: readonly string[];
  readonly weights_sha256: string;
}

const of = (optimizer: string, options: object = {}, more: Partial<Case> = {}): Case => ({
  optimizer,
  options,
  model: "mlp",
  head: null,
  before: [],
  after: [],
  ...more,
});

const head = <O extends object>(options: O): { groups: { head: O & { params: (m: AnyRef) => AnyRef } } } => ({
  groups: { head: { params: (m: AnyRef) => py.at(m, -1), ...options } },
});

const EXP = [0.9, 0.5, 4, 0.2, 5] as const;

const cases: { readonly [title: string]: readonly [OptimizerSpec, Case] } = {
  "adagrad, fused": [adagrad({ lr: 0.05, fused: true }), of("Adagrad", { lr: 0.05, fused: true })],
  "adam, fused": [adam({ lr: 0.02, amsgrad: true, fused: true }), of("Adam", { lr: 0.02, amsgrad: true, fused: true })],
  "adamW, fused, with a group": [
    adamW({ lr: 0.02, fused: true, ...head({ lr: 0.1, weightDecay: 0.5 }) }),
    of("AdamW", { lr: 0.02, fused: true }, { head: { lr: 0.1, weight_decay: 0.5 } }),
  ],
  "sgd, fused": [sgd({ lr: 0.1, momentum: 0.9, fused: true }), of("SGD", { lr: 0.1, momentum: 0.9, fused: true })],
  "adam, foreach": [adam({ lr: 0.02, foreach: true }), of("Adam", { lr: 0.02, foreach: true })],
  adadelta: [adadelta(), of("Adadelta")],
  "adadelta with options": [
    adadelta({ lr: 0.5, rho: 0.8, eps: 1e-5, weightDecay: 0.01 }),
    of("Adadelta", { lr: 0.5, rho: 0.8, eps: 1e-5, weight_decay: 0.01 }),
  ],
  adafactor: [adafactor(), of("Adafactor")],
  "adafactor with options": [
    adafactor({ lr: 0.02, beta2Decay: -0.7, eps: [null, 0.01], d: 1.1, weightDecay: 0.1 }),
    of("Adafactor", { lr: 0.02, beta2_decay: -0.7, eps: [null, 0.01], d: 1.1, weight_decay: 0.1 }),
  ],
  adagrad: [adagrad(), of("Adagrad")],
  "adagrad with options": [
    adagrad({ lr: 0.05, lrDecay: 0.1, weightDecay: 0.01, initialAccumulatorValue: 0.1, eps: 1e-6 }),
    of("Adagrad", { lr: 0.05, lr_decay: 0.1, weight_decay: 0.01, initial_accumulator_value: 0.1, eps: 1e-6 }),
  ],
  adam: [adam(), of("Adam")],
  "adam with options": [
    adam({ lr: 0.02, betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.01, amsgrad: true }),
    of("Adam", { lr: 0.02, betas: [0.8, 0.95], eps: 1e-6, weight_decay: 0.01, amsgrad: true }),
  ],
  adamW: [adamW(), of("AdamW")],
  "adamW with a group": [
    adamW({ lr: 0.02, ...head({ lr: 0.1, weightDecay: 0.5 }) }),
    of("AdamW", { lr: 0.02 }, { head: { lr: 0.1, weight_decay: 0.5 } }),
  ],
  adamax: [adamax(), of("Adamax")],
  "adamax with options": [
    adamax({ lr: 0.02, betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.01 }),
    of("Adamax", { lr: 0.02, betas: [0.8, 0.95], eps: 1e-6, weight_decay: 0.01 }),
  ],
  asgd: [asgd(), of("ASGD")],
  "asgd with options": [
    asgd({ lr: 0.1, lambd: 0.01, alpha: 0.5, t0: 5, weightDecay: 0.01 }),
    of("ASGD", { lr: 0.1, lambd: 0.01, alpha: 0.5, t0: 5, weight_decay: 0.01 }),
  ],
  lbfgs: [lbfgs(), of("LBFGS")],
  "lbfgs with a line search": [
    lbfgs({ lr: 0.5, maxIter: 7, maxEval: 9, historySize: 5, toleranceGrad: 1e-6, lineSearchFn: "strong_wolfe" }),
    of("LBFGS", {
      lr: 0.5,
      max_iter: 7,
      max_eval: 9,
      history_size: 5,
      tolerance_grad: 1e-6,
      line_search_fn: "strong_wolfe",
    }),
  ],
  "lbfgs and random numbers": [lbfgs({ lr: 0.1 }), of("LBFGS", { lr: 0.1 }, { model: "dropout" })],
  muon: [muon(), of("Muon", {}, { model: "matrices" })],
  "muon with options": [
    muon({
      lr: 0.02,
      momentum: 0.9,
      nesterov: false,
      nsSteps: 4,
      nsCoefficients: [3.4, -4.7, 2],
      adjustLrFn: "match_rms_adamw",
    }),
    of(
      "Muon",
      {
        lr: 0.02,
        momentum: 0.9,
        nesterov: false,
        ns_steps: 4,
        ns_coefficients: [3.4, -4.7, 2.0],
        adjust_lr_fn: "match_rms_adamw",
      },
      { model: "matrices" },
    ),
  ],
  nadam: [nadam(), of("NAdam")],
  "nadam with options": [
    nadam({ lr: 0.02, momentumDecay: 0.01, weightDecay: 0.1, decoupledWeightDecay: true }),
    of("NAdam", { lr: 0.02, momentum_decay: 0.01, weight_decay: 0.1, decoupled_weight_decay: true }),
  ],
  radam: [radam(), of("RAdam")],
  "radam with options": [
    radam({ lr: 0.02, betas: [0.8, 0.95], weightDecay: 0.1 }),
    of("RAdam", { lr: 0.02, betas: [0.8, 0.95], weight_decay: 0.1 }),
  ],
  rmsprop: [rmsprop(), of("RMSprop")],
  "rmsprop with options": [
    rmsprop({ lr: 0.005, alpha: 0.9, momentum: 0.5, centered: true, weightDecay: 0.01 }),
    of("RMSprop", { lr: 0.005, alpha: 0.9, momentum: 0.5, centered: true, weight_decay: 0.01 }),
  ],
  rprop: [rprop(), of("Rprop")],
  "rprop with options": [
    rprop({ lr: 0.005, etas: [0.4, 1.3], stepSizes: [1e-5, 0.1] }),
    of("Rprop", { lr: 0.005, etas: [0.4, 1.3], step_sizes: [1e-5, 0.1] }),
  ],
  sgd: [sgd(), of("SGD")],
  "sgd with options": [
    sgd({ lr: 0.1, momentum: 0.9, weightDecay: 1e-3, nesterov: true }),
    of("SGD", { lr: 0.1, momentum: 0.9, weight_decay: 1e-3, nesterov: true }),
  ],
  sparseAdam: [sparseAdam(), of("SparseAdam", {}, { model: "sparse" })],
  "sparseAdam with options": [
    sparseAdam({ lr: 0.1, betas: [0.8, 0.95], eps: 1e-6 }),
    of("SparseAdam", { lr: 0.1, betas: [0.8, 0.95], eps: 1e-6 }, { model: "sparse" }),
  ],

  "Flux's Descent": [descent(), of("SGD", { lr: 0.1 })],
  "Flux's Momentum": [momentum(0.02), of("SGD", { lr: 0.02, momentum: 0.9 })],
  "Flux's Nesterov": [nesterov(0.02, 0.8), of("SGD", { lr: 0.02, momentum: 0.8, nesterov: true })],
  "Flux's RMSProp": [rmsProp(), of("RMSprop", { lr: 0.001, alpha: 0.9, eps: 1e-8 })],
  "Flux's AdaMax": [adaMax(0.02, [0.8, 0.95], 1e-3), of("Adamax", { lr: 0.02, betas: [0.8, 0.95], eps: 1e-3 })],
  "Flux's AdaGrad": [adaGrad(), of("Adagrad", { lr: 0.1, eps: 1e-8, initial_accumulator_value: 1e-8 })],
  "Flux's AdaDelta": [adaDelta(), of("Adadelta", { rho: 0.9, eps: 1e-8 })],
  "Flux's AMSGrad": [
    amsGrad(0.01, [0.8, 0.95], 1e-3),
    of("Adam", { lr: 0.01, betas: [0.8, 0.95], eps: 1e-3, amsgrad: true }),
  ],
  "Flux's NAdam": [nAdam(0.01, [0.8, 0.95], 1e-3), of("NAdam", { lr: 0.01, betas: [0.8, 0.95], eps: 1e-3 })],
  "Flux's RAdam": [rAdam(0.01, [0.8, 0.95], 1e-3), of("RAdam", { lr: 0.01, betas: [0.8, 0.95], eps: 1e-3 })],
  "Flux's, with a group": [
    momentum(0.02, 0.9, head({ lr: 0.1 })),
    of("SGD", { lr: 0.02, momentum: 0.9 }, { head: { lr: 0.1 } }),
  ],

  "a chain": [
    chain(weightDecay(0.1), clipValue(0.03), clipNorm(0.05), expDecay(...EXP), sgd({ lr: 0.5, momentum: 0.5 })),
    of(
      "SGD",
      { lr: 0.5, momentum: 0.5 },
      {
        before: [
          ["weightDecay", [0.1]],
          ["clipValue", [0.03]],
          ["clipNorm", [0.05]],
          ["expDecay", EXP],
        ],
      },
    ),
  ],
  "a chain in another order": [
    chain(clipNorm(0.05), invDecay(0.1), weightDecay(0.1), adam({ lr: 0.05 })),
    of(
      "Adam",
      { lr: 0.05 },
      {
        before: [
          ["clipNorm", [0.05]],
          ["invDecay", [0.1]],
          ["weightDecay", [0.1]],
        ],
      },
    ),
  ],
  "a chain in a chain, and groups": [
    chain(clipNorm(0.05), chain(invDecay(0.1), sgd({ lr: 0.5, ...head({ lr: 1.5 }) }))),
    of(
      "SGD",
      { lr: 0.5 },
      {
        head: { lr: 1.5 },
        before: [
          ["clipNorm", [0.05]],
          ["invDecay", [0.1]],
        ],
      },
    ),
  ],
  "a chain that goes on behind the optimizer": [
    chain(clipValue(0.03), adam({ lr: 0.05 }), weightDecay(0.01), expDecay(...EXP), invDecay(0.1), weightDecay(0.002)),
    of(
      "Adam",
      { lr: 0.05 },
      {
        before: [["clipValue", [0.03]]],
        after: [
          ["weightDecay", [0.01]],
          ["expDecay", EXP],
          ["invDecay", [0.1]],
          ["weightDecay", [0.002]],
        ],
      },
    ),
  ],
};

const number = (k: number): number => ((k * 37 + 11) % 101) / 50 - 1;
const table = (rows: number, columns: number, at: (i: number, j: number) => number): number[] =>
  Array.from({ length: rows * columns }, (_, k) => at(Math.floor(k / columns), k % columns));

function batchesOf(model: Model): { xs: NDArray; ys: NDArray }[] {
  return Array.from({ length: 20 }, (_, step) => {
    const start = 8 * step;
    const xs: NDArray =
      model === "sparse"
        ? {
            dtype: "int64",
            shape: [8, 4],
            data: BigInt64Array.from(
              table(8, 4, (i, j) => (5 * (start + i) + 7 * j) % 12),
              BigInt,
            ),
          }
        : {
            dtype: "float32",
            shape: [8, 4],
            data: Float32Array.from(table(8, 4, (i, j) => number(4 * (start + i) + j))),
          };
    const ys = Float32Array.from(table(8, 3, (i, j) => number(3 * (start + i) + j + 50)));
    return { xs, ys: { dtype: "float32", shape: [8, 3], data: ys } };
  });
}

let worker: Worker;
let torch: AnyRef;
const natives = new Map<string, Result | null>();
beforeAll(async () => {
  const wanted = Object.entries(cases).flatMap(([title, [, one]]) => [
    { key: title, one: { ...one, fault: null } },
    { key: `${title}, off`, one: { ...one, fault: "lr" } },
  ]);
  const found = await plainPython<(Result | null)[]>("optimizers.py", { cases: wanted.map(({ one }) => one) });
  for (const [i, { key }] of wanted.entries()) natives.set(key, found[i]!);
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

function modelOf(kind: Model): AnyRef {
  const { nn } = torch;
  if (kind === "sparse") return nn.EmbeddingBag(12, 3, kw({ sparse: true }));
  const bias = kw({ bias: kind !== "matrices" });
  const middle = kind === "dropout" ? [nn.Tanh(), nn.Dropout(0.25)] : [nn.Tanh()];
  return nn.Sequential(nn.Linear(4, 8, bias), ...middle, nn.Linear(8, 3, bias));
}

async function throughLearner(optimizer: OptimizerSpec, kind: Model): Promise<Result> {
  torch.manual_seed(3);
  const model = modelOf(kind);
  const losses: string[] = [];
  const observer = callback({
    name: "Losses",
    observe: { stepEnd: ({ values }) => void losses.push(float32Bits(values.loss)) },
  });
  const data = { training: batchesOf(kind) };
  const learner = new Learner(model, mse(), { data, optimizer, defaultCallbacks: false, callbacks: [observer] });
  await learner.epoch(new TrainingPhase());
  return { losses, weights_sha256: await weightsHash(worker, model as unknown as Network) };
}

describe.each(Object.entries(cases))("%s", (title, [spec, { model, optimizer }]) => {
  test("has the bits of plain PyTorch", async ({ skip }) => {
    const reference = natives.get(title)!;
    skip(reference === null, `this torch has no ${optimizer}`);
    expect(reference.losses).toHaveLength(20);
    expect(await throughLearner(spec, model)).toEqual(reference);
  });

  test("and another learning rate has others", ({ skip }) => {
    const [right, wrong] = [natives.get(title)!, natives.get(`${title}, off`)!];
    skip(right === null, `this torch has no ${optimizer}`);
    expect(wrong.weights_sha256).not.toBe(right.weights_sha256);
  });
});

test("every optimiser of the table is here", async () => {
  const names = Object.entries(await import("../../../client/optim/table.ts")).map(([name]) => name);
  expect(names.length).toBeGreaterThanOrEqual(15);
  expect(names.filter((name) => !(name in cases) || !(name in exported))).toEqual([]);
});
