/** The loop of a Learner: what happens in which order, what ends it and how, and what the report says of it. */
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import {
  AbstractTrainingPhase,
  callback,
  CancelEpoch,
  CancelFitting,
  CancelStep,
  Learner,
  Metrics,
  mse,
  py,
  Recorder,
  sgd,
  StopOnNaNLoss,
  TrainingPhase,
  type BatchLike,
  type Callback,
  type Data,
  type EventName,
  type LearnerOptions,
  type NDArray,
  type Report,
  type Step,
  type TrainEvent,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { float32, line, pair, pairs, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

/** The weight's bits: NaN is itself there. */
const weightOf = async (model: AnyRef): Promise<number> => (await py.ndarray(model.weight)).data[0] as number;

function learnerWith(callbacks: readonly Callback[], options: LearnerOptions = {}): Learner {
  return new Learner(line(torch), mse(), {
    data: { training: pairs(3), validation: pairs(2) },
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks: [new Recorder(), new Metrics(), ...callbacks],
    ...options,
  });
}

const EVENTS = [
  "fitBegin",
  "epochBegin",
  "stepBegin",
  "lossBegin",
  "backwardBegin",
  "backwardEnd",
  "stepEnd",
  "epochEnd",
  "fitEnd",
] as const;

/**
 * A callback that writes down what it is told: in line `phase epoch.index event`, and the same with "saw" when
 * observing.
 */
function diary(lines: string[]): Callback {
  const write =
    (verb: string) =>
    ({ event, phase, epoch, index }: { event: string; phase: { name: string }; epoch: number; index: number }) =>
      void lines.push(`${phase.name[0]}${epoch}.${index} ${verb}${event}`);
  return callback({
    name: "Diary",
    on: Object.fromEntries(EVENTS.map((event) => [event, write("")])),
    observe: Object.fromEntries(["epochBegin", "stepEnd", "epochEnd"].map((event) => [event, write("saw ")])),
  });
}

/** Cancels at the event, when it comes for the `nth` time in the first training epoch. */
function canceller(event: EventName, what: "step" | "epoch" | "fit", nth = 0): Callback {
  let calls = 0;
  return new CustomCallback(
    event,
    ({ control, phase }) => {
      if (phase.name === "training" && calls++ === nth) control.cancel(what, "enough");
    },
    { name: "Canceller", access: { control: "write" } },
  );
}

/** How often each event came, of one phase. */
const counted = (lines: readonly string[], phase: string): { [event: string]: number } =>
  Object.fromEntries(
    EVENTS.map((event) => [event, lines.filter((one) => new RegExp(`^${phase}\\S+ ${event}$`).test(one)).length]),
  );

describe("what happens, in order", () => {
  test("two epochs with validation: every event with its epoch and index", async () => {
    const lines: string[] = [];
    const learner = learnerWith([diary(lines)], { data: { training: pairs(2), validation: pairs(1) }, window: 1 });
    const report = await learner.fit(2);
    const training = (epoch: number): string[] => [
      `t${epoch}.0 epochBegin`,
      `t${epoch}.0 saw epochBegin`,
      ...[0, 1].flatMap((index) => [
        ...(index === 0 ? [] : [`t${epoch}.0 saw stepEnd`]),
        ...["stepBegin", "lossBegin", "backwardBegin", "backwardEnd", "stepEnd"].map((e) => `t${epoch}.${index} ${e}`),
      ]),
      `t${epoch}.1 saw stepEnd`,
      `t${epoch}.2 epochEnd`,
      `t${epoch}.2 saw epochEnd`,
    ];
    const validation = (epoch: number): string[] => [
      `v${epoch}.0 epochBegin`,
      `v${epoch}.0 saw epochBegin`,
      ...["stepBegin", "lossBegin", "stepEnd"].map((event) => `v${epoch}.0 ${event}`),
      `v${epoch}.0 saw stepEnd`,
      `v${epoch}.1 epochEnd`,
      `v${epoch}.1 saw epochEnd`,
    ];
    expect(lines).toEqual([
      "t1.0 fitBegin",
      ...training(1),
      ...validation(1),
      ...training(2),
      ...validation(2),
      "v2.1 fitEnd",
    ]);
    expect(report).toMatchObject({ status: "completed", reason: undefined, by: undefined, epochs: 2, steps: 4 });
    expect(report.phases).toEqual({
      training: { epochs: 2, steps: 4, stepsEpoch: 2, samples: 8 },
      validation: { epochs: 2, steps: 2, stepsEpoch: 1, samples: 4 },
    });
    expect(report.history["training"]!["loss"]!.map(({ at }) => at)).toEqual([1, 2]);
  });

  test("a step holds what its event says, and is nobody's between steps", async () => {
    const keys: { [event: string]: string[] } = {};
    const looks = EVENTS.map(
      (event) =>
        new CustomCallback(event, ({ phase }) => {
          const step = learner.step as object | undefined;
          keys[`${phase.name} ${event}`] ??=
            step === undefined ? [] : Object.keys(step).filter((key) => key.length > 1);
        }),
    );
    const learner = learnerWith(looks);
    await learner.fit(1);
    const [begin, loss] = [["xs", "ys", "index", "size", "group"], ["yhat"]];
    expect(keys["training stepBegin"]).toEqual(begin);
    expect(keys["training lossBegin"]).toEqual([...begin, ...loss]);
    for (const event of ["backwardBegin", "backwardEnd", "stepEnd"])
      expect(keys[`training ${event}`]).toEqual([...begin, "yhat", "loss"]);
    expect(keys["validation lossBegin"]).toEqual([...begin, "yhat"]);
    expect(keys["validation stepEnd"]).toEqual([...begin, "yhat", "loss"]);
    for (const event of ["epochBegin", "epochEnd"]) expect(keys[`training ${event}`]).toEqual([]);
    expect(learner.step).toBeUndefined();
  });

  test("data may be a list of promises of batches", async () => {
    const learner = learnerWith([], { data: { training: unchecked(pairs(3).map((one) => Promise.resolve(one))) } });
    expect((await learner.fit(1)).steps).toBe(3);
  });

  test("window 1 and 3 give the same history, and observers see the same", async () => {
    const ran = async (window: number): Promise<unknown> => {
      const seen: unknown[] = [];
      const observer = callback({
        name: "Observer",
        observe: {
          stepEnd: ({ phase, epoch, index, values, size }) =>
            void seen.push([phase.name, epoch, index, values.loss, size]),
        },
      });
      const learner = learnerWith([observer], { window });
      const { history, phases } = await learner.fit(2);
      return { history, phases, seen, steps: learner.state.metricsStep, weight: await weightOf(learner.model) };
    };
    const [one, three] = [await ran(1), await ran(3)];
    expect(one).toEqual(three);
    expect((one as { seen: unknown[] }).seen).toHaveLength(10);
  });

  test("several fits in a row go on counting epochs, and each reports its own", async () => {
    const epochs: number[] = [];
    const learner = learnerWith([
      new CustomCallback("epochBegin", ({ phase, epoch }) => void (phase.name === "training" && epochs.push(epoch))),
    ]);
    const reports = [await learner.fit(2), await learner.fit(1), await learner.fit(0)];
    expect(epochs).toEqual([1, 2, 3]);
    expect(reports.map((report) => [report.status, report.epochs, report.steps])).toEqual([
      ["completed", 2, 6],
      ["completed", 1, 3],
      ["completed", 0, 0],
    ]);
    expect(reports[2]!.phases["training"]).toEqual({ epochs: 3, steps: 9, stepsEpoch: 3, samples: 18 });
    expect(reports[2]!.history["training"]!["loss"]).toHaveLength(3);
  });

  test("handlers are waited for, one after the other; a reference that one returns is not", async () => {
    const order: string[] = [];
    const slow = new CustomCallback("stepBegin", async () => {
      order.push("begin");
      await sleep(5);
      order.push("end");
    });
    const returns = new CustomCallback("stepEnd", (({ step }: { step: Step }) => step.loss.item()) as never, {
      name: "returns",
      access: { step: { loss: "use" } },
    });
    const learner = learnerWith([slow, new CustomCallback("stepBegin", () => void order.push("other")), returns], {
      data: { training: pairs(2), validation: [pair()] },
    });
    const before = (await worker.stats()).roundTrips;
    await learner.fit(1);
    // The slow one, which was added first, comes last.
    expect(order.slice(0, 6)).toEqual(["other", "begin", "end", "other", "begin", "end"]);
    expect((await worker.stats()).roundTrips - before).toBeLessThanOrEqual(1);
  });
});

describe("cancelling by control", () => {
  const cancelled = async (
    event: EventName,
    what: "step" | "epoch" | "fit",
    nth = 0,
    window = 3,
  ): Promise<{ lines: string[]; report: Report; training: { [event: string]: number } }> => {
    const lines: string[] = [];
    const learner = learnerWith([canceller(event, what, nth), diary(lines)], { window });
    const report = await learner.fit(1);
    return { lines, report, training: counted(lines, "t") };
  };
  const steps = (report: Report): unknown => [report.epochs, report.steps, report.phases["training"]!.stepsEpoch];

  test.each(["stepBegin", "lossBegin", "backwardBegin", "backwardEnd"] as const)(
    "a step at %s: it has no stepEnd and is not counted, and the epoch goes on",
    async (event) => {
      const { report, training, lines } = await cancelled(event, "step");
      expect(report).toMatchObject({ status: "completed", reason: undefined, by: undefined });
      expect(steps(report)).toEqual([1, 2, 2]);
      expect(training).toMatchObject({ stepBegin: 3, [event]: 3, stepEnd: 2, epochEnd: 1 });
      // The others have had the event in which it was cancelled.
      expect(lines.filter((one) => one === `t1.0 ${event}`)).toHaveLength(2);
      expect(report.phases["validation"]).toMatchObject({ epochs: 1, steps: 2 });
    },
  );

  test("a step that is cancelled before the update makes none", async () => {
    const updates = new CustomCallback("stepBegin", ({ control }) => control.cancel("step"), {
      access: { control: "write" },
    });
    const learner = learnerWith([updates]);
    const report = await learner.fit(1);
    expect([report.steps, await weightOf(learner.model)]).toEqual([0, 0]);
    expect(report.history["training"]).toBeUndefined();
  });

  test("a step at stepEnd is over: it counts", async () => {
    const { report, training } = await cancelled("stepEnd", "step");
    expect(report.status).toBe("completed");
    expect(steps(report)).toEqual([1, 3, 3]);
    expect(training).toMatchObject({ stepEnd: 3, epochEnd: 1 });
  });

  test.each([
    ["epochBegin", 0, 0],
    ["stepBegin", 1, 1],
    ["lossBegin", 1, 1],
    ["backwardBegin", 1, 1],
    ["backwardEnd", 1, 1],
    ["stepEnd", 1, 2],
    ["epochEnd", 0, 3],
  ] as const)("an epoch at %s: its epochEnd comes once, and the fit goes on", async (event, nth, counts) => {
    const { report, training, lines } = await cancelled(event, "epoch", nth);
    expect(report).toMatchObject({ status: "completed", reason: undefined, by: undefined });
    expect(steps(report)).toEqual([1, counts, counts]);
    expect(training).toMatchObject({ epochBegin: 1, epochEnd: 1 });
    expect(counted(lines, "v")).toMatchObject({ stepEnd: 2, epochEnd: 1, fitEnd: 1 });
    expect(report.phases["training"]!.epochs).toBe(1);
  });

  test.each([
    ["fitBegin", 0, 0],
    ["epochBegin", 0, 0],
    ["stepBegin", 1, 1],
    ["lossBegin", 1, 1],
    ["backwardBegin", 1, 1],
    ["backwardEnd", 1, 1],
    ["stepEnd", 1, 2],
  ] as const)(
    "the fit at %s: no epochEnd, no validation, but fitEnd; the report says who and why",
    async (event, nth, counts) => {
      const { report, training, lines } = await cancelled(event, "fit", nth);
      expect(report).toMatchObject({ status: "stopped", reason: "enough", by: "Canceller", epochs: 0, steps: counts });
      expect(training).toMatchObject({ epochEnd: 0, fitEnd: 1 });
      expect(counted(lines, "v")).toMatchObject({ epochBegin: 0, fitEnd: 0 });
    },
  );

  test("the fit at epochEnd: the epoch counts, and has been seen by the others", async () => {
    const { report, training, lines } = await cancelled("epochEnd", "fit");
    expect(report).toMatchObject({ status: "stopped", reason: "enough", by: "Canceller", steps: 3 });
    expect(report.phases["training"]).toMatchObject({ epochs: 1, steps: 3 });
    expect(report.history["training"]!["loss"]).toHaveLength(1);
    expect(training).toMatchObject({ epochEnd: 1, fitEnd: 1 });
    expect(lines).toContain("t1.3 saw epochEnd");
  });

  test("the fit at fitEnd is over", async () => {
    const { report } = await cancelled("fitEnd", "fit");
    expect(report.status).toBe("completed");
  });

  test.each([
    ["step", "epochBegin", 'control.cancel("step"): there is no step at epochBegin'],
    ["step", "fitEnd", 'control.cancel("step"): there is no step at fitEnd'],
    ["epoch", "fitBegin", 'control.cancel("epoch"): there is no epoch at fitBegin'],
  ] as const)("there is no %s to cancel at %s", async (what, event, message) => {
    const always = new CustomCallback(event, ({ control }) => control.cancel(what), {
      name: "Odd",
      access: { control: "write" },
    });
    const error = await caught(() => learnerWith([always]).fit(1));
    expect(error).toMatchObject({ code: "MISUSE", callback: "Odd", event, step: undefined });
    expect(error.message).toContain(message);
  });

  test("of what is cancelled in one event the most counts, and of two of a kind the first", async () => {
    const cancel = (name: string, what: "step" | "epoch" | "fit"): Callback =>
      new CustomCallback("stepBegin", ({ control }) => control.cancel(what, `by ${name}`), {
        name,
        access: { control: "write" },
      });
    // The last one added comes first.
    const fit = await learnerWith([
      cancel("D", "epoch"),
      cancel("C", "fit"),
      cancel("B", "fit"),
      cancel("A", "step"),
    ]).fit(1);
    expect(fit).toMatchObject({ status: "stopped", by: "B", reason: "by B" });
    const lines: string[] = [];
    const epoch = await learnerWith([diary(lines), cancel("B", "step"), cancel("A", "epoch")]).fit(1);
    expect(epoch).toMatchObject({ status: "completed", steps: 0 });
    expect(counted(lines, "t")).toMatchObject({ stepBegin: 1, epochEnd: 1 });
  });

  test("an observer that cancels again for each step in flight ends the epoch once", async () => {
    const lines: string[] = [];
    const observer = (what: "epoch" | "fit"): Callback =>
      callback({
        name: "Observer",
        phase: TrainingPhase,
        access: { control: "write" },
        observe: { stepEnd: ({ control, index }) => control.cancel(what, `saw ${index}`) },
      });
    const data = { training: pairs(8), validation: pairs(1) };
    const epoch = await learnerWith([observer("epoch"), diary(lines)], { data }).fit(2);
    expect(epoch).toMatchObject({ status: "completed", epochs: 2, steps: 6 });
    expect(counted(lines, "t")).toMatchObject({ epochBegin: 2, stepBegin: 6, epochEnd: 2 });
    const fit = await learnerWith([observer("fit")], { data }).fit(2);
    expect(fit).toMatchObject({ status: "stopped", reason: "saw 0", by: "Observer", epochs: 0, steps: 3 });
  });

  test("an observer cannot cancel its step: it is over", async () => {
    const observer = callback({
      name: "Observer",
      access: { control: "write" },
      observe: { stepEnd: ({ control }) => control.cancel("step") },
    });
    const error = await caught(() => learnerWith([observer]).fit(1));
    expect(error).toMatchObject({ code: "MISUSE", callback: "Observer", event: "stepEnd", step: 0 });
    expect(error.message).toContain("the step is over when it is observed");
  });
});

describe("cancelling by throwing, from a phase of one's own", () => {
  class Throwing extends AbstractTrainingPhase {
    readonly name = "training";
    readonly #at: (index: number) => Error | undefined;

    constructor(at: (index: number) => Error | undefined) {
      super();
      this.#at = at;
    }

    step(learner: Learner, batch: BatchLike): Promise<Step> {
      return learner.runStep(this, batch, async (step, handle) => {
        step.loss = learner.lossFn(learner.model(step.xs), step.ys);
        await handle("backwardBegin");
        const error = this.#at(calls++);
        if (error !== undefined) throw error;
      });
    }
  }
  let calls = 0;
  const ran = async (error: Error): Promise<{ report: Report; training: { [event: string]: number } }> => {
    calls = 0;
    const lines: string[] = [];
    const learner = learnerWith([diary(lines)]);
    const phases = { training: new Throwing((index) => (index === 1 ? error : undefined)) };
    const report = await learner.fit(1, { phases });
    return { report, training: counted(lines, "t") };
  };

  test("CancelStep: no stepEnd, not counted; the epoch goes on", async () => {
    const { report, training } = await ran(new CancelStep("skip"));
    expect(report).toMatchObject({ status: "completed", epochs: 1, steps: 2 });
    expect(training).toMatchObject({ stepBegin: 3, stepEnd: 2, epochEnd: 1 });
  });

  test("CancelEpoch: no stepEnd, epochEnd once; the fit goes on", async () => {
    const { report, training } = await ran(new CancelEpoch("next"));
    expect(report).toMatchObject({ status: "completed", epochs: 1, steps: 1 });
    expect(training).toMatchObject({ stepBegin: 2, stepEnd: 1, epochEnd: 1, fitEnd: 0 });
    expect(report.phases["validation"]!.epochs).toBe(1);
  });

  test("CancelFitting: neither; fitEnd, and a report of why", async () => {
    const { report, training } = await ran(new CancelFitting("done"));
    expect(report).toMatchObject({ status: "stopped", reason: "done", by: undefined, epochs: 0, steps: 1 });
    expect(training).toMatchObject({ stepBegin: 2, stepEnd: 1, epochEnd: 0, fitEnd: 1 });
  });

  test("any other error is the caller's, as it is, after fitEnd; the learner can be used again", async () => {
    const error = new RangeError("mine");
    const lines: string[] = [];
    const learner = learnerWith([diary(lines)]);
    expect(await caught(() => learner.fit(1, { phases: { training: new Throwing(() => error) } }))).toBe(error);
    expect(lines.at(-1)).toMatch(/ fitEnd$/);
    expect(await learner.fit(1)).toMatchObject({ status: "completed", steps: 3 });
  });

  test("epoch rejects where the fit is cancelled, for nobody reads a report", async () => {
    const learner = learnerWith([canceller("stepEnd", "fit")]);
    const error = await caught(() => learner.epoch(new TrainingPhase()));
    expect(error).toBeInstanceOf(CancelFitting);
    expect(error).toMatchObject({ message: "enough", by: "Canceller" });
    expect(learner.state.history["training"]).toMatchObject({ epochs: 0, steps: 1 });
  });
});

describe("StopOnNaNLoss", () => {
  const spoilt = (): { xs: NDArray; ys: NDArray }[] => {
    const batches = pairs(6);
    batches[2] = { xs: float32([2, 1], Number.NaN, 1), ys: float32([2, 1], 1, 1) };
    return batches;
  };

  test("exact: the weights are those before the step, bit for bit, and the learner can be used again", async () => {
    const learner = learnerWith([new StopOnNaNLoss()], { data: { training: spoilt(), validation: pairs(1) } });
    const report = await learner.fit(2);
    expect(report).toMatchObject({
      status: "stopped",
      by: "StopOnNaNLoss",
      reason: "loss is NaN in training epoch 1, step 2",
      epochs: 0,
      steps: 2,
    });
    expect(report.phases["training"]).toEqual({ epochs: 0, steps: 2, stepsEpoch: 2, samples: 4 });
    const plain = learnerWith([], { data: { training: pairs(2), validation: pairs(1) } });
    await plain.fit(1);
    expect(await weightOf(learner.model)).toBe(await weightOf(plain.model));

    expect(await learner.fit(1, { data: { training: pairs(2) } })).toMatchObject({ status: "completed", steps: 2 });
    await plain.fit(1);
    // Stale gradients of the step that was stopped would show here.
    expect(await weightOf(learner.model)).toBe(await weightOf(plain.model));
  });

  test("exact, beside a callback that reads the loss in line: it is stopped, and no failure of that callback", async () => {
    const seen: number[] = [];
    const reads = new CustomCallback("stepEnd", async ({ step }) => void seen.push(await step.loss.item()), {
      name: "Reads",
      access: { step: { loss: "read" } },
    });
    const learner = learnerWith([new StopOnNaNLoss(), reads], { data: { training: spoilt(), validation: pairs(1) } });
    expect(await learner.fit(1)).toMatchObject({ status: "stopped", by: "StopOnNaNLoss", steps: 2 });
    expect(seen).toHaveLength(2);
  });

  test("late: it notices when the loss is in, and the steps that were in flight by then count", async () => {
    const learner = learnerWith([new StopOnNaNLoss({ late: true })], {
      data: { training: spoilt(), validation: pairs(1) },
    });
    const report = await learner.fit(1);
    expect(report).toMatchObject({
      status: "stopped",
      by: "StopOnNaNLoss",
      reason: "loss is NaN in training epoch 1, step 2",
      steps: 5,
    });
    expect(await weightOf(learner.model)).toBeNaN();
  });

  test("a validation with NaN is none of its business", async () => {
    const learner = learnerWith([new StopOnNaNLoss()], { data: { training: pairs(2), validation: spoilt() } });
    const report = await learner.fit(1);
    expect(report.status).toBe("completed");
    expect(report.history["validation"]!["loss"]!.at(-1)!.value).toBeNaN();
  });
});

describe("ended from outside", () => {
  test("a signal in mid-epoch: what is in flight counts, and the report says interrupted", async () => {
    const stop = new AbortController();
    const lines: string[] = [];
    const aborts = new CustomCallback("stepEnd", ({ index }) => void (index === 4 && stop.abort()));
    const learner = learnerWith([aborts, diary(lines)], { data: { training: pairs(50), validation: pairs(1) } });
    const report = await learner.fit(3, { signal: stop.signal });
    expect(report).toMatchObject({
      status: "interrupted",
      reason: "aborted by its signal",
      by: undefined,
      epochs: 0,
      steps: 5,
    });
    expect(report.phases).toEqual({ training: { epochs: 0, steps: 5, stepsEpoch: 5, samples: 10 } });
    expect(counted(lines, "t")).toMatchObject({ stepEnd: 5, epochEnd: 0, fitEnd: 1 });
    expect(lines.filter((one) => one.includes("saw stepEnd"))).toHaveLength(5);
    expect((await learner.fit(1, { data: { training: pairs(2) } })).status).toBe("completed");
  });

  test("a signal that was aborted before: no step", async () => {
    const learner = learnerWith([]);
    const report = await learner.fit(1, { signal: AbortSignal.abort(new Error("not today")) });
    expect(report).toMatchObject({ status: "interrupted", reason: "not today", epochs: 0, steps: 0 });
    expect(await weightOf(learner.model)).toBe(0);
  });

  test("a signal in validation: the training epoch before it counts", async () => {
    const stop = new AbortController();
    const aborts = new CustomCallback(
      "stepEnd",
      ({ phase }) => void (phase.name === "validation" && stop.abort("late")),
    );
    const report = await learnerWith([aborts]).fit(2, { signal: stop.signal });
    expect(report).toMatchObject({ status: "interrupted", reason: "late", epochs: 1, steps: 3 });
  });

  test("data is left by its own way out when the fit ends early", async () => {
    let left = 0;
    const data: Data = {
      *[Symbol.iterator]() {
        try {
          for (;;) yield pair();
        } finally {
          left++;
        }
      },
    };
    await learnerWith([canceller("stepEnd", "fit", 2)]).fit(1, { data: { training: data } });
    expect(left).toBe(1);
  });
});

describe("events(), for those outside", () => {
  const watch = async (learner: Learner, events: TrainEvent[]): Promise<void> => {
    for await (const event of learner.events()) {
      events.push(event);
      if (event.type === "fitEnd") break;
    }
  };

  test("plain JSON, in order, with what a progress page needs", async () => {
    const learner = learnerWith([], { data: { training: pairs(2), validation: pairs(1) } });
    const events: TrainEvent[] = [];
    const watching = watch(learner, events);
    await learner.fit(1);
    await watching;
    expect(events.map((event) => event.type)).toEqual([
      "fitBegin",
      "epochBegin",
      "stepEnd",
      "stepEnd",
      "epochEnd",
      "epochBegin",
      "stepEnd",
      "epochEnd",
      "fitEnd",
    ]);
    expect(JSON.parse(JSON.stringify(events))).toEqual(events);
    expect(events[1]).toMatchObject({ phase: "training", epoch: 1, batches: 2 });
    expect(events[3]).toMatchObject({ phase: "training", epoch: 1, index: 1, size: 2, loss: expect.any(Number) });
    expect(events[7]).toMatchObject({ phase: "validation", epoch: 1, metrics: { loss: expect.any(Number) } });
    expect(events[8]).toMatchObject({ status: "completed", reason: null });
    expect(events.every((event) => Math.abs(event.time - Date.now()) < 60_000)).toBe(true);
  });

  test("it goes on from fit to fit; one that is left costs nothing; a slow reader misses the oldest", async () => {
    const learner = learnerWith([], { data: { training: pairs(3) } });
    const slow = learner.events();
    const left = learner.events();
    await left.return!();
    expect(await left.next()).toEqual({ done: true, value: undefined });
    for (let i = 0; i < 2; i++) await learner.fit(1);
    // fitBegin, epochBegin, 3 × stepEnd, epochEnd, fitEnd
    const types: string[] = [];
    for (let i = 0; i < 14; i++) types.push((await slow.next()).value.type);
    expect(types.filter((type) => type === "fitEnd")).toHaveLength(2);
    await slow.return!();
  });

  test("a signal ends it, after what has happened by then; a reader that waits hears of it at once", async () => {
    const learner = learnerWith([], { data: { training: pairs(1) } });
    const ending = new AbortController();
    const late = learner.events({ signal: ending.signal });
    const waits = learner.events({ signal: ending.signal });
    await learner.fit(1);
    const types: string[] = [];
    for (let i = 0; i < 5; i++) types.push((await waits.next()).value.type);
    expect(types).toEqual(["fitBegin", "epochBegin", "stepEnd", "epochEnd", "fitEnd"]);
    const next = waits.next();
    ending.abort();
    expect(await next).toEqual({ done: true, value: undefined });
    await learner.fit(1);
    const seen: string[] = [];
    for await (const { type } of late) seen.push(type);
    expect(seen).toEqual(types);
    expect(await learner.events({ signal: AbortSignal.abort() }).next()).toMatchObject({ done: true });
    expect(await caught(async () => learner.events({ signal: ending as never }))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining("events: signal is no AbortSignal"),
    });
  });

  test("no more than 1,024 events are kept for a reader that lags, and it is told how many it missed", async () => {
    const learner = learnerWith([], { data: { training: Array.from({ length: 1100 }, () => pair()) } });
    const lags = learner.events();
    await learner.fit(1);
    await lags.return!();
    // fitBegin, epochBegin, 1100 × stepEnd, epochEnd, fitEnd
    expect((await lags.next()).value).toMatchObject({ type: "missed", events: 1104 - 1024 });
    let kept = 0;
    let last: TrainEvent | undefined;
    for (let next = await lags.next(); !next.done; next = await lags.next()) [kept, last] = [kept + 1, next.value];
    expect([kept, last!.type]).toEqual([1024, "fitEnd"]);
  });

  test("a fit that fails says so there, too", async () => {
    const learner = learnerWith([
      new CustomCallback(
        "stepEnd",
        () => {
          throw new Error("no");
        },
        { name: "Throws" },
      ),
    ]);
    const events: TrainEvent[] = [];
    const watching = watch(learner, events);
    await caught(() => learner.fit(1));
    await watching;
    expect(events.at(-1)).toMatchObject({ type: "fitEnd", status: "failed" });
    expect((events.at(-1) as { reason: string }).reason).toContain("callback Throws failed at stepEnd");
  });
});
