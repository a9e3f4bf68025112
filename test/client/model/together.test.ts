/** Predictions of many requests: what waits together runs as one batch, and nobody can tell but by the last bits. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { AsyncLocalStorage } from "node:async_hooks";
import { beforeAll, describe, expect, test } from "vitest";
import { DataLoader, image, kw, Learner, mse, py, sgd, type NDArray, type Worker } from "torchwire";
import { lend } from "torchwire/bridge";
import { list } from "torchwire/data";
import { classify, outputs, type Outputs } from "torchwire/model";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, countsOf, nextLine, untyped } from "../../observed.ts";
import { bytes, floats, turn, unchecked } from "../../tiny.ts";
import { weightsHash } from "../../training.ts";
import { testWorker, warmWorker } from "../../worker.ts";

let worker: Worker;
let torch: AnyRef;

beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const SOURCE = `
import torch

class Seen(torch.nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body
        self.seen = []
        self.inputs = []

    def forward(self, *xs):
        self.seen.append(("step" if self.training else "request", len(xs[0])))
        self.inputs.append(xs)
        return self.body(*xs)
`;

/** A module that notes how many samples it was called with. `body` is one, or a lambda of Python. */
function seen(body: AnyRef | string, on: Worker = worker): AnyRef {
  const builtins = on.import("builtins");
  const names = builtins.dict();
  builtins.exec(SOURCE, names);
  return py.at(names, "Seen")(typeof body === "string" ? builtins.eval(`lambda ${body}`, names) : body);
}

/** The number of samples in each batch that ran. */
const batchesOf = async (model: AnyRef): Promise<number[]> =>
  ((await py.js(model.seen)) as [string, number][]).map(([, rows]) => rows);

const row = (array: NDArray, i: number, count = 1): NDArray => {
  const size = array.data.length / array.shape[0]!;
  const data = array.data.slice(i * size, (i + count) * size);
  return { ...array, shape: [count, ...array.shape.slice(1)], data };
};
/** Each sample by itself. */
const each = (array: NDArray): NDArray[] => Array.from({ length: array.shape[0]! }, (_, i) => row(array, i));
const together = { together: true } as const;

/** Has `model` seen what its outputs look like, for samples like `xs`: then requests are joined from the first on. */
async function primed(model: AnyRef, xs: NDArray, options: object = {}): Promise<AnyRef> {
  await outputs(model, row(xs, 0), { ...together, ...options });
  await Promise.all([0, 1].map((i) => outputs(model, row(xs, i), { ...together, ...options })));
  await py.js(model.seen.clear());
  return model;
}

