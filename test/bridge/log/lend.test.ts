/**
 * Memory that is sent without a copy: what arrives, when it is used again, and what is left of an array whose memory
 * was.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { py, TorchwireError, type NDArray, type Worker } from "torchwire";
import { FramePool } from "../../../bridge/log/frame-pool.ts";
import { lend, reclaim } from "../../../bridge/values/lend.ts";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { batches } from "../../../client/data/batches.ts";
import { DataLoader } from "../../../client/data/loader.ts";
import { caught, untyped } from "../../observed.ts";
import { turn } from "../../tiny.ts";
import { testWorker, warmWorker } from "../../worker.ts";

const bytesOf = (n: number, value: number): NDArray => ({
  dtype: "uint8",
  shape: [n],
  data: new Uint8Array(n).fill(value),
});

/** Sends as a session does: what `frameOf` gives is on its way until `takeBack`. */
function sent(pool: FramePool, array: NDArray): Uint8Array {
  const { buffer, byteOffset, byteLength } = array.data;
  return pool.frameOf(new Uint8Array(buffer, byteOffset, byteLength));
}

describe("a lent array", () => {
  test("goes out as it lies; any other is copied", () => {
    const pool = new FramePool();
    const [own, lent] = [bytesOf(8, 1), lend(bytesOf(8, 1))];
    const frames = [sent(pool, own), sent(pool, lent)];
    own.data.fill(2 as never);
    lent.data.fill(2 as never);
    expect(frames).toEqual([new Uint8Array(8).fill(1), new Uint8Array(8).fill(2)]);
    expect(frames[1]!.buffer).toBe(lent.data.buffer);
  });

  test("comes back when every batch that carried it has been answered, and each time anew", async () => {
    const pool = new FramePool();
    let times = 0;
    const array = lend(bytesOf(8, 1), () => times++);
    const [first, second] = [sent(pool, array), sent(pool, array)];
    pool.takeBack([first]);
    await turn();
    expect([times, reclaim(array)]).toEqual([0, undefined]);
    pool.takeBack([second]);
    await turn();
    expect(times).toBe(1);
    const third = sent(pool, array);
    expect(reclaim(array)).toBe(undefined);
    pool.takeBack([third]);
    await turn();
    expect(times).toBe(2);
  });

  test("is not told to be back where it was sent again in the meantime", async () => {
    const pool = new FramePool();
    let times = 0;
    const array = lend(bytesOf(8, 1), () => times++);
    pool.takeBack([sent(pool, array)]);
    const again = sent(pool, array);
    await turn();
    expect(times).toBe(0);
    pool.takeBack([again]);
    await turn();
    expect(times).toBe(1);
  });

  test("that was never sent, or only made ready for it, stays where it is", async () => {
    const pool = new FramePool();
    let times = 0;
    const array = lend(bytesOf(8, 1), () => times++);
    expect(reclaim(array)).toBe(undefined);
    pool.discard([sent(pool, array)]);
    await turn();
    expect([times, reclaim(array), array.data.length]).toEqual([0, undefined, 8]);
    pool.takeBack([sent(pool, array)]);
    await turn();
    expect([times, reclaim(array)?.byteLength]).toEqual([1, 8]);
  });

  test("is empty once its memory was taken, which holds what it held", () => {
    const pool = new FramePool();
    const array = lend(bytesOf(5000, 3));
    pool.takeBack([sent(pool, array)]);
    const memory = reclaim(array);
    expect(new Uint8Array(memory!)).toEqual(new Uint8Array(5000).fill(3));
    expect(array.data.length).toBe(0);
    expect(reclaim(array)).toBe(undefined);
    expect(() => lend(array)).toThrow(expect.objectContaining({ code: "MISUSE" }));
    expect(() => [...batches({ xs: array, ys: bytesOf(5000, 0) }, { batchSize: 10 })]).toThrow(
      expect.objectContaining({ code: "MISUSE", message: expect.stringMatching(/^xs: .*has been used again.*copy/) }),
    );
  });

  test("fills its memory: what shares it would be lent too", () => {
    for (const [data, message] of [
      [new Uint8Array(8).subarray(1), "has 7 of the 8 bytes"],
      [Buffer.from("small"), "has 5 of the"],
      [new Uint8Array(new SharedArrayBuffer(4)), "SharedArrayBuffer"],
    ] as const)
      expect(() => lend({ dtype: "uint8", shape: [data.length], data })).toThrow(
        expect.objectContaining({ code: "MISUSE", message: expect.stringContaining(message) }),
      );
  });

  test("is lent once, to one who is told", () => {
    const told = (): void => undefined;
    const array = lend(bytesOf(8, 1), told);
    expect(lend(array)).toBe(array);
    expect(lend(array, told)).toBe(array);
    expect(() => lend(array, () => undefined)).toThrow(expect.objectContaining({ code: "MISUSE" }));
  });
});

