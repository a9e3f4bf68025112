/** Has the worker decode the images of a batch. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { isReference, untyped } from "../../bridge/reference/ref.ts";
import type { EncodedImages } from "../data/encoded.ts";
import type { Packed } from "../data/list.ts";
import type { Conversion } from "./convert.ts";
import { ofBatch } from "./format.ts";
import { image } from "./pixels.ts";

/** As `toTorch` of the decoded images, an array [n, height, width, 3]. They are decoded on the CPU. */
export function imagesToTorch(
  images: EncodedImages,
  path: string,
  { worker, format, channelsLast = false }: Conversion,
  move: (tensor: AnyRef) => AnyRef,
): AnyRef {
  const tensor = move(decoded(images, path, worker));
  const size = images.images[0]?.shape.size;
  // Without a size, the images are as large as their files say.
  const shape = size && { shape: [images.length, ...size, 3] };
  return ofBatch(format ?? image()).toTorch(tensor, { worker, dtype: "uint8", channelsLast, ...shape });
}

/** A reference to uint8 [n, height, width, 3]. */
export function decoded({ images, parts }: EncodedImages, path: string, worker: Worker): AnyRef {
  const [first] = images;
  if (first === undefined) throw new TorchwireError("MISUSE", `${path} has no image; a batch has at least one`);
  const { size, fit, maxPixels } = first.shape;
  const lengths = images.map(({ bytes }) => bytes.length);
  const names = images.map(({ name }) => name);
  const helpers: AnyRef = worker.import("torchwire_worker.helpers.images");
  const { flat } = parts as Packed;
  const there = isReference(flat) ? flat : untyped(worker.tensor(flat));
  return helpers.decode(there, lengths, names, size ?? null, fit, maxPixels);
}
