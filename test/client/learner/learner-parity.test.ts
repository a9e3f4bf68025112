/**
 * A fit is the plain Python loop: every loss of every epoch, those of validation too, and the final weights, bit for
 * bit.
 */
import { beforeAll, describe, expect, test } from "vitest";
import {
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  Learner,
  py,
  PyTorchBackend,
  sgd,
  StopOnNaNLoss,
  type Data,
  type NDArray,
  type Network,
  type Worker,
} from "torchwire";
import { batches } from "torchwire/data";
import type { Loss } from "torchwire/losses";
import type { OptimizerSpec } from "torchwire/optim";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { fastClock } from "../../fast-clock.ts";
import { untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { float32Bits, makeNoisyCnn, mnist, rgbDigits, weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

/** The arguments of test/native/learner.py. Its docstring describes them. */
interface Case {
  readonly seed: number;
  readonly noise_seed: number;
  readonly images: number;
  readonly validation: number;
  readonly batch_size: number;
  readonly drop_last: boolean;
  readonly epochs: number;
  readonly shuffle: number | null;
  readonly dropout: boolean;
  readonly noisy_loss: boolean;
  readonly optimizer: "sgd" | "adamw";
  readonly lr: number;
  readonly head_lr: number | null;
  readonly accumulate: number;
  readonly clip: number | null;
  readonly channels_last: boolean;
}

interface Result {
  readonly training: readonly string[];
  readonly validation: readonly string[];
  readonly weights_sha256: string;
}

// Rates at a tie: their float64 neighbours round to another float32, so that one ulp must show.
const SGD_LR = 0.01000000024214387;
const ADAM_LR = 0.0010000000242143866;

/** Seven whole batches of 24 and one of 12 in training; four and one of 4 in validation. */
const plain: Case = {
  seed: 0,
  noise_seed: 5,
  images: 180,
  validation: 100,
  batch_size: 24,
  drop_last: false,
  epochs: 3,
  shuffle: 7,
  dropout: false,
  noisy_loss: false,
  optimizer: "sgd",
  lr: SGD_LR,
  head_lr: null,
  accumulate: 1,
  clip: null,
  channels_last: false,
};

/** Each with the mistakes of the plain loop that must show in it. */
const cases: { readonly [title: string]: { readonly case: Case; readonly faults: readonly string[] } } = {
  "three epochs with validation between, shuffled anew in each": {
    case: plain,
    faults: ["lr-ulp", "skip-zero-grad", "shuffle-epoch", "validation-trains"],
  },
  "batches in the order of the data, without the incomplete one": {
    case: { ...plain, shuffle: null, drop_last: true },
    faults: ["skip-zero-grad"],
  },
  "no validation": { case: { ...plain, validation: 0 }, faults: ["lr-ulp"] },
  "AdamW and dropout": {
    case: { ...plain, optimizer: "adamw", lr: ADAM_LR, dropout: true },
    faults: ["lr-ulp", "noise-seed", "validation-trains"],
  },
  "random numbers that are drawn in validation are of a fork": {
    case: { ...plain, dropout: true, noisy_loss: true },
    faults: ["noise-seed", "validation-draws"],
  },
  "gradients clipped to a norm": { case: { ...plain, clip: 1 }, faults: ["clip-late"] },
  "gradients of 3 batches averaged, of 2 in the last group": {
    case: { ...plain, accumulate: 3 },
    faults: ["whole-groups", "skip-zero-grad"],
  },
  "gradients of 4 batches averaged, of 3 in the last group, and clipped": {
    case: { ...plain, accumulate: 4, clip: 0.5, drop_last: true, dropout: true },
    faults: ["whole-groups", "clip-late", "noise-seed"],
  },
  "AdamW with a group of its own for the head": {
    case: { ...plain, optimizer: "adamw", lr: ADAM_LR, head_lr: 0.01 },
    faults: ["head-lr", "lr-ulp"],
  },
  "SGD with momentum and a group of its own for the head": {
    case: { ...plain, head_lr: 0.1, dropout: true },
    faults: ["head-lr", "lr-ulp"],
  },
  "channels last": {
    case: { ...plain, channels_last: true, dropout: true, accumulate: 4, clip: 1 },
    faults: ["lr-ulp", "contiguous"],
  },
};

type Natives = ReadonlyMap<string, Result>;
const keyOf = (title: string, fault: string | null): string => `${title}: ${fault ?? "right"}`;

/** All cases in one process, right and with each fault. */
async function runNative(): Promise<Natives> {
  const wanted = Object.entries(cases).flatMap(([title, { case: one, faults }]) =>
    [null, ...faults].map((fault) => ({ key: keyOf(title, fault), one: { ...one, fault } })),
  );
  const results = await plainPython<Result[]>("learner.py", { data: mnist, cases: wanted.map(({ one }) => one) });
  return new Map(wanted.map(({ key }, i) => [key, results[i]!]));
}

let worker: Worker;
let torch: AnyRef;
let natives: Natives;
let images: { readonly xs: NDArray; readonly ys: NDArray };
beforeAll(async () => {
  natives = await runNative();
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  images = await rgbDigits(plain.images + plain.validation);
});

function optimizerOf({ optimizer, lr, head_lr }: Case): OptimizerSpec {
  const head = head_lr === null ? {} : { groups: { head: { params: (m: AnyRef) => py.at(m, -1), lr: head_lr } } };
  return optimizer === "adamw" ? adamW({ lr, ...head }) : sgd({ lr, momentum: 0.9, ...head });
}

function noisyCrossEntropy(): Loss {
  const F = py.keep(torch.nn.functional);
  return (yhat, ys) => F.cross_entropy(F.dropout(yhat, 0.1), ys);
}

function rows({ dtype, shape: [, ...rest], data }: NDArray, start: number, end: number): NDArray {
  const size = rest.reduce((product, length) => product * length, 1);
  return { dtype, shape: [end - start, ...rest], data: data.subarray(start * size, end * size) };
}

type Kind = "loader" | "arrays";

/** Training data and validation data; as arrays, every epoch has the batches that were made at first. */
function dataOf(one: Case, kind: Kind): { training: Data; validation?: Data } {
  const part = (start: number, end: number): { xs: NDArray; ys: NDArray } => ({
    xs: rows(images.xs, start, end),
    ys: rows(images.ys, start, end),
  });
  const [train, valid] = [part(0, one.images), part(one.images, one.images + one.validation)];
  const how = { batchSize: one.batch_size, dropLast: one.drop_last };
  const training =
    kind === "arrays"
      ? [...batches(train, how)]
      : new DataLoader(train, { ...how, ...(one.shuffle === null ? {} : { shuffle: true, seed: one.shuffle }) });
  if (one.validation === 0) return { training };
  return { training, validation: new DataLoader(valid, { batchSize: one.batch_size }) };
}

interface Way {
  /** Undefined: as many as the steps' time asks for. */
  readonly window?: number | undefined;
  readonly kind?: Kind;
  /** Epochs of each fit. Default: all in one. */
  readonly fits?: readonly number[];
}

async function throughLearner(one: Case, { window, kind = "loader", fits = [one.epochs] }: Way): Promise<Result> {
  torch.manual_seed(one.seed);
  const model = makeNoisyCnn(torch, one.dropout);
  const losses: { [phase: string]: string[] } = { training: [], validation: [] };
  const learner = new Learner(model, one.noisy_loss ? noisyCrossEntropy() : crossEntropy(), {
    data: dataOf(one, kind),
    optimizer: optimizerOf(one),
    ...(window !== undefined && { window }),
    defaultCallbacks: false,
    callbacks: [
      new StopOnNaNLoss(),
      new PyTorchBackend({
        accumulate: one.accumulate,
        channelsLast: one.channels_last,
        ...(one.clip === null ? {} : { clipGradNorm: one.clip }),
      }),
      callback({
        name: "Losses",
        observe: { stepEnd: ({ phase, values }) => void losses[phase.name]!.push(float32Bits(values.loss)) },
      }),
    ],
  });
  torch.manual_seed(one.noise_seed);
  for (const epochs of fits) expect(await learner.fit(epochs)).toMatchObject({ status: "completed", epochs });
  const weights_sha256 = await weightsHash(worker, model as unknown as Network);
  return { training: losses["training"]!, validation: losses["validation"]!, weights_sha256 };
}

describe.each(Object.entries(cases))("%s", (title, { case: one, faults }) => {
  test.each([1, 3, undefined])("has the bits of plain PyTorch, with a window of %s", async (window) => {
    if (window === undefined) fastClock();
    const reference = natives.get(keyOf(title, null))!;
    const perEpoch = (one.drop_last ? Math.floor : Math.ceil)(one.images / one.batch_size);
    expect(reference.training).toHaveLength(one.epochs * perEpoch);
    expect(reference.validation).toHaveLength(one.epochs * Math.ceil(one.validation / one.batch_size));
    expect(await throughLearner(one, { window })).toEqual(reference);
  });

  test.each(faults)("and not those of a loop in which there is a mistake: %s", (fault) => {
    const right = natives.get(keyOf(title, null))!;
    const wrong = natives.get(keyOf(title, fault))!;
    expect(wrong.weights_sha256).not.toBe(right.weights_sha256);
    expect([...wrong.training, ...wrong.validation]).not.toEqual([...right.training, ...right.validation]);
  });
});

test.each<[string, string, Way]>([
  ["in fits of one epoch and of two", "AdamW and dropout", { fits: [1, 2] }],
  ["with more steps in flight than an epoch has", "AdamW and dropout", { window: 50 }],
  ["of batches made beforehand", "batches in the order of the data, without the incomplete one", { kind: "arrays" }],
])("the bits are the same %s", async (_, title, way) => {
  expect(await throughLearner(cases[title]!.case, way)).toEqual(natives.get(keyOf(title, null)));
});
