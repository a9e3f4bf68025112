/** A fit as a script: plain Python runs it, and gives the bits of the fit. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  adamW,
  callback,
  crossEntropy,
  DataLoader,
  EarlyStopping,
  freeze,
  image,
  imagenet,
  kw,
  Learner,
  Metrics,
  mse,
  oneCycle,
  py,
  PyTorchBackend,
  Recorder,
  Scheduler,
  sgd,
  StopOnNaNLoss,
  type NDArray,
  type PythonScript,
  type Report,
  type Worker,
} from "torchwire";
import { EMA, relative, SWA } from "torchwire/callbacks";
import * as flux from "torchwire/flux";
import { ownLoss } from "torchwire/losses";
import { chain, clipNorm } from "torchwire/optim";
import { cosAnneal } from "torchwire/schedules";
import { findPython } from "../../../bridge/environment/find.ts";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { untyped } from "../../observed.ts";
import { clean, fresh } from "../../scratch.ts";
import { makeNoisyCnn, rgbDigits } from "../../training.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;
let digits: { xs: NDArray; ys: NDArray };
let python: string;
afterAll(clean);

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
  [digits, { executable: python }] = [await rgbDigits(80), await findPython()];
});

/** Digits `start` to `end - 1`. */
function take(start: number, end: number): { xs: NDArray; ys: NDArray } {
  const cut = ({ dtype, shape, data }: NDArray): NDArray => {
    const row = data.length / shape[0]!;
    return { dtype, shape: [end - start, ...shape.slice(1)], data: data.subarray(start * row, end * row) };
  };
  return { xs: cut(digits.xs), ys: cut(digits.ys) };
}

const floats = (shape: readonly number[], phase: number, of: (x: number) => number = Math.sin): NDArray => ({
  dtype: "float32",
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => of(i + phase)),
});

/** What the script prints, in a folder from which nothing of torchwire can be imported. */
async function run({ path }: PythonScript): Promise<string[]> {
  const { stdout } = await execa(python, ["-I", "-c", RUNS, path], { cwd: "/", env: { PYTHONPATH: "" } });
  return stdout.split("\n");
}

/** Runs a script as `python fit.py` does, and makes sure that it had nothing of torchwire. */
const RUNS = `
import runpy, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
runpy.run_path(sys.argv[1], run_name="__main__")
assert not [name for name in sys.modules if name.startswith("torchwire")]
`;

/** The lines that the script must print: the mean losses of the fit's epochs, which are the last ones of the history. */
function linesOf({ history, epochs }: Report): string[] {
  const lossOf = (phase: string, i: number): number => history[phase]!["loss"]!.at(i - epochs)!.value;
  return Array.from({ length: epochs }, (_, i) =>
    Object.keys(history).map((phase) => `epoch ${i + 1} ${phase} ${lossOf(phase, i)}`),
  ).flat();
}

/** The names of the weights that are not bit for bit those of the file, as PyTorch compares them. */
async function differences(script: PythonScript, models: { readonly [name: string]: AnyRef }): Promise<unknown> {
  const builtins = untyped(worker, "builtins");
  const scope = builtins.dict(kw({ path: join(script.path, "../trained.pt"), models }));
  await builtins.exec(COMPARES, scope);
  return py.js(py.at(scope, "different"));
}

const COMPARES = `
import torch
trained = torch.load(path, weights_only=True)
assert list(trained) == list(models)
different = [
    f"{which}: {name}"
    for which, state in trained.items()
    for name, value in models[which].state_dict().items()
    if not torch.equal(state[name].view(-1).contiguous().view(torch.uint8), value.reshape(-1).contiguous().view(torch.uint8))
]
assert all(list(state) == list(models[which].state_dict()) for which, state in trained.items())
`;

