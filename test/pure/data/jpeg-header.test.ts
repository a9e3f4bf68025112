/** The header of a JPEG, which is read without a decoder: it says what sharp says, and makes no pixel another one. */
import sharp, { type Sharp } from "sharp";
import { describe, expect, test } from "vitest";
import { readImages } from "../../../client/data/images.ts";
import { jpegHeader } from "../../../client/data/jpeg-header.ts";
import { dot, picture, raw } from "../../pictures.ts";

const photo = (): Sharp => raw(40, 24, picture(40, 24, 5));
const jpeg = async (image: Sharp, options?: Parameters<Sharp["jpeg"]>[0]): Promise<Uint8Array> =>
  new Uint8Array(await image.jpeg(options).toBuffer());

/** The same file with another segment after its start, or before the scan. */
function withSegment(file: Uint8Array, marker: number, content: Uint8Array, where: "first" | "last" = "first"): Buffer {
  const at = where === "first" ? 2 : Buffer.from(file).indexOf(Buffer.of(0xff, 0xda));
  const head = Buffer.of(0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 255);
  return Buffer.concat([file.subarray(0, at), head, content, file.subarray(at)]);
}

/** An Exif segment that says how the camera was held. */
const orientation = (value: number): Uint8Array =>
  Buffer.concat([
    Buffer.from("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", "latin1"),
    Buffer.of(0, value, 0, 0, 0, 0, 0, 0),
  ]);

describe("what it says", () => {
  test("is what sharp says, of grey and colours, baseline and progressive", async () => {
    const files = [
      await jpeg(photo()),
      await jpeg(photo(), { progressive: true }),
      await jpeg(photo(), { chromaSubsampling: "4:4:4" }),
      await jpeg(photo().toColourspace("b-w")),
      withSegment(await jpeg(photo()), 0xfe, Buffer.from("a comment with \xff\xda in it", "latin1")),
    ];
    for (const file of files) {
      const { width, height, channels, depth, format, hasAlpha } = await sharp(file).metadata();
      expect(jpegHeader(file)).toEqual({ format, width, height, channels, depth, hasAlpha, isUpright: true });
    }
  });

  test("is undefined for whatever is no plain JPEG", async () => {
    const plain = await jpeg(photo());
    const scan = Buffer.from(plain).indexOf(Buffer.of(0xff, 0xda));
    expect(jpegHeader(await jpeg(photo().toColourspace("cmyk")))).toBeUndefined();
    expect(jpegHeader(dot)).toBeUndefined();
    for (let end = 0; end < scan + 4; end++) expect(jpegHeader(plain.subarray(0, end))).toBeUndefined();
    const frame = Buffer.from(plain).indexOf(Buffer.of(0xff, 0xc0));
    const twice = Buffer.concat([plain.subarray(0, scan), plain.subarray(frame, frame + 19), plain.subarray(scan)]);
    expect(jpegHeader(twice)).toBeUndefined();
    const flat = Buffer.from(plain);
    flat.writeUInt16BE(0, frame + 5);
    expect(jpegHeader(flat)).toBeUndefined();
  });

  test("is undefined where a marker without a length could hide another picture", async () => {
    const plain = await jpeg(photo());
    const small = await jpeg(raw(8, 8, picture(8, 8, 1)));
    const hidden = small.subarray(Buffer.from(small).indexOf(Buffer.of(0xff, 0xc0)));
    for (const marker of [0x00, 0x01, 0x02, 0xbf, 0xd0, 0xd7, 0xd8, 0xd9]) {
      // A decoder goes on behind the marker. Who takes what follows for its length comes to the small picture.
      const file = Buffer.concat([plain.subarray(0, 2), Buffer.of(0xff, marker), plain.subarray(2)]);
      const skipped = file.readUInt16BE(4);
      const filled = Buffer.concat([file, Buffer.alloc(Math.max(0, 4 + skipped - file.length))]);
      hidden.forEach((byte, i) => (filled[4 + skipped + i] = byte));
      expect(jpegHeader(Buffer.concat([filled.subarray(0, 4 + skipped), hidden]))).toBeUndefined();
    }
  });

  test("tells a segment that may hold an orientation, wherever it stands", async () => {
    const plain = await jpeg(photo());
    for (const where of ["first", "last"] as const)
      expect(jpegHeader(withSegment(plain, 0xe1, orientation(6), where))?.isUpright).toBe(false);
  });
});

test("a plain JPEG has the pixels that it has with an orientation that changes nothing", async () => {
  const plain = await jpeg(photo());
  for (const options of [{}, { size: 16 }, { size: [8, 30], fit: "contain" }] as const)
    expect(await readImages([plain], options)).toEqual(
      await readImages([withSegment(plain, 0xe1, orientation(1))], options),
    );
  for (const where of ["first", "last"] as const)
    expect((await readImages([withSegment(plain, 0xe1, orientation(6), where)])).shape).toEqual([1, 40, 24, 3]);
});
