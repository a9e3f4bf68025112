/**
 * Every included callback, metric and criterion goes on as if nothing had happened: all that it writes, and all that it
 * remembers, is the undisturbed fit's.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  AbstractTrainingPhase,
  callback,
  kw,
  py,
  PyTorchBackend,
  Scheduler,
  type AnyRef,
  type Worker,
} from "torchwire";
import * as callbacks from "torchwire/callbacks";
import * as logging from "torchwire/logging";
import { hyperparameter } from "torchwire/optim";
import * as metrics from "torchwire/metrics";
import { cosAnneal, triangle } from "torchwire/schedules";
import * as stopping from "torchwire/stopping";
import { digits, fitted, type Data, type Kind, type Setting } from "../../fixtures/resume/fits.ts";
import { lines, loggers } from "../../fixtures/resume/logs.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let root: string;
let data: { training: Data; validation: Data };
beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
  root = await mkdtemp(join(tmpdir(), "callbacks-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

type Metric = metrics.Metric;
const { EarlyStopping, CustomCallback, throttle } = callbacks;

/** A metric of torchmetrics' kind: it counts what it is given, and has a state_dict. */
const PYTHON = `
class Seen:
    def reset(self):
        self.scores = []
    def update(self, yhat, ys):
        self.scores.append(yhat.detach().sum())
    def compute(self):
        return sum(self.scores)
    def state_dict(self):
        return {"scores": self.scores}
    def load_state_dict(self, state):
        self.scores = list(state["scores"])
`;
function seen(): AnyRef {
  const builtins = worker.import("builtins");
  const names = builtins.dict();
  builtins.exec(PYTHON, names);
  return py.at(names, "Seen")();
}

let alive = 0;
const counted = (): Metric =>
  metrics.statefulMetric("counted", {
    start() {
      let sum = 0;
      return {
        add: (_, { size }) => (sum += size),
        compute: () => sum,
        state: { save: () => sum, load: (saved: number) => void (sum = saved) },
      };
    },
  });

/** By the name of each export. */
const ofClasses: { readonly [name: string]: () => Metric } = {
  accuracy: () => metrics.accuracy,
  perplexity: () => metrics.perplexity(),
  topK: () => metrics.topK(2),
  auc: () => metrics.auc(),
  "auc in bins": () => metrics.auc({ name: "binned", bins: 10, average: "weighted" }),
  confusionMatrix: () => metrics.confusionMatrix(),
  f1: () => metrics.f1({ average: "macro" }),
  precision: () => metrics.precision({ average: "micro" }),
  recall: () => metrics.recall({ average: "macro", mean: "steps" }),
  MeanLoss: () => new metrics.MeanLoss({ mean: "steps" }),
  SmoothLoss: () => new metrics.SmoothLoss(0.9),
  metric: () =>
    metrics.metric("columns", { update: (yhat) => ({ sums: yhat.sum(0) }), compute: ({ sums }) => sums.data[3] }),
  Metric: () => new metrics.Metric((yhat) => yhat.mean(), { name: "mean", mean: "steps" }),
  statefulMetric: counted,
  torchmetric: () => metrics.torchmetric("seen", seen()),
  // The last one, whose state is a time.
  epochSeconds: () => metrics.epochSeconds,
};
const ofNumbers: { readonly [name: string]: () => Metric } = {
  meanAbsoluteError: () => metrics.meanAbsoluteError({ phase: AbstractTrainingPhase }),
  meanSquaredError: () => metrics.meanSquaredError({ phase: AbstractTrainingPhase }),
  rootMeanSquaredError: () => metrics.rootMeanSquaredError({ phase: AbstractTrainingPhase }),
  r2: () => metrics.r2({ phase: AbstractTrainingPhase }),
};

/** They remember, and do not stop the fit. */
const criteria: { readonly [name: string]: () => stopping.StoppingCriterion } = {
  gl: () => stopping.gl(1e9),
  invalidValue: () => stopping.invalidValue(),
  never: () => stopping.never(),
  numberLimit: () => stopping.numberLimit(9),
  numberSinceBest: () => stopping.numberSinceBest(9),
  patience: () => stopping.patience(9),
  pq: () => stopping.pq({ alpha: 1e9, k: 2, tol: 1e-300 }),
  threshold: () => stopping.threshold(-1),
  timeLimit: () => stopping.timeLimit({ hours: 1 }),
  or: () => stopping.or(stopping.patience(8), stopping.gl(1e8)),
  disjunction: () => stopping.disjunction(stopping.numberLimit(8), stopping.never()),
  warmup: () => stopping.warmup(stopping.numberSinceBest(9), 2),
  criterion: () =>
    stopping.criterion<number>({ name: "Sum", update: (loss, sum = 0) => sum + loss, done: (sum) => sum > 1e9 }),
};

