/**
 * Metrics are what plain Python makes of all outputs at once, however they come in batches: of the epoch, and of each
 * step.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AbstractValidationPhase,
  bceWithLogits,
  crossEntropy,
  kw,
  Learner,
  Metrics,
  mse,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  type BatchLike,
  type Data,
  type NDArray,
  type Step,
  type Worker,
} from "torchwire";
import { batches } from "torchwire/data";
import { same } from "torchwire/formats";
import * as losses from "torchwire/losses";
import type { Loss } from "torchwire/losses";
import * as ours from "torchwire/metrics";
import type { Metric } from "torchwire/metrics";
import { findPython } from "../../../bridge/environment/find.ts";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { testPackages } from "../../python-packages.ts";
import { warmWorker } from "../../worker.ts";

type Nested = number | readonly Nested[];

interface Case {
  readonly metric: keyof typeof factories;
  readonly options: { readonly k?: number; readonly [name: string]: unknown };
  readonly outputs: Nested;
  readonly targets: Nested;
  /** Samples of each step. */
  readonly batches: readonly number[];
}

interface Result {
  readonly epoch: number | readonly (readonly number[])[] | null;
  readonly steps: readonly (number | null)[];
}

type Factory = (options: any) => Metric;
const factories = {
  topK: (({ k, ...options }) => ours.topK(k, options)) as Factory,
  accuracy: (() => ours.accuracy) as Factory,
  perplexity: ours.perplexity as Factory,
  precision: ours.precision as Factory,
  recall: ours.recall as Factory,
  f1: ours.f1 as Factory,
  confusionMatrix: ours.confusionMatrix as Factory,
  auc: ours.auc as Factory,
  meanAbsoluteError: ours.meanAbsoluteError as Factory,
  meanSquaredError: ours.meanSquaredError as Factory,
  rootMeanSquaredError: ours.rootMeanSquaredError as Factory,
  r2: ours.r2 as Factory,
};

// --- what is measured ---

/** The same numbers every time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const filled = (shape: readonly number[], next: () => number): Nested =>
  shape.length === 0 ? next() : Array.from({ length: shape[0]! }, () => filled(shape.slice(1), next));

/** Scores in eighths, of which many are equal; float32 and float64 have all of them. */
const scores = (seed: number, ...shape: number[]): Nested => {
  const random = generator(seed);
  return filled(shape, () => Math.round(24 * (random() - 0.5)) / 8);
};

/** Scores of which no two are equal. */
const distinct = (seed: number, ...shape: number[]): Nested => {
  const random = generator(seed);
  return filled(shape, () => Math.fround(6 * (random() - 0.5)));
};

/** Whole numbers below `classes`; one in `ignoring` is `ignored`. */
const indices = (
  seed: number,
  classes: number,
  shape: readonly number[],
  ignored = -100,
  ignoring = Infinity,
): Nested => {
  const random = generator(seed);
  return filled(shape, () => (random() < 1 / ignoring ? ignored : Math.floor(random() * classes)));
};

/** The last class scores lowest everywhere, and so is never found. */
const lastIsLow = (nested: Nested): Nested => (nested as number[][]).map((row) => [...row.slice(0, -1), -100]);

/** Whole rows come again, and again. */
const repeated = (nested: Nested, every: number): Nested => {
  const rows = nested as readonly Nested[];
  return rows.map((_, i) => rows[i % every]!);
};

/** The last batch is smaller, or of one sample. */
const smaller = [7, 7, 3];
const single = [8, 8, 1];

