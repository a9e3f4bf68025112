/** Fits, epochs and steps that were cut short, how a fit ended, and exchanged callbacks. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  callback,
  CancelEpoch,
  CancelFitting,
  CancelStep,
  Learner,
  mse,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  TrainingPhase,
  ValidationPhase,
  type BatchLike,
  type Callback,
  type Ending,
  type EventName,
  type LearnerOptions,
  type Step,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { pair, pairs } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

function learnerWith(callbacks: readonly Callback[], options: LearnerOptions = {}): Learner {
  return new Learner(torch.nn.Linear(1, 1, false), mse(), {
    data: { training: pairs(4), validation: pairs(2) },
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), ...callbacks],
    ...options,
  });
}

const LAST = ["stepCancelled", "epochCancelled", "epochEnd", "interrupted", "fitEnd"] as const;

/** `event phase.index`, and of the fit's last events how it ended. */
function diary(lines: string[], endings: (Ending | undefined)[] = []): Callback {
  const write = ({
    event,
    phase,
    index,
    ending,
  }: {
    event: string;
    phase: { name: string };
    index: number;
    ending: Ending | undefined;
  }): void => {
    lines.push(`${event} ${phase.name}.${index}`);
    if (event === "fitEnd" || event === "interrupted") endings.push(ending);
  };
  return callback({
    name: "Diary",
    on: { stepCancelled: write },
    observe: Object.fromEntries(LAST.slice(1).map((event) => [event, write])),
  });
}

/** Cancels when the event comes for the `nth` time in training. */
function canceller(event: EventName, what: "step" | "epoch" | "fit", nth = 0): Callback {
  let calls = 0;
  return new CustomCallback(
    event,
    ({ control, phase }) => {
      if (phase instanceof AbstractTrainingPhase && calls++ === nth) control.cancel(what, "enough");
    },
    { name: "Canceller", access: { control: "write" } },
  );
}

class Throwing extends AbstractTrainingPhase {
  readonly name = "throwing";
  readonly #error: () => unknown;
  constructor(error: () => unknown) {
    super();
    this.#error = error;
  }
  step(learner: Learner, batch: BatchLike): Promise<Step> {
    return learner.runStep(this, batch, async (step) => {
      if (step.index === 1) throw this.#error();
      await Promise.resolve();
    });
  }
}

