/** Fits on a CUDA device. Everywhere else these are skipped, and say why. */
import { afterAll, beforeAll, expect, test, type TestContext } from "vitest";
import {
  accuracy,
  adamW,
  crossEntropy,
  DataLoader,
  image,
  Learner,
  Metrics,
  py,
  PyTorchBackend,
  Recorder,
  StopOnNaNLoss,
  type Callback,
  type NDArray,
  type Worker,
} from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import type { PyTorchBackendOptions } from "../../../client/backend/pytorch-backend.ts";
import { caught, untyped } from "../../observed.ts";
import { makeNoisyCnn, rgbDigits } from "../../training.ts";
import { testWorker } from "../../worker.ts";

let worker: Worker;
let digits: { xs: NDArray; ys: NDArray };
beforeAll(async () => {
  // (Some of PyTorch's deterministic kernels wait for the device.)
  worker = await testWorker({ device: "auto", deterministic: false });
  digits = await rgbDigits(200);
});
afterAll(() => worker.close());

function needsCuda({ skip }: TestContext): void {
  if (!worker.device.startsWith("cuda")) skip("this machine has no CUDA device");
}

const learnerOf = (options: PyTorchBackendOptions, more: readonly Callback[] = []): Learner =>
  new Learner(makeNoisyCnn(untyped(worker, "torch")), crossEntropy(), {
    data: {
      training: new DataLoader(digits, { batchSize: 16, shuffle: { seed: 1 } }),
      validation: new DataLoader(digits, { batchSize: 16 }),
    },
    input: image({ mean: [0.1, 0.1, 0.1], std: [0.3, 0.3, 0.3] }),
    optimizer: adamW({ lr: 1e-3, fused: true }),
    defaultCallbacks: false,
    callbacks: [new PyTorchBackend(options), new Recorder(), new Metrics(accuracy), ...more],
  });

test.for<[string, PyTorchBackendOptions]>([
  ["as it is", {}],
  ["in bfloat16 and NHWC, with clipped gradients", { amp: "bf16", channelsLast: true, clipGradNorm: 1, accumulate: 2 }],
])("no step of a fit waits for the device, %s", async ([, options], context) => {
  needsCuda(context);
  const learner = learnerOf(options, [new StopOnNaNLoss({ late: true })]);
  const { cuda } = untyped(worker, "torch");
  // What is made once may wait: constants, and what libraries choose.
  await learner.fit(1);
  const counts = async (): Promise<number> => (await worker.stats()).worker.copies!.staged;
  const before = await counts();
  await cuda.set_sync_debug_mode("error");
  try {
    const { status, history } = await learner.fit(2);
    expect(status).toBe("completed");
    expect(history["training"]!["loss"]!.at(-1)!.value).toBeLessThan(history["training"]!["loss"]![0]!.value);
  } finally {
    await cuda.set_sync_debug_mode("default");
  }
  expect((await counts()) - before).toBe(2 * 2 * 26);
});

test("what goes there by pinned memory and comes back is the same, however much is under way", async (context) => {
  needsCuda(context);
  const { to_device } = untyped(worker, "torchwire_worker.helpers.batches");
  const tensors = Array.from({ length: 200 }, (_, i): NDArray => {
    const length = 1 + ((i * 7919) % 50_000);
    return { dtype: "uint8", shape: [length], data: Uint8Array.from({ length }, (__, at) => (at * 31 + i) % 251) };
  });
  const there = tensors.map((one) => to_device(worker.tensor(one), worker.device) as AnyRef);
  const back = await Promise.all(there.map((one) => py.ndarray(one)));
  expect(back).toEqual(tensors);
});

test("a label past the outputs is the fit's error, by the advice that there is for it", async (context) => {
  needsCuda(context);
  const own = await testWorker({ device: "auto" });
  try {
    const ys: NDArray = { ...digits.ys, data: Uint8Array.from({ length: 200 }, () => 200) };
    const learner = new Learner(makeNoisyCnn(untyped(own, "torch")), crossEntropy(), {
      data: { training: new DataLoader({ xs: digits.xs, ys }, { batchSize: 16 }) },
      input: image(),
      defaultCallbacks: false,
      callbacks: [new PyTorchBackend(), new Recorder(), new Metrics(), new StopOnNaNLoss({ late: true })],
    });
    const error = await caught(() => learner.fit(1));
    expect(error).toMatchObject({ code: "PYTHON" });
    expect(error.message).toMatch(/index out of range|out of bounds/);
  } finally {
    await own.kill();
  }
});