const classes: Omit<Case, "metric" | "options"> = {
  outputs: scores(1, 17, 5),
  targets: indices(2, 5, [17]),
  batches: smaller,
};
/** Class 4 is never there and never found; class 3 is there and never found. */
const rare: typeof classes = {
  outputs: lastIsLow((scores(3, 17, 5) as number[][]).map((row) => row.with(3, -50))),
  targets: indices(4, 4, [17]),
  batches: single,
};
const two: typeof classes = { outputs: scores(5, 17, 2), targets: indices(6, 2, [17]), batches: smaller };
const answers: typeof classes = { outputs: scores(7, 17), targets: indices(8, 2, [17]), batches: smaller };
const column: typeof classes = { ...answers, outputs: scores(7, 17, 1) };
/** The third label is never there. */
const labels: typeof classes = {
  outputs: scores(9, 17, 4),
  targets: (indices(10, 2, [17, 4]) as number[][]).map((row) => row.with(2, 0)),
  batches: smaller,
};
const pixels: typeof classes = {
  outputs: scores(11, 5, 3, 4, 2),
  targets: indices(12, 3, [5, 4, 2]),
  batches: [2, 2, 1],
};
const masks: typeof classes = {
  outputs: scores(13, 5, 1, 4, 2),
  targets: indices(14, 2, [5, 4, 2]),
  batches: [2, 2, 1],
};
/** The outputs of a language model: [samples, positions, words]. */
const text: typeof classes = {
  outputs: distinct(15, 5, 4, 7),
  targets: indices(16, 7, [5, 4], -100, 4),
  batches: [2, 2, 1],
};
const values: typeof classes = { outputs: distinct(17, 17), targets: distinct(18, 17), batches: smaller };
const several: typeof classes = { outputs: distinct(19, 17, 3), targets: distinct(20, 17, 3), batches: single };
const far: typeof classes = {
  outputs: (distinct(21, 17) as number[]).map((x) => Math.fround(1e6 + x)),
  targets: (distinct(22, 17) as number[]).map((x) => Math.fround(1e6 + 4 * x)),
  batches: smaller,
};
const constant: typeof classes = { ...values, targets: filled([17], () => 0.5) };
const met: typeof classes = { ...constant, outputs: constant.targets };
const never: typeof classes = { outputs: scores(23, 17), targets: filled([17], () => 0), batches: smaller };
const ignored = (of: typeof classes, index: number): typeof classes => ({
  ...of,
  targets: mapped(of.targets, (y, i) => (i % 3 === 1 ? index : y)),
});
const mapped = (nested: Nested, of: (value: number, i: number) => number): Nested => {
  let i = 0;
  const inside = (one: Nested): Nested => (typeof one === "number" ? of(one, i++) : one.map(inside));
  return inside(nested);
};

const of = (metric: Case["metric"], data: typeof classes, options: Case["options"] = {}): [string, Case] => [
  `${metric} ${JSON.stringify(options)} of ${nameOf.get(data)!}`,
  { ...data, metric, options },
];

const ignoring = ignored(classes, -100);
const ignoringOther = ignored(pixels, 255);
const ignoringLabels = ignored(labels, -1);
const ignoringAll = { ...classes, targets: mapped(classes.targets, (y, i) => (i < 7 ? -100 : y)) };
const probabilities = { ...classes, targets: distinct(24, 17, 5) };
/** Half of the classes score the same. */
const tied: typeof classes = { ...classes, outputs: indices(26, 2, [17, 5]) };
const repeatedClasses = { ...classes, outputs: repeated(distinct(25, 17, 5), 6) };
const named = {
  classes,
  rare,
  two,
  answers,
  column,
  labels,
  pixels,
  masks,
  text,
  values,
  several,
  far,
  constant,
  met,
  never,
  probabilities,
  repeatedClasses,
  tied,
  ignoring,
  ignoringOther,
  ignoringLabels,
  ignoringAll,
};
const nameOf = new Map<object, string>(Object.entries(named).map(([name, data]) => [data, name]));
const averages = ["macro", "micro", "weighted"] as const;

