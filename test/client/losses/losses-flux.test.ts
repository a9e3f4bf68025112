/** Flux's losses against their closed forms, written out in JavaScript, and against PyTorch where it has the same. */
import { beforeAll, describe, expect, test } from "vitest";
import { crossEntropy, mse, py, type Worker } from "torchwire";
import {
  binaryCrossEntropy,
  binaryFocalLoss,
  diceCoeffLoss,
  focalLoss,
  hingeLoss,
  huberLoss,
  klDivergence,
  labelSmoothing,
  logitBinaryCrossEntropy,
  logitCrossEntropy,
  mae,
  msle,
  poissonLoss,
  probabilityCrossEntropy,
  siameseContrastiveLoss,
  squaredHingeLoss,
  tverskyLoss,
} from "torchwire/flux";
import { bce, ctc, gaussianNll, klDiv, marginRanking, poissonNll, type LossSpec } from "torchwire/losses";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { warmWorker } from "../../worker.ts";

type Matrix = readonly (readonly number[])[];
const EPS = 2 ** -23;

const { exp, log, abs, max } = Math;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;
/** f(ŷ, y) of each element, row by row. */
const each = (yhat: Matrix, y: Matrix, f: (yhat: number, y: number) => number): number[][] =>
  yhat.map((row, i) => row.map((value, j) => f(value, y[i]![j]!)));
const xlogy = (x: number, y: number): number => (x === 0 ? 0 : x * log(y));

const scores: Matrix = [
  [0.5, -1.2, 2],
  [1.5, 0.1, -0.4],
];
const values: Matrix = [
  [1, -1, 0.5],
  [-2, 0, 3],
];
const positive: Matrix = [
  [0.5, 1.2, 2],
  [1.5, 0.1, 0.4],
];
const counts: Matrix = [
  [1, 0, 3],
  [2, 1, 0],
];
const probabilities: Matrix = [
  [0.2, 0.5, 0.3],
  [0.1, 0.1, 0.8],
];
const shares: Matrix = [
  [0.25, 0.75, 0],
  [0, 0.5, 0.5],
];
const hot: Matrix = [
  [0, 1, 0],
  [1, 0, 0],
];
const signs: Matrix = [
  [1, -1, 1],
  [-1, -1, 1],
];

const softmax = (row: readonly number[]): number[] => row.map((value) => exp(value) / sum(row.map(exp)));
const sigmoid = (value: number): number => 1 / (1 + exp(-value));

/** Each loss, what it is called with, and Flux's formula as a number for each sample or element. */
const forms: readonly (readonly [string, LossSpec, Matrix, Matrix, (yhat: Matrix, y: Matrix) => number[]])[] = [
  ["mae", mae({ reduction: "none" }), scores, values, (a, b) => each(a, b, (p, q) => abs(p - q)).flat()],
  ["mse", mse({ reduction: "none" }), scores, values, (a, b) => each(a, b, (p, q) => (p - q) ** 2).flat()],
  [
    "msle",
    msle({ reduction: "none" }),
    positive,
    counts,
    (a, b) => each(a, b, (p, q) => log((p + EPS) / (q + EPS)) ** 2).flat(),
  ],
  [
    "msle with an eps",
    msle({ eps: 0.5, reduction: "none" }),
    positive,
    counts,
    (a, b) => each(a, b, (p, q) => log((p + 0.5) / (q + 0.5)) ** 2).flat(),
  ],
  [
    "huber_loss",
    huberLoss({ delta: 0.8, reduction: "none" }),
    scores,
    values,
    (a, b) => each(a, b, (p, q) => (abs(p - q) < 0.8 ? 0.5 * (p - q) ** 2 : 0.8 * (abs(p - q) - 0.4))).flat(),
  ],
  [
    "crossentropy",
    probabilityCrossEntropy({ reduction: "none" }),
    probabilities,
    shares,
    (a, b) => each(a, b, (p, q) => -xlogy(q, p + EPS)).map(sum),
  ],
  [
    "crossentropy with an eps",
    probabilityCrossEntropy({ eps: 0.1, reduction: "none" }),
    probabilities,
    shares,
    (a, b) => each(a, b, (p, q) => -xlogy(q, p + 0.1)).map(sum),
  ],
  [
    "logitcrossentropy",
    logitCrossEntropy({ reduction: "none" }),
    scores,
    shares,
    (a, b) => each(a.map(softmax), b, (p, q) => -q * log(p)).map(sum),
  ],
  [
    "binarycrossentropy",
    binaryCrossEntropy({ reduction: "none" }),
    probabilities,
    shares,
    (a, b) => each(a, b, (p, q) => -xlogy(q, p + EPS) - xlogy(1 - q, 1 - p + EPS)).flat(),
  ],
  [
    "logitbinarycrossentropy",
    logitBinaryCrossEntropy({ reduction: "none" }),
    scores,
    shares,
    (a, b) => each(a, b, (p, q) => (1 - q) * p - log(sigmoid(p))).flat(),
  ],
  [
    "kldivergence",
    klDivergence({ reduction: "none" }),
    probabilities,
    shares,
    (a, b) => each(a, b, (p, q) => xlogy(q, q) - xlogy(q, p + EPS)).map(sum),
  ],
  [
    "poisson_loss",
    poissonLoss({ reduction: "none" }),
    positive,
    counts,
    (a, b) => each(a, b, (p, q) => p - xlogy(q, p)).flat(),
  ],
  [
    "hinge_loss",
    hingeLoss({ reduction: "none" }),
    scores,
    signs,
    (a, b) => each(a, b, (p, q) => max(0, 1 - p * q)).flat(),
  ],
  [
    "squared_hinge_loss",
    squaredHingeLoss({ reduction: "none" }),
    scores,
    signs,
    (a, b) => each(a, b, (p, q) => max(0, 1 - p * q) ** 2).flat(),
  ],
  [
    "binary_focal_loss",
    binaryFocalLoss({ reduction: "none" }),
    probabilities,
    hot,
    (a, b) =>
      each(a, b, (p, q) => {
        const right = q === 1 ? p + EPS : 1 - p - EPS;
        return (1 - right) ** 2 * -log(right);
      }).flat(),
  ],
  [
    "focal_loss",
    focalLoss({ gamma: 1.5, reduction: "none" }),
    probabilities,
    hot,
    (a, b) => each(a, b, (p, q) => -q * (1 - p - EPS) ** 1.5 * log(p + EPS)).map(sum),
  ],
  [
    "siamese_contrastive_loss",
    siameseContrastiveLoss({ margin: 1.3, reduction: "none" }),
    positive,
    hot,
    (a, b) => each(a, b, (p, q) => (1 - q) * p ** 2 + q * max(0, 1.3 - p) ** 2).flat(),
  ],
];