describe("what did not come to its end", () => {
  test("a step: stepCancelled, no stepEnd; the epoch goes on", async () => {
    const lines: string[] = [];
    const seen: unknown[] = [];
    const looks = callback({
      name: "Looks",
      access: { step: "use" },
      on: { stepCancelled: ({ step }) => void seen.push(Object.keys(step).includes("xs"), "yhat" in step) },
    });
    const learner = learnerWith([diary(lines), looks, canceller("stepBegin", "step", 1)]);
    expect(await learner.fit(1)).toMatchObject({ status: "completed", steps: 3 });
    expect(lines).toEqual([
      "stepCancelled training.1",
      "epochEnd training.3",
      "epochEnd validation.2",
      "fitEnd validation.2",
    ]);
    expect(seen).toEqual([true, false]);
  });

  test("an epoch: epochCancelled and epochEnd, each once", async () => {
    const lines: string[] = [];
    const learner = learnerWith([diary(lines), canceller("stepEnd", "epoch", 1)]);
    expect(await learner.fit(1)).toMatchObject({ status: "completed", epochs: 1, steps: 2 });
    expect(lines).toEqual([
      "epochCancelled training.2",
      "epochEnd training.2",
      "epochEnd validation.2",
      "fitEnd validation.2",
    ]);
  });

  test("a fit in mid-epoch: epochCancelled, no epochEnd; fitEnd knows who stopped it and why", async () => {
    const [lines, endings]: [string[], (Ending | undefined)[]] = [[], []];
    const learner = learnerWith([diary(lines, endings), canceller("stepEnd", "fit", 1)]);
    expect(await learner.fit(1)).toMatchObject({ status: "stopped", by: "Canceller", reason: "enough" });
    expect(lines).toEqual(["epochCancelled training.2", "fitEnd training.2"]);
    expect(endings).toEqual([{ status: "stopped", reason: "enough", by: "Canceller" }]);
  });

  test("a fit at epochEnd: that epoch was over, for the report, for those outside, and for the next fit", async () => {
    const lines: string[] = [];
    const learner = learnerWith([diary(lines), canceller("epochEnd", "fit")]);
    const events = learner.events();
    expect(await learner.fit(3)).toMatchObject({ status: "stopped", epochs: 1 });
    expect(lines).toEqual(["epochEnd training.4", "fitEnd training.4"]);
    const epochs: number[] = [];
    const numbers = new CustomCallback("epochBegin", ({ phase, epoch }) => {
      if (phase.name === "training") epochs.push(epoch);
    });
    learner.addCallback(numbers);
    expect(await learner.fit(1)).toMatchObject({ status: "completed" });
    expect(epochs).toEqual([2]);
    const told: string[] = [];
    for await (const event of events) {
      if ("phase" in event && event.type !== "stepEnd") told.push(`${event.type} ${event.phase} ${event.epoch}`);
      if (event.type === "fitEnd" && event.status === "completed") break;
    }
    expect(told).toEqual([
      "epochBegin training 1",
      "epochEnd training 1",
      "epochBegin training 2",
      "epochEnd training 2",
      "epochBegin validation 1",
      "epochEnd validation 1",
    ]);
  });

  test("a fit that meets NaN, though its lane is dead", async () => {
    const [lines, endings]: [string[], (Ending | undefined)[]] = [[], []];
    const data = { training: [pair(1), pair(Number.NaN), pair(2)], validation: pairs(1) };
    const learner = learnerWith([diary(lines, endings), new StopOnNaNLoss()], { data });
    expect(await learner.fit(1)).toMatchObject({ status: "stopped", by: "StopOnNaNLoss", steps: 1 });
    expect(lines.map((line) => line.split(" ")[0])).toEqual(["epochCancelled", "fitEnd"]);
    expect(endings).toMatchObject([{ status: "stopped", by: "StopOnNaNLoss" }]);
  });

  test("a fit that is interrupted: epochCancelled, interrupted, fitEnd", async () => {
    const [lines, endings]: [string[], (Ending | undefined)[]] = [[], []];
    const controller = new AbortController();
    const stop = new CustomCallback("stepEnd", ({ index }) => {
      if (index === 1) controller.abort("lunch");
    });
    const learner = learnerWith([diary(lines, endings), stop]);
    expect(await learner.fit(1, { signal: controller.signal })).toMatchObject({ status: "interrupted" });
    expect(lines).toEqual(["epochCancelled training.2", "interrupted training.2", "fitEnd training.2"]);
    expect(endings).toEqual(
      Array.from({ length: 2 }, () => ({ status: "interrupted", reason: "lunch", by: undefined })),
    );
  });

  test("a fit that fails, and a lone epoch", async () => {
    const [lines, endings]: [string[], (Ending | undefined)[]] = [[], []];
    const learner = learnerWith([diary(lines, endings)]);
    const training = new Throwing(() => new RangeError("mine"));
    expect(await caught(() => learner.fit(1, { phases: { training } }))).toBeInstanceOf(RangeError);
    expect(lines).toEqual(["epochCancelled throwing.1", "fitEnd throwing.1"]);
    expect(endings).toEqual([{ status: "failed", reason: "mine", by: undefined }]);
    lines.length = 0;
    expect(await caught(() => learner.epoch(training))).toBeInstanceOf(RangeError);
    expect(lines).toEqual(["epochCancelled throwing.1"]);
  });

  test("who fails at one of these events does not keep fitEnd from the others; what ended the fit is told first", async () => {
    const lines: string[] = [];
    const clumsy = callback({
      name: "Clumsy",
      observe: {
        epochCancelled: () => {
          throw new Error("dropped it");
        },
      },
    });
    const learner = learnerWith([diary(lines), clumsy, canceller("stepEnd", "fit")]);
    expect(String(await caught(() => learner.fit(1)))).toContain("dropped it");
    expect(lines.at(-1)).toBe("fitEnd training.1");
    const training = new Throwing(() => new RangeError("mine"));
    expect(await caught(() => learner.fit(1, { phases: { training } }))).toBeInstanceOf(RangeError);
  });

  test("2.9.2: runStep gives back the step with what its body stored; CancelStep and CancelEpoch do not leave it", async () => {
    const learner = learnerWith([]);
    const phase = new TrainingPhase();
    const step = await learner.runStep(phase, pair(1), async (own) => {
      own.yhat = (learner.model as AnyRef)(own.xs);
      await Promise.resolve();
    });
    expect(Object.keys(step)).toEqual(expect.arrayContaining(["xs", "ys", "yhat"]));
    const cancelled = await learner.runStep(phase, pair(1), async () => {
      await Promise.resolve();
      throw new CancelStep("not this one");
    });
    expect(cancelled.index).toBe(0);
    await learner.runEpoch(phase, async () => {
      await Promise.resolve();
      throw new CancelEpoch("not today");
    });
    expect(learner.state.history["training"]).toMatchObject({ epochs: 1 });
  });

  test("2.9.3: a training step has xs, ys, yhat and loss, and the gradients are there; one of validation has no gradients", async () => {
    const learner = learnerWith([]);
    const training = await new TrainingPhase().step(learner, pair(1));
    expect(Object.keys(training)).toEqual(expect.arrayContaining(["xs", "ys", "yhat", "loss"]));
    expect(await (learner.model as AnyRef).weight.grad.numel()).toBe(1);
    learner.optimizer.zero_grad();
    const validation = await new ValidationPhase().step(learner, pair(1));
    expect(Object.keys(validation)).toEqual(expect.arrayContaining(["xs", "ys", "yhat", "loss"]));
    expect(await (learner.model as AnyRef).weight.grad).toBe(null);
  });

  test("2.9.4: y = 3x is learnt in five epochs", async () => {
    const data = Array.from({ length: 16 }, (_, i) => {
      const x = Float32Array.from({ length: 8 }, (_, j) => (i * 8 + j) / 16 - 4);
      return {
        xs: { dtype: "float32", shape: [8, 1], data: x },
        ys: { dtype: "float32", shape: [8, 1], data: x.map((v) => 3 * v) },
      } as const;
    });
    const learner = learnerWith([], { data: { training: data }, optimizer: sgd({ lr: 0.05 }) });
    await learner.fit(5);
    expect(await (learner.model as AnyRef).weight.item()).toBeCloseTo(3, 1);
  });
});

