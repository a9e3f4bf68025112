/** Reads the header of a JPEG file, which costs a decoder as much as a tenth of the picture. */

/** What a plain JPEG says of itself: 8 bits, grey or three colours. In sharp's names. */
export interface JpegHeader {
  readonly format: "jpeg";
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly depth: "uchar";
  readonly hasAlpha: false;
  /** It has no segment that could hold an orientation. */
  readonly isUpright: boolean;
}

/**
 * The header of a plain JPEG. Undefined for every other file, and for one whose header is not as the standard has it: a
 * decoder then says what it is.
 */
export function jpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  const word = (at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  let frame: { width: number; height: number; channels: 1 | 3 } | undefined;
  let isUpright = true;
  if (word(0) !== START) return undefined;
  for (let at = 2; ; at += word(at)) {
    if (bytes[at] !== 0xff) return undefined;
    // Any number of bytes 0xff may come before a marker.
    while (bytes[at] === 0xff) at++;
    const marker = bytes[at++];
    // Those have no length: what is behind them would be taken for one, and skipped.
    if (marker === undefined || marker < FIRST || (marker >= 0xd0 && marker <= 0xd9) || word(at) < 2) return undefined;
    if (marker === SCAN) return frame && { format: "jpeg", ...frame, depth: "uchar", hasAlpha: false, isUpright };
    if (marker === EXIF) isUpright = false;
    if (!isFrame(marker)) continue;
    const [precision, channels] = [bytes[at + 2], bytes[at + 7]];
    const [height, width] = [word(at + 3), word(at + 5)];
    // (A height of 0 is told after the picture.)
    if (frame !== undefined || precision !== 8 || (channels !== 1 && channels !== 3) || height === 0 || width === 0)
      return undefined;
    frame = { width, height, channels };
  }
}

const START = 0xffd8;
/** Markers below it are reserved, or stand in a picture. */
const FIRST = 0xc0;
const SCAN = 0xda;
/** Exif and XMP. */
const EXIF = 0xe1;

/** Baseline, extended and progressive: what libjpeg decodes, with Huffman's codes or arithmetic ones. */
const isFrame = (marker: number): boolean => (marker & 0xf0) === 0xc0 && ![0xc4, 0xc8, 0xcc].includes(marker);