/** Nothing adds up to 1 here. */
const likely: Matrix = [
  [0.2, 0.9, 0.3],
  [0.1, 0.4, 0.8],
];

/** These sum over the whole batch. */
const whole: readonly (readonly [string, LossSpec, (yhat: Matrix, y: Matrix) => number])[] = [
  [
    "dice_coeff_loss",
    diceCoeffLoss({ smooth: 2 }),
    (a, b) =>
      1 - (2 * sum(each(a, b, (p, q) => p * q).flat()) + 2) / (sum(each(a, b, (p, q) => p ** 2 + q ** 2).flat()) + 2),
  ],
  [
    "tversky_loss",
    tverskyLoss({ beta: 0.6 }),
    (a, b) =>
      1 -
      (sum(each(a, b, (p, q) => p * q).flat()) + 1) /
        (sum(each(a, b, (p, q) => p * q + 0.6 * (1 - q) * p + 0.4 * q * (1 - p)).flat()) + 1),
  ],
];

let worker: Worker;
beforeAll(async () => {
  worker = await warmWorker();
});

const tensor = (matrix: Matrix): AnyRef => worker.tensor(matrix) as unknown as AnyRef;
async function numbers(ref: AnyRef): Promise<number[]> {
  return Array.from((await py.ndarray(ref)).data as Float32Array);
}
const of = async (spec: LossSpec, yhat: AnyRef, y: AnyRef): Promise<number[]> =>
  numbers(spec.create(worker, "cpu")(yhat, y));

/** The greatest difference, relative to values above 1. */
const distance = (found: readonly number[], expected: readonly number[]): number =>
  found.length === expected.length
    ? max(...expected.map((value, i) => abs(found[i]! - value) / max(1, abs(value))))
    : Infinity;
const CLOSE = 1e-5;

describe.each(forms)("%s", (_name, spec, yhat, y, form) => {
  test("is Flux's formula, of each", async () => {
    expect(distance(await of(spec, tensor(yhat), tensor(y)), form(yhat, y))).toBeLessThan(CLOSE);
  });
});

describe.each(whole)("%s", (_name, spec, form) => {
  test("is Flux's formula", async () => {
    expect(distance(await of(spec, tensor(likely), tensor(hot)), [form(likely, hot)])).toBeLessThan(CLOSE);
  });
});

const reducible = {
  msle,
  probabilityCrossEntropy,
  binaryCrossEntropy,
  klDivergence,
  poissonLoss,
  hingeLoss,
  squaredHingeLoss,
  binaryFocalLoss,
  focalLoss,
  siameseContrastiveLoss,
};
test.each(Object.entries(reducible))("%s: agg is the mean, or the sum", async (_name, factory) => {
  const [yhat, y] = [tensor(probabilities), tensor(hot)];
  const all = await of(factory({ reduction: "none" }), yhat, y);
  expect(distance(await of(factory(), yhat, y), [mean(all)])).toBeLessThan(CLOSE);
  expect(distance(await of(factory({ reduction: "mean" }), yhat, y), [mean(all)])).toBeLessThan(CLOSE);
  expect(distance(await of(factory({ reduction: "sum" }), yhat, y), [sum(all)])).toBeLessThan(CLOSE);
});