test("a CNN with one cycle and EMA, which goes on after a fit", async () => {
  const model = makeNoisyCnn(torch);
  const ema = new EMA({ decay: 0.9 });
  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader({ xs: take(0, 60).xs, ys: take(0, 60).ys }, { batchSize: 16, shuffle: { seed: 7 } }),
      validation: new DataLoader(take(60, 80), { batchSize: 16 }),
    },
    optimizer: adamW({ lr: 1e-3, fused: true }),
    defaultCallbacks: false,
    callbacks: [ema, new Scheduler({ lr: oneCycle("run", 1e-2) }), new Metrics(), new Recorder(), new StopOnNaNLoss()],
  });
  // The second fit goes on with the optimizer's state, the average, the loader's epoch and the random numbers.
  await learner.fit(1);
  const script = await learner.toPython(2, { folder: await fresh("cnn") });
  expect(script.gaps).toEqual([]);
  expect(await readFile(script.path, "utf8")).toMatch(/AdamW\(.*fused=True/s);
  const report = await learner.fit(2);
  expect(await run(script)).toEqual(linesOf(report));
  expect(await differences(script, { model, ema: ema.model })).toEqual([]);
});

test("a table with two inputs and groups", async () => {
  const own = (await worker.module(
    fileURLToPath(new URL("../../fixtures/tabular.py", import.meta.url)),
  )) as unknown as AnyRef;
  const build = (): AnyRef => own.Tabular(3, 5);
  const model = build();
  const rows = 50;
  const xs = {
    numbers: Float32Array.from({ length: rows * 3 }, (_, i) => Math.sin(i)),
    kind: BigInt64Array.from({ length: rows }, (_, i) => BigInt(i % 5)),
  };
  const data = {
    xs: {
      numbers: { dtype: "float32", shape: [rows, 3], data: xs.numbers },
      kind: { dtype: "int64", shape: [rows], data: xs.kind },
    },
    ys: { dtype: "float64", shape: [rows, 1], data: Float64Array.from({ length: rows }, (_, i) => Math.cos(i)) },
  } as const;
  const learner = new Learner(model, (yhat: AnyRef, ys: AnyRef) => torch.nn.functional.huber_loss(yhat, ys.float()), {
    data: { training: new DataLoader(data, { batchSize: 8, shuffle: true, dropLast: true }) },
    optimizer: sgd({
      lr: 0.05,
      momentum: 0.9,
      groups: { head: { params: (m) => m.head, lr: 0.01, weightDecay: 0.1 } },
    }),
    callbacks: [new PyTorchBackend({ accumulate: 4, clipGradNorm: 0.5 }), new Metrics(), new Recorder()],
    defaultCallbacks: false,
  });
  const script = await learner.toPython(3, { folder: await fresh("table"), model: build });
  expect(script.gaps).toEqual([]);
  const report = await learner.fit(3);
  expect(await run(script)).toEqual(linesOf(report));
  expect(await differences(script, { model })).toEqual([]);
});

test("a fine-tuned ResNet with frozen layers", async () => {
  const build = (): AnyRef => {
    const made = untyped(worker, "torchvision").models.resnet18(kw({ weights: null }));
    made.fc = torch.nn.Linear(made.fc.in_features, 10);
    return made;
  };
  const model = build();
  for (const part of [model.conv1, model.bn1, model.layer1, model.layer2, model.layer3]) freeze(part);
  const learner = new Learner(model, crossEntropy({ labelSmoothing: 0.1 }), {
    data: {
      training: new DataLoader(take(0, 32), { batchSize: 16, shuffle: true }),
      validation: new DataLoader(take(32, 48), { batchSize: 16 }),
    },
    input: image(imagenet),
    optimizer: adamW({ lr: 1e-3, groups: { head: { params: (m) => m.fc.parameters(), lr: 1e-2 } } }),
    callbacks: [new Metrics(), new Recorder()],
    defaultCallbacks: false,
  });
  const script = await learner.toPython(1, { folder: await fresh("resnet"), model: build });
  expect(script.gaps).toEqual([]);
  const report = await learner.fit(1);
  expect(await run(script)).toEqual(linesOf(report));
  expect(await differences(script, { model })).toEqual([]);
});