const cases = new Map<string, Case>([
  ...[classes, rare, pixels, ignoring, ignoringAll, probabilities].map((data) => of("accuracy", data)),
  of("topK", classes, { k: 2 }),
  of("topK", tied, { k: 1 }),
  of("topK", tied, { k: 2 }),
  of("topK", tied, { k: 3 }),
  of("topK", classes, { k: 5 }),
  of("topK", pixels, { k: 2 }),
  of("topK", ignoring, { k: 3 }),
  of("topK", ignoringOther, { k: 1, ignoreIndex: 255 }),
  of("topK", text, { k: 3, axis: -1 }),
  of("topK", probabilities, { k: 2 }),
  of("perplexity", classes),
  of("perplexity", text, { axis: -1 }),
  of("perplexity", ignoringOther, { ignoreIndex: 255 }),
  ...(["precision", "recall", "f1"] as const).flatMap((metric) => [
    ...[two, answers, column, labels, masks, never].map((data) => of(metric, data)),
    of(metric, two, { positive: 0 }),
    of(metric, never, { zeroDivision: 1 }),
    of(metric, answers, { threshold: 0.5 }),
    ...averages.flatMap((average) => [
      ...[classes, rare, labels, pixels, ignoring].map((data) => of(metric, data, { average })),
      of(metric, ignoringLabels, { average, ignoreIndex: -1 }),
      of(metric, text, { average, axis: 2 }),
    ]),
  ]),
  ...[classes, rare, two, answers, column, labels, pixels, masks, ignoring].map((data) => of("confusionMatrix", data)),
  of("confusionMatrix", ignoringLabels, { ignoreIndex: -1, threshold: 0.25 }),
  ...[answers, column, labels, masks, never, repeatedClasses, text].map((data) =>
    of("auc", data, data === text ? { axis: -1 } : {}),
  ),
  of("auc", repeatedClasses, { average: "weighted" }),
  of("auc", labels, { average: "weighted" }),
  of("auc", ignoringLabels, { ignoreIndex: -1 }),
  of("auc", classes, { logits: false }),
  of("auc", pixels, { logits: false, average: "weighted" }),
  ...(["meanAbsoluteError", "meanSquaredError", "rootMeanSquaredError", "r2"] as const).flatMap((metric) =>
    [values, several, far].map((data) => of(metric, data)),
  ),
  of("r2", constant),
  of("r2", met),
]);

// --- measuring ---

let worker: Worker;
let folder: string;
beforeAll(async () => {
  worker = await warmWorker();
  folder = await mkdtemp(join(tmpdir(), "metrics-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** The outputs are what the data has as inputs. */
class Given extends AbstractValidationPhase {
  readonly name = "validation";

  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step) => {
      step.yhat = step.xs;
    });
  }
}

function arrayOf(nested: readonly Nested[], dtype: "float32" | "int64"): NDArray {
  const shape: number[] = [];
  for (let at: Nested = nested; typeof at !== "number"; at = at[0]!) shape.push(at.length);
  const flat = (nested as number[]).flat(Infinity);
  return dtype === "float32"
    ? { dtype, shape, data: Float32Array.from(flat) }
    : { dtype, shape, data: BigInt64Array.from(flat, BigInt) };
}

/** The samples in steps of so many. */
function steps({ outputs, targets, batches }: Pick<Case, "outputs" | "targets" | "batches">): BatchLike[] {
  let end = 0;
  const areWhole = (targets as number[]).flat(Infinity).every(Number.isInteger);
  return batches.map((size) => {
    end += size;
    const part = (all: Nested): readonly Nested[] => (all as readonly Nested[]).slice(end - size, end);
    return { xs: arrayOf(part(outputs), "float32"), ys: arrayOf(part(targets), areWhole ? "int64" : "float32") };
  });
}

async function measured(metrics: readonly Metric[], data: readonly BatchLike[]): Promise<Learner> {
  const learner = new Learner(worker.import("torch").nn.Linear(1, 1), (yhat) => yhat, {
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(...metrics)],
    input: same,
  });
  await learner.epoch(new Given(), data);
  return learner;
}

