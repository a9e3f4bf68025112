import { expect, test } from "vitest";
import { trainThroughABlock } from "../fixtures/apps/blocked.ts";
import { testWorker } from "../worker.ts";

test("an event loop that is blocked for 30 s ends nothing: nobody is judged dead, and training goes on", async () => {
  await using worker = await testWorker();
  const { states, report } = await trainThroughABlock(worker, 30_000);
  expect(states).not.toContain("unresponsive");
  expect(states).not.toContain("stopped");
  expect(states).not.toContain("gone");
  expect(report).toMatchObject({ status: "completed", steps: 200 });
});
