/** Image files for tests: folders of them, and pictures of known pixels. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { deflateSync } from "node:zlib";
import sharp, { type Sharp } from "sharp";
import { fresh } from "./scratch.ts";

export type Files = Readonly<Record<string, Uint8Array>>;

/**
 * A new folder with these files in it; a name that ends with a slash is an empty folder. A file that calls this says
 * `afterAll(clean)`, of scratch.ts.
 */
export async function folder(files: Files = {}): Promise<string> {
  const root = await fresh("images");
  await mkdir(root);
  for (const [name, content] of Object.entries(files)) {
    const path = join(root, name);
    await mkdir(name.endsWith("/") ? path : dirname(path), { recursive: true });
    if (!name.endsWith("/")) await writeFile(path, content);
  }
  return root;
}

export const raw = (width: number, height: number, pixels: readonly number[] | Uint8Array): Sharp =>
  sharp(Uint8Array.from(pixels), {
    raw: { width, height, channels: (pixels.length / width / height) as 1 | 2 | 3 | 4 },
  });

export const pngOf = async (
  width: number,
  height: number,
  pixels: readonly number[] | Uint8Array,
): Promise<Uint8Array> => {
  const channels = pixels.length / width / height;
  return new Uint8Array(
    await raw(width, height, pixels)
      .toColourspace(channels < 3 ? "b-w" : "srgb")
      .png()
      .toBuffer(),
  );
};

/** A PNG made without sharp: `values` of 16 bits. Colour type 0 is grey, 2 RGB, 4 grey with alpha, 6 RGBA. */
export function png16(width: number, height: number, colourType: number, values: readonly number[]): Uint8Array {
  const chunk = (type: string, data: Uint8Array): Buffer => {
    const typed = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(data.length, 0);
    ends.writeUInt32BE(crc(typed), 4);
    return Buffer.concat([ends.subarray(0, 4), typed, ends.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([16, colourType], 8);
  const perRow = values.length / height;
  const rows = Buffer.alloc(height * (1 + 2 * perRow));
  values.forEach((value, i) =>
    rows.writeUInt16BE(value, Math.floor(i / perRow) * (1 + 2 * perRow) + 1 + 2 * (i % perRow)),
  );
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

export function crc(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}

/** A smooth picture with detail, different for each seed. */
export function picture(width: number, height: number, seed: number, channels = 3): Uint8Array {
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0; i < pixels.length; i++) {
    const x = Math.floor(i / channels) % width;
    const y = Math.floor(i / channels / width);
    pixels[i] = 128 + 60 * Math.sin(x / (3 + seed) + (i % channels)) + 60 * Math.cos((y + seed) / 4 + (i % channels));
  }
  return pixels;
}

/** A PNG of one pixel, [1, 2, 3]. */
export const dot: Uint8Array = await pngOf(1, 1, [1, 2, 3]);