/** What a program prints, without the times. */
interface Printed {
  readonly rows: string[];
  readonly told: number[];
}

const kindsOf: { readonly [name: string]: (path: string, printed: Printed) => Kind & Pick<Setting, "change"> } = {
  "all that watches, schedules, averages and stops": (path, { rows, told }) => {
    const scale = hyperparameter("scale", 1);
    const backend = new PyTorchBackend({ accumulate: 2, clipGradNorm: 1, amp: "fp16" });
    return {
      callbacks: () => [
        ...loggers(path),
        backend,
        new callbacks.Metrics(...Object.values(ofClasses).map((make) => make())),
        ...Object.entries(criteria).map(
          ([name, make]) => new EarlyStopping(make(), { name, restoreBest: name === "never", minDelta: 1e-3 }),
        ),
        new callbacks.ReduceOnPlateau({ patience: 0, threshold: 0.5, cooldown: 1 }),
        new Scheduler({ weightDecay: callbacks.relative(cosAnneal(1, 0, "run")), own: [[scale, triangle(0, 1, 7)]] }),
        new Scheduler({ "betas.0": triangle(0.8, 0.9, 5) }, { name: "across", across: true }),
        new callbacks.EMA({ decay: 0.9, validate: false }),
        new callbacks.SWA({ start: 1, validate: true }),
        new callbacks.GarbageCollect(3),
        new callbacks.SanityCheck(),
        new callbacks.StopOnNaNLoss({ late: true }),
        // It reads the hyperparameter in the validation, too, before a training step has set it.
        new CustomCallback("stepEnd", () => void told.push(scale.value), { name: "scale" }),
        throttle(
          callback({ name: "now and then", observe: { stepEnd: ({ index }) => void told.push(100 + index) } }),
          "stepEnd",
          { freq: 4 },
        ),
      ],
      change(learner) {
        learner.addCallback(new callbacks.MetricsPrinter({ output: { write: (text) => rows.push(text) } }));
        learner.addCallback(new callbacks.ProgressPrinter({ output: { write: () => undefined } }));
        // Gradients overflow until it has become smaller: updates are left out until then.
        const counts = { growth_factor: 2, backoff_factor: 0.5, growth_interval: 4, _growth_tracker: 0 };
        backend.inPython.scaler!.load_state_dict({ scale: py.float(2 ** 22), ...counts });
      },
    };
  },
  "all that changes batches": () => ({
    callbacks: () => [
      new callbacks.Augment((v2) => v2.RandomAffine(kw({ degrees: 20 }))),
      new callbacks.MixUp({ classes: 10, alpha: 0.5 }),
      new callbacks.Metrics(...Object.values(ofNumbers).map((make) => make())),
      new callbacks.Traces({ mixed: ({ step }) => (step.xs as AnyRef).sum() }),
    ],
  }),
};

test("the kinds below have every class of callbacks, every metric and every criterion", () => {
  const made = Object.values(kindsOf).flatMap((make) => make(join(root, "made"), { rows: [], told: [] }).callbacks());
  const printers = [new callbacks.MetricsPrinter(), new callbacks.ProgressPrinter(), new callbacks.Recorder()];
  // It goes with no MixUp, whose class it shares.
  const others = [...printers, new callbacks.CutMix({ classes: 10 })];
  const classes = Object.entries({ ...callbacks, ...logging }).filter(
    ([, value]) => typeof value === "function" && Function.prototype.toString.call(value).startsWith("class "),
  );
  const missing = classes.filter(
    ([, Class]) => ![...made, ...others].some((one) => one instanceof (Class as new () => object)),
  );
  // Neither is a callback.
  expect(missing.map(([name]) => name)).toEqual(["SanityCheckError", "Relative"]);
  expect([...Object.keys(ofClasses), ...Object.keys(ofNumbers)]).toEqual(expect.arrayContaining(Object.keys(metrics)));
  expect([...Object.keys(criteria), "stoppingTime"]).toEqual(expect.arrayContaining(Object.keys(stopping)));
});