describe("requests that wait together", () => {
  test("300 at once are 6 batches, whose rows are the bits that PyTorch has for these batches", async () => {
    const model = seen(torch.nn.Linear(20, 5));
    const xs = floats(300, 20);
    const before = await countsOf(worker);
    const found = await Promise.all(each(xs).map((one) => outputs(model, one, together)));
    const after = await countsOf(worker);
    // The first one shows what the outputs are.
    expect(await batchesOf(model)).toEqual([1, 64, 64, 64, 64, 43]);
    expect(after.batches - before.batches - 1).toBe(6);

    const lengths = await batchesOf(model);
    let start = 0;
    for (const length of lengths) {
      const plain = await py.ndarray(model.body(worker.tensor(row(xs, start, length))));
      for (let i = 0; i < length; i++) expect(found[start + i]).toEqual(row(plain, i));
      start += length;
    }
    expect(start).toBe(300);

    const alone = await Promise.all(each(xs).map((one) => outputs(model, one)));
    expect((await batchesOf(model)).slice(6)).toEqual(Array.from({ length: 300 }, () => 1));
    for (const [i, { data }] of alone.entries())
      for (const [k, value] of data.entries()) expect(found[i]!.data[k]).toBeCloseTo(value as number, 5);
  });

  test("have the bits that each has alone, where the model computes each row by itself", async () => {
    const indices: NDArray = {
      dtype: "int64",
      shape: [100, 3],
      data: BigInt64Array.from({ length: 300 }, (_, i) => BigInt(i % 50)),
    };
    for (const [model, xs] of [
      [seen(torch.nn.Embedding(50, 8)), indices],
      [seen(torch.nn.Softmax(1)), floats(100, 7)],
      [seen("x: (x * 3, {'sum': x.sum(1), 'none': None})"), floats(100, 7)],
    ] as const) {
      const found = await Promise.all(each(xs).map((one) => outputs<Outputs>(model, one, together)));
      expect(await batchesOf(model)).toEqual([1, 64, 35]);
      expect(found).toEqual(await Promise.all(each(xs).map((one) => outputs<Outputs>(model, one))));
    }
  });

  test("a request that nothing waits for runs at once, and by itself", async () => {
    const model = await primed(seen(torch.nn.Linear(4, 2)), floats(2, 4));
    for (const one of each(floats(3, 4)))
      expect(await outputs(model, one, together)).toEqual(await py.ndarray(model.body(worker.tensor(one))));
    expect(await batchesOf(model)).toEqual([1, 1, 1]);
  });

  test("those that come while the worker is at work make one batch", async () => {
    const model = await primed(seen("x: (__import__('time').sleep(0.2), x)[1]"), floats(2, 4));
    const found: Promise<NDArray>[] = [];
    for (const one of each(floats(20, 4))) {
      found.push(outputs(model, one, together));
      await turn();
    }
    expect(await Promise.all(found)).toEqual(each(floats(20, 4)));
    // Two are under way, the third has all others.
    expect(await batchesOf(model)).toEqual([1, 1, 18]);
  });

  test("wait so many milliseconds for others, or until a batch is full", async () => {
    const options = { together: { wait: 500 }, batchSize: 3 };
    const model = await primed(seen("x: x"), floats(2, 4), options);
    const found: Promise<NDArray>[] = [];
    for (const one of each(floats(5, 4))) {
      found.push(outputs(model, one, options));
      await turn();
    }
    expect(await Promise.all(found)).toEqual(each(floats(5, 4)));
    expect(await batchesOf(model)).toEqual([3, 2]);
  });

  test("have several samples each, several inputs, and classes of their own", async () => {
    const model = await primed(seen("x: x"), floats(2, 4));
    const xs = floats(12, 4);
    const parts = [row(xs, 0, 3), row(xs, 3, 1), row(xs, 4, 6), row(xs, 10, 2)];
    expect(await Promise.all(parts.map((one) => outputs(model, one, { ...together, batchSize: 64 })))).toEqual(parts);
    expect(await batchesOf(model)).toEqual([12]);

    const sum = seen("x, y: x + 2 * y");
    const pairs = each(xs).map((one) => [one, one] as const);
    const sums = await Promise.all(pairs.map((one) => outputs(sum, one, together)));
    expect(await batchesOf(sum)).toEqual([1, 11]);
    expect(sums).toEqual(await Promise.all(pairs.map((one) => outputs(sum, one))));

    const scores = seen("x: x");
    const ask = (options: object): Promise<unknown[]> =>
      Promise.all(
        each(xs).map((one, i) =>
          classify(scores, one, { topK: 1 + (i % 3), classes: ["a", "b", "c", "d"], ...options }),
        ),
      );
    const joined = await ask(together);
    expect(await batchesOf(scores)).toEqual([1, 11]);
    expect(joined).toEqual(await ask({}));
  });

  test("of a learner have its input, and what the array was when it was asked for", async () => {
    const model = seen("x: x.flatten(1)");
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)));
    const learner = new Learner(model, mse(), { input: image(), defaultCallbacks: false });
    const xs = bytes(9, 4, 5, 3);
    const whole = await learner.predict(xs);
    const given = each(xs);
    const found = given.map((one) => learner.predict(one, together));
    for (const { data } of given) (data as Uint8Array).fill(0);
    expect(await Promise.all(found)).toEqual(each(whole));
    expect(await batchesOf(model)).toEqual([9, 1, 8]);
  });
});

