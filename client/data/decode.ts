/** Decodes image files into arrays, with sharp: an optional peer, loaded for the first image. */
import { fileURLToPath } from "node:url";
import type sharpModule from "sharp";
import { EnvironmentError, TorchwireError } from "../../bridge/errors/errors.ts";
import { isUint8Array, isURL, messageOf } from "../../bridge/runtime/kinds.ts";
import { fromBytes, type NDArray, sizeOf } from "../../bridge/values/ndarray.ts";
import { EncodedImages } from "./encoded.ts";
import { openRegularFile } from "../../bridge/runtime/regular-file.ts";
import { shownPath } from "./image-files.ts";
import { jpegHeader } from "./jpeg-header.ts";
import { EncodedImage } from "./encoded-image.ts";
import { decodedBytes, type ImageKind, imageKind, withRoom } from "./image-kinds.ts";

type Sharp = typeof sharpModule;
type SharpOptions = NonNullable<Parameters<Sharp>[1]> & object;

/** An image: a path (relative to the working directory), a file URL, or the bytes of an encoded image. */
export type ImageSource = string | URL | Uint8Array;

export interface ImageOptions {
  /**
   * The size of every image, in pixels: a square's side, or [height, width]. Without it, images keep their own size.
   */
  readonly size?: number | readonly [height: number, width: number];
  /**
   * How an image of another shape becomes `size`. "cover" (default) scales it until it covers `size` and cuts out the
   * middle, as torchvision's Resize and CenterCrop do. "contain" scales it until it lies within `size`, between black
   * bars. "fill" stretches it.
   */
  readonly fit?: "cover" | "contain" | "fill";
  /**
   * An image with more pixels is refused (BAD_DATA) before it is decoded: a file of one megabyte may hold gigabytes of
   * pixels. Default: 89,478,485, which is a quarter of a gibibyte in RGB, as PIL's MAX_IMAGE_PIXELS.
   */
  readonly maxPixels?: number;
}

/** The names of all options of images. */
export const imageOptions: Readonly<Record<keyof ImageOptions, true>> = { size: true, fit: true, maxPixels: true };

const MOST_PIXELS = 89_478_485;

/** Checked options. */
export interface ImageShape {
  readonly size: readonly [height: number, width: number] | undefined;
  readonly fit: "cover" | "contain" | "fill";
  readonly maxPixels: number;
}

const fits: readonly unknown[] = ["cover", "contain", "fill"];

export function checkImageOptions({ size, fit = "cover", maxPixels = MOST_PIXELS }: ImageOptions): ImageShape {
  if (!positive(maxPixels))
    throw new TorchwireError("MISUSE", `maxPixels is ${JSON.stringify(maxPixels)}; it must be a positive integer`);
  if (!fits.includes(fit))
    throw new TorchwireError("MISUSE", `fit is ${JSON.stringify(fit)}; known are ${fits.join(", ")}`);
  if (size === undefined) {
    if (fit !== "cover") throw new TorchwireError("MISUSE", `fit: "${fit}" says how to reach a size; give size too`);
    return { size, fit, maxPixels };
  }
  const [height, width, ...more] = typeof size === "number" ? [size, size] : size;
  if (!positive(height) || !positive(width) || more.length > 0)
    throw new TorchwireError(
      "MISUSE",
      `size is ${JSON.stringify(size)}; it must be a positive integer or [height, width], in pixels`,
    );
  return { size: [height, width], fit, maxPixels };
}

const positive = (n: unknown): n is number => Number.isSafeInteger(n) && Number(n) > 0;

/** Throws ENVIRONMENT, with the command that installs sharp, where sharp is missing or does not load. */
export async function needSharp(): Promise<void> {
  await loadSharp();
}

/** Not exported: a declaration file must not name the types of an optional package. */
async function loadSharp(): Promise<Sharp> {
  try {
    return (await import("sharp")).default;
  } catch (cause) {
    const reason = reasonOf(cause);
    const missing = reason.includes("'sharp'") && (cause as NodeJS.ErrnoException).code === "ERR_MODULE_NOT_FOUND";
    const what = missing ? "it is an optional dependency and not installed" : `it cannot be loaded: ${reason}`;
    throw new EnvironmentError(`images are decoded by the package sharp; ${what}`, {
      command: "npm install sharp",
      cause,
    });
  }
}

/**
 * Decodes one image to uint8 [height, width, 3]: upright by its EXIF orientation, in sRGB. Throws BAD_DATA, naming the
 * image, where it cannot be read, is cut short or is not an image, and MISUSE for a source of another type.
 */
export async function decode(source: ImageSource, shape: ImageShape, name: string = nameOf(source)): Promise<NDArray> {
  const sharp = await loadSharp();
  return reading(name, async () => {
    const { bytes, kind } = await readImage(source, shape);
    const plain = kind === "jpeg" ? jpegHeader(bytes) : undefined;
    // `limitInputPixels` is off here so that the error about too many pixels is ours.
    const header = plain ?? (await sharp(bytes, { failOn: "error", limitInputPixels: false }).metadata());
    const room = decodedBytes(header, kind, shape.maxPixels);
    const { data, info } = await withRoom(room, () => pixels(sharp, bytes, shape, { isUpright: false, ...header }));
    if (info.channels !== 3) throw new Error(`it has ${info.channels} channels after conversion to sRGB`);
    return fromBytes("uint8", [info.height, info.width, 3], data);
  });
}

/** Reads the file of one image, for the worker to decode. Throws as `decode` does for what is no image by its beginning. */
export function encoded(source: ImageSource, shape: ImageShape, name: string = nameOf(source)): Promise<EncodedImage> {
  return reading(name, async () => new EncodedImage((await readImage(source, shape)).bytes, shownPath(name), shape));
}