test("every included callback says its state, or that it has none", () => {
  const made = Object.values(kindsOf).flatMap((make) => make(join(root, "said"), { rows: [], told: [] }).callbacks());
  const names = made.filter(({ state }) => state === undefined).map(({ name }) => name);
  expect(names).toEqual([]);
});

describe.each(Object.entries(kindsOf))("%s", (kindName, make) => {
  interface Program {
    readonly path: string;
    readonly seed?: number;
    readonly stopAt?: readonly [phase: string, step: number];
  }
  const hasLogs = kindName.includes("watches");
  const printed: { [path: string]: Printed } = {};
  async function program({ path, seed = 1, stopAt }: Program): Promise<object> {
    const interrupt = new AbortController();
    const { change, ...kind } = make(path, (printed[path] ??= { rows: [], told: [] }));
    const { weights, optimizer, state, report } = await fitted(worker, {
      kind,
      seed,
      data,
      options: { resume: { folder: join(path, "checkpoints"), every: 1, keep: 99 }, signal: interrupt.signal },
      atStep: (phase, step) => {
        if (phase === stopAt?.[0] && step === stopAt[1]) interrupt.abort("stopped");
      },
      ...(change && { change }),
    });
    const { resumed: _, ...rest } = report;
    return untimed({ weights, optimizer, state, report: rest }) as object;
  }

  /** The checkpoints by their steps: the states of the callbacks, and the hashes of what the worker has. */
  async function remembered(path: string): Promise<{ [steps: string]: unknown }> {
    const found: { [steps: string]: unknown } = {};
    for (const name of await readdir(join(path, "checkpoints"))) {
      if (!name.startsWith("step-")) continue;
      const manifest = JSON.parse(await readFile(join(path, "checkpoints", name, "manifest.json"), "utf8")) as {
        readonly steps: number;
        readonly place: object;
        readonly state: { readonly callbacks: { [name: string]: any } };
        readonly files: object;
      };
      const { steps, place, state, files } = manifest;
      const { callbacks: own } = state;
      for (const timed of ["MetricsPrinter", "ProgressPrinter"]) if (own[timed]) own[timed][0] = 0;
      if (own["now and then"]) own["now and then"][1][1] = 0;
      if (hasLogs) own["Metrics"].tallies.pop();
      found[`${steps} ${JSON.stringify(place)}`] = { files, state: untimed(state) };
    }
    return found;
  }

  /** Without times. A resumed fit prints its header again, and one that is interrupted the part of an epoch. */
  const rowsOf = ({ rows }: Printed): string[] =>
    rows
      .filter((row) => !row.includes("phase") && !/^ *\d+\./.test(row))
      .map((row) => row.replace(/\s+\S+\s+\S+ s\n$/, ""));

  const whole = { outcome: {} as object, path: "" };
  beforeAll(async () => {
    whole.path = join(root, `whole ${alive++}`);
    whole.outcome = await program({ path: whole.path });
  });

  test.each<[string, readonly [string, number]]>([
    ["the middle of an epoch", ["training", 14]],
    ["a validation", ["validation", 3]],
  ])("interrupted in %s, it ends with what the undisturbed fit has", async (_, stopAt) => {
    const told = vi.spyOn(process, "emitWarning").mockReturnValue();
    const path = join(root, `parts ${alive++}`);
    await program({ path, stopAt });
    const stopped = printed[path]!.told.length;
    expect(await program({ path, seed: 2 })).toEqual(whole.outcome);
    expect(told.mock.calls.map(([message]) => String(message)).filter((one) => one.includes("resume"))).toEqual([]);
    const [mine, theirs] = [await remembered(path), await remembered(whole.path)];
    // Those of the undisturbed fit, but for the place where this one was interrupted.
    const common = Object.keys(theirs).filter((key) => key in mine);
    expect(common.length).toBeGreaterThan(4);
    for (const key of common) expect({ [key]: mine[key] }).toEqual({ [key]: theirs[key] });
    // A validation runs again from its beginning.
    const again = printed[path]!.told.slice(stopped);
    expect(printed[whole.path]!.told.slice(-again.length)).toEqual(again);
    expect(rowsOf(printed[path]!)).toEqual(rowsOf(printed[whole.path]!));
    expect(hasLogs ? await lines(path) : {}).toEqual(hasLogs ? await lines(whole.path) : {});
  });
});

const TIMES = ["now", "start", "time", "seconds", "path", "files", "RunFolder"];

/** Without times, and without the places of files. */
const untimed = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, part: unknown) => (TIMES.includes(key) ? 0 : part)));
