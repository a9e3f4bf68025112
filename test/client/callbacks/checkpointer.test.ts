/** Checkpoints of a fit: which files there are when, and what is in them. */
import { access, chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  AbstractTrainingPhase,
  callback,
  Checkpointer,
  DataLoader,
  EarlyStopping,
  kw,
  Learner,
  loadWeights,
  Metrics,
  MetricsPrinter,
  mse,
  ProgressPrinter,
  Recorder,
  sgd,
  StopOnNaNLoss,
  TrainingPhase,
  ValidationPhase,
  type Callback,
  type Worker,
} from "torchwire";
import { CustomCallback, EMA, SWA, type Checkpoint, type CheckpointerOptions } from "torchwire/callbacks";
import * as stopping from "torchwire/stopping";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { openSafetensors } from "../../../client/weights/safetensors.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { plainPython } from "../../plain-python.ts";
import { coefficient, scored, setCoefficient, threefold, tiny, type Tiny, tinyData, unchecked } from "../../tiny.ts";
import { weightsHash } from "../../training.ts";
import { Wiretap } from "../../wiretap.ts";
import { testWorker } from "../../worker.ts";

const tap = new Wiretap();
let worker: Worker;
let folder: string;
beforeAll(async () => {
  worker = await testWorker();
});
afterAll(() => worker?.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "checkpoints-"));
  return () => rm(folder, { recursive: true, force: true });
});

const files = async (): Promise<string[]> => (await readdir(folder)).toSorted();
const counting = (): Callback[] => [new Recorder(), new Metrics()];

/** A learner with a Checkpointer. */
function checkpointed(
  options: CheckpointerOptions = {},
  { callbacks = counting(), ...rest }: Tiny = {},
): { learner: Learner<AnyRef>; checkpointer: Checkpointer } {
  const checkpointer = new Checkpointer(folder, options);
  return { learner: tiny(worker, { ...rest, callbacks: [...callbacks, checkpointer] }), checkpointer };
}

/** The coefficient in a file. */
async function inFile(path: string): Promise<number> {
  const model = untyped(worker, "torch").nn.Linear(1, 1, kw({ bias: false }));
  await loadWeights(model, path);
  return coefficient(model);
}

