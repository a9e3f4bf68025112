/** Images whose files travel as they are: the worker decodes them, and all else is as with images decoded here. */
import { truncate, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callback, crossEntropy, DataLoader, Learner, py, sgd, type AnyRef, type Worker } from "torchwire";
import { same } from "torchwire/formats";
import { outputs } from "torchwire/model";
import {
  imageFolder,
  take,
  type Dataset,
  type EncodedImage,
  type EncodedImages,
  type ImageFolder,
  type ImageSample,
} from "torchwire/data";
import type { NDArray } from "torchwire";
import { caught, untyped } from "../../observed.ts";
import { folder, picture, png16, pngOf, raw } from "../../pictures.ts";
import { clean } from "../../scratch.ts";
import { warmWorker } from "../../worker.ts";

afterAll(clean);

let worker: Worker;
let torch: AnyRef;
beforeAll(async () => {
  worker = await warmWorker();
  torch = untyped(worker, "torch");
});

const jpeg = async (width: number, height: number, seed: number): Promise<Uint8Array> =>
  new Uint8Array(
    await raw(width, height, picture(width, height, seed))
      .jpeg({ quality: 90 })
      .toBuffer(),
  );

/** Twelve photos of several sizes, in two classes. */
const photos = async (): Promise<string> => {
  const files: [string, Uint8Array][] = [];
  for (let i = 0; i < 12; i++)
    files.push([`${i % 2 === 0 ? "cat" : "dog"}/${10 + i}.jpg`, await jpeg(40 + 3 * i, 70 - 4 * i, i)]);
  return folder(Object.fromEntries(files));
};

/** The pixels that a model gets, as the program lays them out. */
const seen = (images: EncodedImages | NDArray, batchSize = 64): Promise<NDArray> =>
  outputs(torch.nn.Identity(), images, { input: same, batchSize });

/** The weights and the loss of each step of two epochs over `data`. */
async function trained(data: ImageFolder<any>, more: object = {}): Promise<{ losses: number[]; weights: NDArray }> {
  await torch.manual_seed(3);
  const { nn } = torch;
  const model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2));
  const losses: number[] = [];
  const noting = callback({
    name: "Noting",
    access: { step: { loss: "read" } },
    observe: { stepEnd: ({ values }) => void losses.push(values.loss) },
  });
  const learner = new Learner(model, crossEntropy(), {
    data: {
      training: new DataLoader(data, { batchSize: 5, shuffle: { seed: 4 } }),
      validation: new DataLoader(data, { batchSize: 8 }),
    },
    optimizer: sgd({ lr: 0.1 }),
    callbacks: [noting],
    defaultCallbacks: false,
    ...more,
  });
  await learner.fit(2);
  const weights = await py.ndarray(py.at(model, 0).weight.detach().clone());
  return { losses, weights };
}

describe("pixels", () => {
  test("of PNG files at their own size: those that are decoded here", async () => {
    const rgb = picture(9, 7, 11);
    const root = await folder({
      "a/1.png": await pngOf(9, 7, rgb),
      "a/2.png": await pngOf(9, 7, picture(9, 7, 5, 1)),
      "a/3.png": await pngOf(9, 7, picture(9, 7, 6, 2)),
      "a/4.png": await pngOf(9, 7, picture(9, 7, 7, 4)),
      "a/5.png": png16(
        9,
        7,
        0,
        Array.from({ length: 63 }, (_, i) => i * 1000),
      ),
      "a/6.png": png16(
        9,
        7,
        2,
        Array.from({ length: 189 }, (_, i) => i * 300),
      ),
      "a/7.png": png16(
        9,
        7,
        6,
        Array.from({ length: 252 }, (_, i) => i * 250),
      ),
      "a/8.png": new Uint8Array(await raw(9, 7, rgb).png({ palette: true }).toBuffer()),
      "a/9.webp": new Uint8Array(await raw(9, 7, rgb).webp({ lossless: true }).toBuffer()),
    });
    const here = await imageFolder(root);
    const there = await imageFolder(root, { decode: "worker" });
    expect(await seen(await there.read(there.paths))).toEqual(await here.read(here.paths));
  });

  test("resized: those of torchvision's ImageFolder, Resize and CenterCrop, whatever the batch", async () => {
    const root = await photos();
    const there = await imageFolder(root, { size: 32, decode: "worker" });
    const { datasets } = untyped(worker, "torchvision");
    const v2 = untyped(worker, "torchvision.transforms.v2");
    const steps = v2.Compose([v2.PILToTensor(), v2.Resize(32), v2.CenterCrop(32)]);
    const data = datasets.ImageFolder(root, steps);
    const native = torch.stack(there.paths.map((_, i) => py.at(py.at(data, i), 0).permute(1, 2, 0)));
    const expected = await py.ndarray(native.contiguous());
    const images = await there.read(there.paths);
    expect(images.length).toBe(12);
    expect(await seen(images)).toEqual(expected);
    expect(await seen(images, 5)).toEqual(expected);
    expect(await seen(images.slice(3, 4))).toEqual({
      ...expected,
      shape: [1, 32, 32, 3],
      data: expected.data.slice(3 * 3072, 4 * 3072),
    });
  });

  test("an image is turned upright by its EXIF orientation, as it is here", async () => {
    const half = (i: number): number[] => (i % 32 < 16 ? [255, 0, 0] : [0, 0, 255]);
    const lying = raw(32, 16, Array.from({ length: 32 * 16 }, (_, i) => half(i)).flat());
    const root = await folder({
      "a/1.jpg": new Uint8Array(await lying.withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer()),
    });
    const [here, there] = [await imageFolder(root), await imageFolder(root, { decode: "worker" })];
    const [ours, theirs] = [await here.read(here.paths), await seen(await there.read(there.paths))];
    expect(theirs.shape).toEqual([1, 32, 16, 3]);
    for (const [i, value] of ours.data.entries())
      expect(Math.abs(Number(value) - Number(theirs.data[i]))).toBeLessThan(9);
  });
});

