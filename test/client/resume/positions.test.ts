/** Where loaders stand when a run goes on, or begins again. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { callback, DataLoader, type Callback, type LearnerData, type Worker } from "torchwire";
import { digits, fitted, kinds, type Data, type Outcome, type Setting } from "../../fixtures/resume/fits.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let folder: string;
let data: { training: Data; validation: Data };
const kind = kinds["plain"]!;

beforeAll(async () => {
  worker = await warmWorker();
  data = await digits();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "positions-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const run = (setting: Partial<Setting>): Promise<Outcome> => fitted(worker, { kind, seed: 1, data, ...setting });
const bitsOf = ({ weights, state }: Outcome): unknown => ({ weights, state });

test("a pass that was left early is over for a run that goes on, too", async () => {
  const cutter = (): Callback =>
    callback({
      name: "cutter",
      access: { control: "write" },
      state: "none",
      on: {
        stepEnd: ({ phase, epoch, index, control }) => {
          if (phase.name === "training" && epoch === 1 && index === 2) control.cancel("epoch");
        },
      },
    });
  const whole = await run({ more: [cutter()] });
  const interrupt = new AbortController();
  const { report } = await run({
    more: [cutter()],
    options: { resume: folder, signal: interrupt.signal },
    atStep: (phase) => {
      if (phase === "validation") interrupt.abort();
    },
  });
  expect(report).toMatchObject({ status: "interrupted", steps: 3 });
  expect(bitsOf(await run({ seed: 2, more: [cutter()], options: { resume: folder } }))).toEqual(bitsOf(whole));
});

test("loaders of a run that ended before its first checkpoint begin again with it", async () => {
  const loaders: LearnerData = {
    training: new DataLoader(data.training, { batchSize: 8, shuffle: { seed: 7 } }),
    validation: new DataLoader(data.validation, { batchSize: 8 }),
  };
  const options = { resume: { folder, every: 100 }, data: loaders };
  const failing = (_: string, step: number): void => {
    if (step === 3) throw new Error("a mistake in the program");
  };
  await expect(run({ options, atStep: failing })).rejects.toThrow("a mistake in the program");
  expect(bitsOf(await run({ options }))).toEqual(bitsOf(await run({})));
});
