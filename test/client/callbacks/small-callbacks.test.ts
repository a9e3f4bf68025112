/** SanityCheck, Traces, throttle, GarbageCollect, and the points of the acceptance list that are about them. */
import { beforeAll, describe, expect, test, vi } from "vitest";
import {
  AbstractTrainingPhase,
  AbstractValidationPhase,
  callback,
  CallbackError,
  CancelFitting,
  DataLoader,
  kw,
  Learner,
  metric,
  Metrics,
  mse,
  py,
  Recorder,
  sgd,
  TorchwireError,
  TrainingPhase,
  ValidationPhase,
  type BatchLike,
  type Callback,
  type Step,
  type Worker,
} from "torchwire";
import { CustomCallback, GarbageCollect, SanityCheck, SanityCheckError, throttle, Traces } from "torchwire/callbacks";
import { hingeLoss } from "torchwire/flux";
import { l1, type Loss } from "torchwire/losses";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { threefold, tiny, type Tiny, tinyData, unchecked } from "../../tiny.ts";
import { weightsHash } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
beforeAll(async () => {
  worker = await warmWorker();
});

/** The warnings of `run`. */
async function warningsOf(run: () => Promise<unknown>): Promise<string[]> {
  const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  try {
    await run();
    return warn.mock.calls.map(([text]) => String(text));
  } finally {
    warn.mockRestore();
  }
}

describe("2.9.7: callbacks of one event", () => {
  test("one at stepBegin is called 16 times in an epoch", async () => {
    let count = 0;
    const learner = tiny(worker, { callbacks: [new CustomCallback("stepBegin", () => void count++)] });
    await learner.epoch(new TrainingPhase());
    expect(count).toBe(16);
  });

  test("CancelFitting that is thrown at stepEnd ends the fit with no epoch and no step counted", async () => {
    const stop = new CustomCallback(
      "stepEnd",
      () => {
        throw new CancelFitting("enough");
      },
      { phase: AbstractTrainingPhase, access: { control: "write" } },
    );
    const learner = tiny(worker, { callbacks: [new Recorder(), stop] });
    const report = await learner.fit(2);
    expect([report.status, report.reason, report.epochs, report.steps]).toEqual(["stopped", "enough", 0, 0]);
    expect(learner.state.history["training"]).toMatchObject({ epochs: 0, steps: 0 });
  });
});