describe.each(["client", "worker"] as const)("2.9.14, on the %s's disk", (on) => {
  test("5 epochs make 5 files; with keep 8 there are 8 after 10, and the newest stays however bad it is", async () => {
    const { learner } = checkpointed({ keep: 8, on });
    await learner.fit(5);
    expect(await files()).toHaveLength(5);
    await learner.fit(5);
    expect(await files()).toHaveLength(8);
    learner.lossFn = (yhat) => yhat.mean().mul(0).add(1e5);
    await learner.fit(1);
    expect(await files()).toHaveLength(9);
    expect((await files()).filter((name) => name.includes("_loss_100000."))).toEqual([
      "checkpoint_epoch_011_loss_100000.safetensors",
    ]);
    // It is not among the best, and goes with the next one.
    await learner.fit(1);
    expect(await files()).toHaveLength(9);
    expect((await files()).filter((name) => name.includes("epoch_011"))).toEqual([]);
  });

  test("each file has the weights of its epoch, and says which that is", async () => {
    const coefficients: number[] = [];
    const looks = callback({
      name: "Looks",
      access: { model: "read" },
      phase: AbstractTrainingPhase,
      on: { epochEnd: async ({ model }) => void coefficients.push(await coefficient(model)) },
    });
    const { learner } = checkpointed({ on }, { callbacks: [...counting(), looks] });
    const { history } = await learner.fit(3);
    const { checkpoints } = learner.state;
    expect(await Promise.all(checkpoints.map(({ path }) => inFile(path)))).toEqual(coefficients);
    expect(new Set(coefficients).size).toBe(3);
    const losses = history["training"]!["loss"]!.map(({ value }) => value);
    const [path, time] = [expect.any(String), expect.any(Number)];
    expect(checkpoints).toEqual(
      losses.map((value, i) => ({ path, time, on, epoch: i + 1, steps: 16 * (i + 1), monitor: "loss", value })),
    );
    expect(checkpoints.map(({ path }) => basename(path))).toEqual(await files());
    expect((await files())[1]).toBe(`checkpoint_epoch_002_loss_${Number(losses[1]!.toPrecision(4))}.safetensors`);
    const { metadata } = await openAndClose(checkpoints[1]!.path);
    expect(metadata).toEqual({ format: "pt", epoch: "2", steps: "32", monitor: "loss", value: String(losses[1]) });
  });

  test("it is asked for in no lane and no context of the loop's, though validation has one", async () => {
    const { learner } = checkpointed({ monitor: "validation.loss", on });
    const sent = await tap.during(() => learner.fit(1));
    const about = on === "client" ? /Snapshot|\.plan|\.read\(/ : /Saving|is_done/;
    const batches = sent.filter(({ operations }) => operations.some((one) => about.test(one)));
    expect(batches.length).toBeGreaterThan(0);
    expect(batches.flatMap(({ contexts }) => contexts)).toEqual([]);
    const steps = sent.filter(({ operations }) => operations.some((one) => /backward/.test(one)));
    const lanes = new Set(steps.map(({ lane }) => lane));
    expect(batches.filter(({ lane }) => lanes.has(lane))).toEqual([]);
  });

  test("load puts the best one back, or another", async () => {
    const { callbacks, of } = scored([5, 1, 3]);
    const { learner, checkpointer } = checkpointed({ monitor: "score", mode: "min", on }, { callbacks });
    of(learner);
    await learner.fit(3);
    const { checkpoints } = learner.state;
    expect(checkpointer.best).toBe(checkpoints[1]);
    expect(await checkpointer.load()).toBe(checkpoints[1]);
    expect(await coefficient(learner.model)).toBe(await inFile(checkpoints[1]!.path));
    await checkpointer.load(checkpoints[0]);
    expect(await coefficient(learner.model)).toBe(await inFile(checkpoints[0]!.path));
    expect((await learner.fit(1)).status).toBe("completed");
  });

  test("a folder that cannot be made ends the fit before its first step", async () => {
    await writeFile(join(folder, "file"), "");
    const learner = tiny(worker, {
      callbacks: [...counting(), new Checkpointer(join(folder, "file", "inside"), { on })],
    });
    const error = await caught(() => learner.fit(1));
    expect(error.code).toBe("NOT_SAVED");
    expect(error.message).toMatch(
      /^callback Checkpointer failed at fitBegin .*: checkpoints cannot be written to .*file/,
    );
    expect(await coefficient(learner.model)).toBe(1);
  });

  test("a file that cannot be written ends the fit at the next one, and leaves nothing behind", async () => {
    const gone = new CustomCallback(
      "epochBegin",
      ({ epoch }) => (epoch === 1 ? rm(folder, { recursive: true }) : undefined),
      {
        phase: AbstractTrainingPhase,
      },
    );
    const { learner } = checkpointed({ on }, { callbacks: [...counting(), gone] });
    const error = await caught(() => learner.fit(3));
    expect([error.code, error.message]).toEqual(["NOT_SAVED", expect.stringContaining("checkpoint_epoch_001_loss_")]);
    expect(learner.state.checkpoints).toEqual([]);
    await expect(access(folder)).rejects.toThrow(/ENOENT/);
    // It was told once; the next fit makes the folder anew, and has something to write.
    expect((await learner.fit(0)).status).toBe("completed");
    expect(await files()).toEqual(learner.state.checkpoints.map(({ path }) => basename(path)));
    expect(learner.state.checkpoints).toHaveLength(1);
  });

  test("the weights and losses are those of a fit without it, and no object is left in the worker", async () => {
    const alone = tiny(worker, { callbacks: counting() });
    const { learner } = checkpointed({ on, monitor: "validation.loss", keep: 1 });
    const [a, b] = [await alone.fit(2), await learner.fit(2)];
    expect(b.history).toEqual(a.history);
    expect(await weightsHash(worker, learner.model as never)).toBe(await weightsHash(worker, alone.model as never));
    const before = (await countsOf(worker)).worker.objects;
    await learner.fit(2);
    // Fewer too: what earlier tests left may be freed meanwhile.
    expect((await countsOf(worker)).worker.objects).toBeLessThanOrEqual(before);
  });
});

const openAndClose = async (path: string): Promise<{ metadata: object }> => {
  await using file = await openSafetensors(path);
  return { metadata: file.metadata };
};

describe("which stay", () => {
  test("the best by another phase's metric, that of the same epoch, and the latest", async () => {
    const { callbacks, of } = scored([1, 5, 3, 9, 2, 0]);
    const { learner, checkpointer } = checkpointed(
      { keep: 2, monitor: "validation.score", mode: "max" },
      { callbacks },
    );
    of(learner);
    await learner.fit(6);
    expect(await files()).toEqual([
      "checkpoint_epoch_002_validation_score_5.safetensors",
      "checkpoint_epoch_004_validation_score_9.safetensors",
      "checkpoint_epoch_006_validation_score_0.safetensors",
    ]);
    expect(checkpointer.best!.epoch).toBe(4);
    expect(learner.state.checkpoints.map(({ epoch }) => epoch)).toEqual([2, 4, 6]);
  });

  test("keep 0: the latest alone", async () => {
    const { learner } = checkpointed({ keep: 0 });
    await learner.fit(3);
    expect(await files()).toEqual([expect.stringContaining("epoch_003")]);
  });

  test("what is NaN is never among the best", async () => {
    const { callbacks, of } = scored([NaN, 4, NaN]);
    const { learner } = checkpointed({ keep: 1, monitor: "score", mode: "min" }, { callbacks });
    of(learner);
    await learner.fit(3);
    expect((await files()).map((name) => name.slice(11, 27))).toEqual(["epoch_002_score_", "epoch_003_score_"]);
  });

  test("files of others stay, temporary ones do not", async () => {
    await writeFile(join(folder, "checkpoint_epoch_000_loss_9.safetensors"), "mine");
    const { learner } = checkpointed({ keep: 0 });
    await learner.fit(2);
    expect(await files()).toEqual([
      "checkpoint_epoch_000_loss_9.safetensors",
      expect.stringContaining("epoch_002_loss_"),
    ]);
  });
});

describe("when", () => {
  test("every third epoch, and at the end of the fit", async () => {
    const { learner } = checkpointed({ every: 3 });
    await learner.fit(7);
    expect(learner.state.checkpoints.map(({ epoch }) => epoch)).toEqual([3, 6, 7]);
    // The loss of that epoch is known.
    expect(learner.state.checkpoints[2]!.value).toBeGreaterThan(0);
    const last = learner.state.checkpoints.at(-1);
    await learner.fit(0);
    expect(learner.state.checkpoints.at(-1)).toBe(last);
    expect(await files()).toHaveLength(3);
  });

  test("a lone epoch, whose file is there when it is over", async () => {
    const { learner } = checkpointed();
    await learner.epoch(new TrainingPhase());
    expect(await files()).toHaveLength(1);
  });

  test("2.9.12: NaN: the fit is over in its first epoch, and what was learnt before it is there", async () => {
    const poison = new CustomCallback(
      "stepBegin",
      ({ index, model }) => {
        if (index === 5) setCoefficient(model, NaN);
      },
      { access: { model: "use" }, phase: AbstractTrainingPhase },
    );
    const callbacks = [...counting(), new StopOnNaNLoss(), poison];
    const { learner } = checkpointed({}, { callbacks });
    const report = await learner.fit(2);
    expect([report.status, report.by, report.epochs]).toEqual(["stopped", "StopOnNaNLoss", 0]);
    expect(report.phases["training"]!.epochs).toBe(0);
    expect(await files()).toEqual(["checkpoint_epoch_000_step_5.safetensors"]);
    expect(learner.state.checkpoints[0]).toMatchObject({ epoch: 0, steps: 5, value: undefined });
  });

  test("an interrupted fit: the steps since the last file", async () => {
    const controller = new AbortController();
    const stop = new CustomCallback(
      "stepBegin",
      ({ epoch, index }) => void (epoch === 2 && index === 4 && controller.abort()),
      {
        phase: AbstractTrainingPhase,
      },
    );
    const { learner } = checkpointed({}, { callbacks: [...counting(), stop] });
    expect((await learner.fit(3, { signal: controller.signal })).status).toBe("interrupted");
    const last = learner.state.checkpoints.at(-1)!;
    expect(learner.state.checkpoints).toHaveLength(2);
    expect(basename(last.path)).toBe(`checkpoint_epoch_001_step_${last.steps}.safetensors`);
    expect(last.steps).toBeGreaterThan(16);
    expect(await inFile(last.path)).toBe(await coefficient(learner.model));
    // A fit that goes on from there ranks its epochs as before.
    await learner.fit(1);
    expect(learner.state.checkpoints.at(-1)!.value).toBeGreaterThan(0);
  });

  test.each([false, true])(
    "stopped early: the last epoch is there, in whatever order they are given (%s)",
    async (reversed) => {
      const { callbacks, of } = scored([1, 2]);
      const both = [
        new Checkpointer(folder),
        new EarlyStopping(1, { monitor: "score", mode: "min", restoreBest: true }),
      ];
      const learner = tiny(worker, { callbacks: [...callbacks, ...(reversed ? both.toReversed() : both)] });
      of(learner);
      const report = await learner.fit(5);
      expect([report.status, report.by]).toEqual(["stopped", "EarlyStopping"]);
      expect(learner.state.checkpoints.map(({ epoch }) => epoch)).toEqual([1, 2]);
      // That of the last epoch, and not what was put back.
      const [first, second] = await Promise.all(learner.state.checkpoints.map(({ path }) => inFile(path)));
      expect(await coefficient(learner.model)).toBe(first);
      expect(second).not.toBe(first);
      expect(learner.explain()).toMatch(/^epochEnd .*Checkpointer.*EarlyStopping/m);
    },
  );

  test.each([false, true])("EarlyStopping without restoreBest goes after it, too (%s)", (reversed) => {
    const both = [new Checkpointer(folder), new EarlyStopping(1)];
    const learner = tiny(worker, { callbacks: [...counting(), ...(reversed ? both.toReversed() : both)] });
    expect(learner.explain()).toMatch(/^epochEnd .*Checkpointer.*EarlyStopping/m);
  });

  test("by a validation that is not there: every epoch has its file, without a value, and it is said once", async () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    try {
      const { training } = tinyData();
      const { learner } = checkpointed({ monitor: "validation.loss" }, { data: { training } });
      await learner.fit(3);
      expect(await files()).toEqual([1, 2, 3].map((epoch) => `checkpoint_epoch_00${epoch}.safetensors`));
      expect(warn.mock.calls.filter(([text]) => String(text).startsWith("Checkpointer: "))).toHaveLength(1);
    } finally {
      warn.mockRestore();
    }
  });
});

