/** A step that fails leaves a file. Another process, which knows nothing of the program, fails by it in the same way. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi, type MockInstance } from "vitest";
import {
  callback,
  crossEntropy,
  DataLoader,
  ensurePython,
  Learner,
  py,
  sgd,
  type AnyRef,
  type Callback,
  type FitOptions,
  type Worker,
} from "torchwire";
import { testWorker } from "../worker.ts";

const cli = fileURLToPath(new URL("../../bridge/cli.ts", import.meta.url));

let worker: Worker;
let folder: string;
let elsewhere: string;
let warnings: MockInstance<typeof process.emitWarning>;

beforeAll(async () => {
  worker = await testWorker();
});
afterAll(() => worker.close().catch(() => undefined));
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "run-"));
  elsewhere = await mkdtemp(join(tmpdir(), "elsewhere-"));
  warnings = vi.spyOn(process, "emitWarning").mockReturnValue();
});
afterEach(() => Promise.all([folder, elsewhere].map((path) => rm(path, { recursive: true, force: true }))));

const SAMPLES = 160;
const BATCH = 8;

interface Setting {
  readonly on?: Worker;
  /** A row of words that does not fit the embedding, or NaN where numbers are read. */
  readonly bad?: { readonly row: number; readonly value: number };
  readonly reads?: "words" | "numbers";
  readonly callbacks?: readonly Callback[];
  readonly change?: (model: AnyRef) => void;
  readonly width?: number;
}

function learnerOf(setting: Setting): Learner<AnyRef> {
  const { on = worker, bad, reads = "words", callbacks = [], change, width = 3 } = setting;
  const { nn } = on.import("torch") as unknown as AnyRef;
  const data = Float32Array.from({ length: SAMPLES * width }, (_, i) => (reads === "words" ? i % 7 : Math.sin(i)));
  if (bad !== undefined) data[bad.row * width] = bad.value;
  const model =
    reads === "words"
      ? nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * width, 2))
      : nn.Sequential(nn.Linear(width, 12), nn.LayerNorm(12), nn.Dropout(0.5), nn.Linear(12, 2));
  change?.(model);
  const learner = new Learner(model as AnyRef, crossEntropy(), {
    data: {
      training: new DataLoader(
        {
          xs:
            reads === "words"
              ? { dtype: "int32", shape: [SAMPLES, width], data: Int32Array.from(data) }
              : { dtype: "float32", shape: [SAMPLES, width], data },
          ys: Array.from({ length: SAMPLES }, (_, i) => i % 2),
        },
        { batchSize: BATCH },
      ),
    },
    optimizer: sgd({ lr: 0.1, momentum: 0.9 }),
    callbacks,
  });
  learner.removeCallback("ProgressPrinter");
  learner.removeCallback("MetricsPrinter");
  return learner;
}

interface Replayed {
  readonly code: number | undefined;
  readonly shown: string;
  readonly said: string;
}

async function replay(file: string, ...options: string[]): Promise<Replayed> {
  const { exitCode, stdout, stderr } = await execa(
    process.execPath,
    ["--import", "tsx", "--conditions=torchwire-source", cli, "replay", file, ...options],
    { reject: false },
  );
  return { code: exitCode, shown: stdout, said: stderr };
}

/** Runs the file as a script of Python, which is changed before. */
async function inPython(file: string, change: (script: string) => string = (script) => script): Promise<Replayed> {
  const made = join(elsewhere, "in python");
  const { code, said } = await replay(file, "--in-python", made);
  expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining("nothing was run") as unknown });
  const script = join(made, "steps.py");
  await writeFile(script, change(await readFile(script, "utf8")));
  const python = (await ensurePython()).executable;
  const { exitCode, stdout, stderr } = await execa(python, ["-I", script], { reject: false });
  return { code: exitCode, shown: stdout, said: stderr };
}

const crashes = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.endsWith(".twr"));

/** The one file of the run, on another machine: without the run's folder. */
async function moved(): Promise<string> {
  const [name, ...more] = await crashes();
  expect(more).toEqual([]);
  const path = join(elsewhere, name!);
  await cp(join(folder, name!), path);
  await rm(folder, { recursive: true });
  return path;
}