describe("with a worker", () => {
  let worker: Worker;
  let torch: AnyRef;
  let builtins: AnyRef;
  let slow: AnyRef;

  beforeAll(async () => {
    worker = await warmWorker();
    torch = untyped(worker, "torch");
    builtins = worker.import("builtins");
    // It has held the values for a while before it sums them.
    slow = await builtins.eval(
      "lambda x, y: (__import__('time').sleep(0.01), x.double().sum().item() + y.sum().item())[1]",
    );
  });

  /** Row i is `width` numbers i, with target 1,000,000 i. */
  const rows = (n: number, width = 2000): { xs: NDArray; ys: NDArray } => ({
    xs: {
      dtype: "float32",
      shape: [n, width],
      data: Float32Array.from({ length: n * width }, (_, i) => Math.floor(i / width)),
    },
    ys: { dtype: "int64", shape: [n], data: BigInt64Array.from({ length: n }, (_, i) => BigInt(1_000_000 * i)) },
  });

  test("what arrives is right over many steps of a slow worker, out of few blocks of memory", async () => {
    // Three megabytes a batch, more than a socket takes at once.
    const loader = new DataLoader(rows(64, 100_000), { batchSize: 8, shuffle: true, seed: 1 });
    const found: Promise<unknown>[] = [];
    const expected: number[] = [];
    for (let epoch = 0; epoch < 5; epoch++)
      for await (const { xs, ys } of loader) {
        expected.push([...ys.data].map(Number).reduce((sum, y) => sum + y * (1 + 100_000 / 1_000_000), 0));
        found.push(worker.scope(() => py.js(slow(xs, ys))));
        if (found.length >= 3) await found.at(-3);
      }
    expect(await Promise.all(found)).toEqual(expected.map((sum) => expect.closeTo(sum, 3)));
    expect(expected).toHaveLength(40);
    // The window of three, the one that is being made, and one whose answer is being read.
    expect(loader.memory.made).toBeLessThanOrEqual(5);
    expect(loader.memory.reused).toBe(40 - loader.memory.made);
  });

  test("so are they where nothing is awaited: then nothing is used again", async () => {
    const loader = new DataLoader(rows(32), { batchSize: 8 });
    const found: Promise<unknown>[] = [];
    for await (const { xs, ys } of loader) found.push(worker.scope(() => py.js(slow(xs, ys))));
    const sum = (first: number): number => [...Array(8).keys()].reduce((all, i) => all + (first + i) * 1_002_000, 0);
    expect(await Promise.all(found)).toEqual([0, 8, 16, 24].map(sum));
  });

  test("samples of a data set, stacked ahead, are lent too", async () => {
    const get = async (i: number): Promise<{ xs: NDArray; ys: number }> => {
      await turn();
      return { xs: { dtype: "float32", shape: [2000], data: new Float32Array(2000).fill(i) }, ys: i };
    };
    const loader = new DataLoader({ length: 40, get }, { batchSize: 4, prefetch: 2 });
    const found: number[] = [];
    for (let epoch = 0; epoch < 3; epoch++)
      for await (const { xs, ys } of loader) found.push((await worker.scope(() => py.js(slow(xs, ys)))) as number);
    expect(found).toEqual(Array.from({ length: 30 }, (_, i) => 2001 * (16 * (i % 10) + 6)));
    expect(loader.memory.made + loader.memory.reused).toBe(30);
    expect(loader.memory.made).toBeLessThanOrEqual(6);
  });

  test("a batch is there in the body of its loop, however often it is sent; a kept one is an error that says so", async () => {
    const loader = new DataLoader(rows(12), { batchSize: 4 });
    const kept: NDArray[] = [];
    for await (const { xs } of loader) {
      for (let i = 0; i < 3; i++) expect(await worker.tensor(xs).shape[0]).toBe(4);
      expect(xs.data.length).toBe(8000);
      kept.push(xs);
    }
    const [old] = kept as [NDArray];
    expect(old.data.length).toBe(0);
    const message = expect.stringMatching(/has been used again for a later batch; to keep one, copy it/);
    for (const use of [
      () => worker.tensor(old),
      () => torch.sum(old),
      () => torch.sum(old.data),
      () => builtins.list([1, { a: old }]),
      () => [...batches({ xs: old, ys: old }, { batchSize: 1 })],
    ])
      expect(await caught(use)).toMatchObject({ code: "MISUSE", message });
    expect(await builtins.abs(-1)).toBe(1);
  });

  test("a loop that is left keeps its last batch; a batch that is not sent is never used again", async () => {
    const loader = new DataLoader(rows(12), { batchSize: 4 });
    let first: NDArray | undefined;
    for await (const { xs } of loader) {
      first = xs;
      await worker.tensor(xs).sum().item();
      break;
    }
    const unsent: NDArray[] = [];
    for await (const { xs } of loader) unsent.push(xs);
    expect(await worker.tensor(first!).sum().item()).toBe(6 * 2000);
    expect(unsent.map(({ data }) => [data.length, data[0]])).toEqual([
      [8000, 0],
      [8000, 4],
      [8000, 8],
    ]);
    expect(loader.memory).toEqual({ made: 4, reused: 0 });
  });

  test("an operation that is refused halfway leaves its arrays where they are", async () => {
    let times = 0;
    const array = lend(bytesOf(5000, 1), () => times++);
    expect(await caught(() => builtins.list([array, Symbol("no")]))).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await builtins.abs(-1)).toBe(1);
    await turn();
    expect([times, reclaim(array)]).toEqual([0, undefined]);
    expect(await worker.tensor(array).sum().item()).toBe(5000);
    await turn();
    expect(times).toBe(1);
  });

  test("an operation that fails in Python has its arrays come back", async () => {
    let back = (): void => undefined;
    const returned = new Promise<void>((resolve) => (back = resolve));
    const array = lend(bytesOf(5000, 1), back);
    expect(await caught(() => builtins.int(array))).toMatchObject({ code: "PYTHON" });
    await returned;
    expect(reclaim(array)?.byteLength).toBe(5000);
  });

  test("memory of a user is copied at the call", async () => {
    const array = bytesOf(100_000, 1);
    const there = worker.tensor(array);
    array.data.fill(9 as never);
    expect(await there.sum().item()).toBe(100_000);
    expect(array.data.length).toBe(100_000);
  });

  test("where the worker ended before it answered, nothing comes back", async () => {
    const dying = await testWorker();
    let times = 0;
    const array = lend(bytesOf(100_000, 1), () => times++);
    const builtinsThere = dying.import("builtins");
    builtinsThere.list([array]);
    const never = py.js(builtinsThere.exec("import time; time.sleep(600)"));
    await turn();
    await dying.kill();
    expect(await caught(() => never)).toBeInstanceOf(TorchwireError);
    await turn();
    expect([times, reclaim(array), array.data.length]).toEqual([0, undefined, 100_000]);
  });
});