describe("what is kept is what was measured, in every order of the callbacks", () => {
  interface Kept {
    readonly title: string;
    readonly checkpoints: readonly Checkpoint[];
    readonly restored: { readonly path: string; readonly value: number } | undefined;
    /** The model's own coefficient when a training epoch ended. */
    readonly own: readonly number[];
    readonly validated: boolean;
  }

  const orders = <T>(items: readonly T[]): T[][] =>
    items.length < 2
      ? [[...items]]
      : items.flatMap((one) => orders(items.filter((other) => other !== one)).map((rest) => [one, ...rest]));

  const averages: { readonly [title: string]: () => EMA | SWA } = {
    EMA: () => new EMA({ decay: 0.8 }),
    "EMA, not validated": () => new EMA({ decay: 0.8, validate: false }),
    SWA: () => new SWA({ start: 2, validate: true }),
  };
  const checkpointers: { readonly [title: string]: CheckpointerOptions } = {
    "of the validation": { monitor: "validation.loss" },
    "of every other epoch, in the worker": { monitor: "validation.loss", every: 2, on: "worker" },
    "of the training": {},
  };
  const early = (): EarlyStopping => new EarlyStopping(stopping.never(), { restoreBest: true });

  async function fitted(
    title: string,
    options: CheckpointerOptions,
    callbacks: readonly Callback[],
    into: string,
  ): Promise<Kept> {
    const own: number[] = [];
    const looks = callback({
      name: "Looks",
      access: { model: "read" },
      phase: AbstractTrainingPhase,
      on: { epochEnd: async ({ model }) => void own.push(await coefficient(model)) },
    });
    // The rate is too high: the loss goes up and down.
    const learner = tiny(worker, { lr: 0.02, callbacks: [...counting(), looks, ...callbacks] });
    await learner.fit(3);
    const stopped = learner.getCallback(EarlyStopping);
    const path = join(into, `restored ${title}.safetensors`.replaceAll(/[^\w.]/g, "_"));
    await learner.save(path);
    const restored = stopped && { path, value: stopped.best!.value };
    const validated = !title.includes("not validated");
    return { title, checkpoints: learner.state.checkpoints, restored, own, validated };
  }

  test("values are measured again by plain PyTorch, on the weights in the files", async () => {
    const kept: Kept[] = [];
    for (const [name, average] of Object.entries(averages))
      for (const [which, options] of Object.entries(checkpointers))
        for (const order of which === "of the validation" ? orders([0, 1, 2]) : orders([0, 1])) {
          const title = `${name}, ${which}, ${order.join(" ")}`;
          const into = join(folder, title.replaceAll(/\W/g, "_"));
          const all = [average(), new Checkpointer(into, options), early()];
          kept.push(
            await fitted(
              title,
              options,
              order.map((i) => all[i]!),
              folder,
            ),
          );
        }
    const validation = threefold(128, 1);
    const numbers = ({ data }: { data: unknown }): number[] => Array.from(data as Float32Array);
    const paths = kept.flatMap(({ checkpoints, restored }) => [
      ...checkpoints.map(({ path }) => path),
      ...(restored ? [restored.path] : []),
    ]);
    const measured = await plainPython<{
      [path: string]: { coefficient: number; loss: number; weights: string | null };
    }>("measured.py", {
      cases: { xs: numbers(validation.xs), ys: numbers(validation.ys), paths },
    });
    const ratio = (path: string, value: number): number => Math.round((measured[path]!.loss / value) * 1e5) / 1e5;
    for (const { title, checkpoints, restored, own, validated } of kept) {
      const ofValidation = title.includes("of the validation");
      const found = checkpoints.map(({ path, epoch, monitor, value }) => ({
        // Equal to what is recorded, to float32's last bits.
        ratio: monitor === "validation.loss" && value !== undefined ? ratio(path, value) : 1,
        weights: measured[path]!.weights,
        isOwn: measured[path]!.coefficient === own[epoch - 1],
      }));
      const expected = checkpoints.map(({ epoch, monitor, value }, i) => {
        const isLate = value === undefined && i === checkpoints.length - 1;
        const averaged =
          validated && monitor === "validation.loss" && !isLate && !(title.startsWith("SWA") && epoch < 2);
        // The first that SWA sees is its mean.
        const isOwn = !averaged || (title.startsWith("SWA") && epoch === 2);
        return { ratio: 1, weights: averaged ? title.slice(0, 3) : "model", isOwn };
      });
      expect({ title, found }).toEqual({ title, found: expected });
      expect(checkpoints.map(({ weights }) => weights)).toEqual(expected.map(({ weights }) => weights));
      expect(checkpoints.filter(({ value }) => value === undefined).length).toBeLessThanOrEqual(ofValidation ? 0 : 1);
      expect(restored === undefined ? 1 : ratio(restored.path, restored.value)).toBe(1);
    }
    // A file of the end of a fit has the model's own weights, and no value of others.
    const last = kept.find(({ title }) => title.startsWith("EMA, of every other"))!.checkpoints.at(-1)!;
    expect([last.epoch, last.weights, last.value]).toEqual([3, "model", undefined]);
  });

  test("a validation that is cut short: the model has its own weights when the fit ends", async () => {
    for (const callbacks of orders([0, 1])) {
      const controller = new AbortController();
      const stop = new CustomCallback(
        "stepBegin",
        ({ epoch, index }) => void (epoch === 2 && index === 3 && controller.abort()),
        { phase: ValidationPhase },
      );
      const both = [
        new EMA({ decay: 0.8 }),
        new Checkpointer(join(folder, callbacks.join("")), { monitor: "validation.loss" }),
      ];
      const own: number[] = [];
      const looks = new CustomCallback("epochEnd", async ({ model }) => void own.push(await coefficient(model)), {
        access: { model: "read" },
        phase: AbstractTrainingPhase,
      });
      const learner = tiny(worker, { callbacks: [...counting(), stop, looks, ...callbacks.map((i) => both[i]!)] });
      expect((await learner.fit(3, { signal: controller.signal })).status).toBe("interrupted");
      const { path, weights, value } = learner.state.checkpoints.at(-1)!;
      expect([weights, value]).toEqual(["model", undefined]);
      expect([await inFile(path), await coefficient(learner.model)]).toEqual([own[1], own[1]]);
    }
  });

  test("two averages that are both to be validated are refused, in every order", async () => {
    for (const order of orders([0, 1])) {
      const both = [new EMA(), new SWA({ start: 1, validate: true })];
      const error = await caught(() => tiny(worker, { callbacks: order.map((i) => both[i]!) }));
      expect(error.code).toBe("MISUSE");
      expect(error.message).toMatch(
        /^(EMA and SWA|SWA and EMA) are both to be validated, .* give one of them validate: false$/,
      );
    }
    const learner = tiny(worker, { callbacks: [new EMA(), new SWA({ start: 1 })] });
    expect((await learner.fit(1)).status).toBe("completed");
  });
});

