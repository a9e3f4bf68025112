/** Some of `npm run faults`: those that reach most places. */
import { afterAll, describe, expect, test } from "vitest";
import { allFaults, nameOf, type Fault } from "../faults/faults.ts";
import { Stage } from "../faults/stage.ts";
import { where } from "../only.ts";

/** It needs a disk of its own. */
const NEEDY = "fill the disk";
const stage = new Stage();
afterAll(() => stage[Symbol.dispose]());

const chosen = new Set([
  "stop the worker for 10 s, in epoch 3, rich",
  "stop the program for 10 s, while a checkpoint is written, plain",
  "cut the link past the grace time, after backward, worker's data",
  "kill the worker, after the update, before its reply, rich",
  "kill the worker, during resume, rich",
  "kill the program, in the middle of a group, rich",
  "kill the program, while a checkpoint is written, rich",
  "kill the program, at an epoch's end, worker's data",
  "kill both, after the rename, before the pointer, rich",
  "kill the program, while a checkpoint is written, plateau, on the worker's disk",
  "terminate the program, in validation, rich",
  "fill the disk, while a checkpoint is written, rich",
  "one after the other, killed later and later, rich",
]);
const faults = allFaults().filter((fault) => chosen.has(nameOf(fault)));
const [needy, others] = [true, false].map((isNeedy) => faults.filter(({ blow }) => (blow === NEEDY) === isNeedy)) as [
  Fault[],
  Fault[],
];
const why = needy.map((fault) => stage.skipped(fault)).find((one) => one !== undefined);

test("there are more than 300, each with a name of its own", () => {
  const names = allFaults().map(nameOf);
  expect(new Set(names).size).toBe(names.length);
  expect(allFaults().filter(({ skipped }) => skipped === undefined).length).toBeGreaterThan(300);
  expect(faults).toHaveLength(chosen.size);
});

const named = (some: readonly Fault[]): [string, Fault][] => some.map((fault) => [nameOf(fault), fault]);

describe.concurrent("a run ends with the bits and the logs of the undisturbed one", () => {
  test.each(named(others))("%s", async (_, fault) => {
    expect(await stage.wrong(fault)).toEqual([]);
  });
});

where(why === undefined, why ?? "")("so does one whose disk was full", () => {
  test.each(named(needy))("%s", async (_, fault) => {
    expect(await stage.wrong(fault)).toEqual([]);
  });
});