const last = (learner: Learner, name: string): number | undefined =>
  learner.state.metricsEpoch["validation"]?.[name]?.at(-1)?.value;

/** How far what was found is from what Python has; NaN, which is null there, is where NaN is. */
const distance = (found: number | undefined, reference: number | null): number =>
  reference === null && Number.isNaN(found) ? 0 : Math.abs(found! - (reference ?? Number.NaN));

/**
 * The logarithms of perplexity are float32's; what is far from zero has fewer digits behind the point; all else is
 * counted, or in double precision.
 */
const toleranceOf = ({ metric, outputs }: Case): number =>
  metric === "perplexity" ? 1e-5 : metric === "r2" && outputs === far.outputs ? 1e-10 : 1e-12;

describe("of all outputs at once", () => {
  let references: Map<string, Result>;
  beforeAll(async () => {
    const [input, output] = [join(folder, "cases.json"), join(folder, "out.json")];
    await writeFile(input, JSON.stringify([...cases.values()]));
    const script = fileURLToPath(new URL("../../native/metrics.py", import.meta.url));
    await execa((await findPython()).executable, [script, "--cases", input, "--out", output]);
    const results = JSON.parse(await readFile(output, "utf8")) as Result[];
    references = new Map([...cases.keys()].map((title, i) => [title, results[i]!]));
  });

  const of = (...kinds: readonly string[]): [string, Case][] =>
    [...cases].filter(([, { metric }]) => kinds.includes(metric));
  const tables = ["confusionMatrix"];
  const gathered = ["auc"];
  const counted = Object.keys(factories).filter((name) => ![...tables, ...gathered].includes(name));

  test.each([...of(...counted), ...of(...gathered)])("%s", async (title, one) => {
    const metric = factories[one.metric](one.options);
    const learner = await measured([metric], steps(one));
    expect(distance(last(learner, metric.name), references.get(title)!.epoch as number | null)).toBeLessThan(
      toleranceOf(one),
    );
  });

  test.each(of(...counted))("of each step: %s", async (title, one) => {
    const metric = factories[one.metric](one.options);
    const { state } = await measured([metric], steps(one));
    const history = state.metricsStep["validation"]![metric.name]!;
    expect(history.map(({ at }) => at)).toEqual(one.batches.map((_, i) => i + 1));
    const distances = references.get(title)!.steps.map((value, i) => distance(history[i]!.value, value));
    expect(Math.max(...distances)).toBeLessThan(toleranceOf(one));
  });

  test.each(of(...tables))("%s", async (title, one) => {
    const metric = factories[one.metric](one.options);
    const learner = await measured([metric], steps(one));
    const epoch = references.get(title)!.epoch as readonly (readonly number[])[];
    const { at, value } = learner.state.metricsTable["validation"]![metric.name]!;
    expect([at, value.shape, [...value.data]]).toEqual([1, [epoch.length, epoch.length], epoch.flat()]);
    expect(last(learner, metric.name)).toBeUndefined();
  });

  test("what is gathered in the worker has no value of a step", async () => {
    const { state } = await measured([ours.auc(), ours.confusionMatrix()], steps(two));
    expect(Object.keys(state.metricsStep["validation"] ?? {})).toEqual([]);
  });
});

const tensor = (array: NDArray): AnyRef => worker.tensor(array) as unknown as AnyRef;