test("training goes on while a file is written, and the window stays", async () => {
  const nn = untyped(worker, "torch").nn;
  const model = nn.Linear(1, 1, kw({ bias: false }));
  // Some pieces of 4 MiB, that nothing trains.
  model.ballast = nn.Parameter(
    untyped(worker, "torch").arange(5_000_000, kw({ dtype: untyped(worker, "torch").float32 })),
  );
  const happened: string[] = [];
  const output = { write: () => undefined };
  const looks = new CustomCallback("stepBegin", ({ epoch, index, phase }) => {
    if (phase instanceof AbstractTrainingPhase && epoch === 2 && index === 0)
      happened.push(`${learner.state.checkpoints.length} written`);
  });
  const learner: Learner<AnyRef> = new Learner(model, mse(), {
    data: { training: new DataLoader(threefold(64, 0), { batchSize: 8 }) },
    optimizer: sgd({ lr: 1e-5 }),
    callbacks: [new Checkpointer(folder), looks, new ProgressPrinter({ output }), new MetricsPrinter({ output })],
  });
  expect(learner.explain()).toContain("steps in flight: 3 to 32");
  vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  await learner.fit(2).finally(() => vi.restoreAllMocks());
  expect(happened).toEqual(["0 written"]);
  // The values of the first epoch, though the second has changed them since.
  const [first, second] = learner.state.checkpoints;
  const copy = nn.Linear(1, 1, kw({ bias: false }));
  copy.ballast = nn.Parameter(untyped(worker, "torch").zeros(5_000_000));
  await loadWeights(copy, second!.path);
  expect(await coefficient(copy)).toBe(await coefficient(model));
  await loadWeights(copy, first!.path);
  expect(await coefficient(copy)).not.toBe(await coefficient(model));
});

