/** A fit whose model has hooks in TypeScript, while Python's own threads call functions of the program too. */
import { beforeAll, expect, test } from "vitest";
import { Learner, py, Recorder, sgd, type Worker } from "torchwire";
import { mse } from "torchwire/losses";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, untyped } from "../../observed.ts";
import { floats } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const EPOCHS = 3;
const BATCHES = 10;
/** Of each of three threads. */
const CALLS = 3334;
const THREADS = `
import threading
def start(f, count, each):
    results, errors = [], []
    def work(k):
        try:
            results.append(sum(f(k, i) for i in range(each)))
        except BaseException as error:
            errors.append(repr(error))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for thread in threads: thread.start()
    return threads, results, errors
def join(threads):
    for thread in threads: thread.join()
`;

function learnerOf(): Learner {
  torch.manual_seed(5);
  const model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1));
  const training = Array.from({ length: BATCHES }, () => ({ xs: floats(6, 4), ys: floats(6, 1) }));
  return new Learner(model as never, mse(), {
    data: { training },
    optimizer: sgd({ lr: 0.1 }),
    callbacks: [new Recorder()],
    defaultCallbacks: false,
  });
}

const weightsOf = (learner: Learner): Promise<unknown> => py.js((learner.model as unknown as AnyRef)[0].weight);

test("hooks that look, and three threads that call, change no bit of it, and nothing is left", async () => {
  const plain = learnerOf();
  await plain.fit(EPOCHS);
  const expected = await weightsOf(plain);

  const names = worker.import("builtins").dict() as AnyRef;
  worker.import("builtins").exec(THREADS, names);
  const learner = learnerOf();
  const model = learner.model as unknown as AnyRef;
  let forwards = 0;
  const handle = model[0].register_forward_hook(function watch() {
    forwards++;
  });
  const before = (await countsOf(worker)).worker;
  const running = py.at(names, "start")((k: number, i: number) => k * i, 3, CALLS);
  const report = await learner.fit(EPOCHS);
  expect(report.status).toBe("completed");
  py.at(names, "join")(running[0]);
  expect(await py.js(running[2])).toEqual([]);
  const sum = ((CALLS - 1) * CALLS) / 2;
  expect(((await py.js(running[1])) as number[]).toSorted((a, b) => a - b)).toEqual([0, sum, 2 * sum]);
  expect(forwards).toBe(EPOCHS * BATCHES);
  expect(await weightsOf(learner)).toEqual(expected);
  expect(learner.explain()).toMatch(/\nin Python {5}.*watch 30 times.*a round trip each\n/);
  handle.remove();
  running[Symbol.dispose]();
  // Each call made objects, and Python held a function: what stays is the optimizer's state and the like.
  const after = (await countsOf(worker)).worker;
  expect(after.objects - before.objects).toBeLessThan(20);
});

test("a hook that throws fails the fit with its error as the cause, and the next fit goes on", async () => {
  const learner = learnerOf();
  const model = learner.model as unknown as AnyRef;
  const boom = new RangeError("boom");
  let calls = 0;
  const handle = model[0].register_forward_hook(() => {
    if (++calls === 4) throw boom;
  });
  let error: unknown = await caught(() => learner.fit(1));
  const chain: unknown[] = [];
  for (; error instanceof Error; error = error.cause) chain.push(error);
  expect(chain).toContain(boom);
  handle.remove();
  expect((await learner.fit(1)).status).toBe("completed");
});