describe("what is measured is what the loss asks for", () => {
  let sklearn: AnyRef;
  let torch: AnyRef;
  beforeAll(async () => {
    worker.import("sys").path.append(await testPackages());
    sklearn = worker.import("sklearn.metrics");
    torch = untyped(worker, "torch");
  });

  const [random, noise] = [generator(31), generator(32)];
  const drawn = (shape: readonly number[], next = random): NDArray => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 4 * next() - 2);
    return { dtype: "float32", shape, data };
  };
  const yesOrNo = (shape: readonly number[], dtype: "float32" | "uint8" | "bool" = "float32"): NDArray => {
    const { data } = drawn(shape, noise);
    const answers = (data as Float32Array).map((x) => (x > 0.3 ? 1 : 0));
    return { dtype, shape, data: dtype === "float32" ? answers : Uint8Array.from(answers) };
  };
  const indexed = (shape: readonly number[], classes: number): NDArray => ({
    dtype: "int64",
    shape,
    data: BigInt64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => BigInt(Math.floor(classes * noise()))),
  });

  /** Outputs that are the inputs, and a parameter. */
  const given = (): AnyRef => {
    const model = torch.nn.Sequential(torch.nn.Identity());
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)));
    return model;
  };

  /** The data comes in two batches. */
  async function validated(loss: Loss, xs: NDArray, ys: NDArray, ...metrics: Metric[]): Promise<Learner> {
    const learner = new Learner(given(), loss, {
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics(...metrics)],
      input: same,
    });
    await learner.validate([...batches({ xs, ys }, { batchSize: Math.ceil(xs.shape[0]! * 0.6) })] as Data);
    return learner;
  }

  const accuracyOf = (found: AnyRef, ys: NDArray): Promise<number> =>
    py.js(sklearn.accuracy_score(tensor(ys).flatten().numpy(), found.flatten().numpy())) as Promise<number>;

  test.each([
    ["outputs [N, 1] and targets [N, 1]", [20, 1], [20, 1], bceWithLogits()],
    ["bytes", [20], [20], bceWithLogits(), "uint8"],
    ["booleans", [20, 1], [20, 1], bceWithLogits(), "bool"],
    ["labels", [20, 4], [20, 4], bceWithLogits()],
    ["pixels", [6, 1, 3, 2], [6, 1, 3, 2], bceWithLogits()],
    ["labels with margins", [20, 4], [20, 4], losses.multilabelSoftMargin()],
    ["a loss of one's own", [20, 1], [20], (yhat: AnyRef, ys: AnyRef) => yhat.squeeze(1).sub(ys).mean()],
  ] as const)("accuracy of yes or no: %s", async (...[, outputs, targets, loss, dtype]) => {
    const [xs, ys] = [drawn(outputs), yesOrNo(targets, dtype)];
    const learner = await validated(loss as Loss, xs, ys, ours.accuracy);
    expect(last(learner, "accuracy")).toBeCloseTo(await accuracyOf(tensor(xs).gt(0), ys), 12);
  });

  test("of probabilities: a yes is above a half", async () => {
    const xs = { ...drawn([20, 1]), data: (drawn([20, 1]).data as Float32Array).map((x) => x / 4 + 0.5) };
    const ys = yesOrNo([20, 1]);
    const learner = await validated(losses.bce(), xs, ys, ours.accuracy, ours.f1(), ours.perplexity());
    const found = tensor(xs).gt(0.5);
    expect(last(learner, "accuracy")).toBeCloseTo(await accuracyOf(found, ys), 12);
    const truth = tensor(ys).flatten().numpy();
    const f1 = (await py.js(sklearn.f1_score(truth, found.flatten().numpy()))) as number;
    expect(last(learner, "f1")).toBeCloseTo(f1, 12);
    const logLoss = (await py.js(sklearn.log_loss(truth, tensor(xs).flatten().double().numpy()))) as number;
    expect(last(learner, "perplexity")).toBeCloseTo(Math.exp(logLoss), 5);
  });

  test("a model that learns has an accuracy that says so", async () => {
    const xs = drawn([60, 2]);
    const ys = Array.from({ length: 60 }, (_, i) => (xs.data[2 * i]! > 0 ? 1 : 0));
    const wrong = torch.nn.Linear(2, 1, false);
    wrong.weight.data.copy_(torch.tensor([[-3, 0]]));
    const learner = new Learner(wrong, bceWithLogits(), {
      data: {
        training: [
          {
            xs,
            ys: arrayOf(
              ys.map((y) => [y]),
              "float32",
            ),
          },
        ],
      },
      optimizer: sgd({ lr: 2 }),
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics(ours.accuracy)],
    });
    const { history } = await learner.fit(20);
    const values = history["training"]!["accuracy"]!.map(({ value }) => value);
    expect(values[0]).toBe(0);
    expect(values.at(-1)).toBeGreaterThan(0.9);
  });

  test("targets that the loss ignores do not count", async () => {
    const [xs, ys] = [drawn([20, 5]), indexed([20], 5)];
    const kept = tensor(ys).ne(3);
    const truth = py.at(tensor(ys), kept).numpy();
    const scores = py.at(tensor(xs), kept);
    const expected = (await py.js(sklearn.accuracy_score(truth, scores.argmax(1).numpy()))) as number;
    const names = kw({ labels: [0, 1, 2, 3, 4] });
    const surprise = await py.js(sklearn.log_loss(truth, scores.double().softmax(1).numpy(), names));
    const losses: Loss[] = [crossEntropy({ ignoreIndex: 3 }), torch.nn.CrossEntropyLoss(kw({ ignore_index: 3 }))];
    for (const loss of losses) {
      const learner = await validated(loss, xs, ys, ours.accuracy, ours.perplexity());
      expect(last(learner, "accuracy")).toBeCloseTo(expected, 12);
      expect(last(learner, "perplexity")).toBeCloseTo(Math.exp(surprise as number), 5);
    }
  });

  test("targets that are probabilities of classes are classes, for every metric", async () => {
    const xs = drawn([20, 3]);
    const ys = await py.ndarray(tensor(drawn([20, 3])).softmax(1));
    const f1 = ours.f1({ average: "macro" });
    const learner = await validated(crossEntropy(), xs, ys, ours.accuracy, f1);
    const [truth, found] = [tensor(ys).argmax(1).numpy(), tensor(xs).argmax(1).numpy()];
    expect(last(learner, "accuracy")).toBeCloseTo((await py.js(sklearn.accuracy_score(truth, found))) as number, 12);
    const macro = sklearn.f1_score(truth, found, kw({ average: "macro" }));
    expect(last(learner, "f1")).toBeCloseTo((await py.js(macro)) as number, 12);
  });

  const own: Loss = (yhat, ys) => yhat.sub(ys).abs().mean();
  test.each([
    [
      "numbers",
      mse(),
      drawn([8, 1]),
      drawn([8, 1]),
      ours.accuracy,
      "mse_loss is a loss of numbers: measure meanAbsoluteError()",
    ],
    ["numbers", losses.huber(), drawn([8, 3]), drawn([8, 3]), ours.perplexity(), "huber_loss is a loss of numbers"],
    ["numbers", own, drawn([8, 1]), drawn([8, 1]), ours.accuracy, "but 5 of them are neither; measure numbers"],
    ["several labels of a sample", own, drawn([8, 3]), yesOrNo([8, 3]), ours.accuracy, 'task: "labels"'],
    ["one class", crossEntropy(), drawn([8, 1]), indexed([8], 1), ours.accuracy, "have one class along axis 1"],
    ["yes or no", bceWithLogits(), drawn([8, 1]), yesOrNo([8, 1]), ours.topK(2), "use accuracy"],
  ] as const)("refused: %s", async (...[, loss, xs, ys, metric, message]) => {
    const error = await caught(() => validated(loss, xs, ys, metric));
    expect(String(error) + String(error.cause)).toContain(message);
  });

  test("a task that is said comes first", async () => {
    const [xs, ys] = [drawn([20, 3]), yesOrNo([20, 3])];
    const said = ours.topK(1, { name: "accuracy", task: "labels" });
    const learner = await validated(own, xs, ys, said);
    expect(last(learner, "accuracy")).toBeCloseTo(await accuracyOf(tensor(xs).gt(0), ys), 12);
  });
});

