/** Kinds of misuse and mishap: what each says, and that it says where. Together they are docs/misuse.md. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Learner, Metrics, mse, Recorder, saveWeights, sgd, TorchwireError } from "torchwire";
import { findPython } from "../../bridge/environment/find.ts";
import { untyped } from "../observed.ts";
import { golden } from "../tables.ts";
import { testWorker } from "../worker.ts";
import { callbacks } from "./cases/callbacks.ts";
import { data } from "./cases/data.ts";
import { elsewhere } from "./cases/elsewhere.ts";
import { files as ownFiles } from "./cases/files.ts";
import { learners } from "./cases/learners.ts";
import { packages } from "./cases/packages.ts";
import { references } from "./cases/references.ts";
import { rows as tables } from "./cases/rows.ts";
import { values } from "./cases/values.ts";
import { warnings } from "./cases/warnings.ts";
import { weights } from "./cases/weights.ts";
import { workers } from "./cases/workers.ts";
import { pairs, type Cases, type Given } from "./given.ts";
import { marked, pageOf, type Row } from "./page.ts";

const families: Readonly<Record<string, { readonly file: string; readonly cases: Cases }>> = {
  References: { file: "references.ts", cases: references },
  "Values and arrays": { file: "values.ts", cases: values },
  Data: { file: "data.ts", cases: data },
  "Rows of files, and batches of samples": { file: "rows.ts", cases: tables },
  "Learners and their fits": { file: "learners.ts", cases: learners },
  Callbacks: { file: "callbacks.ts", cases: callbacks },
  "Weights on disk": { file: "weights.ts", cases: weights },
  "Python files of your own": { file: "files.ts", cases: ownFiles },
  "Packages, on the command line": { file: "packages.ts", cases: packages },
  Workers: { file: "workers.ts", cases: workers },
  "Workers elsewhere": { file: "elsewhere.ts", cases: elsewhere },
  Warnings: { file: "warnings.ts", cases: warnings },
};

const run = promisify(execFile);
let given: Given;
let executable: string;
const seen = new Map<string, Row>();

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), "misuse-"));
  executable = (await findPython()).executable;
  const [worker, other, closed] = await Promise.all([testWorker(), testWorker(), testWorker()]);
  const torch = untyped(worker, "torch");
  const { nn } = torch;
  const learner: Given["learner"] = ({ model = nn.Linear(1, 1), loss = mse(), ...options } = {}) =>
    new Learner(model, loss as never, {
      data: { training: pairs(3), validation: pairs(1) },
      optimizer: sgd({ lr: 0.01 }),
      defaultCallbacks: false,
      callbacks: [new Recorder(), new Metrics()],
      ...options,
    });
  const closedLearner = new Learner(untyped(closed, "torch").nn.Linear(1, 1), mse(), { data: { training: pairs(1) } });
  await closed.close();
  const python = await pythons(folder);
  given = { worker, other, closed, closedLearner, torch, nn, folder, learner, python };
  await files(given);
}, 120_000);

afterAll(async () => {
  await Promise.all([given?.worker.kill(), given?.other.kill()]);
  if (given === undefined) return;
  rmSync(given.folder, { recursive: true, force: true });
});

async function files({ folder, nn, torch }: Given): Promise<void> {
  const inside = (name: string): string => join(folder, name);
  for (const name of ["photos/cat", "photos/dog", "empty/cat"]) mkdirSync(inside(name), { recursive: true });
  const photo = (width: number): Promise<Buffer> =>
    sharp({ create: { width, height: 40, channels: 3, background: "grey" } })
      .jpeg()
      .toBuffer();
  writeFileSync(inside("photos/cat/1.jpg"), await photo(50));
  writeFileSync(inside("photos/cat/2.jpg"), await photo(60));
  writeFileSync(inside("photos/dog/1.jpg"), (await photo(50)).subarray(0, 200));
  writeFileSync(inside("broken.safetensors"), "this is not one, however long it may be");
  await saveWeights(nn.Linear(2, 1), inside("other.safetensors"));
  await torch.save(
    { net: torch.nn.functional.relu, fractions: untyped(given.worker, "fractions").Fraction(1, 2) },
    inside("code.pt"),
  );
}

/** Interpreters with which something is the matter. */
async function pythons(folder: string): Promise<Given["python"]> {
  const { stdout } = await run(executable, ["-c", "import torchvision; print(torchvision.__path__[0])"]);
  const site = dirname(stdout.trim());
  const written = (name: string, file: string, text: string): { env: { PYTHONPATH: string } } => {
    const path = join(folder, name, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return { env: { PYTHONPATH: join(folder, name) } };
  };
  await run(executable, ["-m", "venv", "--without-pip", join(folder, "bare")]);
  // As where its compiled half was made for another torch, and so cannot be loaded.
  mkdirSync(join(folder, "unfit", "torchvision"), { recursive: true });
  for (const entry of readdirSync(join(site, "torchvision")))
    if (!/\.(so|pyd|dylib)$/.test(entry) && entry !== "__pycache__")
      symlinkSync(join(site, "torchvision", entry), join(folder, "unfit", "torchvision", entry));
  const all: Record<Parameters<Given["python"]>[0], ReturnType<Given["python"]>> = {
    bare: { python: join(folder, "bare"), env: { PYTHONPATH: "" } },
    old: written("old", "sitecustomize.py", 'import sys\nsys.version_info = (3, 8, 20, "final", 0)\n'),
    dies: written("dies", "sitecustomize.py", 'import os\nprint("no licence", flush=True)\nos._exit(7)\n'),
    broken: written("broken", "torch/__init__.py", 'raise ImportError("libcudart.so.99: cannot open shared object")\n'),
    unfit: { env: { PYTHONPATH: join(folder, "unfit") } },
  };
  return (fault) => all[fault];
}

/** Text that differs from run to run, or from machine to machine. */
function steady(text: string): string {
  return text
    .replaceAll(given.folder, "/home/me")
    .replaceAll(golden(""), "/home/me/data/")
    .replaceAll(/#\d+/g, "#12")
    .replaceAll(/\(uid \d+/g, "(uid 1000")
    .replaceAll(/\.[0-9a-f]{8}\.tmp/g, ".0a1b2c3d.tmp")
    .replaceAll(/\d+ operations and \d+ MiB/g, "1000000 operations and 32 MiB")
    .replaceAll(/\(torch [^)]*\)/g, "(torch 2.10.0)")
    .replaceAll(/tcp:\/\/127\.0\.0\.1:\d+/g, "tcp://127.0.0.1:5555")
    .replaceAll(/SHA256:[\w+/]{43}/g, "SHA256:67OvTdmc7/Nun5C12z5FDkr9NWhEMfqfDsnuWvXD6MM")
    .replaceAll(
      /\S+@\S+ \(process \d+\) since [^)]*\)/g,
      "ada@laptop (process 4711) since 2030-01-01 00:00:00 UTC (0 min)",
    )
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "2030-01-01T00:00:00.000Z")
    .replaceAll(
      new RegExp(String.raw`\S*/(?:${dirname(executable).split("/").at(-2)}|bare)/bin/python[\d.]*`, "g"),
      "/home/me/.venv/bin/python",
    )
    .replaceAll(/[^\s(]*\/site-packages\//g, "/home/me/.venv/lib/python3.11/site-packages/")
    .replaceAll(executable, "/home/me/.venv/bin/python")
    .replaceAll(/\S*\/threading\.py:\d+/g, "/usr/lib/python3.11/threading.py:982");
}

/** The output of a program that does not catch it, without foreign frames. */
async function outcome(fn: () => unknown): Promise<{ text: string; error?: TorchwireError }> {
  const { stackTraceLimit } = Error;
  // Runs as in a program.
  Error.stackTraceLimit = 10;
  try {
    const value: unknown = await fn();
    if (typeof value === "string") return { text: value };
  } catch (error) {
    return { text: (error as Error).message, error: error as TorchwireError };
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  throw new Error("nothing was thrown");
}

/**
 * The output, and the lines of `file` that it names: those of the message, else the wrong line, where a stack has it.
 */
function told(text: string, error: Error | undefined, file: string, wrong: number | undefined): [string, number[]] {
  const own = new RegExp(String.raw`[^\s(]*\b${file.replace(".", String.raw`\.`)}:(\d+)(?::\d+)?`, "g");
  const linesOf = (from: string): number[] => [...from.matchAll(own)].map(([, line]) => Number(line));
  const steadied = steady(text.replaceAll(own, "train.ts:31"));
  const lines = linesOf(text);
  if (lines.length > 0 || error === undefined || wrong === undefined) return [steadied, lines];
  // Node prints the cause's too.
  const stacks = `${error.stack}\n${(error.cause as Error | undefined)?.stack}`.split("\n");
  const found = linesOf(stacks.filter((line) => line.startsWith("    at ")).join("\n"));
  return found.includes(wrong) ? [`${steadied}\n    at train.ts:31`, [wrong]] : [steadied, found];
}

describe.each(Object.entries(families))("%s", (_family, { file, cases }) => {
  const source = readFileSync(fileURLToPath(new URL(`cases/${file}`, import.meta.url)), "utf8");
  const marks = marked(source, Object.keys(cases));

  test.each(Object.entries(cases))("%s", async (kind, run) => {
    const mark = marks.get(kind);
    const { text, error } = await outcome(() => run(given));
    const [shown, lines] = told(text, error, file, mark?.line);
    seen.set(`${file} ${kind}`, { kind, wrote: mark?.wrote, code: error?.code, text: shown });
    expect(error ?? new TorchwireError("MISUSE", text)).toBeInstanceOf(TorchwireError);
    // A warning need not name a line; where it does, the line is right.
    const right = mark === undefined || (error === undefined && lines.length === 0) ? [] : [mark.line];
    expect({ stack: error?.stack, lines: [...new Set(lines)] }).toMatchObject({ lines: right });
  });
});

test("there are sixty kinds of errors, nearly all of which name a line", () => {
  const errors = [...seen.values()].filter(({ code }) => code !== undefined);
  expect(errors.length).toBeGreaterThanOrEqual(60);
  expect(errors.filter(({ text }) => !text.includes("train.ts:31")).map(({ kind }) => kind)).toEqual([
    "a worker of another version of the protocol",
    "a worker killed while it computes",
    "a worker that a C library ends",
  ]);
});

test("docs/misuse.md has them: where it differs, and should not, npm run misuse writes it", async () => {
  const rows = Object.entries(families).map(([family, { file, cases }]) => [
    family,
    Object.keys(cases).map((kind) => seen.get(`${file} ${kind}`)!),
  ]);
  // The tests above must have run.
  expect(rows.flat(2)).not.toContain(undefined);
  await expect(pageOf(Object.fromEntries(rows))).toMatchFileSnapshot("../../docs/misuse.md");
});
