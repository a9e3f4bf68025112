/** A handler that hangs is given up after an interruption: no checkpoint holds a part of a step. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { callback, type Callback, type Worker } from "torchwire";
import { digits, fitted, kinds, type Data, type Outcome } from "../../fixtures/resume/fits.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
let whole: Outcome;
const kind = kinds["plain"]!;

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
  whole = await fitted(worker, { kind, seed: 1, data });
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "resume-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const program = (seed: number, hanging: Callback, signal?: AbortSignal): Promise<Outcome> =>
  fitted(worker, {
    kind,
    seed,
    data,
    more: [hanging],
    options: { resume: { folder, every: 5 }, ...(signal && { signal }) },
  });

interface Case {
  readonly hanging: (hang: (index: number) => Promise<void> | undefined) => Callback;
  /** The step that hangs, from 0. */
  readonly at: number;
  /** The steps of the newest checkpoint. */
  readonly saved: number;
}

test.each<[what: string, one: Case]>([
  [
    "in line: the last checkpoint stands",
    {
      hanging: (hang) =>
        callback({
          name: "hangs",
          state: "none",
          on: { stepEnd: ({ phase, index }) => (phase.name === "training" ? hang(index) : undefined) },
        }),
      at: 6,
      saved: 5,
    },
  ],
  [
    "while it observes, and remembers nothing: the others hear of all steps in flight, and a checkpoint has them",
    {
      hanging: (hang) =>
        callback({
          name: "hangs",
          state: "none",
          // It might cancel: three steps are in flight.
          access: { control: "write" },
          observe: { stepEnd: ({ phase, index }) => (phase.name === "training" ? hang(index) : undefined) },
        }),
      at: 5,
      saved: 8,
    },
  ],
  [
    "while it observes, and remembers something: the last checkpoint stands",
    {
      hanging: (hang) =>
        callback({
          name: "hangs",
          state: { save: () => 0, load: () => undefined },
          observe: { stepEnd: ({ phase, index }) => (phase.name === "training" ? hang(index) : undefined) },
        }),
      at: 5,
      saved: 5,
    },
  ],
])("a handler hangs %s", async (_, { hanging, at, saved }) => {
  const interrupt = new AbortController();
  const first = await program(
    1,
    hanging((index) => {
      if (index !== at) return undefined;
      interrupt.abort("asked");
      return new Promise(() => undefined);
    }),
    interrupt.signal,
  );
  expect(first.report).toMatchObject({
    status: "interrupted",
    reason: "asked; callback hangs (stepEnd) had not returned after 2 s",
  });
  const names = await readdir(folder);
  expect(
    names
      .filter((name) => name.startsWith("step-"))
      .toSorted()
      .at(-1),
  ).toBe(`step-0000000${saved}-1`);
  const { report, weights, optimizer, state } = await program(
    2,
    hanging(() => undefined),
  );
  expect(report.resumed).toMatchObject({ steps: saved });
  expect({ weights, optimizer, state }).toEqual({
    weights: whole.weights,
    optimizer: whole.optimizer,
    state: whole.state,
  });
});
