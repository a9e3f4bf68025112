/** A fit that is told to end, and callbacks or data that never return: it ends all the same, after seconds. */
import { beforeAll, expect, test } from "vitest";
import {
  callback,
  Learner,
  mse,
  py,
  sgd,
  type Callback,
  type Data,
  type EventName,
  type LearnerOptions,
  type Worker,
} from "torchwire";
import { CustomCallback } from "torchwire/callbacks";
import type { AnyRef } from "../../bridge/types/core.ts";
import { untyped } from "../observed.ts";
import { line, pair, pairs } from "../tiny.ts";
import { warmWorker } from "../worker.ts";

let torch: AnyRef;

beforeAll(async () => {
  const worker: Worker = await warmWorker();
  torch = untyped(worker, "torch");
});

function learnerWith(callbacks: readonly Callback[], options: LearnerOptions = {}): Learner {
  return new Learner(line(torch), mse(), {
    optimizer: sgd({ lr: 0.01 }),
    defaultCallbacks: false,
    callbacks,
    ...options,
  });
}

test("a handler that never resolves: the fit ends within the grace, and the reason names it", async () => {
  const stop = new AbortController();
  const never = (event: EventName, name: string): Callback =>
    new CustomCallback(
      event,
      () => {
        stop.abort();
        return new Promise<void>(() => undefined);
      },
      { name },
    );
  const learner = learnerWith([never("lossBegin", "Hangs")], { data: { training: pairs(4), validation: pairs(1) } });
  const report = await learner.fit(1, { signal: stop.signal });
  expect(report).toMatchObject({
    status: "interrupted",
    reason: "aborted by its signal; callback Hangs (lossBegin) had not returned after 2 s",
    steps: 0,
  });
});

test("an observer or a fitEnd that never resolves after that: neither keeps the fit", async () => {
  const stop = new AbortController();
  const hangs = callback({
    name: "Hangs",
    on: { fitEnd: () => new Promise<void>(() => undefined) },
    observe: {
      stepEnd: () => {
        stop.abort();
        return new Promise<void>(() => undefined);
      },
    },
  });
  const learner = learnerWith([hangs], { data: { training: pairs(2), validation: pairs(1) } });
  const report = await learner.fit(1, { signal: stop.signal });
  expect(report.status).toBe("interrupted");
  expect(report.reason).toContain("callback Hangs (stepEnd) had not returned");
  expect(await py.js(torch.ones(1).item())).toBe(1);
});

test("data that never comes: the same", async () => {
  const stop = new AbortController();
  const data: Data = {
    async *[Symbol.asyncIterator]() {
      yield pair();
      stop.abort();
      await new Promise<void>(() => undefined);
    },
  };
  const report = await learnerWith([]).fit(1, { data: { training: data }, signal: stop.signal });
  expect(report).toMatchObject({
    status: "interrupted",
    reason: "aborted by its signal; the data had not returned after 2 s",
    steps: 1,
  });
});