/** The checkpoint after step 8 is written beside the steps: waits for it. */
const untilWritten = (): Callback =>
  callback({
    name: "Waits",
    state: "none",
    on: {
      stepBegin: async ({ index }) => {
        if (index !== 10) return;
        while (!(await readdir(folder)).includes("latest.json")) await sleep(5);
      },
    },
  });

const messageOf = (error: unknown): string => (error as Error).message;
const numbersIn = (shown: string): number[] =>
  (/tensor\(([^a-z]|nan)*/.exec(shown)![0].match(/-?\d+\.\d*(?:e-?\d+)?|nan/g) ?? []).map((one) =>
    one === "nan" ? Number.NaN : Number(one),
  );

const bad = { row: 12 * BATCH + 5, value: 99 };

describe("an index that is out of range, in step 12", () => {
  test("it fails from the construction on, in the same operation with the same message", async () => {
    const error: unknown = await learnerOf({ bad })
      .fit(1, { resume: { folder, every: 100 } })
      .catch((one) => one);
    expect(messageOf(error)).toContain("step 12: IndexError: index out of range in self");
    const [name] = await crashes();
    expect(messageOf(error)).toMatch(new RegExp(`npx torchwire replay --trust \\S*${name}\\)$`));
    const file = await moved();
    const { code, said, shown } = await replay(file, "--trust", "--print", "xs");
    expect(said).toContain("IndexError: index out of range in self\n");
    expect(said).toContain("Sequential(...) failed\ntorchwire: failed as in the program");
    expect(shown).toMatch(/^xs = tensor\(\[\[[^]*\[99, /);
    expect(code).toBe(0);
    const written = await inPython(file);
    expect(written.said).toMatch(/steps\.py", line \d+, in <module>[^]*IndexError: index out of range in self$/);
    expect(written.code).toBe(1);
  });

  test("it fails from the checkpoint on, after what was made before it and is still used", async () => {
    const kept: AnyRef[] = [];
    const steps = callback({
      name: "Keeps",
      state: "none",
      access: { step: { yhat: "read" } },
      on: {
        // Made in a step before the checkpoint, of what was made in one before that, and is freed.
        stepEnd: ({ index, step }) => {
          if (index === 2) kept.push(py.keep(step.yhat.detach() as AnyRef));
          if (index !== 3) return;
          const [before] = kept.splice(0) as [AnyRef];
          kept.push(py.keep(before.sum() as AnyRef));
          before[Symbol.dispose]();
        },
        // Without it, this batch fails in another operation.
        stepBegin: ({ index }) => void (index === 12 && kept[0]!.add(1)),
      },
    });
    const learner = learnerOf({ bad, callbacks: [steps, untilWritten()] });
    await expect(learner.fit(1, { resume: { folder, every: 8 } })).rejects.toThrow("step 12: IndexError");
    const file = await moved();
    const { code, said } = await replay(file, "--trust");
    expect(said).toContain("it has the checkpoint after 8 steps");
    expect(said).toContain("failed as in the program");
    expect(code).toBe(0);
    expect((await inPython(file)).said).toMatch(/IndexError: index out of range in self$/);
  });
});

test("a NaN that stops the fit: the outputs are those that the program saw, to the bit", async () => {
  let seen: readonly number[] = [];
  const watch = callback({
    name: "Watch",
    state: "none",
    access: { step: { yhat: "read" } },
    on: {
      lossBegin: async ({ step, index }) => {
        if (index === 12) seen = [...((await py.ndarray(step.yhat)).data as Float32Array)];
      },
    },
  });
  // Wide enough for batches whose memory is used again.
  const callbacks = [watch, untilWritten()];
  const learner = learnerOf({ reads: "numbers", bad: { ...bad, value: Number.NaN }, callbacks, width: 1024 });
  const report = await learner.fit(1, { resume: { folder, every: 8 } });
  expect(report).toMatchObject({ status: "stopped", crash: join(folder, (await crashes())[0]!) });
  expect(warnings.mock.calls.map(([message]) => String(message)).join("\n")).toContain(
    "loss is NaN in training epoch 1, step 12: the steps that led",
  );
  const file = await moved();
  const { code, said, shown } = await replay(file, "--trust", "--print", "yhat");
  expect(numbersIn(shown).map(Math.fround)).toEqual(seen);
  expect(seen.some((one) => one < 0 || one > 0)).toBe(true);
  expect(said).toContain("LossIsNaN: the loss is NaN\n");
  expect(said).toContain("failed as in the program");
  expect(code).toBe(0);
  const written = await inPython(file, (script) => {
    const yhat = /(v\d+) = .*# yhat$/m.exec(script)![1]!;
    return script.replace(/^( *)# Here it failed/m, `$1print(${yhat}.flatten().tolist())\n$&`);
  });
  expect(written.said).toMatch(/LossIsNaN: the loss is NaN$/);
  expect(JSON.parse(written.shown.replaceAll("nan", "null"))).toEqual(
    seen.map((one) => (Number.isNaN(one) ? null : one)),
  );
});

test("a worker that ends in a forward pass: the one that replays ends in the same way", async () => {
  const on = await testWorker();
  const dies = on.module(new URL("../fixtures/dies.py", import.meta.url));
  const learner = learnerOf({ on, change: (model) => void dies.at_call(model, 13) });
  // (A checkpoint does not hold how often the module has counted.)
  const error: unknown = await learner.fit(1, { resume: { folder, every: 100 } }).catch((one) => one);
  expect(messageOf(error)).toMatch(/ended by SIGKILL[^]*npx torchwire replay --trust/);
  await on.close().catch(() => undefined);
  const { code, said } = await replay(await moved(), "--trust");
  expect(said).toMatch(
    /operation \d+: Sequential\(\.\.\.\)\ntorchwire: failed as in the program: Python was ended by SIGKILL/,
  );
  expect(code).toBe(0);
});

test("functions of the program that Python calls are answered with what the program did", async () => {
  let calls = 0;
  const hook = (_module: unknown, _args: unknown, output: AnyRef): AnyRef =>
    output.mul(++calls === 13 ? Number.NaN : 2) as AnyRef;
  const learner = learnerOf({
    reads: "numbers",
    change: (model) => void model.register_forward_hook(hook),
    callbacks: [untilWritten()],
  });
  const report = await learner.fit(1, { resume: { folder, every: 8 } });
  expect(report.reason).toContain("step 12");
  const { code, said } = await replay(await moved(), "--trust");
  expect(said).toContain("it has the checkpoint after 8 steps");
  expect(said).toContain("failed as in the program");
  expect(code).toBe(0);
});

test("without data, no sample is in the file, and the replay says so", async () => {
  // (The shared one goes on from a checkpoint that is gone.)
  const on = await testWorker();
  // One that was sent before the fit, too.
  const before = on.tensor(Int32Array.of(0x5eedf00d));
  const learner = learnerOf({ on, bad: { ...bad, value: 0x5eedf00d } });
  const options = { resume: { folder, every: 100 }, crash: { data: false } };
  await expect(learner.fit(1, options)).rejects.toThrow("step 12: IndexError");
  expect(await before.item()).toBe(0x5eedf00d);
  await on.close();
  const file = await moved();
  expect((await readFile(file)).includes(Buffer.from([0x0d, 0xf0, 0xed, 0x5e]))).toBe(false);
  const { code, said } = await replay(file, "--trust");
  expect(said).toMatch(/\d+ bytes of arrays are missing: zeros take their place/);
  expect(said).toContain("did not fail here: all");
  expect(code).toBe(1);
});

test("past its memory it has the last steps, with their data, and says that steps are missing", async () => {
  // A mebibyte a step, of which 16 are kept.
  const learner = learnerOf({ bad: { row: 19 * BATCH, value: 99 }, width: 2 ** 15 });
  const options = { resume: { folder, every: 100 }, crash: { memory: 16 } };
  await expect(learner.fit(1, options)).rejects.toThrow("step 19: IndexError");
  const { code, said } = await replay(await moved(), "--trust");
  expect(said).toContain("the steps before the last ones are missing");
  expect(said).toContain("failed as in the program");
  expect(code).toBe(0);
});

test("a step of a validation: it fails as in the program, also as a script", async () => {
  const learner = learnerOf({ callbacks: [untilWritten()] });
  const { training } = learnerOf({ bad }).data;
  learner.data = { ...learner.data, validation: training! };
  const error: unknown = await learner.fit(1, { resume: { folder, every: 8 } }).catch((one) => one);
  expect(messageOf(error)).toContain("validation epoch 1, step 12: IndexError");
  const file = await moved();
  expect((await replay(file, "--trust")).said).toContain("failed as in the program");
  const written = await inPython(file, (script) => {
    const model = /(v\d+) = .*# model$/m.exec(script)![1]!;
    return script.replace(/^( *)# Here it failed/m, `$1print(torch.is_grad_enabled(), ${model}.training)\n$&`);
  });
  expect(written.said).toMatch(/IndexError: index out of range in self$/);
  expect(written.shown).toBe("False False");
});

describe("a file", () => {
  let file: string;
  beforeEach(async () => {
    await learnerOf({ bad })
      .fit(1, { resume: { folder, every: 8 } })
      .catch(() => undefined);
    file = await moved();
  });

  test("is only described where nobody trusts it", async () => {
    const { code, said, shown } = await replay(file, "--print", "xs");
    expect(said).toContain("training epoch 1, step 12\ntorchwire: IndexError: index out of range in self");
    expect(said).toContain("nothing was run");
    expect(shown).toBe("");
    expect(code).toBe(2);
  });

  test("stops where it is told to, and prints what is there", async () => {
    const { said: about } = await replay(file);
    const last = Number(/and (\d+) batches/.exec(about)![1]);
    const { code, said, shown } = await replay(file, "--trust", "--until", `${last - 1}`, "--print", "model");
    expect(shown).toMatch(/^model = Sequential\(/);
    expect(said).toContain(`stopped after batch ${last - 1}`);
    expect(code).toBe(0);
  });

  test("is refused where a byte of it is another, or where it is cut off", async () => {
    const { executable } = await ensurePython();
    const script = `
import sys
from torchwire_worker.replay.container import BadFile, File
path = sys.argv[1]
data = open(path, "rb").read()
File(path)
taken, said = [], set()
for i in [*range(64), *range(64, len(data), 97)]:
    for other in (data[:i], data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]):
        open(path, "wb").write(other)
        try:
            File(path)
            taken.append(i)
        except BadFile as error:
            said.add(str(error).partition("cannot be replayed: ")[2].split(" ")[0])
print(taken, sorted(said))
`;
    const { stdout } = await execa(executable, ["-c", script, file], {
      env: { PYTHONPATH: fileURLToPath(new URL("../../python", import.meta.url)) },
    });
    expect(stdout).toBe("[] ['it', 'its', 'the']");
  });
});

test("three files stay, and none is written where nobody asks for one", async () => {
  const fails = async (options: FitOptions): Promise<string> =>
    messageOf(
      await learnerOf({ bad })
        .fit(1, options)
        .catch((one: unknown) => one),
    );
  for (let i = 0; i < 5; i++) await fails({ resume: { folder, every: 100 } });
  expect(await crashes()).toHaveLength(3);
  expect(await fails({ resume: { folder, every: 100 }, crash: false })).not.toContain("replay");
  expect(await fails({})).not.toContain("replay");
  const [, name] = /replay --trust (\S+)\)$/.exec(await fails({ crash: true }))!;
  await rm(name!);
});

test.each([
  ["yes", /crash is 'yes'; it must be true, false, or \{ data, memory \}/],
  [{ datum: false }, /fit: crash has no option "datum"; it has data, memory/],
  [{ memory: 8 }, /memory is 8; it must be a whole number from 16/],
])("options that make no sense are refused: %j", async (crash, message) => {
  const error: unknown = await learnerOf({})
    .fit(1, { crash: crash as never })
    .catch((one: unknown) => one);
  expect(error).toMatchObject({ code: "MISUSE", message: expect.stringMatching(message) as unknown });
});
