/**
 * A fit on a device whose copies take their time, as a GPU's do. The device is the tests' own, put into a real worker: a
 * value that is fetched from it is wrong until its copy is done, and a copy is done when it has been looked at a few
 * times.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import {
  accuracy,
  callback,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  sgd,
  StopOnNaNLoss,
  type NDArray,
  type Worker,
} from "torchwire";
import { loss as ownDivisor, type Loss } from "torchwire/losses";
import type { WorkerStats } from "torchwire/bridge";
import type { AnyRef } from "../../../bridge/types/core.ts";
import { caught, untyped } from "../../observed.ts";
import { makeNoisyCnn, rgbDigits, weightsHash } from "../../training.ts";
import { reset, testWorker } from "../../worker.ts";

const SLOW = `
import torch
from torchwire_worker import devices

class Copy:
    def __init__(self, into, source):
        self.into, self.source, self.looks = into, source, 0

    def is_done(self):
        if Slow.error is not None:
            raise RuntimeError(Slow.error)
        self.looks += 1
        if self.looks == 4:
            self.into.copy_(self.source)
        return self.looks >= 4

    def wait(self):
        while not self.is_done():
            pass

class Slow:
    error = None

    def is_far(self, tensor):
        return True

    def takes(self, device):
        return device == torch.device("cpu:0")

    def pin(self, bytes):
        return torch.empty(bytes, dtype=torch.uint8)

    def send(self, source, device):
        sent = source.clone()
        return sent, Copy(sent, sent)

    def fetch(self, tensor):
        into = torch.full_like(tensor, 77)
        return into, Copy(into, tensor.clone())

reads = {}
READING = ["item", "__bool__", "__float__", "__int__", "tolist", "cpu"]
plain = {name: getattr(torch.Tensor, name) for name in READING}

def counting(name):
    def count(*args, **kwargs):
        reads[name] = reads.get(name, 0) + 1
        return plain[name](*args, **kwargs)
    return count

def begin():
    reads.clear()
    devices.layer, devices.counts = Slow(), devices.Counts()
    for name in READING:
        setattr(torch.Tensor, name, counting(name))

def fail(message):
    Slow.error = message

def end():
    Slow.error = None
    devices.layer = devices.Cuda()
    for name in READING:
        setattr(torch.Tensor, name, plain[name])
`;

let worker: Worker;
let torch: AnyRef;
let slow: AnyRef;
let digits: { xs: NDArray; ys: NDArray };

// (One of its own: once a program has passed a function of its own to Python, replies wait for the device.)
beforeAll(async () => {
  worker = await testWorker();
  torch = untyped(worker, "torch");
  slow = await (worker.import("builtins").dict() as AnyRef);
  await worker.import("builtins").exec(SLOW, slow);
  digits = await rgbDigits(150);
});
afterEach(async () => {
  await py.at(slow, "end")();
});
afterAll(() => worker?.close());

interface Fitted {
  readonly history: unknown;
  readonly losses: readonly unknown[];
  readonly weights: string;
  /** The worker's counts of copies, where the device is there. */
  readonly counts: NonNullable<WorkerStats["worker"]["copies"]>;
  /** How often Python read a tensor's elements, by the method. */
  readonly reads: Readonly<Record<string, number>>;
}

/** Three epochs of eight steps, with two of validation. */
async function fitted(loss: Loss, isSlow: boolean): Promise<Fitted> {
  await reset(worker, { seed: 0, deterministic: true });
  const losses: unknown[] = [];
  const model = makeNoisyCnn(torch);
  const learner = new Learner(model, loss, {
    data: {
      training: new DataLoader(cut(0, 120), { batchSize: 16, shuffle: { seed: 1 } }),
      validation: new DataLoader(cut(120, 150), { batchSize: 16 }),
    },
    input: image(),
    optimizer: sgd({ lr: 0.05 }),
    defaultCallbacks: false,
    callbacks: [
      new PyTorchBackend({ device: "cpu:0" }),
      new Recorder(),
      new Metrics(accuracy),
      new StopOnNaNLoss({ late: true }),
      callback({
        name: "Losses",
        access: {},
        observe: { stepEnd: ({ values }) => void losses.push(values.loss) },
      }),
    ],
  });
  if (isSlow) await py.at(slow, "begin")();
  const { history } = await learner.fit(3);
  const reads = (await py.js(py.at(slow, "reads"))) as Record<string, number>;
  const counts = (await worker.stats()).worker.copies!;
  if (isSlow) await py.at(slow, "end")();
  return { history, losses, weights: await weightsHash(worker, model as never), counts, reads };
}

function cut(from: number, to: number): { xs: NDArray; ys: NDArray } {
  const part = ({ dtype, shape, data }: NDArray): NDArray => {
    const row = data.length / shape[0]!;
    return { dtype, shape: [to - from, ...shape.slice(1)], data: data.slice(row * from, row * to) };
  };
  return { xs: part(digits.xs), ys: part(digits.ys) };
}

const entropy = (yhat: AnyRef, ys: AnyRef): AnyRef => torch.nn.functional.cross_entropy(yhat, ys.long()) as AnyRef;

test.each<[string, () => Loss]>([
  ["a loss whose divisor is known", () => crossEntropy({ ignoreIndex: 3 })],
  ["a sum", () => crossEntropy({ reduction: "sum" })],
  ["a loss that states its divisor", () => ownDivisor({ fn: entropy, weight: (_, ys) => ys.ne(3).sum() })],
])("%s has the same bits there, and no step waits for the device", async (_, loss) => {
  const plain = await fitted(loss(), false);
  const there = await fitted(loss(), true);
  expect({ ...there, counts: 0, reads: 0 }).toEqual({ ...plain, counts: 0, reads: 0 });
  expect(there.losses).toHaveLength(30);
  // Each batch has inputs and targets. The loss, its divisor where it is one of the device, and the metric's counts.
  expect(there.counts).toMatchObject({ staged: 60, stagedBytes: 3 * 150 * (28 * 28 * 3 + 1), waits: 0 });
  expect(there.counts.late).toBeGreaterThanOrEqual(60);
  expect(there.reads).toEqual({});
});

test("a step whose kernels fail ends the fit with the device's error, and the lane goes on", async () => {
  await reset(worker, { seed: 0, deterministic: true });
  let seen = 0;
  const learner = new Learner(makeNoisyCnn(torch), crossEntropy(), {
    data: { training: new DataLoader(cut(0, 120), { batchSize: 16 }) },
    input: image(),
    optimizer: sgd({ lr: 0.05 }),
    defaultCallbacks: false,
    callbacks: [
      new PyTorchBackend({ device: "cpu:0" }),
      new Recorder(),
      new Metrics(),
      callback({
        name: "Failing",
        access: {},
        on: {
          stepBegin: ({ index }) => {
            if (index === 4) py.at(slow, "fail")("CUDA error: device-side assert triggered");
          },
        },
        observe: { stepEnd: () => void seen++ },
      }),
    ],
  });
  await py.at(slow, "begin")();
  const error = await caught(() => learner.fit(1));
  expect(error).toMatchObject({ code: "PYTHON", cause: { pyType: "RuntimeError" } });
  expect(error.message).toContain("CUDA error: device-side assert triggered");
  expect(seen).toBeLessThan(5);
  await py.at(slow, "end")();
  expect(await py.js(worker.import("builtins").int(7))).toBe(7);
});