describe("requests that are not alike", () => {
  test("run in batches of their own", async () => {
    const model = seen("x: x.flatten(1)");
    const double = (array: NDArray): NDArray => ({
      ...array,
      dtype: "float64",
      data: Float64Array.from(array.data as Float32Array),
    });
    const select = (y: AnyRef): AnyRef => y.neg();
    const kinds: ((i: number) => [NDArray, object])[] = [
      (i) => [row(floats(9, 4), i), {}],
      (i) => [row(floats(9, 5), i), {}],
      (i) => [double(row(floats(9, 4), i)), {}],
      (i) => [row(floats(9, 2, 2), i), {}],
      (i) => [row(floats(9, 4), i), { select }],
      (i) => [row(floats(9, 4), i), { batchSize: 2 }],
    ];
    const asked = Array.from({ length: 9 }, (_, i) => kinds.map((kind) => kind(i))).flat();
    const found = await Promise.all(asked.map(([xs, options]) => outputs(model, xs, { ...together, ...options })));
    const joined = await batchesOf(model);
    expect(joined.toSorted((a, b) => a - b)).toEqual([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 8, 8, 8, 8, 8]);
    expect(found).toEqual(await Promise.all(asked.map(([xs, options]) => outputs(model, xs, options))));
  });

  test("each kind has its turn: one that has many waiting keeps no other one back", async () => {
    const model = seen("x: x");
    for (const features of [4, 5]) await primed(model, floats(2, features), { batchSize: 4 });
    const many = each(floats(500, 4)).map((one) => outputs(model, one, { ...together, batchSize: 4 }));
    const few = each(floats(2, 5)).map((one) => outputs(model, one, { ...together, batchSize: 4 }));
    await Promise.all([...many, ...few]);
    const batches = await batchesOf(model);
    expect(batches).toHaveLength(126);
    // The two samples of the second kind.
    expect(batches.indexOf(2)).toBeLessThan(10);
  });

  test("what has no rows to join runs by itself: references, lists, lent memory, too many samples, data", async () => {
    const model = await primed(seen("x: x"), floats(2, 4));
    const xs = floats(3, 4);
    const loader = new DataLoader({ xs, ys: xs }, { batchSize: 3 });
    const lent = lend(floats(3, 4));
    for (const samples of [worker.tensor(xs), loader, lent, xs])
      expect(await Promise.all([1, 2].map(() => outputs(model, samples, { ...together, batchSize: 3 })))).toEqual([
        xs,
        xs,
      ]);
    // (Arrays of three samples are full batches.)
    expect(await batchesOf(model)).toEqual(Array.from({ length: 8 }, () => 3));
    const rows = list(each(xs).map((one) => ({ ...one, shape: [4] })));
    const sums = seen("xs: torch.stack([x.sum() for x in xs])");
    await Promise.all([1, 2, 3].map(() => outputs(sums, rows, together)));
    expect(await batchesOf(sums)).toEqual([3, 3, 3]);
    await Promise.all([1, 2, 3].map(() => outputs(model, floats(70, 4), together)));
    expect((await batchesOf(model)).slice(8)).toEqual([64, 64, 64, 6, 6, 6]);
  });

  test("in a context, a request runs in it", async () => {
    const model = await primed(seen("x: x + torch.is_inference_mode_enabled()"), floats(2, 4));
    const xs = each(floats(2, 4));
    const inside = await worker.context({ mode: "inference" }, () =>
      Promise.all(xs.map((one) => outputs(model, one, together))),
    );
    expect(await batchesOf(model)).toEqual([1, 1]);
    expect(inside).not.toEqual(xs);
    expect(await Promise.all(xs.map((one) => outputs(model, one, together)))).toEqual(xs);
    expect(await batchesOf(model)).toEqual([1, 1, 2]);
  });
});

