/**
 * Decides by content which files may be decoded, before a decoder sees them. sharp reads many more kinds than pictures,
 * whatever the name says: an SVG, for example, is a program that sharp renders, however long that takes.
 */

/** In sharp's names. */
export type ImageKind = "jpeg" | "png" | "webp" | "gif" | "tiff" | "avif";

/** The kind of an encoded image, by its first bytes; undefined for anything else. */
export function imageKind(bytes: Uint8Array): ImageKind | undefined {
  const text = (from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to));
  const start = text(0, 12);
  if (start.startsWith("\xff\xd8\xff")) return "jpeg";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "webp";
  if (/^GIF8[79]a/.test(start)) return "gif";
  if (/^(?:II[*+]\0|MM\0[*+])/.test(start)) return "tiff";
  // AVIF begins with a box: its length in 4 bytes, then a brand, a version and further brands.
  if (start.startsWith("ftyp", 4) && /^(?:.{4})*?avi[fs]/s.test(text(8, Math.min(boxLength(bytes), 256))))
    return "avif";
  return undefined;
}

const boxLength = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

/** Bytes per number, by libvips's name of its type. */
const DEPTHS: Readonly<Record<string, number>> = { uchar: 1, char: 1, ushort: 2, short: 2, uint: 4, int: 4, float: 4 };

/** CMYK and alpha. */
const MOST_CHANNELS = 5;

export interface ImageHeader {
  readonly format?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly channels?: number | undefined;
  readonly depth?: string | undefined;
}

/** How many bytes a decoded image takes. Throws where the image is not of `kind`, or has more than `maxPixels`. */
export function decodedBytes(
  { format, width = 0, height = 0, channels = 0, depth = "" }: ImageHeader,
  kind: ImageKind,
  maxPixels: number,
): number {
  if (format !== kind && !(kind === "avif" && format === "heif"))
    throw new Error(`it begins as a ${kind}, but is not one`);
  if (width * height > maxPixels)
    throw new Error(
      `it has ${width * height} pixels (${height} × ${width}), more than ${maxPixels}; make it smaller, or raise maxPixels`,
    );
  const bytes = DEPTHS[depth];
  if (bytes === undefined || channels > MOST_CHANNELS) throw new Error(`it has ${channels} channels of ${depth}`);
  return width * height * channels * bytes;
}

/** At most this many bytes are decoded at once in this process, over all data sets. A larger image is decoded alone. */
const MOST_BYTES = 512 * 2 ** 20;

let underway = 0;
const waiting: { readonly bytes: number; readonly go: () => void }[] = [];

/**
 * Runs `work`, which decodes `bytes`, when there is room for them. Calls take turns in order, so none waits for ever.
 */
export async function withRoom<T>(bytes: number, work: () => Promise<T>): Promise<T> {
  if (waiting.length > 0 || !hasRoom(bytes)) await new Promise<void>((go) => void waiting.push({ bytes, go }));
  else underway += bytes;
  try {
    return await work();
  } finally {
    underway -= bytes;
    for (let next = waiting[0]; next !== undefined && hasRoom(next.bytes); next = waiting[0]) {
      waiting.shift();
      underway += next.bytes;
      next.go();
    }
  }
}

const hasRoom = (bytes: number): boolean => underway === 0 || underway + bytes <= MOST_BYTES;
