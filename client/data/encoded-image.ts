import type { ImageShape } from "./decode.ts";

/** The file of one image, which the worker decodes: it is uint8 [height, width, 3] there, as `imageFolder` gives it. */
export class EncodedImage {
  readonly bytes: Uint8Array;
  /** Its path, for errors. */
  readonly name: string;
  /** How it is decoded. */
  readonly shape: ImageShape;

  constructor(bytes: Uint8Array, name: string, shape: ImageShape) {
    this.bytes = bytes;
    this.name = name;
    this.shape = shape;
  }
}

export const isEncoded = (value: unknown): value is EncodedImage => value instanceof EncodedImage;
