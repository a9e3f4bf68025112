/**
 * A U-Net of two local files, trained in a worker that has never seen them: the bits are those of plain PyTorch,
 * wherever the worker is.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bceWithLogits, callback, connectWorker, Learner, py, sgd, type Worker } from "torchwire";
import { same } from "torchwire/formats";
import { Keys, serve, UNTIL_GREETED } from "../fixtures/served.ts";
import { noSshd, SshHost } from "../fixtures/ssh/world.ts";
import { describeOnLinux, where } from "../only.ts";
import { plainPython } from "../plain-python.ts";
import { float32Bits, weightsHash } from "../training.ts";
import { testWorker } from "../worker.ts";

interface Result {
  readonly losses: readonly string[];
  readonly weights_sha256: string;
}

/** The numbers of test/native/unet.py. */
const [IMAGES, SIDE] = [12, 16];
const pixels = IMAGES * SIDE * SIDE;
const xs = Float32Array.from({ length: 3 * pixels }, (_, i) => ((i * 37) % 64) / 64);
const ys = Float32Array.from({ length: pixels }, (_, i) => Number((i * 11) % 3 === 0));

async function train(worker: Worker): Promise<Result> {
  const { UNet } = worker.module(new URL("../../examples/unet/my_unet.py", import.meta.url));
  const batches = [0, 4, 8].map((first) => ({
    xs: {
      dtype: "float32" as const,
      shape: [4, 3, SIDE, SIDE],
      data: xs.subarray(3 * first * SIDE ** 2, 3 * (first + 4) * SIDE ** 2),
    },
    ys: {
      dtype: "float32" as const,
      shape: [4, 1, SIDE, SIDE],
      data: ys.subarray(first * SIDE ** 2, (first + 4) * SIDE ** 2),
    },
  }));
  const model = UNet();
  const losses: string[] = [];
  const learner = new Learner(model, bceWithLogits(), {
    data: { training: batches },
    optimizer: sgd({ lr: 0.1, momentum: 0.9 }),
    input: same,
    target: same,
    callbacks: [
      callback({
        name: "Losses",
        access: { step: { loss: "read" } },
        observe: { stepEnd: ({ values }) => void losses.push(float32Bits(values.loss)) },
      }),
    ],
  });
  expect((await learner.fit(2)).status).toBe("completed");
  expect(await py.str(py.type(model))).toBe("<class 'my_unet.UNet'>");
  return { losses, weights_sha256: await weightsHash(worker, model) };
}

let plain: Result;
beforeAll(async () => {
  plain = await plainPython<Result>("unet.py", {});
});

describeOnLinux("a U-Net of local files", () => {
  let empty: string;
  beforeAll(() => {
    empty = mkdtempSync(join(tmpdir(), "empty-"));
  });
  afterAll(() => rmSync(empty, { recursive: true }));

  test("trains to the bits of plain PyTorch in a worker of its own", async () => {
    await using worker = await testWorker({ cwd: empty });
    expect(plain.losses).toHaveLength(6);
    expect(await train(worker)).toEqual(plain);
  });

  test("trains to the same bits through a worker that serves with keys, in an empty folder", async () => {
    using keys = new Keys("alice");
    await using served = await serve({ keys: keys.folder, cwd: empty });
    const before = process.env["TORCHWIRE_CONFIG"];
    process.env["TORCHWIRE_CONFIG"] = keys.config;
    try {
      const settings = { device: "cpu", seed: 0, deterministic: true, threads: 1 } as const;
      await using worker = await connectWorker(served.address, {
        ...settings,
        profile: "alice",
        timeout: UNTIL_GREETED,
      });
      expect(await worker.import("os").getcwd()).toBe(empty);
      expect(await train(worker)).toEqual(plain);
    } finally {
      if (before === undefined) delete process.env["TORCHWIRE_CONFIG"];
      else process.env["TORCHWIRE_CONFIG"] = before;
    }
    expect(readdirSync(empty)).toEqual([]);
  });
});

where(noSshd === undefined, noSshd ?? "")("a U-Net of local files, over ssh", () => {
  test("trains to the bits of plain PyTorch, in an empty folder", async () => {
    using host = await SshHost.start();
    const empty = mkdtempSync(join(tmpdir(), "empty-"));
    {
      await using worker = await testWorker({ ssh: host.target(), cwd: empty });
      expect(await train(worker)).toEqual(plain);
    }
    expect(readdirSync(empty)).toEqual([]);
    rmSync(empty, { recursive: true });
  });
});