describe("outputs are of the type that the model gives, for the loss and for metrics", () => {
  const source = `
import collections, dataclasses, torch

@dataclasses.dataclass
class Scored:
    logits: torch.Tensor
    hidden: tuple = ()

class Output(collections.OrderedDict):
    def __post_init__(self):
        for field in dataclasses.fields(self):
            self[field.name] = getattr(self, field.name)

@dataclasses.dataclass
class ModelOutput(Output):
    logits: torch.Tensor = None

class Model(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        self.head = torch.nn.Linear(2, 2)
        self.output = output
    def forward(self, x):
        return self.output(logits=self.head(x))

def is_full(yhat):
    return float(yhat.logits.dtype is torch.float32 and not yhat.logits.requires_grad)
`;

  test.each(["Scored", "ModelOutput"])("%s, under amp", async (name) => {
    const builtins = worker.import("builtins");
    const names = builtins.dict();
    builtins.exec(source, names);
    const F = untyped(worker, "torch.nn.functional");
    const isFull = py.at(names, "is_full");
    const data: BatchLike[] = [
      {
        xs: arrayOf(
          [
            [1, 2],
            [3, -4],
          ],
          "float32",
        ),
        ys: arrayOf([0, 1], "int64"),
      },
    ];
    const ofLogits = ours.metric("accuracy", {
      ...ours.accuracy,
      update: (yhat, ...more) => ours.accuracy.update(yhat.logits, ...more),
    });
    const learner = new Learner(
      py.at(names, "Model")(py.at(names, name)),
      (yhat, ys) => F.cross_entropy(yhat.logits, ys),
      {
        data: { training: data, validation: data },
        defaultCallbacks: false,
        callbacks: [
          new PyTorchBackend({ amp: "bf16" }),
          new Recorder(),
          new Metrics(new ours.Metric((yhat) => isFull(yhat), { name: "full" }), ofLogits),
        ],
        input: same,
      },
    );
    await learner.fit(1);
    for (const phase of ["training", "validation"])
      expect(learner.state.metricsEpoch[phase]!["full"]![0]!.value).toBe(1);
    expect(last(learner, "accuracy")).toBeGreaterThanOrEqual(0);
  });
});

