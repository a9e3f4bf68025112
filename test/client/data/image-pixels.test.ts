/** The pixels of an image: by its format, and by torchvision's reading of it. */
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { imageFolder, type ImageFolderOptions } from "../../../client/data/images.ts";
import { mnistJpegs } from "../../jpegs.ts";
import { dot, folder, picture, png16, pngOf, raw } from "../../pictures.ts";
import { mnist } from "../../training.ts";
import { warmWorker } from "../../worker.ts";
import { py, type Worker } from "torchwire";
import { readIdx } from "torchwire/data";
import { clean } from "../../scratch.ts";

afterAll(clean);

/** The pixels of one image file, as a folder with these options gives them. */
async function pixelsOf(
  content: Uint8Array,
  options: ImageFolderOptions = {},
): Promise<{ shape: readonly number[]; data: number[] }> {
  const photos = await imageFolder(await folder({ "class/image.png": content }), options);
  const { xs } = await photos.get(0);
  expect(xs.dtype).toBe("uint8");
  return { shape: xs.shape, data: [...(xs.data as Uint8Array)] };
}

describe("pixels", () => {
  test("RGB, as it is, rows first", async () => {
    const pixels = Array.from({ length: 2 * 3 * 3 }, (_, i) => i * 14);
    expect(await pixelsOf(await pngOf(3, 2, pixels))).toEqual({ shape: [2, 3, 3], data: pixels });
  });

  test("grey becomes three channels; alpha is dropped and what lies under it kept", async () => {
    expect((await pixelsOf(await pngOf(2, 1, [7, 200]))).data).toEqual([7, 7, 7, 200, 200, 200]);
    expect((await pixelsOf(await pngOf(2, 1, [7, 0, 200, 9]))).data).toEqual([7, 7, 7, 200, 200, 200]);
    expect((await pixelsOf(await pngOf(2, 1, [1, 2, 3, 0, 4, 5, 6, 128]))).data).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("alpha has no part in resizing either", async () => {
    const colours = picture(16, 16, 1);
    const clear = new Uint8Array(16 * 16 * 4);
    for (let i = 0; i < 16 * 16; i++) clear.set([...colours.subarray(3 * i, 3 * i + 3), i % 3 === 0 ? 0 : 255], 4 * i);
    const options = { size: 7 };
    expect(await pixelsOf(await pngOf(16, 16, clear), options)).toEqual(
      await pixelsOf(await pngOf(16, 16, colours), options),
    );
  });

  test("of 16 bits the upper 8, with and without alpha", async () => {
    const grey = [0, 256, 25700, 65535];
    const triple = [0, 0, 0, 1, 1, 1, 100, 100, 100, 255, 255, 255];
    expect((await pixelsOf(png16(4, 1, 0, grey))).data).toEqual(triple);
    expect((await pixelsOf(png16(2, 2, 0, grey))).data).toEqual(triple);
    expect((await pixelsOf(png16(2, 1, 2, [0, 256, 25700, 65535, 511, 512]))).data).toEqual([0, 1, 100, 255, 1, 2]);
    expect((await pixelsOf(png16(2, 1, 4, [256, 0, 25700, 65535]))).data).toEqual([1, 1, 1, 100, 100, 100]);
    expect((await pixelsOf(png16(1, 1, 6, [0, 256, 25700, 0]))).data).toEqual([0, 1, 100]);
    expect((await pixelsOf(png16(1, 1, 6, [0, 256, 25700, 0]), { size: 2 })).data).toEqual([
      0, 1, 100, 0, 1, 100, 0, 1, 100, 0, 1, 100,
    ]);
  });

  test("EXIF orientation 6 is turned upright, before it is resized", async () => {
    const half = (i: number): number[] => (i % 32 < 16 ? [255, 0, 0] : [0, 0, 255]);
    const lying = raw(32, 16, Array.from({ length: 32 * 16 }, (_, i) => half(i)).flat());
    const photo = new Uint8Array(await lying.withMetadata({ orientation: 6 }).jpeg({ quality: 100 }).toBuffer());
    const upright = await pixelsOf(photo);
    expect(upright.shape).toEqual([32, 16, 3]);
    const colour = (data: readonly number[], at: number): boolean[] =>
      data.slice(at, at + 3).map((value) => value > 128);
    const red = [true, false, false];
    const blue = [false, false, true];
    expect([0, 15, 31 * 16, 31 * 16 + 15].map((at) => colour(upright.data, 3 * at))).toEqual([red, red, blue, blue]);
    const small = await pixelsOf(photo, { size: [8, 4] });
    expect(small.shape).toEqual([8, 4, 3]);
    expect([0, 3, 28, 31].map((at) => colour(small.data, 3 * at))).toEqual([red, red, blue, blue]);
  });

  test.each(["jpeg", "webp", "tiff", "avif"] as const)("%s is read, near to what was written", async (format) => {
    const pixels = picture(40, 24, 2);
    const encoded = new Uint8Array(await raw(40, 24, pixels).toFormat(format, { quality: 95 }).toBuffer());
    const { shape, data } = await pixelsOf(encoded);
    expect(shape).toEqual([24, 40, 3]);
    const mean = data.reduce((sum, value, i) => sum + Math.abs(value - pixels[i]!), 0) / data.length;
    expect(mean).toBeLessThan(10);
  });

  test("a palette is resolved; of an animation the first frame; CMYK becomes sRGB; grey JPEG has three channels", async () => {
    const palette = new Uint8Array(await raw(2, 1, [9, 8, 7, 200, 100, 50]).png({ palette: true }).toBuffer());
    expect((await sharp(palette).metadata()).isPalette).toBe(true);
    expect((await pixelsOf(palette)).data).toEqual([9, 8, 7, 200, 100, 50]);

    const frames = [
      [255, 0, 0],
      [0, 0, 255],
    ].map((colour) => raw(8, 8, Array.from({ length: 64 }, () => colour).flat()).png());
    const animation = sharp(await Promise.all(frames.map((frame) => frame.toBuffer())), { join: { animated: true } });
    const gif = new Uint8Array(await animation.gif().toBuffer());
    expect((await sharp(gif).metadata()).pages).toBe(2);
    const first = await pixelsOf(gif);
    expect(first.shape).toEqual([8, 8, 3]);
    expect(first.data.slice(0, 3)).toEqual([255, 0, 0]);

    const bright = raw(8, 8, Array.from({ length: 64 }, () => [240, 230, 20]).flat());
    const cmyk = new Uint8Array(await bright.clone().toColourspace("cmyk").jpeg().toBuffer());
    expect((await sharp(cmyk).metadata()).space).toBe("cmyk");
    const [red, green, blue] = (await pixelsOf(cmyk)).data;
    expect([red! > 200, green! > 200, blue! < 120]).toEqual([true, true, true]);

    const grey = new Uint8Array(await bright.clone().toColourspace("b-w").jpeg().toBuffer());
    expect((await sharp(grey).metadata()).channels).toBe(1);
    expect((await pixelsOf(grey)).shape).toEqual([8, 8, 3]);
  });

  test("a colour profile is applied: the result is sRGB", async () => {
    const colours = [200, 50, 20, 10, 240, 30];
    const displayP3 = new Uint8Array(await raw(2, 1, colours).withIccProfile("p3").png().toBuffer());
    const distance = (data: readonly number[]): number =>
      Math.max(...data.map((value, i) => Math.abs(value - colours[i]!)));
    expect(distance([...(await sharp(displayP3, { ignoreIcc: true }).raw().toBuffer())])).toBeGreaterThan(10);
    expect(distance((await pixelsOf(displayP3)).data)).toBeLessThanOrEqual(3);
  });

  test("size: covered and cut from the middle, contained between black bars, or stretched", async () => {
    // Four columns of 8 pixels: red, green, blue, white.
    const columns = [
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [255, 255, 255],
    ];
    const wide = await pngOf(
      32,
      8,
      Array.from({ length: 32 * 8 }, (_, i) => columns[Math.floor((i % 32) / 8)]!).flat(),
    );
    const at = async (
      size: number | [number, number],
      fit: "cover" | "contain" | "fill",
      ...pixels: number[]
    ): Promise<number[][]> => {
      const { shape, data } = await pixelsOf(wide, { size, fit });
      expect(shape).toEqual(typeof size === "number" ? [size, size, 3] : [...size, 3]);
      return pixels.map((pixel) => data.slice(3 * pixel, 3 * pixel + 3));
    };
    const [red, green, blue, white] = columns;
    expect(await at(8, "cover", 1, 6)).toEqual([green, blue]);
    expect(await at([8, 32], "cover", 0, 12, 20, 31)).toEqual([red, green, blue, white]);
    expect(await at([16, 32], "contain", 0, 4 * 32, 4 * 32 + 31, 15 * 32)).toEqual([[0, 0, 0], red, white, [0, 0, 0]]);
    expect(await at([32, 64], "fill", 0, 24, 40, 63, 31 * 64)).toEqual([red, green, blue, white, red]);
  });

  test("get gives fresh arrays, the same each time", async () => {
    const photos = await imageFolder(await folder({ "a/1.png": dot }));
    const one = await photos.get(0);
    one.xs.data[0] = 99;
    expect((await photos.get(0)).xs.data).toEqual(Uint8Array.of(1, 2, 3));
  });
});

describe("torchvision's ImageFolder", () => {
  let worker: Worker;
  beforeAll(async () => {
    worker = await warmWorker();
  });

  test("finds the same classes and images in the same order, with the same labels and, of PNGs, bytes", async () => {
    const rgb = (seed: number): Promise<Uint8Array> => pngOf(9, 7, picture(9, 7, seed));
    const root = await folder({
      "zebra/1.png": await rgb(1),
      "Zebra/10.png": await rgb(2),
      "Zebra/9.PNG": await rgb(3),
      "Äpfel/grey.png": await pngOf(5, 4, picture(5, 4, 4, 1)),
      "Äpfel/grey alpha.png": await pngOf(5, 4, picture(5, 4, 5, 2)),
      "\ufb00/alpha.png": await pngOf(5, 4, picture(5, 4, 6, 4)),
      "\ufb00/sub/\u{1f600}.png": await rgb(7),
      "\ufb00/sub/\ufb00.png": await rgb(8),
      "\ufb00/sub/deeper/1.png": await rgb(9),
      "\ufb00/sub-1/1.png": await rgb(10),
      "\u{1f600}/16.png": png16(2, 2, 2, [0, 256, 25700, 65535, 511, 512, 1, 2, 3, 40000, 50000, 60000]),
      "\u{1f600}/palette.png": new Uint8Array(
        await raw(9, 7, picture(9, 7, 11))
          .png({ palette: true })
          .toBuffer(),
      ),
      "\u{1f600}/notes.txt": dot,
      "beside.png": dot,
    });
    const photos = await imageFolder(root);

    const torchvision = worker.import("torchvision");
    const numpy = worker.import("numpy");
    const data = torchvision.datasets.ImageFolder(root);
    expect(photos.classes).toEqual(await py.js(data.classes));
    expect(photos.paths.map((path, i) => [path, photos.labels[i]])).toEqual(await py.js(data.samples));
    expect(photos.length).toBe(12);
    for (let i = 0; i < photos.length; i++) {
      const [image, label] = py.unpack(py.at(data, i), 2);
      const { xs, ys } = await photos.get(i);
      expect(await label).toBe(ys);
      expect(await py.ndarray(numpy.asarray(image))).toEqual(xs);
    }
  });

  test("and its Resize and CenterCrop give nearly the same pixels", async () => {
    const root = await folder({
      "a/wide.png": await pngOf(160, 100, picture(160, 100, 20)),
      "a/high.png": await pngOf(90, 200, picture(90, 200, 30)),
      "a/small.png": await pngOf(40, 30, picture(40, 30, 12)),
    });
    const photos = await imageFolder(root, { size: 64 });
    const { transforms, datasets } = worker.import("torchvision");
    const numpy = worker.import("numpy");
    const data = datasets.ImageFolder(root, transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64)]));
    for (let i = 0; i < 3; i++) {
      const theirs = await py.ndarray(numpy.asarray(py.at(py.at(data, i), 0)));
      const { xs } = await photos.get(i);
      expect(xs.shape).toEqual(theirs.shape);
      const ours = xs.data as Uint8Array;
      const mean = ours.reduce((sum, value, j) => sum + Math.abs(value - Number(theirs.data[j])), 0) / ours.length;
      expect(mean).toBeLessThan(3);
    }
  });
});

test("MNIST as JPEG files is MNIST, nearly", async () => {
  const { training, test } = await mnistJpegs(await folder(), { training: 100, test: 30 });
  const digits = await imageFolder(training);
  const images = await readIdx(join(mnist, "train-images-idx3-ubyte"));
  const labels = await readIdx(join(mnist, "train-labels-idx1-ubyte"));
  expect([digits.length, (await imageFolder(test, { allowEmpty: true })).length]).toEqual([100, 30]);
  expect(digits.classes).toEqual(Array.from({ length: 10 }, (_, digit) => String(digit)));
  const { shape, data } = await digits.read(digits.paths);
  expect(shape).toEqual([100, 28, 28, 3]);
  let difference = 0;
  for (const [i, path] of digits.paths.entries()) {
    const place = Number(/(\d+)\.jpg$/.exec(path)![1]);
    expect(digits.labels[i]).toBe(labels.data[place]);
    for (let p = 0; p < 784; p++)
      difference += Math.abs(Number(images.data[place * 784 + p]) - Number(data[(i * 784 + p) * 3]));
  }
  expect(difference / (100 * 784)).toBeLessThan(3);
});
