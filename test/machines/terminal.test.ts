/** The output of a fit, and Ctrl-C, in a real terminal and without one. */
import { spawn } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fileURLToPath } from "node:url";
import {
  accuracy,
  callback,
  crossEntropy,
  Learner,
  Metrics,
  MetricsPrinter,
  ProgressPrinter,
  Recorder,
  sgd,
  type Data,
  type LearnerData,
  type NDArray,
  type Worker,
} from "torchwire";
import { CustomCallback, type Output } from "torchwire/callbacks";
import { findPython } from "../../bridge/environment/find.ts";
import { built } from "../built.ts";
import { poll, processesOf } from "../fixtures/life/world.ts";
import { testWorker } from "../worker.ts";
import { describeOnLinux } from "../only.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/terminal/${name}`, import.meta.url));
const fit = built("test/fixtures/terminal/fit.ts");

/**
 * Runs the fixture, with what leads to it before it; gives what was written, how it ended and what its worker has left
 * running.
 */
async function ran(
  command: readonly string[],
  scenario: string,
  onPress: (program: number) => void = () => undefined,
): Promise<{ text: string; end: number | string | null; left: number[] }> {
  const [program, ...args] = [...command, fit, scenario];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
    if (more.includes("PRESS")) onPress(Number(/PROGRAM (\d+)/.exec(text)![1]));
  });
  const end = await new Promise<number | string | null>((resolve) => {
    child.once("close", (code, signal) => resolve(signal ?? code));
  });
  const worker = Number(/WORKER (\d+)/.exec(text)![1]);
  const left = await poll(
    1000,
    () => processesOf(worker),
    ({ length }) => length === 0,
  );
  return { text, end, left };
}

describeOnLinux("Ctrl-C", () => {
  let terminal: string[];
  beforeAll(async () => {
    terminal = [(await findPython()).executable, fixture("in-terminal.py"), process.execPath];
  });
  const report = (text: string): unknown => JSON.parse(/REPORT (\{.*\})/.exec(text)![1]!);

  test("in a terminal: the fit is interrupted, and the program goes on to its end", async () => {
    const { text, left } = await ran(terminal, "long");
    expect(report(text)).toEqual({ status: "interrupted", reason: "Ctrl-C", some: true });
    expect(text).toMatch(/LISTENERS 0\s+ENDED 0\s+$/);
    expect(left).toEqual([]);
  });

  test("that a parent hands on, as tsx and npm do, is still one", async () => {
    const { text } = await ran(terminal, "long", (program) => {
      for (const later of [0, 40, 80, 120]) setTimeout(() => process.kill(program, "SIGINT"), later);
    });
    expect(report(text)).toEqual({ status: "interrupted", reason: "Ctrl-C", some: true });
    expect(text).toMatch(/LISTENERS 0\s+ENDED 0\s+$/);
  });

  test("twice: it ends the program at once, whatever hangs, and the worker with it", async () => {
    const { text, left } = await ran(terminal, "hangs");
    expect(text).not.toContain("REPORT");
    // By SIGINT, as it would without us.
    expect(text).toMatch(/ENDED -2\s+$/);
    expect(left).toEqual([]);
  });

  test("where the program listens itself, it is the program's", async () => {
    const { text } = await ran(terminal, "listens");
    expect(text).toContain("MINE");
    expect(report(text)).toEqual({ status: "stopped", reason: "by itself", some: true });
  });

  test("without a terminal it ends the program, as ever", async () => {
    const { text, end, left } = await ran([process.execPath], "long", (program) => process.kill(program, "SIGINT"));
    expect(text).not.toContain("REPORT");
    expect([end, left]).toEqual(["SIGINT", []]);
  });
});