test("nested inputs, mixed precision, SWA, relative schedules, batches as given, an output and a loss of torchwire's own", async () => {
  const { nn } = torch;
  const own = (await worker.module(fileURLToPath(new URL("../../fixtures/tabular.py", import.meta.url)))) as AnyRef;
  const model = own.Nested(nn.Linear(3, 4), nn.Linear(2, 4, kw({ bias: false })));
  const swa = new SWA({ start: 2, validate: true });
  const batch = (rows: number, phase: number) => ({
    xs: [floats([rows, 3], phase), { more: floats([rows, 2], phase) }],
    ys: floats([rows, 4], phase, (x) => Math.sin(x) ** 2),
  });
  const learner = new Learner(model, flux.msle(), {
    data: { training: [batch(5, 1), batch(5, 2), batch(3, 3)], validation: [batch(4, 4)] },
    output: (y) => py.at(y, "whole").abs(),
    optimizer: adamW({ lr: 0.01, groups: { wide: { params: (m) => m.wide, lr: 0.1 } } }),
    callbacks: [
      new PyTorchBackend({ amp: "bf16", clipGradValue: 0.1 }),
      swa,
      new Scheduler({ lr: relative(cosAnneal(1, 0, "1ep")), "betas.0": (t) => 0.9 - t / 100 }),
      new Metrics(),
      new Recorder(),
    ],
    defaultCallbacks: false,
  });
  const script = await learner.toPython(3, { folder: await fresh("nested") });
  expect(script.gaps).toEqual([]);
  const report = await learner.fit(3);
  expect(await run(script)).toEqual(linesOf(report));
  expect(await differences(script, { model, swa: swa.model })).toEqual([]);
});

test("what has no form in Python is said at its place, and listed", async () => {
  const { nn } = torch;
  const data = [{ xs: floats([4, 2], 0), ys: floats([4, 1], 1) }];
  const learner = new Learner(nn.Linear(2, 1), ownLoss(), {
    data: { training: data, validation: worker.import("builtins").list() as AnyRef },
    optimizer: chain(clipNorm(1), sgd({ lr: 0.1 })),
    callbacks: [
      callback({
        name: "Noise",
        runAfter: ["PyTorchBackend"],
        access: { step: { xs: "write" } },
        on: { stepBegin: () => undefined },
      }),
      new EarlyStopping(2),
      new Metrics(),
      new Recorder(),
      callback({ name: "Watcher", observe: { stepEnd: () => undefined } }),
    ],
    defaultCallbacks: false,
  });
  const script = await learner.toPython(1, { folder: await fresh("gaps") });
  const source = await readFile(script.path, "utf8");
  expect(script.gaps.toSorted()).toEqual([
    expect.stringMatching(/^EarlyStopping: it is TypeScript, and .*/),
    expect.stringMatching(/^Noise: it is TypeScript, and writes step at stepBegin$/),
    expect.stringMatching(/^loss_fn: the model computes its loss itself/),
    expect.stringMatching(/^optimizer: it has hooks around its step/),
    expect.stringMatching(/^validation data: it is an object in the worker/),
  ]);
  expect(source).toContain("        for xs, ys in training_batches(epoch):\n            # Not here: Noise: ");
  expect(source).toMatch(/def loss_fn\(\*_\):\n {4}raise NotImplementedError\("loss_fn: the model computes/);
  expect(source).toMatch(/def validation_batches\(epoch\):\n {4}raise NotImplementedError\("validation data: /);
  expect(source).toMatch(/are left out: .*\bWatcher\b/);
  await expect(run(script)).rejects.toThrow("NotImplementedError: optimizer: it has hooks around its step");
});

test("misuse is told, and another model is refused", async () => {
  const { nn } = torch;
  const learner = new Learner(nn.Linear(2, 1), mse(), {
    data: { training: [{ xs: floats([4, 2], 0), ys: floats([4, 1], 1) }] },
    defaultCallbacks: false,
  });
  const folder = await fresh("misuse");
  await expect(learner.toPython(1, { folder: "" })).rejects.toThrow("toPython: say where to write");
  await expect(learner.toPython(1, { folder, model: 3 as never })).rejects.toThrow("toPython: model is 3; it must be");
  await expect(learner.toPython(1, { folder, model: () => nn.Linear(3, 1) })).rejects.toThrow(
    "toPython: model makes another model than the learner's: weight: float32 [1, 3] is not weight: float32 [1, 2]",
  );
});
