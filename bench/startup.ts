/**
 * The time from the start of a program to the end of its first training step, and its memory, against a plain Python
 * script.
 */
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { mnist } from "../test/training.ts";
import { measure, type Contest, type Measured, type Opened, type Readings } from "./rounds.ts";
import type { Surroundings } from "./section.ts";

/** Steps after the first one, before the memory is read. */
const STEPS = 200;
const MEBIBYTE = 2 ** 20;

export async function measureStartUp(surroundings: Surroundings): Promise<Measured[]> {
  return measure(
    () => open(surroundings),
    1,
    surroundings,
    (text) => surroundings.progress(`start-up: ${text}`),
  );
}

async function open({ python, sawVersions }: Surroundings): Promise<Opened> {
  const program = (name: string): string => fileURLToPath(new URL(`programs/${name}`, import.meta.url));
  const programs = {
    "plain Python script": { file: python, script: program("first_step.py") },
    torchwire: { file: process.execPath, script: program("first-step.mjs") },
  };
  const losses = new Set<string>();
  const run = async ({ file, script }: { file: string; script: string }): Promise<Readings> => {
    const { seconds, loss, resident } = await firstStep(file, script, python, sawVersions);
    losses.add(loss);
    const [worker = 0, client = 0] = resident;
    return { "s to first step": seconds, "MiB in Python": worker / MEBIBYTE, "MiB in Node": client / MEBIBYTE };
  };
  // Run each once: otherwise the first would pay for reading the disk.
  for (const one of Object.values(programs)) await run(one);
  const contest: Contest = {
    name: "a small CNN at batch 64, on MNIST",
    primary: "s to first step",
    better: "lower",
    reference: "plain Python script",
    columns: ["s to first step", "MiB in Python", "MiB in Node"],
    variants: Object.entries(programs).map(([name, one]) => ({ name, run: () => run(one) })),
    facts: { "steps before memory is read": STEPS, "both have the same loss": losses.size === 1 },
  };
  return { contests: [contest], pids: [], close: () => Promise.resolve() };
}

/**
 * Starts a program and reads its output: the loss of its first step at the end of that step, then the resident bytes
 * and versions.
 */
async function firstStep(
  file: string,
  script: string,
  python: string,
  sawVersions: Surroundings["sawVersions"],
): Promise<{ seconds: number; loss: string; resident: number[] }> {
  const start = performance.now();
  const child = execa(file, [script, mnist, String(STEPS)], { env: { TORCHWIRE_PYTHON: python }, stderr: "inherit" });
  let first: { seconds: number; loss: string } | undefined;
  let resident: number[] = [];
  for await (const line of child) {
    const [what, ...values] = line.split(" ");
    if (what === "first") first = { seconds: (performance.now() - start) / 1000, loss: values[0]! };
    if (what === "rest") resident = values.map(Number);
    if (what === "versions") sawVersions(JSON.parse(values.join(" ")) as Readonly<Record<string, string>>);
  }
  if (first === undefined) throw new Error(`${script} ended without a step`);
  return { ...first, resident };
}
