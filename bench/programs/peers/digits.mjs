/** MNIST's first 10,000 images and labels, in the order of training.py. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const COUNT = 10_000;
export const BATCH = 64;
export const BATCHES = Math.floor(COUNT / BATCH);
export const PIXELS = 28 * 28;
const STRIDE = 7919;

/** Reads them from the folder of MNIST's files: `{ images, labels }`, both bytes. */
export function readDigits(folder) {
  const all = readFileSync(join(folder, "train-images-idx3-ubyte")).subarray(16);
  const classes = readFileSync(join(folder, "train-labels-idx1-ubyte")).subarray(8);
  const images = new Uint8Array(COUNT * PIXELS);
  const labels = new Uint8Array(COUNT);
  for (let i = 0; i < COUNT; i++) {
    const from = (i * STRIDE) % COUNT;
    images.set(all.subarray(from * PIXELS, (from + 1) * PIXELS), i * PIXELS);
    labels[i] = classes[from];
  }
  return { images, labels };
}
