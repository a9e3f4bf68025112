/**
 * An array of more than 4 GiB, there and back: past what a frame may be, and past what a Uint8Array of the oldest Node
 * can be.
 */
import { freemem } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import { py, type Worker } from "torchwire";
import { lend } from "torchwire/bridge";
import type { AnyRef } from "../../bridge/types/core.ts";
import { testWorker } from "../worker.ts";

const ELEMENTS = 2 ** 30 + 1001;
const FACTOR = 0x9e3779b1 | 0;
/** Where the array goes it is there twice, as its frames and as itself; and it is still there where it came from. */
const NEEDED = 18 * 2 ** 30;

let worker: Worker;
beforeEach(async () => {
  worker = await testWorker();
});
afterEach(() => worker.close());

function filled(): Int32Array {
  const data = new Int32Array(ELEMENTS);
  for (let i = 0; i < ELEMENTS; i++) data[i] = Math.imul(i, FACTOR);
  return data;
}

test("an array of 4 GiB and a little arrives whole, and comes back whole", async (context) => {
  if (freemem() < NEEDED)
    context.skip(`it takes ${NEEDED / 2 ** 30} GiB of free memory, there are ${Math.floor(freemem() / 2 ** 30)}`);
  const torch = worker.import("torch");
  const x = worker.tensor(lend({ dtype: "int32", shape: [ELEMENTS], data: filled() })) as unknown as AnyRef;
  const isRight = worker
    .import("builtins")
    .eval(
      "lambda torch, x, k: all(bool((x[a : a + 2**24] == torch.arange(a, min(a + 2**24, len(x))).mul(k).int()).all()) for a in range(0, len(x), 2**24))",
    );
  expect(await x.numel()).toBe(ELEMENTS);
  expect(await isRight(torch, x, FACTOR)).toBe(true);
  const back = await py.ndarray(x);
  expect([back.dtype, back.shape, back.data.length]).toEqual(["int32", [ELEMENTS], ELEMENTS]);
  let wrong = 0;
  for (let i = 0; i < ELEMENTS; i++) if (back.data[i] !== Math.imul(i, FACTOR)) wrong++;
  expect(wrong).toBe(0);
  expect(await torch.ones(2).sum().item()).toBe(2);
});