describe("training", () => {
  test("has the bits of a training on the same pixels, decoded here", async () => {
    const files: [string, Uint8Array][] = [];
    for (let i = 0; i < 12; i++) files.push([`${"ab"[i % 2]}/${10 + i}.png`, await pngOf(16, 12, picture(16, 12, i))]);
    const root = await folder(Object.fromEntries(files));
    const here = await trained(await imageFolder(root));
    const there = await trained(await imageFolder(root, { decode: "worker" }));
    expect(there.losses).toHaveLength(2 * (3 + 2));
    expect(there).toEqual(here);
    expect(await trained(await imageFolder(root, { size: [12, 16], decode: "worker" }))).toEqual(here);
  });

  test("with keep, each file travels once, and the bits stay the same", async () => {
    const root = await photos();
    const data = await imageFolder(root, { size: 24, decode: "worker" });
    const loaders = (keep: object): object => ({
      data: {
        training: new DataLoader(data, { batchSize: 5, shuffle: { seed: 4 }, ...keep }),
        validation: new DataLoader(data.split(0.5)[0], { batchSize: 8, ...keep }),
      },
    });
    const before = (await worker.stats()).kept;
    const kept = await trained(data, loaders({ keep: "worker" }));
    const { samples, bytes, hits } = (await worker.stats()).kept;
    expect(kept).toEqual(await trained(data, loaders({})));
    const files = await Promise.all(data.paths.map(async (_, i) => (await data.get(i)).xs.bytes.length));
    // Those of the validation are another folder's samples, with the same bytes.
    expect([samples - before.samples, hits - before.hits]).toEqual([12, 2 * 18 - 12]);
    const sum = files.reduce((one, other) => one + other);
    expect(bytes - before.bytes).toBeGreaterThanOrEqual(sum);
    expect(bytes - before.bytes).toBeLessThan(sum + 12 * 64);
  });

  test("sends the files, and not the pixels", async () => {
    const root = await photos();
    const sent = async (where: "client" | "worker"): Promise<number> => {
      const data = await imageFolder(root, { size: 224, decode: where as "worker" });
      const { bytesSent } = await worker.stats();
      await trained(data, { data: { training: new DataLoader(data, { batchSize: 6 }) } });
      return (await worker.stats()).bytesSent - bytesSent;
    };
    const { bytes } = (await (await imageFolder(root, { decode: "worker" })).get(0)).xs;
    const pixels = 2 * 12 * 224 * 224 * 3;
    expect(await sent("client")).toBeGreaterThan(pixels);
    expect(await sent("worker")).toBeLessThan(2 * 12 * 1.5 * bytes.length + 60_000);
  });

  test("a split, a loader by hand, and predictions by the learner", async () => {
    const there = await imageFolder(await photos(), { size: 24, decode: "worker" });
    const [first, second] = there.split(0.5, { seed: 1 });
    expect([first.length, second.length]).toEqual([6, 6]);
    const loader = new DataLoader<EncodedImages>(first, { batchSize: 4 });
    const sizes: number[] = [];
    for await (const { xs, ys } of loader) {
      sizes.push(xs.length);
      expect(ys.shape).toEqual([xs.length]);
      expect((await seen(xs)).shape).toEqual([xs.length, 24, 24, 3]);
    }
    expect(sizes).toEqual([4, 2]);
    const model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24 * 24 * 3, 2));
    const learner = new Learner(model, crossEntropy(), { data: { training: loader }, optimizer: sgd({ lr: 0.01 }) });
    const images = await second.read(second.paths);
    const scores = await learner.predict(images);
    expect(scores.shape).toEqual([6, 2]);
    const decoded = await seen(images);
    expect(await learner.predict(decoded)).toEqual(scores);
    expect(await learner.predict(new DataLoader(second, { batchSize: 4 }))).toEqual(scores);
    const named = await learner.predict(images, { classes: there.classes });
    expect(named.map(({ label }) => there.classes.includes(label))).toEqual(Array.from({ length: 6 }, () => true));
    expect(await learner.predict(await second.read([]))).toEqual({
      dtype: "float32",
      shape: [0],
      data: new Float32Array(0),
    });
  });
});

