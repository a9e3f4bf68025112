/** Photographs for the bench: gradients, shapes and noise, as JPEG files of some 60 kB. */
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";

const [WIDTH, HEIGHT] = [500, 375];
const SHAPES = 12;

/** A new folder with `count` of them, in two classes. */
export async function photographs(count: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "torchwire-photos-"));
  for (const name of ["a", "b"]) await mkdir(join(folder, name));
  let state = 1;
  const random = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
  for (let i = 0; i < count; i++) {
    const jpeg = await sharp(pixels(random), { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
      .jpeg({ quality: 90 })
      .toBuffer();
    await writeFile(join(folder, "ab"[i % 2]!, `${String(i).padStart(4, "0")}.jpg`), jpeg);
  }
  return folder;
}

function pixels(random: () => number): Uint8Array {
  const slopes = Array.from({ length: 8 }, random);
  const shapes = Array.from({ length: SHAPES }, () => ({
    x: random() * WIDTH,
    y: random() * HEIGHT,
    radius: 10 + random() * 80,
    colour: [random() * 255, random() * 255, random() * 255],
  }));
  const all = new Uint8Array(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) {
      const shape = shapes.find((one) => (x - one.x) ** 2 + (y - one.y) ** 2 < one.radius ** 2);
      const grain = (random() + random() - 1) * 13;
      for (let channel = 0; channel < 3; channel++) {
        const wave = 40 * Math.sin((x * slopes[6]!) / 3 + (y * slopes[7]!) / 5 + channel);
        const slope = (255 * ((slopes[channel]! * x) / WIDTH + (slopes[channel + 3]! * y) / HEIGHT)) / 2;
        const value = (shape?.colour[channel] ?? slope + wave) + grain + (random() - 0.5) * 4;
        all[(y * WIDTH + x) * 3 + channel] = Math.max(0, Math.min(255, value));
      }
    }
  return all;
}