describe("2.9.8: throttle", () => {
  const epochOf = async (learner: Learner): Promise<number> => {
    await learner.epoch(new TrainingPhase());
    return learner.state.history["training"]!.steps;
  };
  const counted = (options: Parameters<typeof throttle>[2]): Promise<number> =>
    epochOf(tiny(worker, { callbacks: [throttle(new Recorder(), "stepEnd", options)] }));

  test("of 16 steps every second is 8, every 16th is 1, every one with 0 seconds, one with 10", async () => {
    expect([
      await counted({ freq: 2 }),
      await counted({ freq: 16 }),
      await counted({ seconds: 0 }),
      await counted({ seconds: 10 }),
    ]).toEqual([8, 1, 16, 1]);
  });

  test("the 1st, the 3rd, the 5th", async () => {
    const seen: number[] = [];
    const looks = new CustomCallback("stepBegin", ({ index }) => void seen.push(index));
    await tiny(worker, { callbacks: [throttle(looks, "stepBegin", { freq: 5 })] }).epoch(new TrainingPhase());
    expect(seen).toEqual([0, 5, 10, 15]);
  });

  test("one that cancels steps, half the time: 8 are counted", async () => {
    const cancel = callback({
      name: "Cancel",
      access: { control: "write" },
      on: { stepBegin: ({ control }) => control.cancel("step") },
    });
    const learner = tiny(worker, { callbacks: [new Recorder(), throttle(cancel, "stepBegin", { freq: 2 })] });
    expect(await epochOf(learner)).toBe(8);
  });

  test("an observer gets the values of the steps that it measured, of those in flight too, and other events pass", async () => {
    const seen: [number, number][] = [];
    let epochs = 0;
    const looks = callback({
      name: "Looks",
      access: { step: "use" },
      measure: ({ index }) => ({ n: index * 10 }),
      observe: { stepEnd: ({ index, values }) => void seen.push([index, values["n"]]), epochEnd: () => void epochs++ },
    });
    const learner = tiny(worker, { callbacks: [throttle(looks, "stepEnd", { freq: 7 })] });
    await learner.epoch(new TrainingPhase());
    expect([seen, epochs]).toEqual([
      [
        [0, 0],
        [7, 70],
        [14, 140],
      ],
      1,
    ]);
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
  });

  test("it is still of its class, by its name, and in its order", async () => {
    const resolved: string[] = [];
    const inner = callback({
      name: "B",
      access: { step: { xs: "write" } },
      runAfter: ["PyTorchBackend"],
      resolveConflict: (other) => (resolved.push(other.name), undefined),
      on: { stepBegin: () => undefined },
    });
    const learner = tiny(worker, { callbacks: [throttle(inner, "stepBegin", { freq: 2 })] });
    expect(learner.callbacks.map(({ name }) => name)).toEqual(["B", "PyTorchBackend"]);
    expect(resolved).toContain("PyTorchBackend");
    const recorder = throttle(new Recorder(), "stepEnd", { freq: 2 });
    const other = tiny(worker, { callbacks: [recorder], defaultCallbacks: true });
    expect(other.getCallback(Recorder)).toBe(recorder);
  });

  test.each<[string, () => unknown, RegExp]>([
    ["neither", () => throttle(new Recorder(), "stepEnd", unchecked({})), /^throttle takes either freq or seconds$/],
    [
      "both",
      () => throttle(new Recorder(), "stepEnd", unchecked({ freq: 1, seconds: 1 })),
      /^throttle takes either freq or seconds$/,
    ],
    [
      "a freq of 0",
      () => throttle(new Recorder(), "stepEnd", { freq: 0 }),
      /^throttle: freq is 0; it must be a whole number from 1$/,
    ],
    [
      "an event that it does not have",
      () => throttle(new Recorder(), "lossBegin", { freq: 1 }),
      /^throttle: Recorder does nothing at lossBegin; it has /,
    ],
    ["no callback", () => throttle(unchecked({}), "stepEnd", { freq: 1 }), /^throttle: \{\} is not a callback$/],
  ])("MISUSE: %s", async (_, make, message) => {
    const error = await caught(make);
    expect([error.code, error.message]).toEqual(["MISUSE", expect.stringMatching(message)]);
  });
});

test("2.9.9: a metric of one phase is in that phase's histories alone", async () => {
  const score = metric("score", { update: () => ({ n: 1 }), compute: () => 1, phase: ValidationPhase });
  const learner = tiny(worker, { callbacks: [new Recorder(), new Metrics(score)] });
  await learner.fit(1);
  const { metricsStep, metricsEpoch } = learner.state;
  const where = [metricsStep, metricsEpoch].map((of) => Object.keys(of).filter((phase) => "score" in of[phase]!));
  expect(where).toEqual([["validation"], ["validation"]]);
});

