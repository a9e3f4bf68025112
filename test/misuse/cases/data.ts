import { DataLoader, image, imageFolder, split } from "torchwire";
import { batches, fromWorker, pad, readIdx, take, toNDArray } from "torchwire/data";
import { ones, type Cases } from "../given.ts";

/** A collator. */
const first = (all: readonly any[]): any => all[0];

export const data: Cases = {
  "a loader of xs and ys with other numbers of rows": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(3, 1) }, { batchSize: 2 }), // <-
  "batches of xs and ys with other numbers of rows": () =>
    batches({ xs: ones(4, 1), ys: ones(3, 1) }, { batchSize: 2 }), // <-
  "samples of several shapes in one batch": async () => {
    const get = (i: number): any => [ones(i + 1), 0];
    for await (const batch of new DataLoader({ length: 2, get }, { batchSize: 2 })) void batch; // <-
  },
  "padding that the dtype cannot hold": async () => {
    const get = (i: number): any => [Uint8Array.of(1, 2).slice(i), 0];
    const collate = { xs: pad({ value: -1 }) };
    for await (const batch of new DataLoader({ length: 2, get }, { batchSize: 2, collate })) void batch; // <-
  },
  "lengths for other samples": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, bucketBy: [3, 1] }), // <-
  "a sample that is none": async () => {
    const get = (): any => "cat.jpg";
    for await (const batch of new DataLoader({ length: 2, get }, { batchSize: 2 })) void batch; // <-
  },
  "a get that throws": async () => {
    const get = (i: number): never => {
      throw new Error(`no row ${i}`);
    };
    for await (const batch of new DataLoader({ length: 2, get }, { batchSize: 2 })) void batch; // <-
  },
  "a label with a fraction after whole ones": async () => {
    const get = (i: number): any => [ones(1), i / 2];
    for await (const batch of new DataLoader({ length: 4, get }, { batchSize: 1 })) void batch; // <-
  },
  "a data set without a length": () => new DataLoader({ get: () => 1 } as never, { batchSize: 2 }), // <-
  "an option that DataLoader has not": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, shuffel: true } as never), // <-
  "keep at another place": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, keep: "gpu" as never }), // <-
  "keep with a collate of one's own": () =>
    new DataLoader([[ones(1), 1]], { batchSize: 2, keep: "worker", collate: { xs: first } }), // <-
  "a cache that is a path": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, keep: { cache: "../photos" } }), // <-
  "the size of no cache": () =>
    new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, keep: { cacheBytes: 1e9 } }), // <-
  "a seed with a fraction": () => new DataLoader({ xs: ones(4, 1), ys: ones(4, 1) }, { batchSize: 2, seed: 0.5 }), // <-
  "a split at 80": () => split({ xs: ones(4, 1), ys: ones(4, 1) }, 80), // <-
  "taking a part of a sample": () => take({ xs: ones(4, 1), ys: ones(4, 1) }, 1.5), // <-
  "a batch that was kept while its memory was used again": async ({ worker }) => {
    const kept: any[] = [];
    const loader = new DataLoader({ xs: ones(8, 2000), ys: ones(8, 1) }, { batchSize: 2 });
    for await (const { xs } of loader) {
      kept.push(xs);
      await worker.tensor(xs).sum();
    }
    return worker.tensor(kept[0]); // <-
  },
  "a data set of a worker that is none": () => fromWorker([1, 2] as never, { batchSize: 2 }), // <-
  "an array that is none": () => toNDArray("1, 2" as never), // <-
  "nested numbers that are no rectangle": () => toNDArray([[1, 2], [3]]), // <-
  "a folder of images that is not there": async ({ folder }) => await imageFolder(`${folder}/fotos`), // <-
  "a folder of images without classes": async ({ folder }) => await imageFolder(`${folder}/photos/cat`), // <-
  "a class without images": async ({ folder }) => await imageFolder(`${folder}/empty`), // <-
  "a broken JPEG": async ({ folder }) => {
    const photos = await imageFolder(`${folder}/photos`, { size: 32 });
    await photos.get(2); // <-
  },
  "an SVG that is named as a JPEG": async ({ folder }) => {
    const photos = await imageFolder(`${folder}/photos`);
    await photos.read([Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>")]); // <-
  },
  "an image of more pixels than maxPixels": async ({ folder }) => {
    const photos = await imageFolder(`${folder}/photos`, { maxPixels: 100 });
    await photos.get(0); // <-
  },
  "an array whose memory was given away": ({ worker }) => {
    const pixels = new Float32Array(4);
    structuredClone(pixels, { transfer: [pixels.buffer] });
    return worker.tensor(pixels); // <-
  },
  "images of several sizes without a size": async ({ folder }) => {
    const photos = await imageFolder(`${folder}/photos`);
    await photos.read(photos.paths.slice(0, 2)); // <-
  },
  "an option of images that there is not": async ({ folder }) =>
    await imageFolder(`${folder}/photos`, { sise: 32 } as object), // <-
  "a size that is none": async ({ folder }) => await imageFolder(`${folder}/photos`, { size: 0 }), // <-
  "an IDX file that is none": async ({ folder }) => await readIdx(`${folder}/broken.safetensors`), // <-
  "an IDX file that is not there": async ({ folder }) => await readIdx(`${folder}/train-images`), // <-
  "a format for another rank": async ({ learner }) => {
    const samples = { dtype: "uint8", shape: [2, 28, 28], data: new Uint8Array(2 * 28 * 28) } as const;
    await learner({ input: image() }).predict(samples); // <-
  },
  "three means for grey images": async ({ learner }) => {
    const samples = { dtype: "uint8", shape: [2, 28, 28, 1], data: new Uint8Array(2 * 28 * 28) } as const;
    await learner({ input: image({ mean: [0.5, 0.5, 0.5] }) }).predict(samples); // <-
  },
  "a standard deviation of 0": () => image({ std: 0 }), // <-
};