describe("2.9.5: callbacks are exchanged", () => {
  const named = (name: string, init?: () => void): Callback =>
    callback({ name, ...(init === undefined ? {} : { init }) });
  const names = (learner: Learner): string[] => learner.callbacks.map(({ name }) => name);

  test("added, found by class and by name, replaced, removed", () => {
    const told: string[] = [];
    const one = named("One", () => void told.push("one"));
    const learner = learnerWith([]);
    expect(learner.getCallback("One")).toBe(undefined);
    learner.addCallback(one);
    expect(names(learner)).toEqual(["Recorder", "PyTorchBackend", "One"]);
    expect(learner.getCallback("One")).toBe(one);
    expect(learner.getCallback(Recorder)).toBeInstanceOf(Recorder);

    const other = named("One", () => void told.push("other"));
    expect(learner.replaceCallback(other)).toBe(one);
    expect(learner.getCallback("One")).toBe(other);
    const recorder = new Recorder();
    const old = learner.replaceCallback(recorder);
    expect(old).toBeInstanceOf(Recorder);
    expect(old).not.toBe(recorder);
    expect(names(learner)).toEqual(["Recorder", "PyTorchBackend", "One"]);
    // The callback is added where there was none.
    expect(learner.replaceCallback(named("Two", () => void told.push("two")))).toBe(undefined);
    expect(names(learner)).toEqual(["Recorder", "PyTorchBackend", "One", "Two"]);

    expect(learner.removeCallback("Two")?.name).toBe("Two");
    expect(learner.removeCallback(Recorder)).toBe(recorder);
    expect(learner.removeCallback(Recorder)).toBe(undefined);
    expect(names(learner)).toEqual(["PyTorchBackend", "One"]);
    expect(told).toEqual(["one", "other", "two"]);
  });

  test("all at once: the backend stays, and only those that are new are told", () => {
    const told: string[] = [];
    const [one, two] = ["One", "Two"].map((name) => named(name, () => void told.push(name))) as [Callback, Callback];
    const learner = learnerWith([one]);
    const backend = learner.getCallback(PyTorchBackend);
    learner.setCallbacks([two, one]);
    expect(names(learner)).toEqual(["Two", "One", "PyTorchBackend"]);
    expect(learner.getCallback(PyTorchBackend)).toBe(backend);
    expect(told).toEqual(["One", "Two"]);
  });

  test("what does not go together changes nothing; nothing works without the backend", async () => {
    const learner = learnerWith([]);
    const before = learner.callbacks;
    expect(() => learner.addCallback(new Recorder())).toThrow("two callbacks called Recorder");
    expect(() =>
      learner.addCallback(
        named("Fails", () => {
          throw new Error("no");
        }),
      ),
    ).toThrow("no");
    expect(() => learner.removeCallback(PyTorchBackend)).toThrow("PyTorchBackend cannot be removed");
    expect(learner.callbacks).toBe(before);
    expect(await learner.fit(1)).toMatchObject({ status: "completed" });
  });
});

test("2.9.7: a fit that is cancelled at the first stepEnd leaves no step and no epoch, thrown from a phase", async () => {
  const learner = learnerWith([]);
  const training = new Throwing(() => new CancelFitting("over"));
  expect(await learner.fit(1, { phases: { training } })).toMatchObject({
    status: "stopped",
    reason: "over",
    epochs: 0,
  });
});