describe("2.9.10: Traces", () => {
  const traces = {
    coefficient: ({ model }: { model: AnyRef }) => model.weight.detach().sum(),
    loss: ({ step }: { step: { loss: AnyRef } }) => step.loss.detach().mul(2),
    half: ({ index }: { index: number }) => index / 2,
  };

  test("of the given phase alone, each with the number of the step", async () => {
    const learner = tiny(worker, {
      callbacks: [new Recorder(), new Metrics(), new Traces(traces, { phase: ValidationPhase })],
    });
    await learner.fit(1);
    expect(Object.keys(learner.state.traces)).toEqual(["validation"]);
    const { coefficient, loss, half } = learner.state.traces["validation"]!;
    expect(coefficient!.map(({ at }) => at)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(new Set(coefficient!.map(({ value }) => value))).toEqual(new Set([await learner.model.weight.item()]));
    const losses = learner.state.metricsStep["validation"]!["loss"]!.map(({ value }) => 2 * value);
    expect(loss!.map(({ value }) => value)).toEqual(losses);
    expect(half!.map(({ value }) => value)).toEqual(losses.map((_, i) => i / 2));
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
  });

  test("of all phases without one, and on from fit to fit", async () => {
    const learner = tiny(worker, { callbacks: [new Recorder(), new Traces({ one: () => 1 })] });
    await learner.fit(1);
    await learner.fit(1);
    const counts = Object.entries(learner.state.traces).map(([phase, of]) => [
      phase,
      of["one"]!.length,
      of["one"]!.at(-1)!.at,
    ]);
    expect(counts).toEqual([
      ["training", 32, 32],
      ["validation", 32, 32],
    ]);
  });

  test("MISUSE: none, no function, no number", async () => {
    expect((await caught(() => new Traces({}))).message).toContain("Traces takes functions by name");
    expect((await caught(() => new Traces(unchecked({ a: 3 })))).message).toBe("Traces: a is 3; it must be a function");
    const error = await caught(() =>
      tiny(worker, { callbacks: [new Recorder(), new Traces({ w: ({ model }) => model.weight.detach() })] }).fit(1),
    );
    expect(error.message).toContain("Traces: w gave ");
    expect(error.message).toContain("a trace is a number, such as x.norm() or x.mean()");
  });
});

describe("2.9.11: SanityCheck", () => {
  /** The fit's message about the mistake. */
  async function failure(options: Tiny, check = new SanityCheck()): Promise<SanityCheckError> {
    const learner = tiny(worker, { ...options, callbacks: [check] });
    const before = await weightsHash(worker, learner.model as never);
    const error = await caught(() => learner.fit(1));
    expect(error).toBeInstanceOf(CallbackError);
    expect(await weightsHash(worker, learner.model as never)).toBe(before);
    expect(error.cause).toBeInstanceOf(SanityCheckError);
    expect(error.message).toContain((error.cause as Error).message);
    return error.cause as SanityCheckError;
  }

  test("the tiny learner passes, silently", async () => {
    const learner = tiny(worker, { callbacks: [new SanityCheck()] });
    expect(await warningsOf(() => learner.fit(1))).toEqual([]);
  });

  test("no training data: the fit says so itself", async () => {
    const error = await caught(() => tiny(worker, { data: {}, callbacks: [new SanityCheck()] }).fit(1));
    expect([error.code, error.message]).toEqual(["MISUSE", expect.stringContaining("there is no training data")]);
  });

  test("no validation data: a warning", async () => {
    const { training } = tinyData();
    const learner = tiny(worker, { data: { training }, callbacks: [new SanityCheck()] });
    const warnings = await warningsOf(() => learner.fit(1));
    expect(warnings.filter((text) => text.startsWith("sanity check: there is validation data"))).toHaveLength(1);
  });

  test("data that is no batches: which and what", async () => {
    const numbers = Array.from({ length: 16 }, (_, i) => i + 1);
    const { failed } = await failure({ data: { ...tinyData(), training: unchecked(numbers) } });
    expect(failed).toEqual([
      {
        name: "batches are { xs, ys } or [xs, ys]",
        why: "at index 0, the data gave number where a batch is needed: { xs, ys } or [xs, ys]",
      },
    ]);
  });

  test("a loss that is not one number", async () => {
    const { failed, message } = await failure({ loss: l1({ reduction: "none" }) });
    expect(failed).toEqual([
      {
        name: "the loss of a batch is a number",
        why: "it is a tensor of shape [8, 1], not one number: reduce it, e.g. with .mean()",
      },
    ]);
    expect(message).toMatch(/^1 sanity check failed\n {2}the loss of a batch is a number: it is a tensor/);
    expect((await failure({ loss: (yhat) => yhat.argmax() })).failed[0]!.why).toBe(
      "it is of torch.int64, and has no gradient",
    );
    expect((await failure({ loss: unchecked(() => 3) })).failed[0]!.why).toContain("the loss function gave 3");
  });

  test("a model that does not take the batch: Python's own error, and no broken lane", async () => {
    const xs = { dtype: "float32", shape: [8, 2], data: new Float32Array(16) } as const;
    const batch = { xs, ys: threefold(8, 0).ys };
    const { failed } = await failure({ data: { training: [batch], validation: [batch] } });
    expect(failed[0]!.why).toContain("mat1 and mat2 shapes cannot be multiplied");
  });

  describe("a loss in which samples meet the targets of others", () => {
    /** Outputs are [8, 1]. */
    const flat = (): BatchLike => {
      const { xs, ys } = threefold(8, 0);
      return { xs, ys: { ...ys, shape: [8] } };
    };
    const withTargets = (training: BatchLike, loss: Loss): Tiny => ({
      data: { training: [training], validation: [training] },
      loss,
    });

    test.each<[string, () => Loss, RegExp]>([
      ["mse", () => mse(), /in mse_loss: /],
      ["a module", () => untyped(worker, "torch.nn").SmoothL1Loss() as never, /in smooth_l1_loss: /],
      ["one of Flux's", () => hingeLoss(), /in mul: /],
      ["one's own", () => (yhat, ys) => yhat.sub(ys).pow(2).mean(), /in sub: /],
      [
        "one's own, with what keeps shapes before it",
        () => (yhat, ys) => yhat.sigmoid().mul(ys.float().neg()).sum(),
        /in mul: /,
      ],
      ["one's own, by operators", () => (yhat, ys) => py.op("-", yhat, ys).abs().mean(), /in (__)?sub(__)?: /],
    ])("%s is refused, with the shapes and what to do", async (_, loss, where) => {
      const { failed } = await failure(withTargets(flat(), loss()));
      expect(failed).toEqual([
        { name: "each sample's outputs meet its own targets", why: expect.stringMatching(where) },
      ]);
      expect(failed[0]!.why).toMatch(
        /^(outputs of shape \[8, 1\] and targets of shape \[8\]|targets of shape \[8\] and outputs of shape \[8, 1\]) make \[8, 8\] in \w+: each sample meets those of all others\. Give both one shape: the targets \[8, 1\] \(\.unsqueeze\(1\)\), or the outputs \[8\] \(\.squeeze\(1\)\)$/,
      );
    });

    test("targets that are several are told by their names", async () => {
      const { xs, ys } = threefold(8, 0);
      const batch = { xs, ys: { values: ys, importance: { ...ys, shape: [8] } } } as const;
      const own: Loss = (yhat, { values, importance }: any) => yhat.sub(values).abs().mul(importance).mean();
      const { failed } = await failure(withTargets(batch, own));
      expect(failed[0]!.why).toContain(
        "outputs of shape [8, 1] and targets.importance of shape [8] make [8, 8] in mul",
      );
    });

    test.each<[string, () => Loss]>([
      ["squeeze", () => (yhat, ys) => yhat.squeeze(1).sub(ys).abs().mean()],
      ["squeeze of all", () => (yhat, ys) => yhat.squeeze().sub(ys).abs().mean()],
      ["view", () => (yhat, ys) => yhat.view(-1).sub(ys).abs().mean()],
      [
        "index",
        () => (yhat, ys) =>
          py
            .at(yhat, [py.slice(), 0] as never)
            .sub(ys)
            .abs()
            .mean(),
      ],
      ["select", () => (yhat, ys) => yhat.select(1, 0).sub(ys).abs().mean()],
      [
        "mean",
        () => (yhat, ys) =>
          yhat
            .mul(worker.tensor([1, 1, 1]))
            .mean(1)
            .sub(ys)
            .abs()
            .mean(),
      ],
    ])("an axis that one side alone has lost is seen: %s", async (_, loss) => {
      const { failed } = await failure(withTargets(threefold(8, 0), loss()));
      expect(failed[0]!.why).toContain(
        "outputs of shape [8] and targets of shape [8, 1] make [8, 8] in sub: each sample meets those of all others. " +
          "Give both one shape: the outputs [8, 1] (.unsqueeze(1)), or the targets [8] (.squeeze(1))",
      );
    });

    test("a loss that takes no tensors that are watched is not looked into", async () => {
      const plain = worker
        .import("builtins")
        .eval("lambda yhat, ys: (yhat - ys).abs().mean() if type(yhat) is type(ys) is torch.Tensor else 1 / 0", {
          torch: untyped(worker, "torch"),
        }) as AnyRef;
      const own: Loss = (yhat, ys) => plain(yhat, ys);
      const learner = tiny(worker, { ...withTargets(threefold(8, 0), own), callbacks: [new SanityCheck()] });
      expect(await learner.fit(1)).toMatchObject({ status: "completed" });
    });

    test("and so are a loss of each sample with a weight of each, and outputs in a dataclass", async () => {
      const { xs, ys } = threefold(8, 0);
      const batch = { xs, ys: { values: ys, weights: { ...ys, shape: [8] } } } as const;
      const { functional: F } = untyped(worker, "torch.nn");
      const own: Loss = (yhat, { values, weights }: any) =>
        F.mse_loss(yhat, values, kw({ reduction: "none" }))
          .mul(weights)
          .mean();
      expect((await failure(withTargets(batch, own))).failed[0]!.why).toContain("make [8, 8] in mul");
      const builtins = worker.import("builtins");
      const names = builtins.dict();
      builtins.exec(
        `
import dataclasses, torch

@dataclasses.dataclass
class Out:
    value: torch.Tensor

class Model(torch.nn.Linear):
    def forward(self, x):
        return Out(super().forward(x))
`,
        names,
      );
      const training = [flat()];
      const ofValue: Loss = (yhat, targets) => yhat.value.sub(targets).abs().mean();
      const learner = new Learner(py.at(names, "Model")(1, 1), ofValue, {
        data: { training, validation: training },
        callbacks: [new SanityCheck()],
        defaultCallbacks: false,
      });
      expect(String(await caught(() => learner.fit(1)))).toContain("make [8, 8] in sub");
    });

    test.each<[string, () => Loss]>([
      ["axes that are added", () => (yhat, ys) => yhat.sub(ys.unsqueeze(1)).abs().mean()],
      ["pairs of the same outputs", () => (yhat) => yhat.sub(yhat.squeeze(1)).abs().mean()],
      ["axes that are taken away", () => (yhat, ys) => yhat.squeeze(1).sub(ys).abs().mean()],
      ["pairs that are meant", () => (yhat, ys) => yhat.view(8, 1).sub(ys.view(1, 8)).abs().mean()],
      ["numbers", () => (yhat, ys) => yhat.sub(ys.mean()).mul(2).mean()],
      [
        "weights for each column",
        () => (yhat, ys) =>
          yhat
            .mul(worker.tensor([2]))
            .squeeze(1)
            .sub(ys)
            .abs()
            .mean(),
      ],
      ["a mask of rows", () => (yhat, ys) => yhat.expand(8, 3).mul(ys.unsqueeze(1)).mul(yhat.gt(0)).mean()],
      ["products of matrices", () => (yhat, ys) => yhat.t().matmul(ys).mean()],
    ])("%s are no mistake", async (_, loss) => {
      const learner = tiny(worker, { ...withTargets(flat(), loss()), callbacks: [new SanityCheck()] });
      expect(await learner.fit(1)).toMatchObject({ status: "completed" });
    });
  });

  test("one's own, with all that fail in one error; what is a warning is one", async () => {
    const seen: unknown[] = [];
    const check = new SanityCheck({
      defaults: true,
      checks: [
        {
          name: "passes",
          run: ({ xs, model }) => (seen.push(xs), py.isInstance(model, untyped(worker, "torch.nn").Module)),
        },
        { name: "fails", run: async ({ xs }) => (await py.len(xs)) === 9 },
        { name: "says why", run: () => "because" },
        { name: "throws", run: () => Promise.reject(new Error("thrown")) },
        { name: "may be", level: "warning", run: () => false },
      ],
    });
    let failed: unknown;
    const warnings = await warningsOf(
      async () => ({ failed } = await failure({ loss: l1({ reduction: "none" }) }, check)),
    );
    expect(failed).toEqual([
      { name: "the loss of a batch is a number", why: expect.stringContaining("[8, 1]") },
      { name: "fails", why: "it is not so" },
      { name: "says why", why: "because" },
      { name: "throws", why: "thrown" },
    ]);
    expect(warnings).toEqual(["sanity check: may be: it is not so"]);
    expect(seen).toHaveLength(1);
  });

  test("with one's own alone the others are not made; and it is done once", async () => {
    let times = 0;
    const check = new SanityCheck({ checks: [{ name: "counts", run: () => void times++ }] });
    const { training } = tinyData();
    const learner = tiny(worker, { data: { training }, callbacks: [check] });
    const warnings = await warningsOf(() => learner.fit(2));
    expect([times, warnings.filter((text) => text.startsWith("sanity"))]).toEqual([1, []]);
  });

  test("MISUSE: checks that are none", async () => {
    const error = await caught(() => new SanityCheck(unchecked({ checks: [() => true] })));
    expect(error).toBeInstanceOf(TorchwireError);
    expect(error.message).toContain("it must be an array of { name, run }");
  });

  describe("not a bit of the fit changes", () => {
    /** Where random numbers, the mode, running statistics, gradients and the order of the data all show. */
    async function weightsAfter(callbacks: readonly Callback[], kind: "loader" | "once" | "worker"): Promise<string> {
      const torch = untyped(worker, "torch");
      torch.manual_seed(0);
      const { nn } = torch;
      const model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1));
      const loader = new DataLoader(threefold(64, 0), { batchSize: 8, shuffle: true });
      let begun = 0;
      // One that must not be iterated more often than there are epochs.
      const once = {
        *[Symbol.iterator](): Generator<BatchLike> {
          if (++begun > 2) throw new Error("iterated again");
          for (let i = 0; i < 4; i++) yield threefold(8, 10 * begun + i);
        },
      };
      const theirs = (): AnyRef => {
        const data = untyped(worker, "torch.utils.data");
        return data.DataLoader(
          data.TensorDataset(torch.arange(32).float().reshape(32, 1), torch.rand(32, 1)),
          kw({ batch_size: 8, shuffle: true }),
        );
      };
      const training = kind === "loader" ? loader : kind === "once" ? once : theirs();
      const learner = new Learner<AnyRef>(model, mse(), {
        data: { training, validation: new DataLoader(threefold(16, 1), { batchSize: 8 }) },
        optimizer: sgd({ lr: 1e-3, momentum: 0.9 }),
        callbacks,
        defaultCallbacks: false,
      });
      await learner.fit(2);
      return weightsHash(worker, model);
    }

    test.each(["loader", "once", "worker"] as const)("data: %s", async (kind) => {
      const drawing = {
        name: "draws",
        run: ({ model, xs }: { model: AnyRef; xs: AnyRef }) => void model(xs.add(untyped(worker, "torch").rand(1))),
      };
      const alone = await weightsAfter([], kind);
      expect(await weightsAfter([new SanityCheck({ defaults: true, checks: [drawing] })], kind)).toBe(alone);
      // Another seed would show.
      const draws = new CustomCallback("fitBegin", () => void untyped(worker, "torch").rand(1));
      expect(await weightsAfter([draws], kind)).not.toBe(alone);
    });
  });

  test("a phase of one's own, whose loss is its own affair, is checked by one's own checks alone", async () => {
    class Own extends AbstractTrainingPhase {
      readonly name = "training";
      step(learner: Learner, batch: BatchLike): Promise<Step> {
        return learner.runStep(this, batch, async (step) => {
          step.loss = learner.model(step.xs).mean();
        });
      }
    }
    const learner = tiny(worker, {
      loss: l1({ reduction: "none" }),
      callbacks: [new SanityCheck()],
      data: { training: tinyData().training },
    });
    await warningsOf(async () =>
      expect((await learner.fit(1, { phases: { training: new Own() } })).status).toBe("completed"),
    );
  });
});