describe("files that cannot be read", () => {
  const learner = (data: Dataset<ImageSample<EncodedImage>>): { learner: Learner; model: AnyRef } => {
    const model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 3, 2));
    const training = new DataLoader(data, { batchSize: 3 });
    const options = { data: { training }, optimizer: sgd({ lr: 0.1 }), defaultCallbacks: false };
    return { learner: new Learner(model, crossEntropy(), options), model };
  };

  test("a file that is cut short ends the fit at its batch, by name; the steps before it count, and it can go on", async () => {
    const root = await photos();
    const data = await imageFolder(root, { size: 16, decode: "worker" });
    const bad = data.paths[7]!;
    const { bytes } = (await data.get(7)).xs;
    await truncate(bad, bytes.length >> 1);
    await torch.manual_seed(1);
    const { learner: one, model } = learner(data);
    const error = await caught(() => one.fit(1));
    expect(error).toMatchObject({ name: "StepError", code: "BAD_DATA" });
    expect(error.message).toContain(`cannot read the image ${bad}: image file is truncated`);
    const weights = (of: AnyRef): Promise<NDArray> => py.ndarray(py.at(of, 1).weight.detach().clone());
    const after = await weights(model);

    await torch.manual_seed(1);
    const { learner: other, model: undisturbed } = learner(take(data, 6));
    await other.fit(1);
    expect(after).toEqual(await weights(undisturbed));
    await writeFile(bad, bytes);
    await one.fit(1);
    expect(await weights(model)).not.toEqual(after);
  });

  test("a kept file that is cut short is named too", async () => {
    const data = await imageFolder(await photos(), { size: 16, decode: "worker" });
    const bad = data.paths[2]!;
    await truncate(bad, 700);
    const model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2));
    const training = new DataLoader(data, { batchSize: 4, keep: "worker" });
    const one = new Learner(model, crossEntropy(), { data: { training }, optimizer: sgd({ lr: 0.1 }) });
    for (let i = 0; i < 2; i++) {
      const error = await caught(() => one.fit(1));
      expect(error).toMatchObject({ name: "StepError", code: "BAD_DATA" });
      expect(error.message).toContain(`cannot read the image ${bad}: `);
    }
  });

  test("more pixels than maxPixels, a file that is no image, and sizes that differ", async () => {
    const root = await photos();
    const small = await imageFolder(root, { size: 16, maxPixels: 2500, decode: "worker" });
    const error = await caught(async () => seen(await small.read(small.paths)));
    expect(error).toMatchObject({ code: "BAD_DATA" });
    expect(error.message).toMatch(/cannot read the image .*\.jpg: it has \d+ pixels .*more than 2500.*raise maxPixels/);
    const unsized = await imageFolder(root, { decode: "worker" });
    expect(await caught(async () => seen(await unsized.read(unsized.paths)))).toMatchObject({
      code: "BAD_DATA",
      message: /images of several sizes make no batch: .* give the option size/,
    });
    await writeFile(unsized.paths[2]!, "no image");
    for (const read of [() => unsized.get(2), () => unsized.read([unsized.paths[2]!])])
      expect(await caught(read)).toMatchObject({
        code: "BAD_DATA",
        message: /cannot read the image .*: it is not a JPEG/,
      });
    expect(await caught(() => imageFolder(root, { decode: "there" } as object))).toMatchObject({ code: "MISUSE" });
  });
});
