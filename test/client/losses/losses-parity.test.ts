/** Every loss and its gradients are those of plain PyTorch, bit for bit. */
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import {
  bceWithLogits,
  crossEntropy,
  kw,
  Learner,
  Metrics,
  mse,
  py,
  Recorder,
  type BatchLike,
  type NDArray,
  type Worker,
} from "torchwire";
import type { DType } from "torchwire/bridge";
import { huberLoss, logitBinaryCrossEntropy, logitCrossEntropy, mae } from "torchwire/flux";
import {
  bce,
  cosineEmbedding,
  ctc,
  gaussianNll,
  hingeEmbedding,
  huber,
  klDiv,
  l1,
  marginRanking,
  multiMargin,
  multilabelMargin,
  multilabelSoftMargin,
  nll,
  poissonNll,
  smoothL1,
  softMargin,
  tripletMargin,
  tripletMarginWithDistance,
  type Loss,
  type LossInput,
  type LossSpec,
} from "torchwire/losses";
import * as exported from "torchwire/losses";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { toTargets } from "../../../client/losses/spec.ts";
import { untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { warmWorker } from "../../worker.ts";

/** The same data as JSON and as an array. */
interface Plain {
  readonly dtype: "float32" | "int64";
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Result {
  /** Results of the references. */
  readonly mean?: number | null;
  readonly value: string;
  readonly gradients: readonly string[];
}
/** Outputs and targets by their places among the arguments of PyTorch's function. */
interface Case {
  readonly function: string;
  readonly options: { readonly [name: string]: unknown };
  readonly arguments: readonly Plain[];
  readonly outputs: readonly number[];
}

const made = (dtype: Plain["dtype"], shape: readonly number[], at: (k: number) => number): Plain => ({
  dtype,
  shape,
  data: Array.from({ length: shape.reduce((product, length) => product * length, 1) }, (_, k) =>
    dtype === "float32" ? Math.fround(at(k)) : at(k),
  ),
});
/** Numbers between -1 and 1. */
const number = (k: number): number => ((k * 37 + 11) % 101) / 50 - 1;

const scores = made("float32", [6, 4], (k) => 3 * number(k));
const others = made("float32", [6, 4], (k) => 2 * number(k + 40));
const third = made("float32", [6, 4], (k) => number(7 * k + 3));
const probabilities = made("float32", [6, 4], (k) => 0.02 + ((k * 29) % 24) / 25);
const shares = made("float32", [6, 4], (k) => [0.1, 0.2, 0.3, 0.4][(k + Math.floor(k / 4)) % 4]!);
const logs = made("float32", [6, 4], (k) => Math.log([0.4, 0.3, 0.2, 0.1][(k + Math.floor(k / 4)) % 4]!));
const flags = made("float32", [6, 4], (k) => ((k * 5) % 3) & 1);
const signs = made("float32", [6, 4], (k) => (k % 3 === 0 ? -1 : 1));
const sign = made("float32", [6], (k) => (k % 3 === 0 ? -1 : 1));
const one = made("float32", [6], (k) => number(k));
const two = made("float32", [6], (k) => number(5 * k + 17));
const counts = made("float32", [6, 4], (k) => k % 5);
const variances = made("float32", [6, 4], (k) => 0.1 + (k % 7) / 5);
const classes = made("int64", [6], (k) => (k * 3) % 4);
const several = made("int64", [6, 4], (k) => [[0, 2, -1, 1][k % 4]!, [3, -1, 0, 0][k % 4]!][k % 2]!);
const weights = made("float32", [4], (k) => 0.5 + k / 3);
const spoken = made("float32", [10, 3, 5], (k) => -0.2 - ((k * 13) % 50) / 17);
const labels = made("int64", [3, 4], (k) => 1 + ((k * 3) % 4));
const lengths = made("int64", [3], (k) => 10 - k);
const amounts = made("int64", [3], (k) => 2 + k);

const arrayOf = ({ dtype, shape, data }: Plain): NDArray => ({
  dtype,
  shape,
  data: dtype === "float32" ? Float32Array.from(data) : BigInt64Array.from(data, BigInt),
});
const weight = arrayOf(weights);

const of = (
  name: string,
  options: Case["options"],
  args: readonly Plain[],
  outputs: readonly number[] = [0],
): Case => ({
  function: name,
  options,
  arguments: args,
  outputs,
});

const cases: { readonly [title: string]: readonly [LossSpec, Case] } = {
  l1: [l1(), of("l1_loss", {}, [scores, others])],
  "l1, summed": [l1({ reduction: "sum" }), of("l1_loss", { reduction: "sum" }, [scores, others])],
  mse: [mse(), of("mse_loss", {}, [scores, others])],
  "mse of each": [mse({ reduction: "none" }), of("mse_loss", { reduction: "none" }, [scores, others])],
  huber: [huber(), of("huber_loss", {}, [scores, others])],
  "huber with a delta": [
    huber({ delta: 2, reduction: "sum" }),
    of("huber_loss", { delta: 2.0, reduction: "sum" }, [scores, others]),
  ],
  smoothL1: [smoothL1(), of("smooth_l1_loss", {}, [scores, others])],
  "smoothL1 with a beta": [smoothL1({ beta: 0.3 }), of("smooth_l1_loss", { beta: 0.3 }, [scores, others])],
  crossEntropy: [crossEntropy(), of("cross_entropy", {}, [scores, classes])],
  "crossEntropy with everything": [
    crossEntropy({ weight, ignoreIndex: 3, labelSmoothing: 0.1, reduction: "sum" }),
    of("cross_entropy", { weight: weights, ignore_index: 3, label_smoothing: 0.1, reduction: "sum" }, [
      scores,
      classes,
    ]),
  ],
  "crossEntropy with probabilities": [crossEntropy(), of("cross_entropy", {}, [scores, shares])],
  nll: [nll(), of("nll_loss", {}, [logs, classes])],
  "nll with options": [
    nll({ weight, ignoreIndex: 0, reduction: "sum" }),
    of("nll_loss", { weight: weights, ignore_index: 0, reduction: "sum" }, [logs, classes]),
  ],
  bce: [bce(), of("binary_cross_entropy", {}, [probabilities, flags])],
  "bce with weights": [bce({ weight }), of("binary_cross_entropy", { weight: weights }, [probabilities, flags])],
  bceWithLogits: [bceWithLogits(), of("binary_cross_entropy_with_logits", {}, [scores, flags])],
  "bceWithLogits with everything": [
    bceWithLogits({ weight, posWeight: weight, reduction: "sum" }),
    of("binary_cross_entropy_with_logits", { weight: weights, pos_weight: weights, reduction: "sum" }, [scores, flags]),
  ],
  klDiv: [klDiv({ reduction: "batchmean" }), of("kl_div", { reduction: "batchmean" }, [logs, shares])],
  "klDiv of logarithms": [
    klDiv({ logTarget: true, reduction: "sum" }),
    of("kl_div", { log_target: true, reduction: "sum" }, [others, logs]),
  ],
  poissonNll: [poissonNll(), of("poisson_nll_loss", {}, [scores, counts])],
  "poissonNll with options": [
    poissonNll({ logInput: false, full: true, eps: 1e-4 }),
    of("poisson_nll_loss", { log_input: false, full: true, eps: 1e-4 }, [probabilities, counts]),
  ],
  gaussianNll: [gaussianNll(), of("gaussian_nll_loss", {}, [scores, others, variances], [0, 2])],
  "gaussianNll with options": [
    gaussianNll({ full: true, eps: 0.2 }),
    of("gaussian_nll_loss", { full: true, eps: 0.2 }, [scores, others, variances], [0, 2]),
  ],
  hingeEmbedding: [hingeEmbedding(), of("hinge_embedding_loss", {}, [scores, signs])],
  "hingeEmbedding with a margin": [
    hingeEmbedding({ margin: 2 }),
    of("hinge_embedding_loss", { margin: 2.0 }, [scores, signs]),
  ],
  marginRanking: [marginRanking(), of("margin_ranking_loss", {}, [one, two, sign], [0, 1])],
  "marginRanking with a margin": [
    marginRanking({ margin: 0.5 }),
    of("margin_ranking_loss", { margin: 0.5 }, [one, two, sign], [0, 1]),
  ],
  cosineEmbedding: [cosineEmbedding(), of("cosine_embedding_loss", {}, [scores, third, sign], [0, 1])],
  "cosineEmbedding with a margin": [
    cosineEmbedding({ margin: 0.2 }),
    of("cosine_embedding_loss", { margin: 0.2 }, [scores, third, sign], [0, 1]),
  ],
  tripletMargin: [tripletMargin(), of("triplet_margin_loss", {}, [scores, others, third], [0, 1, 2])],
  "tripletMargin with options": [
    tripletMargin({ margin: 3, p: 1, eps: 1e-4, swap: true }),
    of("triplet_margin_loss", { margin: 3.0, p: 1.0, eps: 1e-4, swap: true }, [scores, others, third], [0, 1, 2]),
  ],
  tripletMarginWithDistance: [
    tripletMarginWithDistance({ margin: 2, swap: true }),
    of("triplet_margin_with_distance_loss", { margin: 2.0, swap: true }, [scores, others, third], [0, 1, 2]),
  ],
  multiMargin: [multiMargin(), of("multi_margin_loss", {}, [scores, classes])],
  "multiMargin with options": [
    multiMargin({ p: 2, margin: 0.5, weight }),
    of("multi_margin_loss", { p: 2, margin: 0.5, weight: weights }, [scores, classes]),
  ],
  multilabelMargin: [multilabelMargin(), of("multilabel_margin_loss", {}, [scores, several])],
  multilabelSoftMargin: [multilabelSoftMargin(), of("multilabel_soft_margin_loss", {}, [scores, flags])],
  "multilabelSoftMargin with weights": [
    multilabelSoftMargin({ weight }),
    of("multilabel_soft_margin_loss", { weight: weights }, [scores, flags]),
  ],
  softMargin: [softMargin({ reduction: "sum" }), of("soft_margin_loss", { reduction: "sum" }, [scores, signs])],
  ctc: [ctc(), of("ctc_loss", {}, [spoken, labels, lengths, amounts])],
  "ctc with options": [
    ctc({ reduction: "sum", zeroInfinity: true }),
    of("ctc_loss", { reduction: "sum", zero_infinity: true }, [spoken, labels, lengths, amounts]),
  ],

  "Flux's mae": [mae(), of("l1_loss", {}, [scores, others])],
  "Flux's huber_loss": [huberLoss({ delta: 0.5 }), of("huber_loss", { delta: 0.5 }, [scores, others])],
  "Flux's logitcrossentropy": [logitCrossEntropy(), of("cross_entropy", {}, [scores, shares])],
  "Flux's logitbinarycrossentropy": [
    logitBinaryCrossEntropy(),
    of("binary_cross_entropy_with_logits", {}, [scores, flags]),
  ],
};

/**
 * Epochs whose batches have other numbers of terms than of samples: sequences of several lengths, ignored targets,
 * weights.
 */
const IGNORED = -100;
const sequence = (samples: number, length: number, from: number, ignored: readonly number[] = []): [Plain, Plain] => [
  made("float32", [samples, 4, length], (k) => 3 * number(k + from)),
  made("int64", [samples, length], (k) => (ignored.includes(k) ? IGNORED : (k * 3 + from) % 4)),
];
const padded = [
  sequence(2, 5, 0),
  sequence(3, 2, 7, [0, 1, 2]),
  sequence(1, 3, 20, [0, 1, 2]),
  sequence(1, 1, 30),
] as const;
const lines = [made("float32", [2, 5], number), made("float32", [3, 1], (k) => 5 * number(k + 40))] as const;
const aims = [made("float32", [2, 5], (k) => number(k + 9)), made("float32", [3, 1], number)] as const;
/** The positions of all batches, with the classes last. */
function flat(parts: readonly Plain[]): Plain {
  const data = parts.flatMap(({ shape: [samples, classes, length], data: own }) =>
    Array.from({ length: samples! * length! }, (_, i) =>
      Array.from(
        { length: classes! },
        (_unused, c) => own[(Math.floor(i / length!) * classes! + c) * length! + (i % length!)]!,
      ),
    ).flat(),
  );
  return { dtype: "float32", shape: [data.length / 4, 4], data };
}
const joined = (parts: readonly Plain[]): Plain => {
  const data = parts.flatMap((part) => part.data);
  return { dtype: parts[0]!.dtype, shape: [data.length], data };
};
type Batches = readonly (readonly [Plain, Plain])[];
const uneven: { readonly [title: string]: readonly [LossSpec, Case, Batches] } = {
  ...Object.fromEntries(
    (
      [
        ["crossEntropy", crossEntropy(), {}],
        ["crossEntropy with weights", crossEntropy({ weight }), { weight: weights }],
        ["crossEntropy, smoothed", crossEntropy({ labelSmoothing: 0.2 }), { label_smoothing: 0.2 }],
        [
          "crossEntropy with weights, smoothed",
          crossEntropy({ labelSmoothing: 0.2, weight }),
          { label_smoothing: 0.2, weight: weights },
        ],
        ["crossEntropy, summed", crossEntropy({ reduction: "sum", weight }), { reduction: "sum", weight: weights }],
        [
          "crossEntropy with another index",
          crossEntropy({ ignoreIndex: 2 }),
          { ignore_index: 2 },
          padded.map(([x, y]) => [x, { ...y, data: y.data.map((k) => (k === IGNORED ? 2 : k)) }]),
        ],
        ["nll", nll(), {}],
        ["nll with weights", nll({ weight, reduction: "sum" }), { weight: weights, reduction: "sum" }],
      ] as readonly (readonly [string, LossSpec, Case["options"], Batches?])[]
    ).map(([title, spec, options, batches = padded]): [string, readonly [LossSpec, Case, Batches]] => [
      title,
      [
        spec,
        of(title.startsWith("nll") ? "nll_loss" : "cross_entropy", options, [
          flat(batches.map(([x]) => x)),
          joined(batches.map(([, y]) => y)),
        ]),
        batches,
      ],
    ]),
  ),
  ...Object.fromEntries(
    (
      [
        ["mse", mse(), "mse_loss", {}],
        ["mse, summed", mse({ reduction: "sum" }), "mse_loss", { reduction: "sum" }],
        ["l1", l1(), "l1_loss", {}],
        ["huber", huber(), "huber_loss", {}],
        ["smoothL1", smoothL1(), "smooth_l1_loss", {}],
        ["bceWithLogits", bceWithLogits(), "binary_cross_entropy_with_logits", {}],
        ["klDiv", klDiv(), "kl_div", { log_target: true }],
        ["poissonNll", poissonNll(), "poisson_nll_loss", {}],
        ["hingeEmbedding", hingeEmbedding(), "hinge_embedding_loss", {}],
        ["softMargin", softMargin(), "soft_margin_loss", {}],
      ] as const
    ).map(([title, spec, name, options]): [string, readonly [LossSpec, Case, Batches]] => [
      title,
      [
        title === "klDiv" ? klDiv({ logTarget: true }) : spec,
        of(name, options, [joined(lines), joined(aims)]),
        lines.map((line, i) => [line, aims[i]!] as const),
      ],
    ]),
  ),
};

let worker: Worker;
const natives = new Map<string, Result>();
const epochs = new Map<string, Result>();
beforeAll(async () => {
  const all = [...Object.values(cases).map(([, one]) => one), ...Object.values(uneven).map(([, one]) => one)];
  const found = await plainPython<Result[]>("losses.py", { cases: all });
  for (const [i, title] of Object.keys(cases).entries()) natives.set(title, found[i]!);
  for (const [i, title] of Object.keys(uneven).entries()) epochs.set(title, found[Object.keys(cases).length + i]!);
  worker = await warmWorker();
});

const bytesOf = ({ data }: NDArray): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

/**
 * Targets arrive as small integers where they are classes, and as bytes or signed bytes where they are whole numbers.
 */
function sent(spec: LossSpec, plain: Plain): AnyRef {
  const whole = plain.data.every(Number.isInteger);
  const [dtype, data]: [DType, NDArray["data"]] = whole
    ? ["int32", Int32Array.from(plain.data)]
    : ["float32", Float32Array.from(plain.data)];
  return toTargets(spec, worker.tensor({ dtype, shape: plain.shape, data }) as unknown as AnyRef, dtype);
}

type Way = "array" | "tuple" | "record";

/** The values of a step: one where there is one, else several in some structure. */
function together(values: AnyRef[], names: readonly string[], way: Way): LossInput {
  if (values.length <= 1) return values[0] ?? untyped(worker, "builtins").None;
  if (way === "record") return Object.fromEntries(values.map((value, i) => [names[i]!, value]));
  return way === "tuple" ? untyped(worker, "builtins").tuple(values) : values;
}

/** Names of several outputs, or of several targets, in TypeScript. */
const names: { readonly [name: string]: readonly (readonly string[])[] } = {
  gaussian_nll_loss: [["input", "var"], ["target"]],
  margin_ranking_loss: [["input1", "input2"], ["target"]],
  cosine_embedding_loss: [["input1", "input2"], ["target"]],
  triplet_margin_loss: [["anchor", "positive", "negative"], []],
  triplet_margin_with_distance_loss: [["anchor", "positive", "negative"], []],
  ctc_loss: [["logProbs"], ["targets", "inputLengths", "targetLengths"]],
};

async function throughSpec(spec: LossSpec, one: Case, way: Way, inWorker: boolean): Promise<Result> {
  const [ofOutputs, ofTargets] = names[one.function] ?? [[], []];
  const outputs = one.outputs.map((i) =>
    (worker.tensor(arrayOf(one.arguments[i]!)) as unknown as AnyRef).requires_grad_(),
  );
  const targets = one.arguments.filter((_, i) => !one.outputs.includes(i)).map((plain) => sent(spec, plain));
  const loss = inWorker ? spec.createInWorker!(worker, "cpu") : spec.create(worker, "cpu");
  const result = loss(together(outputs, ofOutputs!, way), together(targets, ofTargets!, way));
  result.sum().backward();
  const gradients = await Promise.all(outputs.map((output) => py.ndarray(output.grad)));
  return {
    value: bytesOf(await py.ndarray(result.detach())).toString("hex"),
    gradients: gradients.map((gradient) => createHash("sha256").update(bytesOf(gradient)).digest("hex")),
  };
}

describe.each(Object.entries(cases))("%s", (title, [spec, one]) => {
  test("has the bits of plain PyTorch", async () => {
    expect(natives.get(title)).toMatchObject(await throughSpec(spec, one, "array", false));
  });
  test("and as one function in the worker", async () => {
    expect(natives.get(title)).toMatchObject(await throughSpec(spec, one, "tuple", true));
  });
});

// Without a reduction there is no value.
describe.each(Object.entries(cases).filter(([, [, { options }]]) => options["reduction"] !== "none"))(
  "%s",
  (title, [spec, one]) => {
    test("has over an epoch of unequal batches the value of all samples together", async () => {
      const loss = await epochLoss(spec, inBatches(one, [1, 1, 3, 1]), one.function === "ctc_loss");
      const { mean, value } = natives.get(title)!;
      // PyTorch's mean of these divides each by its length, which nobody can do to a sum.
      const expected = title === "ctc with options" ? Buffer.from(value, "hex").readFloatLE() / 3 : mean!;
      expect(loss).toBeCloseTo(expected, 5);
    });
  },
);

describe.each(Object.entries(uneven))("%s of sequences of several lengths", (title, [spec, , batches]) => {
  test("has over an epoch the value of all positions together", async () => {
    const asBatches = batches.map(([x, y]) => ({ xs: arrayOf(x), ys: arrayOf(y) }));
    expect(await epochLoss(spec, asBatches)).toBeCloseTo(epochs.get(title)!.mean!, 5);
  });
});

/** Those without options, as modules of torch.nn with them. */
test.each<[string, () => AnyRef, string]>([
  ["CrossEntropyLoss", () => untyped(worker, "torch.nn").CrossEntropyLoss(), "crossEntropy"],
  [
    "CrossEntropyLoss with options",
    () =>
      untyped(worker, "torch.nn").CrossEntropyLoss(
        kw({ weight: worker.tensor(weight), label_smoothing: py.float(0.2), reduction: "sum" }),
      ),
    "crossEntropy with weights, smoothed",
  ],
  ["NLLLoss", () => untyped(worker, "torch.nn").NLLLoss(), "nll"],
  ["MSELoss", () => untyped(worker, "torch.nn").MSELoss(), "mse"],
  ["BCEWithLogitsLoss", () => untyped(worker, "torch.nn").BCEWithLogitsLoss(), "bceWithLogits"],
  ["the function itself", () => untyped(worker, "torch.nn.functional").cross_entropy, "crossEntropy"],
  [
    "a partial function",
    () =>
      untyped(worker, "functools").partial(
        untyped(worker, "torch.nn.functional").cross_entropy,
        kw({ weight: worker.tensor(weight) }),
      ),
    "crossEntropy with weights",
  ],
])("%s in the worker is weighed as ours", async (_, make, title) => {
  const batches = uneven[title]![2].map(([x, y]) => ({ xs: arrayOf(x), ys: arrayOf(y) }));
  expect(await epochLoss(make(), batches)).toBeCloseTo(epochs.get(title)!.mean!, 5);
});

/** Rows of the arguments, as a learner's batches. */
function inBatches(one: Case, sizes: readonly number[]): BatchLike[] {
  const isSpoken = one.function === "ctc_loss";
  let from = 0;
  return sizes.flatMap((size) => {
    const rows = one.arguments.map((plain, i) =>
      arrayOf(part(isSpoken && i === 0 ? turned(plain) : plain, from, from + size)),
    );
    from += size;
    if (rows.some(({ shape }) => shape[0] === 0)) return [];
    const [xs, ys] = [true, false].map((isOutput) => rows.filter((_, i) => one.outputs.includes(i) === isOutput));
    // Where there is no target, something stands for one.
    return [{ xs: xs!.length === 1 ? xs![0]! : xs!, ys: ys!.length > 1 ? ys! : (ys![0] ?? xs![0]!) }];
  });
}

function part({ dtype, shape: [rows, ...rest], data }: Plain, from: number, to: number): Plain {
  const width = rest.reduce((product, length) => product * length, 1);
  const end = Math.min(to, rows!);
  return {
    dtype,
    shape: [Math.max(0, end - from), ...rest],
    data: data.slice(Math.min(from, rows!) * width, end * width),
  };
}

/** [T, N, C] as [N, T, C]. */
function turned({ dtype, shape: [t, n, c], data }: Plain): Plain {
  return made(dtype, [n!, t!, c!], (k) => {
    const [row, rest] = [Math.floor(k / (t! * c!)), k % (t! * c!)];
    return data[(Math.floor(rest / c!) * n! + row) * c! + (rest % c!)]!;
  });
}

/** The loss of a validation epoch in which the model gives its inputs. */
async function epochLoss(loss: Loss, batches: readonly BatchLike[], turns = false): Promise<number> {
  const builtins = untyped(worker, "builtins");
  const names = builtins.dict();
  builtins.exec(GIVEN, names);
  const model = py.at(names, "Given")(turns);
  const learner = new Learner(model, loss, { defaultCallbacks: false, callbacks: [new Recorder(), new Metrics()] });
  return (await learner.validate(batches))["loss"]!;
}

const GIVEN = `
import torch
class Given(torch.nn.Module):
    def __init__(self, turns):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.turns = turns
    def forward(self, *given):
        given = tuple(one.transpose(0, 1) for one in given) if self.turns else given
        return given if len(given) > 1 else given[0]
`;

test.each(Object.entries(cases).filter(([, [, one]]) => one.function in names))(
  "%s, with parts by their names",
  async (title, [spec, one]) => {
    expect(natives.get(title)).toMatchObject(await throughSpec(spec, one, "record", false));
  },
);

test("options matter to the references", () => {
  const same = Object.keys(cases).filter((title) => {
    const plain = /^(\w+)(, | with | of )/.exec(title)?.[1];
    return plain !== undefined && natives.get(title)!.value === natives.get(plain)?.value;
  });
  expect(same).toEqual([]);
});

test("every loss of the table is here", async () => {
  const all = Object.keys(await import("../../../client/losses/table.ts"));
  expect(all.length).toBeGreaterThanOrEqual(21);
  expect(all.filter((name) => !(name in cases) || !(name in exported))).toEqual([]);
});
