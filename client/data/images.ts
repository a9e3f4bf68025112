import { fileURLToPath } from "node:url";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isURL } from "../../bridge/runtime/kinds.ts";
import type { NDArray } from "../../bridge/values/ndarray.ts";
import {
  checkImageOptions,
  imageOptions,
  decode,
  decodeAll,
  encoded,
  encodedAll,
  type ImageOptions,
  type ImageShape,
  type ImageSource,
  inTurn,
  needSharp,
  reasonOf,
} from "./decode.ts";
import { onlyOptions } from "../options/keywords.ts";
import { splitIndices, type SplitOptions } from "./dataset.ts";
import type { EncodedImages } from "./encoded.ts";
import type { EncodedImage } from "./encoded-image.ts";
import { type ClassFiles, classFiles, extensions, shownPath } from "./image-files.ts";
import type { Dataset } from "./types.ts";
import { traced } from "../../bridge/errors/site.ts";

export interface ImageFolderOptions<D extends "client" | "worker" = "client"> extends ImageOptions {
  /**
   * Where the images are decoded. "client" (default): here, by sharp. "worker": their files travel as they are, a tenth
   * of the bytes or less, and the worker decodes those of a batch in its step, by Pillow and torchvision, as
   * torchvision's own data sets do.
   */
  readonly decode?: D;
  /** Accepts a class without an image. Default: false, since such a folder is mostly a mistake. */
  readonly allowEmpty?: boolean;
  /**
   * Says how to treat an image that cannot be read. "error" (default): `get` and `read` throw, naming it. "skip":
   * `imageFolder` decodes every image once before it returns, leaves out those that fail, and lists them in `skipped`.
   */
  readonly onCorrupt?: "error" | "skip";
  /** Called after each image that `onCorrupt: "skip"` has checked. */
  readonly onProgress?: (done: number, total: number) => void;
}

const folderOptions = { ...imageOptions, decode: true, allowEmpty: true, onCorrupt: true, onProgress: true } as const;

/** An image that was left out, and the reason. */
export interface SkippedImage {
  readonly path: string;
  readonly reason: string;
}

/** One image and its class. */
export interface ImageSample<X extends NDArray | EncodedImage = NDArray> {
  /** uint8 [height, width, 3], or the image's file with `decode: "worker"`. */
  readonly xs: X;
  /** The index of its class in `classes`. */
  readonly ys: number;
}

interface Parts {
  readonly classes: readonly string[];
  readonly paths: readonly string[];
  readonly labels: readonly number[];
  readonly skipped: readonly SkippedImage[];
  readonly shape: ImageShape;
  readonly decode: "client" | "worker";
}

/** Images in a folder per class. Made by `imageFolder`. With `decode: "worker"` X is EncodedImage. */
export class ImageFolder<X extends NDArray | EncodedImage = NDArray> implements Dataset<ImageSample<X>> {
  /** Names of the classes, sorted by code points. */
  readonly classes: readonly string[];
  /** The file of each image. */
  readonly paths: readonly string[];
  /** The class of each image, as an index in `classes`. */
  readonly labels: readonly number[];
  /** The images that `onCorrupt: "skip"` left out of the whole folder. A part of a split lists them all too. */
  readonly skipped: readonly SkippedImage[];
  readonly #shape: ImageShape;
  readonly #decode: "client" | "worker";

  constructor({ classes, paths, labels, skipped, shape, decode: where }: Parts) {
    this.classes = classes;
    this.paths = paths;
    this.labels = labels;
    this.skipped = skipped;
    this.#shape = shape;
    this.#decode = where;
  }

  /** The number of images. */
  get length(): number {
    return this.paths.length;
  }

