/** Signals to real programs: a fit in a folder writes a checkpoint, says which command goes on, and that command does. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { findPython } from "../../bridge/environment/find.ts";
import { poll, processesOf } from "../fixtures/life/world.ts";
import { tsx } from "../fixtures/life/script.ts";
import { kinds } from "../fixtures/resume/fits.ts";
import { describeOnLinux } from "../only.ts";

const program = fileURLToPath(new URL("../fixtures/resume/stopped.ts", import.meta.url));
const inTerminal = fileURLToPath(new URL("../fixtures/terminal/in-terminal.py", import.meta.url));
/** It accumulates groups of two: nine batches make four and a single one. */
const kind = Object.keys(kinds)[1]!;

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  readonly signal: string | null;
  /** Running processes of the worker, a second later at most. */
  readonly left: readonly number[];
}

/** Runs a command that leads a group of its own. `onStop` is called at each STOP that the program says. */
async function ran(
  [executable, ...args]: readonly string[],
  env: Readonly<Record<string, string>> = {},
  onStop: (pid: number, worker: number) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(executable!, args, {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    // (npm, which runs these tests, has not started that program.)
    env: { ...process.env, INIT_CWD: undefined, npm_lifecycle_event: undefined, ...env },
  });
  let [stdout, stderr] = ["", ""];
  const worker = (): number => Number(/WORKER (\d+)/.exec(stdout)?.[1]);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    if (text.includes("STOP")) onStop(child.pid!, worker());
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once("close", (...how) => resolve(how));
  });
  const left = await poll(
    1000,
    () => processesOf(worker()),
    ({ length }) => length === 0,
  );
  return { stdout, stderr, code, signal, left };
}

const outcome = ({ stdout, stderr }: Ended): unknown => {
  expect({ stdout, stderr }).toMatchObject({ stdout: expect.stringContaining("OUTCOME") as unknown });
  return JSON.parse(/OUTCOME (.*)/.exec(stdout)![1]!);
};
/** The command that it says, as a shell reads it. */
const saidBy = ({ stderr }: Ended): string[] => ["sh", "-c", `exec ${/To go on: (.*)/.exec(stderr)![1]}`];

describeOnLinux("a program that is stopped", () => {
  let folder: string;
  let whole: unknown;
  let command: string[];
  const placeOf = async (): Promise<unknown> => {
    const { checkpoint } = JSON.parse(await readFile(join(folder, "latest.json"), "utf8")) as { checkpoint: string };
    return (JSON.parse(await readFile(join(folder, checkpoint, "manifest.json"), "utf8")) as { place: unknown }).place;
  };

  beforeAll(async () => {
    whole = outcome(await ran([...tsx, program, "", kind]));
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "it's stopped-"));
    command = [...tsx, program, folder, kind];
  });
  afterEach(async () => {
    for (const each of [folder, `${folder}-next`]) await rm(each, { recursive: true, force: true });
  });

  test("by SIGTERM to all processes of its job, in a group and in a validation, goes on by the command that it says", async () => {
    const first = await ran(command, { STOP: "training 3" }, (pid, worker) => {
      // As systemd and Slurm do. (The worker leads a group of its own.)
      process.kill(-pid, "SIGTERM");
      for (const one of processesOf(worker)) process.kill(one, "SIGTERM");
    });
    expect(first).toMatchObject({ code: 143, left: [] });
    expect(outcome(first)).toMatchObject({ report: { status: "interrupted", reason: "SIGTERM", steps: 4 } });
    expect(first.stdout).toContain("HEARD");
    expect(first.stderr).toMatch(
      /^fit: interrupted by SIGTERM, after 4 steps; \/.*\/step-00000004-1 has all of them\. To go on: node --import tsx .*$/m,
    );
    expect(await placeOf()).toMatchObject({ side: "training", batch: 4 });
    // A program that must end does not begin with its next fit.
    expect(first.stdout).toMatch(/NEXT \{"status":"interrupted","reason":"SIGTERM","epochs":0,"steps":0/);

    const second = await ran(saidBy(first), { STOP: "validation 1" }, (pid) => process.kill(-pid, "SIGTERM"));
    expect(second).toMatchObject({ code: 143, left: [] });
    expect(await placeOf()).toMatchObject({ side: "validation", batch: 0 });
    const last = await ran(saidBy(second));
    expect(last).toMatchObject({ code: 0, left: [] });
    expect(outcome(last)).toEqual(whole);
  });

  test("by Ctrl-C that ends the reader of its output too, and by its terminal that is closed, goes on", async () => {
    const terminal = [(await findPython()).executable, inTerminal];
    const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    // The reader hands on what tells the terminal to press.
    const piped = `${quoted} | sed -u s/STOP/PRESS/`;
    const first = await ran([...terminal, "bash", "-c", piped], { STOP: "training 6" });
    expect(first.stdout).toContain("fit: Ctrl-C: a checkpoint is being written. Once more leaves at once");
    expect(first.stdout).toMatch(/fit: interrupted by Ctrl-C, after 6 steps; .*-1 has all of them\. To go on: node /);
    expect(first).toMatchObject({ left: [] });
    expect(await placeOf()).toMatchObject({ side: "training", batch: 6 });

    const second = await ran([...terminal, ...command], { STOP: "training 5", SAYS: "HANG UP" });
    // (Node aborts at the exit of a program whose terminal is gone.)
    expect(second).toMatchObject({ left: [] });
    expect(await placeOf()).toMatchObject({ rounds: 1, side: "training", batch: 2 });
    expect(outcome(await ran(command))).toEqual(whole);
  });

  test("twice, ends at once by the second signal: the last checkpoint stands, and no worker is left", async () => {
    let again: NodeJS.Timeout | undefined;
    const first = await ran(command, { STOP: "training 7", STUCK: "1" }, (pid) => {
      again = setInterval(() => process.kill(pid, "SIGTERM"), 200);
    });
    clearInterval(again);
    expect(first).toMatchObject({ code: null, signal: "SIGTERM", left: [] });
    expect(first.stdout).not.toContain("OUTCOME");
    expect(await placeOf()).toMatchObject({ side: "training", batch: 4 });
  });
});