describe("where PyTorch has the same", () => {
  test("values agree", async () => {
    const [p, q] = [tensor(probabilities), tensor(shares)];
    expect(distance(await of(binaryCrossEntropy(), p, q), await of(bce(), p, q))).toBeLessThan(CLOSE);
    expect(
      distance(await of(klDivergence(), p, q), await of(klDiv({ reduction: "batchmean" }), p.log(), q)),
    ).toBeLessThan(CLOSE);
    expect(distance(await of(probabilityCrossEntropy(), p, q), await of(crossEntropy(), p.log(), q))).toBeLessThan(
      CLOSE,
    );
    const [rates, n] = [tensor(positive), tensor(counts)];
    expect(
      distance(await of(poissonLoss(), rates, n), await of(poissonNll({ logInput: false }), rates, n)),
    ).toBeLessThan(CLOSE);
  });

  test("indices of classes are their distributions", async () => {
    const torch = untyped(worker, "torch");
    const [p, indices] = [tensor(probabilities), torch.tensor([1, 0])];
    expect(await of(probabilityCrossEntropy(), p, indices)).toEqual(
      await of(probabilityCrossEntropy(), p, tensor(hot)),
    );
    expect(await of(focalLoss(), p, indices)).toEqual(await of(focalLoss(), p, tensor(hot)));
  });

  test("the classes may lie along another axis", async () => {
    const [p, q] = [tensor(probabilities), tensor(shares)];
    for (const factory of [probabilityCrossEntropy, klDivergence, focalLoss])
      expect(await of(factory({ dim: 0 }), p.t(), q.t())).toEqual(await of(factory(), p, q));
  });

  test("each works as one function in the worker", async () => {
    const loss = focalLoss({ gamma: 3 });
    const [p, y] = [tensor(probabilities), tensor(hot)];
    expect(await numbers(loss.createInWorker!(worker, "cpu")(p, y))).toEqual(await of(loss, p, y));
    expect(await of(loss, p, y)).not.toEqual(await of(focalLoss(), p, y));
  });
});

describe("labelSmoothing", () => {
  test("spreads a share over the classes, or draws towards a half", async () => {
    const y = tensor(hot);
    expect(distance(await numbers(labelSmoothing(y, 0.3)), [0.1, 0.8, 0.1, 0.8, 0.1, 0.1])).toBeLessThan(CLOSE);
    expect(distance(await numbers(labelSmoothing(y, 0.3, 0)), [0.15, 0.85, 0.15, 0.85, 0.15, 0.15])).toBeLessThan(
      CLOSE,
    );
    expect(distance(await numbers(labelSmoothing(y, 0.3, null)), [0.15, 0.85, 0.15, 0.85, 0.15, 0.15])).toBeLessThan(
      CLOSE,
    );
    expect(
      distance(await numbers(labelSmoothing(y.t(), 0.3, null).t()), [0.15, 0.85, 0.15, 0.85, 0.15, 0.15]),
    ).toBeLessThan(CLOSE);
    expect(distance(await numbers(labelSmoothing(y.int(), 0.3)), [0.1, 0.8, 0.1, 0.8, 0.1, 0.1])).toBeLessThan(CLOSE);
  });

  test.each([
    ["no reference", () => labelSmoothing([1] as never, 0.1), /^labelSmoothing: ys is \[ 1 \]; it must be a reference/],
    ["all of it", () => labelSmoothing(tensor(hot), 1), /^labelSmoothing: alpha is 1; it must be between 0 and 1$/],
  ])("refuses %s", async (_what, run, message) => {
    const error = await caught(run);
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });
});

describe("losses of several parts", () => {
  test.each<[string, LossSpec, () => unknown, () => unknown, RegExp]>([
    [
      "one output for two",
      gaussianNll(),
      () => tensor(scores),
      () => tensor(values),
      /ValueError: gaussian_nll_loss: the model's output must be a tuple or dict of input, var, not a Tensor \(/,
    ],
    [
      "two targets for three",
      ctc(),
      () => tensor(scores),
      () => [tensor(values), tensor(values)],
      /ValueError: ctc_loss: the target must be a tuple or dict of targets, input_lengths, target_lengths, not a list of 2 \(/,
    ],
    [
      "another name",
      marginRanking(),
      () => ({ input1: tensor(scores), input: tensor(scores) }),
      () => tensor(values),
      /ValueError: margin_ranking_loss: the model's output must be a tuple or dict of input1, input2, not a dict of 2 \(/,
    ],
  ])("%s", async (_what, spec, yhat, ys, message) => {
    const loss = spec.create(worker, "cpu");
    expect((await caught(() => loss(yhat() as AnyRef, ys() as AnyRef))).message).toMatch(message);
  });
});