async function reading<T>(name: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new TorchwireError("BAD_DATA", `cannot read the image ${shownPath(name)}: ${reasonOf(cause)}`, { cause });
  }
}

/** The files of `sources`, for the worker to decode. Throws as `encoded` does. */
export async function encodedAll(sources: readonly ImageSource[], shape: ImageShape): Promise<EncodedImages> {
  const names = sources.map((source, i) => nameOf(source, `number ${i}`));
  return new EncodedImages(await inTurn(sources, (source, i) => encoded(source, shape, names[i])));
}

/** `sources` in one array, uint8 [n, height, width, 3]. Throws as `decode` does, and BAD_DATA where sizes differ. */
export async function decodeAll(sources: readonly ImageSource[], shape: ImageShape): Promise<NDArray> {
  const names = sources.map((source, i) => nameOf(source, `number ${i}`));
  if (sources.length === 0) {
    if (shape.size === undefined)
      throw new TorchwireError("MISUSE", "no image given, and no size from which to tell the shape of an empty array");
    return fromBytes("uint8", [0, ...shape.size, 3], new Uint8Array(0));
  }
  const images = await inTurn(sources, (source, i) => decode(source, shape, names[i]));
  const [first] = images;
  const each = sizeOf(first!.shape);
  const all = new Uint8Array(images.length * each);
  for (const [i, image] of images.entries()) {
    if (image.shape[0] !== first!.shape[0] || image.shape[1] !== first!.shape[1])
      throw new TorchwireError(
        "BAD_DATA",
        `images of several sizes make no array: ${shownPath(names[0]!)} has ${pair(first!)} pixels (height × width), ` +
          `${shownPath(names[i]!)} has ${pair(image)}; give the option size`,
      );
    all.set(image.data as Uint8Array, i * each);
  }
  return fromBytes("uint8", [images.length, ...first!.shape], all);
}

/**
 * Four would keep libvips busy, as it works on Node's four threads; more than eight would only hold files in memory.
 */
const atATime = 8;

/** Runs `work` on each item, a few at a time. Results are in the order of the items. The first error stops the rest. */
export async function inTurn<T, R>(items: readonly T[], work: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const results: R[] = Array.from({ length: items.length });
  let next = 0;
  const hand = async (): Promise<void> => {
    try {
      for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i]!, i);
    } catch (error) {
      next = items.length;
      throw error;
    }
  };
  await Promise.all(Array.from({ length: Math.min(atATime, items.length) }, hand));
  return results;
}

// A file that is cut short is an error. A warning of libjpeg is not: every viewer shows such pictures, and the web is
// full of them.
const limited = ({ maxPixels }: ImageShape): SharpOptions => ({ failOn: "error", limitInputPixels: maxPixels });

async function readImage(source: ImageSource, shape: ImageShape): Promise<{ bytes: Uint8Array; kind: ImageKind }> {
  const bytes = isUint8Array(source) ? source : await readFile(source, shape);
  const kind = imageKind(bytes);
  if (kind === undefined) throw new Error("it is not a JPEG, PNG, WebP, GIF, TIFF or AVIF, whatever its name");
  return { bytes, kind };
}

/**
 * Reads a file that may be an image. It refuses pipes and devices, which may never end, and files larger than all their
 * pixels.
 */
async function readFile(path: string | URL, { maxPixels }: ImageShape): Promise<Uint8Array> {
  const file = await openRegularFile(isURL(path) ? fileURLToPath(path) : path);
  try {
    const about = await file.stat();
    const most = 8 * maxPixels + 2 ** 24;
    if (about.size > most)
      throw new Error(`it has ${about.size} bytes; an image of ${maxPixels} pixels (maxPixels) has less`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

async function pixels(
  sharp: Sharp,
  bytes: Uint8Array,
  shape: ImageShape,
  { hasAlpha, isUpright }: { hasAlpha: boolean; isUpright: boolean },
): Promise<{ data: Buffer; info: { width: number; height: number; channels: number } }> {
  const { size, fit } = shape;
  const asStored = sharp(bytes, limited(shape));
  // Each step takes time, even where it changes nothing.
  const upright = isUpright ? asStored : asStored.rotate();
  const image = hasAlpha ? upright.removeAlpha() : upright;
  const raw = { resolveWithObject: true } as const;
  if (size === undefined) return image.raw().toBuffer(raw);

  const resize = { height: size[0], width: size[1], fit, background: "black" };
  if (!hasAlpha) return image.resize(resize).raw().toBuffer(raw);
  // Remove alpha before the resize: sharp weighs colours by alpha as it resizes, so transparent parts would turn
  // dark.
  const { data, info } = await image.raw().toBuffer(raw);
  return sharp(data, { ...limited(shape), raw: { width: info.width, height: info.height, channels: 3 } })
    .resize(resize)
    .raw()
    .toBuffer(raw);
}

function nameOf(source: ImageSource, which?: string): string {
  if (typeof source === "string") return source;
  if (isURL(source)) return fileURLToPath(source);
  if (isUint8Array(source)) return `${which === undefined ? "" : `${which} `}(${source.length} bytes in memory)`.trim();
  throw new TorchwireError(
    "MISUSE",
    `an image is a path, a file URL or a Uint8Array of an encoded image, not ${typeof source}${which === undefined ? "" : ` (${which})`}`,
  );
}

const pair = ({ shape: [height, width] }: NDArray): string => `${height} × ${width}`;

/** The first line of an error's message. */
export const reasonOf = (error: unknown): string => shownPath(messageOf(error).trim().split("\n")[0]!);