describe("numbers of half floats are numbers, and not their bits", () => {
  const data: BatchLike[] = [{ xs: arrayOf([[1.5], [2.5]], "float32"), ys: arrayOf([0, 0], "float32") }];
  const half = (yhat: AnyRef, dtype: string): AnyRef => yhat.to(untyped(worker, "torch")[dtype]);

  test.each(["float16", "bfloat16"])("%s", async (dtype) => {
    const value = half(untyped(worker, "torch").tensor(2.5), dtype);
    const constant = (result: AnyRef): AnyRef => {
      const names = worker.import("builtins").dict();
      worker
        .import("builtins")
        .exec(
          "class Constant:\n  def __init__(self, value): self.value = value\n  def reset(self): pass\n  def update(self, yhat, ys): pass\n  def compute(self): return self.value",
          names,
        );
      return py.at(names, "Constant")(result);
    };
    const learner = await measured(
      [
        new ours.Metric((yhat) => half(yhat, dtype).mean(), { name: "mean" }),
        ours.metric("sum", {
          update: (yhat) => ({ all: half(yhat, dtype).flatten() }),
          compute: ({ all }) => all.data[0] + all.data[1],
        }),
        ours.torchmetric("constant", constant(value)),
      ],
      data,
    );
    expect(["mean", "sum", "constant"].map((name) => last(learner, name))).toEqual([2, 4, 2.5]);
    const complex = await caught(() =>
      measured([new ours.Metric((yhat) => untyped(worker, "torch").complex(yhat, yhat).mean(), { name: "c" })], data),
    );
    expect(String(complex)).toContain("complex");
  });
});