describe("2.9.16: GarbageCollect", () => {
  test("collects in the worker, at the 1st step and every n-th, in line, and nothing waits", async () => {
    const gc = untyped(worker, "gc");
    const collections = async (): Promise<number> =>
      (await py.js(py.get(py.at(gc.get_stats(), 2), "get")("collections"))) as number;
    gc.disable();
    try {
      const learner = tiny(worker, { callbacks: [new GarbageCollect(5)] });
      expect(learner.explain()).toMatch(/^stepEnd .*GarbageCollect \(in line\)/m);
      expect(learner.explain()).toContain("steps in flight: 3 to 32");
      const before = await collections();
      const trips = (await countsOf(worker)).roundTrips;
      await learner.epoch(new TrainingPhase());
      const after = (await countsOf(worker)).roundTrips;
      // 1, 6, 11 and 16.
      expect(await collections()).toBe(before + 4);
      const alone = tiny(worker);
      const start = (await countsOf(worker)).roundTrips;
      await alone.epoch(new TrainingPhase());
      expect(after - trips).toBe((await countsOf(worker)).roundTrips - start);
    } finally {
      gc.enable();
    }
  });

  test("looks for it among what the program made: what came with PyTorch stays", async () => {
    const gc = untyped(worker, "gc");
    expect(await py.js(gc.get_freeze_count())).toBeGreaterThan(100_000);
    expect(await py.js(gc.isenabled())).toBe(true);
  });

  test("a fit with it and the others makes no warning, and no other weights", async () => {
    const all = [
      new Recorder(),
      new Metrics(),
      new GarbageCollect(),
      new SanityCheck(),
      new Traces({ one: () => 1 }, { phase: AbstractValidationPhase }),
    ];
    const learner = tiny(worker, { callbacks: all });
    const alone = tiny(worker);
    expect(await warningsOf(() => learner.fit(1))).toEqual([]);
    await alone.fit(1);
    expect(await weightsHash(worker, learner.model as never)).toBe(await weightsHash(worker, alone.model as never));
  });

  test("MISUSE", async () => {
    expect((await caught(() => new GarbageCollect(0))).message).toBe(
      "GarbageCollect: n is 0; it must be a whole number from 1",
    );
  });
});