describe("what is printed", () => {
  let worker: Worker;
  beforeAll(async () => {
    worker = await testWorker();
  });
  afterAll(() => worker.close());

  const batch = (): { xs: NDArray; ys: NDArray } => ({
    xs: { dtype: "float32", shape: [2, 1], data: Float32Array.of(1, -1) },
    ys: { dtype: "uint8", shape: [2], data: Uint8Array.of(1, 0) },
  });
  const data: LearnerData = { training: [batch(), batch(), batch()], validation: [batch()] };

  /** The output of a fit, piece by piece. */
  async function written(
    screen: Partial<Output>,
    { epochs = 1, ...options }: { epochs?: number; data?: LearnerData; stop?: boolean } = {},
  ): Promise<string[]> {
    const pieces: string[] = [];
    const output = { ...screen, write: (text: string) => pieces.push(text) };
    const stop = new CustomCallback("stepEnd", ({ index, control }) => void (index === 1 && control.cancel("fit")), {
      access: { control: "write" },
    });
    const learner = new Learner(worker.import("torch").nn.Linear(1, 2), crossEntropy(), {
      data: options.data ?? data,
      optimizer: sgd({ lr: 0.01 }),
      callbacks: [
        new ProgressPrinter({ output }),
        new MetricsPrinter({ output }),
        new Metrics(accuracy),
        ...(options.stop === true ? [stop] : []),
      ],
    });
    await learner.fit(epochs);
    return pieces;
  }

  test("without a terminal: a line at the end of each epoch, and a row of a table whose head comes once", async () => {
    const lines = (await written({}, { epochs: 2 })).join("").split("\n");
    const progress = (phase: string, epoch: number, batches: number): RegExp =>
      new RegExp(
        String.raw`^epoch ${epoch} ${phase}  \[#{20}\]  ${batches}/${batches}(  \d+ samples/s)?  loss \d\.\d{4}(  0 s left)?$`,
      );
    const row = (phase: string, epoch: number): RegExp =>
      new RegExp(String.raw`^ +${epoch} +${phase} +\d\.\d+ +[\d.]+ +\d+\.\d s$`);
    const expected = [
      progress("training", 1, 3),
      /^ +epoch +phase +loss +accuracy +time$/,
      row("training", 1),
      progress("validation", 1, 1),
      row("validation", 1),
      progress("training", 2, 3),
      row("training", 2),
      progress("validation", 2, 1),
      row("validation", 2),
      /^$/,
    ];
    expect(lines).toHaveLength(expected.length);
    for (const [i, line] of lines.entries()) expect(line).toMatch(expected[i]!);
  });

  test("on a terminal: one line that is drawn again, never wider than the screen, and left before the table", async () => {
    for (const columns of [80, 40, 20, 10]) {
      const pieces = await written({ isTTY: true, columns });
      const drawn = pieces.filter((piece) => piece.startsWith("\r\u001B[K") && piece.length > 4);
      expect(drawn.length).toBeGreaterThanOrEqual(2);
      for (const piece of drawn) expect(piece.length - 4).toBeLessThan(columns);
      const last = pieces.findIndex((piece) => piece.includes("training"));
      expect(last).toBeGreaterThanOrEqual(0);
      const table = pieces.findIndex((piece) => piece.includes("epoch       phase"));
      expect(pieces[table - 1]).toBe("\n");
    }
    const wide = (await written({ isTTY: true, columns: 120 })).find((piece) => piece.includes("3/3"))!;
    expect(wide).toContain("epoch 1 training  [####################]  3/3  ");
    // One that does not know its size.
    const unsized = (await written({ isTTY: true, columns: 0 })).find((piece) => piece.includes("3/3"))!;
    expect(unsized).toMatch(/ {2}\[#{5,20}\] {2}3\/3 .*(left|loss \d\.\d{4})$/);
    const narrow = (await written({ isTTY: true, columns: 76 })).find((piece) => piece.includes("3/3"))!;
    expect(narrow).toMatch(/ {2}\[#{5,19}\] {2}3\/3 .*(left|loss \d\.\d{4})$/);
  });

  test("data of unknown length has no bar, and its count at the end all the same", async () => {
    const training: Data = {
      *[Symbol.iterator]() {
        yield batch();
        yield batch();
      },
    };
    const lines = (await written({}, { data: { training, validation: [batch()] } })).join("").split("\n");
    expect(lines[0]).toMatch(/^epoch 1 training  2 batches(  \d+ samples\/s)?  loss \d\.\d{4}$/);
  });

  test("a bar that is left standing is wiped away, and the table has what was done", async () => {
    const pieces = await written({ isTTY: true, columns: 80 }, { stop: true });
    expect(pieces.at(-3)).toBe("\r\u001B[K");
    expect(pieces.at(-2)).toMatch(/^ +epoch +phase +loss +accuracy +time\n$/);
    expect(pieces.at(-1)).toMatch(/^ +0\.66 +training +\d\.\d+ +[\d.]+ +\d+\.\d s\n$/);
  });

  test("observers that print are no reason to wait: the window stays", () => {
    const learner = new Learner(worker.import("torch").nn.Linear(1, 2), crossEntropy(), { data });
    expect(learner.explain()).toContain("steps in flight: 3 to 32");
    expect(learner.callbacks.map(({ name }) => name)).toEqual([
      "ProgressPrinter",
      "MetricsPrinter",
      "StopOnNaNLoss",
      "Recorder",
      "Metrics",
      "PyTorchBackend",
    ]);
    learner.addCallback(callback({ name: "Waits", access: { step: "read" }, on: { stepEnd: () => undefined } }));
    expect(learner.explain()).toContain("steps in flight: 1, because of Waits");
    expect(learner.getCallback(Recorder)).toBeInstanceOf(Recorder);
  });
});
