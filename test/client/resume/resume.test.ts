/** Uninterrupted = resumed ≠ cold: to the bit, wherever a fit was interrupted. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Worker } from "torchwire";
import { digits, fitted, kinds, type Data, type Kind, type Outcome } from "../../fixtures/resume/fits.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "resume-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Whose disk has the folder. On one machine it is the same one, and the programs of a run may differ in that. */
const disks: { readonly [kind: string]: readonly ["client" | "worker", "client" | "worker"] } = {
  plain: ["client", "client"],
  "a scheduler on plateau": ["worker", "worker"],
};

/** A program that lives in the folder, and is interrupted at a step of a phase. */
function program(kind: Kind, seed: number, stopAt?: readonly [phase: string, step: number]): Promise<Outcome> {
  const interrupt = new AbortController();
  const name = Object.keys(kinds).find((one) => kinds[one] === kind)!;
  const on = (disks[name] ?? ["worker", "client"])[seed % 2]!;
  return fitted(worker, {
    kind,
    seed,
    data,
    options: { resume: { folder, every: 4, on }, signal: interrupt.signal },
    atStep: (phase, step) => {
      if (phase === stopAt?.[0] && step === stopAt[1]) interrupt.abort("pulled the plug");
    },
  });
}

const places: [name: string, phase: string, step: number][] = [
  ["the first step", "training", 1],
  ["the middle of the first epoch, in the middle of a group", "training", 3],
  ["the end of an epoch", "training", 9],
  ["a validation", "validation", 1],
  ["the third epoch", "training", 23],
  ["the last step", "training", 27],
];

describe.each(Object.entries(kinds))("%s", (_, kind) => {
  let whole: Outcome;
  beforeAll(async () => {
    whole = await fitted(worker, { kind, seed: 1, data });
  });

  test("a cold start ends elsewhere", async () => {
    const cold = await fitted(worker, { kind, seed: 2, data });
    expect(cold.weights).not.toBe(whole.weights);
  });

  test("a fit with checkpoints is the same fit", async () => {
    expect(await program(kind, 1)).toEqual(whole);
  });

  test.each(places)("interrupted at %s, it goes on with the same bits", async (_name, phase, step) => {
    const first = await program(kind, 1, [phase, step]);
    expect(first.report).toMatchObject({ status: "interrupted", reason: "pulled the plug" });
    // Another program: other weights, other random numbers.
    const { report, ...rest } = await program(kind, 2);
    const { report: expected, ...wholeRest } = whole;
    expect(rest).toEqual(wholeRest);
    expect(report).toEqual({ ...expected, resumed: expect.objectContaining({ times: 1 }) as unknown });
  });

  test("resumed from a resume of a resume, it ends with the same bits", async () => {
    await program(kind, 1, ["training", 3]);
    await program(kind, 2, ["training", 2]);
    await program(kind, 3, ["validation", 2]);
    const { report, weights, optimizer, state } = await program(kind, 4);
    expect({ weights, optimizer, state }).toEqual({
      weights: whole.weights,
      optimizer: whole.optimizer,
      state: whole.state,
    });
    expect(report).toMatchObject({ status: whole.report.status, epochs: 3, steps: 27, resumed: { times: 3 } });
  });
});