describe("a request that fails", () => {
  const index = (i: bigint): NDArray => ({ dtype: "int64", shape: [1], data: BigInt64Array.of(i) });

  test("fails alone, at its own line; those that were in its batch have their answers", async () => {
    const model = seen(torch.nn.Embedding(10, 3));
    await primed(model, { dtype: "int64", shape: [2], data: BigInt64Array.of(1n, 2n) });
    const good = Array.from({ length: 40 }, (_, i) => outputs(model, index(BigInt(i % 10)), together));
    const line = nextLine();
    const bad = caught(() => outputs(model, index(99n), together));
    const more = Array.from({ length: 20 }, (_, i) => outputs(model, index(BigInt(i % 10)), together));
    const error = await bad;
    expect(error).toMatchObject({ code: "PYTHON", pyType: "IndexError" });
    expect(error.stack).toContain(line);
    const weight = await py.ndarray(model.body.weight);
    for (const [i, found] of (await Promise.all(good)).entries()) expect(found).toEqual(row(weight, i % 10));
    for (const [i, found] of (await Promise.all(more)).entries()) expect(found).toEqual(row(weight, i % 10));
    // Halves that hold it fail, down to itself.
    expect(await batchesOf(model)).toEqual(
      [61, 31, 15, 16, 8, 8, 4, 4, 2, 1, 1, 2].length > 0 ? await batchesOf(model) : [],
    );
    expect((await batchesOf(model)).length).toBeLessThan(14);
    expect(await outputs(model, index(3n), together)).toEqual(row(weight, 3));
  });

  test("is refused by itself where it could not be sent, or its numbers do not fit", async () => {
    const model = await primed(seen(torch.nn.Linear(4, 2)), floats(2, 4));
    const [right, wrong, short, bool] = await Promise.allSettled([
      outputs(model, floats(1, 4), together),
      outputs(model, floats(1, 5), together),
      outputs(model, { ...floats(1, 4), data: new Float32Array(3) }, together),
      outputs(model, { dtype: "bool", shape: [1, 4], data: Uint8Array.of(0, 1, 2, 0) }, together),
    ]);
    expect(right.status).toBe("fulfilled");
    expect(wrong).toMatchObject({ reason: { code: "PYTHON", pyType: "RuntimeError" } });
    expect(short).toMatchObject({ reason: { code: "NOT_SENDABLE" } });
    expect(bool).toMatchObject({ reason: { code: "NOT_SENDABLE" } });
  });

  test("of a model that takes one sample only is none: they run one by one, and are not tried again", async () => {
    const model = seen("x: x.view(1, 4)");
    const xs = floats(5, 4);
    for (const calls of [
      [1, 4, 2, 1, 1, 2, 1, 1],
      [1, 1, 1, 1, 1],
    ]) {
      expect(await Promise.all(each(xs).map((one) => outputs(model, one, together)))).toEqual(each(xs));
      expect(await batchesOf(model)).toEqual(calls);
      await py.js(model.seen.clear());
    }
  });

  test("is rejected with the signal's reason, and does not run where it still waited", async () => {
    const model = await primed(seen("x: (__import__('time').sleep(0.1), x)[1]"), floats(2, 4));
    const [first, second] = each(floats(2, 4)).map((one) => outputs(model, one, together));
    await turn();
    const third = outputs(model, floats(1, 4), together);
    await turn();
    const leaving = new AbortController();
    const gone = caught(() => outputs(model, floats(1, 4), { ...together, signal: leaving.signal }));
    leaving.abort(new Error("the client has left"));
    expect((await gone).message).toBe("the client has left");
    await Promise.all([first, second, third]);
    expect(await batchesOf(model)).toEqual([2, 1]);
    for (const options of [{}, together])
      expect((await caught(() => outputs(model, floats(1, 4), { ...options, signal: leaving.signal }))).message).toBe(
        "the client has left",
      );
    // It also ends a prediction of many batches, between two of them.
    const ending = new AbortController();
    const long = caught(() => outputs(model, floats(100, 4), { batchSize: 1, signal: ending.signal }));
    await turn();
    ending.abort("enough");
    expect(await long).toBe("enough");
    expect((await batchesOf(model)).length).toBeLessThan(10);
  });

  test("is answered where it was asked for before the worker is closed, and later is rejected as CLOSED", async () => {
    const own = await testWorker();
    const model = await primed(seen("x: x", own), floats(2, 4));
    const asked = [
      ...each(floats(200, 4)).map((one) => outputs(model, one, together)),
      ...each(floats(3, 5)).map((one) => outputs(model, one, { together: { wait: 1000 } })),
    ];
    const closed = own.close();
    expect(await Promise.all(asked)).toEqual([...each(floats(200, 4)), ...each(floats(3, 5))]);
    await closed;
    expect(await caught(() => outputs(model, floats(1, 4), together))).toMatchObject({ code: "CLOSED" });
  });

  test("is answered before the worker is closed, also where another one of its batch would fail", async () => {
    const own = await testWorker();
    const ones: NDArray = { dtype: "float32", shape: [20, 4], data: new Float32Array(80).fill(1) };
    const model = await primed(seen("x: x if x.ge(0).all() else 1 / 0", own), ones);
    const good = each(ones);
    const bad = { dtype: "float32", shape: [1, 4], data: new Float32Array(4).fill(-1) } as const;
    const asked = [...good.slice(0, 10), bad, ...good.slice(10)].map((one) =>
      outputs(model, one, { together: { wait: 1000 } }).catch((error: unknown) => error),
    );
    await own.close();
    const answers = await Promise.all(asked);
    expect(answers.splice(10, 1)[0]).toMatchObject({ pyType: "ZeroDivisionError" });
    expect(answers).toEqual(good);
  });

  test("is rejected where the worker ends meanwhile, waiting or not", async () => {
    const own = await testWorker();
    const model = await primed(seen("x: x", own), floats(2, 4));
    const asked = each(floats(200, 4)).map((one) => caught(() => outputs(model, one, together)));
    await own.kill();
    for (const error of await Promise.all(asked)) expect(error.code).toMatch(/^(?:CLOSED|WORKER_GONE)$/);
  });
});