  /**
   * Reads image `index` from its file, each time anew: xs is uint8 [height, width, 3], ys the index of its class. With
   * `decode: "worker"`, xs is the file itself.
   *
   * Throws MISUSE for an index out of range, and BAD_DATA, naming the file, where it cannot be read or is cut short. (The
   * worker throws the latter where it decodes: the step fails, or the prediction.)
   */
  get(index: number): Promise<ImageSample<X>> {
    return traced("ImageFolder.get", async () => {
      const path = this.paths[index];
      const label = this.labels[index];
      if (path === undefined || label === undefined)
        throw new TorchwireError("MISUSE", `there is no image ${String(index)}; there are ${this.length}, from 0`);
      const read = this.#decode === "worker" ? encoded : decode;
      return { xs: (await read(path, this.#shape)) as X, ys: label };
    });
  }

  /**
   * Reads other images as this folder reads its own: uint8 [n, height, width, 3]. Without a `size`, all must have the
   * same size. With `decode: "worker"` it gives their files, which `predict` takes, so that predictions see the pixels
   * that the training saw. Throws BAD_DATA where sizes differ, or, naming the image, where one cannot be read.
   */
  read(images: readonly ImageSource[]): Promise<X extends EncodedImage ? EncodedImages : NDArray> {
    const read: (sources: readonly ImageSource[], shape: ImageShape) => Promise<unknown> =
      this.#decode === "worker" ? encodedAll : decodeAll;
    return traced("ImageFolder.read", () => read(images, this.#shape)) as ReturnType<this["read"]>;
  }

  /**
   * Splits the images into two parts that share none: the first round(fraction · length) of `permutation(length,
   * seed)`, and the rest. Each part keeps the order of the images. The same seed (default: 0) gives the same parts on
   * every machine, as long as the folder has the same files. Throws MISUSE unless the fraction lies between 0 and 1,
   * exclusive.
   */
  split(fraction: number, options?: SplitOptions): [first: ImageFolder<X>, second: ImageFolder<X>] {
    const [first, second] = splitIndices(this.length, fraction, options);
    return [this.#part(first), this.#part(second)];
  }

  #part(indices: Uint32Array): ImageFolder<X> {
    return new ImageFolder<X>({
      classes: this.classes,
      paths: Array.from(indices, (i) => this.paths[i]!),
      labels: Array.from(indices, (i) => this.labels[i]!),
      skipped: this.skipped,
      shape: this.#shape,
      decode: this.#decode,
    });
  }
}

/**
 * Images in one folder per class, `folder/cat/1.jpg`, as torchvision.datasets.ImageFolder finds them: the same classes,
 * and the same images in the same order with the same labels. Needs the package sharp (`npm install sharp`).
 *
 * **Files.** jpg, jpeg, png, webp, gif, tif, tiff and avif (torchvision takes neither gif nor avif), also in folders
 * within a class's folder. An animation gives its first frame. The content tells the kind of a file, not its name: any
 * other kind is refused before it is decoded, and so is an image of more than `maxPixels`. One process decodes at most
 * 512 MiB of pixels at once. Names that start with a dot are ignored. Links are followed. Only names are read until an
 * image is asked for.
 *
 * **Pixels.** uint8 [height, width, 3] in sRGB. Grey images get three equal channels. Alpha is dropped, as PIL's
 * `convert("RGB")` does: a transparent pixel keeps its stored colour. Images of 16 bits keep the upper 8. A PNG file at
 * its own size gives the same bytes as torchvision, with four exceptions:
 *
 * - An image is turned upright by its EXIF orientation.
 * - An image with a colour profile, or in CMYK, is converted to sRGB.
 * - Grey of 16 bits keeps its shades; PIL clips them at 255.
 * - A resized image is sharp's (Lanczos; torchvision's default is bilinear), mostly within a few of PIL's 255 levels.
 *
 * **`decode: "worker"`** sends the files as they are, which is a tenth of the bytes or less, and needs no sharp. The
 * worker then gives, to the byte, what torchvision's ImageFolder reads, upright by its EXIF orientation, and
 * `torchvision.transforms.v2` makes of it as a tensor: `Resize(size)` (bilinear, antialiased) and `CenterCrop(size)`.
 * Colour profiles are ignored, and CMYK is converted as Pillow does. Grey of 16 bits keeps its shades. A batch has its
 * images as `EncodedImages`: a learner and `predict` take them, by the same formats.
 *
 * Throws BAD_DATA for a missing folder, a folder without sub-folders, a class without an image (unless `allowEmpty`),
 * and images of a kind that sharp cannot read, such as bmp; MISUSE for a wrong option; ENVIRONMENT where sharp is
 * missing.
 */
export function imageFolder<D extends "client" | "worker" = "client">(
  folder: string | URL,
  options: ImageFolderOptions<D> = {},
): Promise<ImageFolder<D extends "worker" ? EncodedImage : NDArray>> {
  return traced("imageFolder", async () => {
    onlyOptions<ImageFolderOptions<D>>("imageFolder", folderOptions, options);
    const { decode: where = "client", allowEmpty = false, onCorrupt = "error", onProgress } = options;
    const shape = checkImageOptions(options);
    if (onCorrupt !== "error" && onCorrupt !== "skip")
      throw new TorchwireError("MISUSE", `onCorrupt is ${JSON.stringify(onCorrupt)}; known are "error" and "skip"`);
    if (where !== "client" && where !== "worker")
      throw new TorchwireError("MISUSE", `decode is ${JSON.stringify(where)}; known are "client" and "worker"`);
    if (where === "client" || onCorrupt === "skip") await needSharp();

    const root = isURL(folder) ? fileURLToPath(folder) : folder;
    const found = await classFiles(root);
    const unreadable = found.flatMap((one) => one.unreadable);
    if (onCorrupt === "error" && unreadable.length > 0)
      throw new TorchwireError(
        "BAD_DATA",
        `${shownPath(root)}: sharp cannot read ${unreadable.length} of its images, the first ${shownPath(unreadable[0]!)}; convert them, to PNG for example`,
      );
    if (!allowEmpty) checkNoneEmpty(root, found, `none of ${extensions.join(" ")}`);
    if (onCorrupt === "error") return new ImageFolder({ ...flat(found), skipped: [], shape, decode: where });

    const reasons = await check(found, shape, onProgress);
    const kept = found.map((one) => ({ ...one, paths: one.paths.filter((path) => !reasons.has(path)) }));
    if (!allowEmpty) checkNoneEmpty(root, kept, "none that can be read");
    for (const path of unreadable) reasons.set(path, "sharp does not read files of this kind");
    return new ImageFolder({
      ...flat(kept),
      skipped: Array.from(reasons, ([path, reason]) => ({ path, reason })),
      shape,
      decode: where,
    });
  });
}

/**
 * Reads images into one array, uint8 [n, height, width, 3], as `imageFolder` reads its own: paths, file URLs, or the
 * bytes of image files, such as those that a web server is sent. Without a `size`, all must have the same size. Needs
 * the package sharp (`npm install sharp`).
 *
 * Throws BAD_DATA, naming the image, where one cannot be read or has more than `maxPixels`, and where sizes differ;
 * MISUSE for a wrong option; ENVIRONMENT where sharp is missing.
 */
export function readImages(images: readonly ImageSource[], options: ImageOptions = {}): Promise<NDArray> {
  return traced("readImages", () => {
    onlyOptions<ImageOptions>("readImages", imageOptions, options);
    return decodeAll(images, checkImageOptions(options));
  });
}

/** Decodes every image once. Returns the reason for each that cannot be read, in the order of the images. */
async function check(
  found: readonly ClassFiles[],
  shape: ImageShape,
  onProgress?: (done: number, total: number) => void,
): Promise<Map<string, string>> {
  const paths = found.flatMap((one) => one.paths);
  let done = 0;
  const reasons = await inTurn(paths, async (path) => {
    let reason: string | undefined;
    try {
      await decode(path, shape);
    } catch (error) {
      if (!(error instanceof TorchwireError) || error.code !== "BAD_DATA") throw error;
      reason = reasonOf(error.cause);
    }
    onProgress?.(++done, paths.length);
    return reason;
  });
  return new Map(paths.flatMap((path, i) => (reasons[i] === undefined ? [] : [[path, reasons[i]]])));
}

function checkNoneEmpty(root: string, found: readonly ClassFiles[], what: string): void {
  const empty = found.filter((one) => one.paths.length === 0).map((one) => one.name);
  if (empty.length === 0) return;
  const names = empty.length > 5 ? `${empty.slice(0, 5).join(", ")} and ${empty.length - 5} more` : empty.join(", ");
  throw new TorchwireError(
    "BAD_DATA",
    `${shownPath(root)}: the class ${shownPath(names)} has no image (${what}); remove the folder, or accept it with allowEmpty: true`,
  );
}

function flat(found: readonly ClassFiles[]): { classes: string[]; paths: string[]; labels: number[] } {
  return {
    classes: found.map((one) => one.name),
    paths: found.flatMap((one) => one.paths),
    labels: found.flatMap((one, label) => one.paths.map(() => label)),
  };
}
