/** Image files that travel as they are: the worker decodes them. */
import type { AnyRef } from "../../bridge/types/core.ts";
import { lend } from "../../bridge/values/lend.ts";
import { fromBytes } from "../../bridge/values/ndarray.ts";
import { type Collation, differ } from "./collation.ts";
import type { ImageShape } from "./decode.ts";
import type { EncodedImage } from "./encoded-image.ts";
import { ArrayList, Packed, startsOf } from "./list.ts";

/**
 * The files of several images, one part of a batch. Where a model takes it, it is one tensor, as the decoded images
 * [n, height, width, 3] would be: the same formats hold for it.
 */
export class EncodedImages extends ArrayList {
  readonly images: readonly EncodedImage[];

  /** `flat`: their bytes, where the worker has them. Throws BAD_DATA where two are to be decoded in different ways. */
  constructor(images: readonly EncodedImage[], how?: Collation, flat?: AnyRef) {
    const lengths = images.map(({ bytes }) => [bytes.length]);
    super(images.length, flat === undefined ? packed(images) : new Packed(flat, lengths, "uint8"));
    this.images = images;
    const [first] = images;
    const other = images.findIndex(({ shape }) => told(shape) !== told(first!.shape));
    if (other > 0 && how !== undefined) differ(how, other, told(first!.shape), told(images[other]!.shape));
  }

  override slice(start: number, end: number): EncodedImages {
    // (Where the worker has the bytes, this throws.)
    void (this.parts as Packed).arrays;
    return new EncodedImages(this.images.slice(start, end));
  }
}

const told = ({ size, fit, maxPixels }: ImageShape): string =>
  `${size === undefined ? "an image of its own size" : `an image that becomes ${size.join(" × ")} (${fit})`}, of up to ${maxPixels} pixels`;

/** Their bytes in new memory, which is sent without a copy. Batches differ in size, so it would serve no other one. */
function packed(images: readonly EncodedImage[]): Packed {
  const shapes = images.map(({ bytes }) => [bytes.length]);
  const starts = startsOf("uint8", shapes);
  const length = starts.at(-1)!;
  const flat = fromBytes("uint8", [length], new Uint8Array(length));
  for (const [i, { bytes }] of images.entries()) (flat.data as Uint8Array).set(bytes, starts[i]);
  return new Packed(length === 0 ? flat : lend(flat), shapes);
}
