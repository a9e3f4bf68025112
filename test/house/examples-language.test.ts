/** The examples that train models of transformers, beside the same in plain PyTorch. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { Programs } from "../programs.ts";
import { testPackages } from "../python-packages.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let env: Readonly<Record<string, string>>;
let programs: Programs;

beforeAll(async () => {
  env = { OMP_NUM_THREADS: "1", PYTHONPATH: await testPackages(), HF_HUB_OFFLINE: "1" };
  programs = new Programs({ cwd: root, env });
});
afterAll(() => programs[Symbol.dispose]());

/** What the example prints, and what its counterpart in test/native does. */
async function both(name: string, args: readonly string[]): Promise<[string, string]> {
  const python = (await findPython()).executable;
  const native = execa(python, [join(root, "test", "native", `${name}.py`), ...args], { env });
  const ours = await programs.run(join(root, "examples", `${name}.ts`), ...args);
  return [ours, (await native).stdout];
}

/** A column of the printed table, epoch by epoch: 0 is the loss. */
const column = (stdout: string, phase: string, at: number): number[] =>
  [...stdout.matchAll(new RegExp(`^ +\\d+ +${phase} +(.*) s$`, "gm"))].map(([, cells]) =>
    Number(cells!.trim().split(/ +/)[at]),
  );

const printed = (value: string): number => Number(Number(value).toPrecision(5));

test("languages: a line is told by its letters, by the losses of plain PyTorch", async () => {
  const [ours, native] = await both("languages", ["200", "4"]);
  const expected = native.trim().split("\n").map(printed);
  expect(column(ours, "training", 0)).toEqual(expected.slice(0, 4));
  const accuracy = column(ours, "validation", 1).at(-1);
  expect(accuracy).toBe(expected[4]);
  // Chance is a third.
  expect(accuracy).toBeGreaterThan(0.6);
  const sure = [...ours.matchAll(/(?:English|TypeScript|Python), by (\d+) %$/gm)].map(([, percent]) => Number(percent));
  expect(sure).toEqual(expected.slice(5, 8).map((part) => Number((100 * part).toFixed(0))));
});

test("lora: a language model learns another language, by the losses and the letters of plain PyTorch", async () => {
  const [ours, native] = await both("lora", ["12000", "1"]);
  const { losses, texts, counts } = JSON.parse(native) as {
    losses: [training: number, validation: number][][];
    texts: string[];
    counts: number[];
  };
  for (const [i, phase] of (["training", "validation"] as const).entries())
    expect(column(ours, phase, 0)).toEqual(losses.flat().map((pair) => Number(pair[i]!.toPrecision(5))));
  const written = /English:\n\n([^]*)\n\n[^]*\nIt writes TypeScript, by (\d+) of (\d+) parameters:\n\n([^]*)\n$/.exec(
    ours,
  )!;
  expect([written[1], written[4]]).toEqual(texts);
  expect([written[2], written[3]].map(Number)).toEqual(counts);
  expect(counts[0]).toBeLessThan(0.1 * counts[1]!);
});