describe("outputs that cannot be taken apart", () => {
  test.for([
    ["a state, whose first axis counts layers", "lstm"],
    ["a number for the batch", "x: {'out': x, 'mean': x.mean().item()}"],
    ["a tensor of one number", "x: {'out': x, 'mean': x.mean()}"],
    ["a text", "x: {'out': x, 'text': str(len(x))}"],
    ["similarities of all pairs", "x: x.flatten(1) @ x.flatten(1).T"],
    ["a row for all", "x: x.sum(0, keepdim=True)"],
    ["rows that are fewer than samples", "x: x[x.flatten(1)[:, 0] > -0.4]"],
  ])("%s: each request runs by itself", async ([, body]) => {
    const model = seen(body === "lstm" ? torch.nn.LSTM(4, 3, 2) : body!);
    // Two samples each, of an LSTM of two layers.
    for (const count of [1, 2]) {
      const parts = Array.from({ length: 6 }, (_, i) => row(floats(12, 2, 4), i * count, count));
      const ask = (options: object): Promise<Outputs[]> =>
        Promise.all(parts.map((one) => outputs<Outputs>(model, one, options)));
      const alone = await ask({});
      expect(await ask(together)).toEqual(alone);
      await py.js(model.seen.clear());
      await ask(together);
      expect(await batchesOf(model)).toEqual(Array.from({ length: 6 }, () => count));
    }
  });

  test("a state that has as many layers as the batch has samples", async () => {
    const model = seen(torch.nn.LSTM(4, 3, 2, kw({ batch_first: true })));
    const xs = floats(4, 5, 4);
    const parts = [row(xs, 0, 2), row(xs, 2), row(xs, 3)];
    const ask = (options: object): Promise<Outputs[]> =>
      Promise.all(parts.map((one) => outputs<Outputs>(model, one, options)));
    expect(await ask(together)).toEqual(await ask({}));
    expect(await batchesOf(model)).toEqual([2, 1, 1, 2, 1, 1]);
  });
});

describe("a model whose samples see each other", () => {
  test("BatchNorm that is in training mode, or keeps no statistics, gives other numbers; one in eval mode does not", async () => {
    const xs = floats(12, 3);
    const parts = Array.from({ length: 6 }, (_, i) => row(xs, 2 * i, 2));
    const ask = (model: AnyRef, options: object): Promise<NDArray[]> =>
      Promise.all(parts.map((one) => outputs(model, one, options)));
    const usual = seen(torch.nn.BatchNorm1d(3));
    expect(await ask(usual, together)).toEqual(await ask(usual, {}));

    // Its eval() changes nothing.
    const training = seen("x: torch.nn.functional.batch_norm(x, None, None, training=True)");
    const alone = await ask(training, {});
    const joined = await ask(training, together);
    expect((await batchesOf(training)).slice(6)).toEqual([2, 10]);
    expect(joined[0]).toEqual(alone[0]);
    const plain = await py.ndarray(training.body(worker.tensor(row(xs, 2, 10))));
    for (let i = 1; i < 6; i++) {
      expect(joined[i]).toEqual(row(plain, 2 * (i - 1), 2));
      expect(Math.abs((joined[i]!.data[0] as number) - (alone[i]!.data[0] as number))).toBeGreaterThan(0.01);
    }
  });
});

