/** Programs and workers are killed for real. Started again, the program ends with the bits of one that was left alone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { kinds } from "../fixtures/resume/fits.ts";

const program = fileURLToPath(new URL("../fixtures/resume/program.ts", import.meta.url));
const kind = Object.keys(kinds)[1]!;
let folder: string;
let whole: unknown;

beforeAll(async () => {
  whole = outcome(await start(""));
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "killed-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly failed: boolean;
}

/** A program that is started again is the same program: it has the same seed, and the same arguments but for its end. */
const start = async (inFolder: string, ...kill: string[]): Promise<Ended> => {
  const { stdout, stderr, failed } = await execa(
    process.execPath,
    ["--import", "tsx", "--conditions=torchwire-source", program, inFolder, kind, ...kill],
    { reject: false },
  );
  return { stdout, stderr, failed };
};

function outcome({ stdout, stderr, failed }: Ended): unknown {
  expect({ failed, stderr }).toMatchObject({ failed: false });
  return JSON.parse(stdout);
}

test.each([
  ["worker", "training", 3],
  ["worker", "validation", 2],
  ["program", "training", 14],
])("the %s is killed in %s, at step %i", async (victim, phase, step) => {
  const killed = await start(folder, victim, phase, String(step));
  expect(killed.failed).toBe(true);
  expect(killed.stdout).toBe("");
  expect(outcome(await start(folder))).toEqual(whole);
});

test("each of three programs is killed, later and later", async () => {
  for (let i = 0; i < 3; i++) expect((await start(folder, "program", "training", "7", "written")).failed).toBe(true);
  const last = await start(folder);
  // After 4 and 8 steps, and then 13: groups of two begin anew with the second epoch, after 9.
  expect(last.stderr).toMatch(/resumed at step 13, 3$/m);
  expect(outcome(last)).toEqual(whole);
});