test("a folder that may not be written to", async ({ skip }) => {
  skip(process.getuid?.() === 0, "root may write to every folder");
  await chmod(folder, 0o500);
  const { learner } = checkpointed();
  expect((await caught(() => learner.fit(1))).code).toBe("NOT_SAVED");
});

test.each<[string, () => unknown, RegExp]>([
  [
    "no folder",
    () => new Checkpointer(unchecked(undefined)),
    /^Checkpointer takes a folder: new Checkpointer\("checkpoints"\)$/,
  ],
  [
    "a fraction to keep",
    () => new Checkpointer("x", { keep: 1.5 }),
    /^Checkpointer: keep is 1\.5; it must be a whole number from 0$/,
  ],
  [
    "every 0",
    () => new Checkpointer("x", { every: 0 }),
    /^Checkpointer: every is 0; it must be a whole number from 1$/,
  ],
  [
    "an unknown option",
    () => new Checkpointer("x", unchecked({ keepTopK: 3 })),
    /^Checkpointer has no option "keepTopK"; it has keep, monitor, mode, every, on$/,
  ],
  [
    "another machine",
    () => new Checkpointer("x", unchecked({ on: "gpu" })),
    /^Checkpointer: on is 'gpu'; it must be "client" or "worker"$/,
  ],
  [
    "no mode",
    () => new Checkpointer("x", { monitor: "validation.accuracy" }),
    /^Checkpointer: must accuracy become small or large\?/,
  ],
  ["no learner", () => new Checkpointer("x").best, /^this Checkpointer belongs to no learner yet$/],
])("MISUSE: %s", async (_, make, message) => {
  const error = await caught(make);
  expect([error.code, error.message]).toEqual(["MISUSE", expect.stringMatching(message)]);
});

test("MISUSE: a metric that is not there, a checkpoint that is not there, a second learner", async () => {
  const { learner, checkpointer } = checkpointed({ monitor: "validation.f1", mode: "max" });
  expect((await caught(() => learner.fit(1))).message).toContain(
    'monitor is "f1", but validation has no such metric; it has loss',
  );
  expect((await caught(() => checkpointed().checkpointer.load())).message).toContain("there is no checkpoint yet");
  expect((await caught(() => tiny(worker, { callbacks: [...counting(), checkpointer] }))).message).toBe(
    "a Checkpointer belongs to one learner: make another one",
  );
});