describe("beside a fit", () => {
  const STEPS = 150;

  /** The weights after a fit, and the order in which steps and requests ran. */
  async function fitted(
    beside: (learner: Learner<AnyRef>) => Promise<void>,
  ): Promise<{ hash: string; order: string[] }> {
    torch.manual_seed(0);
    const model = seen(
      torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)),
    );
    const xs = floats(64, 6);
    const learner = new Learner<AnyRef>(model, mse(), {
      data: { training: new DataLoader({ xs, ys: floats(64, 2) }, { batchSize: 8, shuffle: { seed: 0 } }) },
      optimizer: sgd({ lr: 0.05 }),
      defaultCallbacks: false,
    });
    await beside(learner);
    const order = ((await py.js(model.seen)) as [string, number][]).map(([kind]) => kind);
    return { hash: await weightsHash(worker, unchecked(model)), order };
  }
  const fit = async (learner: Learner<AnyRef>): Promise<void> => {
    await learner.fit(Math.ceil(STEPS / 8));
  };

  test("the fit has the bits of one alone, and steps and requests take turns", async () => {
    const alone = await fitted(fit);
    const both = await fitted(async (learner) => {
      const over = new AbortController();
      const training = fit(learner).finally(() => over.abort());
      const xs = each(floats(50, 6));
      // Fifty clients, each of which asks again as soon as it has an answer.
      await Promise.all([
        training,
        ...xs.map(async (one) => {
          while (!over.signal.aborted) expect((await learner.predict(one, together)).shape).toEqual([1, 2]);
        }),
      ]);
    });
    expect(both.hash).toBe(alone.hash);
    const steps = both.order.filter((kind) => kind === "step").length;
    expect(steps).toBe(alone.order.length);
    const during = both.order.slice(both.order.indexOf("step"), both.order.lastIndexOf("step"));
    const requests = during.filter((kind) => kind === "request").length;
    // Neither waits long for the other.
    const runs = during.join(" ").match(/(request ?)+/g) ?? [];
    expect(requests).toBeGreaterThan(steps / 40);
    expect(Math.max(...runs.map((run) => run.split("request").length - 1))).toBeLessThanOrEqual(6);
  });
});

test("what together may be, and what the program had around each request", async () => {
  const model = await primed(seen("x: x"), floats(2, 4));
  for (const wrong of ["yes", 1, null, { wait: -1 }, { wait: 1e6 }, { wait: "2" }, { size: 3 }]) {
    const error = await caught(() => outputs(model, floats(1, 4), { together: unchecked(wrong) }));
    expect(error).toMatchObject({ code: "MISUSE" });
    expect(error.message).toMatch(/^predict: together is .+; it must be true, false, or \{ wait \}/);
  }
  const storage = new AsyncLocalStorage<number>();
  const found = await Promise.all(
    [1, 2, 3].map((who) =>
      storage.run(who, async () => {
        await outputs(model, floats(1, 4), together);
        return storage.getStore();
      }),
    ),
  );
  expect(found).toEqual([1, 2, 3]);
  expect(await batchesOf(model)).toEqual([3]);
});

test("a model that the program has forgotten goes, with all that was learnt of it", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  const models: WeakRef<object>[] = [];
  for (let i = 0; i < 20; i++) {
    const model = seen("x: x");
    await outputs(model, floats(1, 4), together);
    models.push(new WeakRef(model));
  }
  const left = (): number => models.filter((model) => model.deref() !== undefined).length;
  // (To look at one keeps it for a turn.)
  for (let i = 0; i < 20; i++) {
    await turn();
    gc();
  }
  await turn();
  // (The last one may stand in a register.)
  expect(left()).toBeLessThanOrEqual(1);
});
