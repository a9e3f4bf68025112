/** The file format, without a worker: what is refused, and that what is written is read again. */
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TorchwireError } from "torchwire";
import { byteLengthOf, type SafetensorsDType, type TensorInfo } from "../../../client/weights/header.ts";
import { openSafetensors, writeSafetensors } from "../../../client/weights/safetensors.ts";
import { readIdx } from "../../../client/data/idx.ts";
import { readRegularFile } from "../../../bridge/runtime/regular-file.ts";
import { caught } from "../../observed.ts";

interface Case {
  readonly name: string;
  readonly header: readonly (string | [text: string, times: number])[];
  readonly data: number;
  readonly length?: string;
  readonly raw?: string;
  readonly names: readonly string[];
}
/** The worker's reader is tested with it too (python/tests/test_safetensors_file.py), and compared with the package. */
const table = JSON.parse(readFileSync(new URL("../../golden/safetensors.json", import.meta.url), "utf8")) as {
  readonly refused: readonly Case[];
  readonly read: readonly Case[];
};

function contentOf({ header, data, length, raw }: Case): Uint8Array {
  if (raw !== undefined) return Buffer.from(raw, "hex");
  const text = header.map((part) => (typeof part === "string" ? part : part[0].repeat(part[1]))).join("");
  const bytes = Buffer.from(fileOf(text, new Uint8Array(data)));
  if (length !== undefined) bytes.writeBigUInt64LE(BigInt(length));
  return bytes;
}

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "safetensors-"));
  file = join(folder, "a.safetensors");
});
afterAll(() => rm(folder, { recursive: true }));

/** The bytes of a file with this JSON as its header. */
function fileOf(header: string | Uint8Array | object, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const json = typeof header === "object" && !(header instanceof Uint8Array) ? JSON.stringify(header) : header;
  const bytes = Buffer.from(json as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes, data]);
}

async function read(bytes: Uint8Array): Promise<{ tensors: readonly TensorInfo[]; metadata: object; data: Buffer[] }> {
  await writeFile(file, bytes);
  const opened = await openSafetensors(file);
  try {
    const data: Buffer[] = [];
    for (const tensor of opened.tensors) {
      const pieces: Buffer[] = [];
      for await (const piece of opened.pieces([tensor], 7)) pieces.push(Buffer.from(piece));
      data.push(Buffer.concat(pieces));
    }
    return { tensors: opened.tensors, metadata: opened.metadata, data };
  } finally {
    await opened.close();
  }
}

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array, void> {
  for (const part of parts) yield await Promise.resolve(part);
}

const f32 = (shape: unknown, offsets: unknown): object => ({ dtype: "F32", shape, data_offsets: offsets });

describe("what is not a safetensors file is refused, with the file and the tensor", () => {
  const length = (n: bigint): Uint8Array => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(n);
    return bytes;
  };
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  test.for<[name: string, bytes: Uint8Array, says: RegExp]>([
    ["an empty file", new Uint8Array(0), /it has 0 bytes, and the length of its header takes 8/],
    ["half a length", new Uint8Array(7), /it has 7 bytes/],
    ["a header of length 0", length(0n), /does not begin with "\{"/],
    ["a header past the limit", length(100_000_001n), /would have 100000001 bytes, 100000000 are possible/],
    ["a length of 64 bits", length(2n ** 64n - 1n), /would have 18446744073709551615 bytes/],
    ["a header longer than the file", Buffer.concat([length(50n), Buffer.from("{}")]), /cut short: its header has 50/],
    ["a space before the header", fileOf(" {}"), /does not begin with "\{"/],
    ["a byte order mark", fileOf(Buffer.from([0xef, 0xbb, 0xbf, 0x7b, 0x7d])), /does not begin/],
    ["an array", fileOf("[]"), /does not begin/],
    ["half an object", fileOf('{"a":'), /its header is not JSON/],
    ["two objects", fileOf("{}{}"), /its header is not JSON/],
    ["bytes that are not UTF-8", fileOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), /is not JSON/],
    ["deep nesting", fileOf(`{"a":${deep}}`), /not JSON|not an object/],
    ["a tensor twice", fileOf('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}'), /has "a" twice/],
    ["a tensor twice, written in two ways", fileOf('{"a":1,"\\u0061":1}'), /has "a" twice/],
    ["a field twice", fileOf('{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'), /"dtype" twice/],
    ["metadata that is a list", fileOf('{"__metadata__":["a"]}'), /__metadata__ is not an object/],
    ["metadata that is a number", fileOf('{"__metadata__":{"epoch":3}}'), /has "epoch", which is not a string/],
    ["metadata that is null", fileOf('{"__metadata__":null}'), /__metadata__ is not an object/],
    ["a tensor that is null", fileOf('{"a":null}'), /tensor "a": its description is not an object/],
    ["a tensor that is a list", fileOf('{"a":[]}'), /tensor "a": its description is not an object/],
    ["no dtype", fileOf({ a: { shape: [0], data_offsets: [0, 0] } }), /tensor "a": dtype undefined is unknown/],
    ["an unknown dtype", fileOf({ a: { ...f32([0], [0, 0]), dtype: "F128" } }), /tensor "a": dtype "F128" is unknown/],
    ["a dtype of Object's", fileOf({ a: { ...f32([0], [0, 0]), dtype: "toString" } }), /"toString" is unknown/],
    ["no shape", fileOf({ a: { dtype: "F32", data_offsets: [0, 0] } }), /tensor "a": shape undefined/],
    ["a negative size", fileOf({ a: f32([-1], [0, 0]) }), /tensor "a": shape \[-1\]/],
    ["half a size", fileOf({ a: f32([0.5], [0, 2]) }, new Uint8Array(2)), /tensor "a": shape \[0.5\]/],
    ["a size that is text", fileOf({ a: f32(["1"], [0, 4]) }, new Uint8Array(4)), /tensor "a": shape \["1"\]/],
    ["a size past 2^53", fileOf('{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,0]}}'), /shape \[9/],
    ["a product past 64 bits", fileOf({ a: f32([2 ** 32, 2 ** 32], [0, 0]) }), /takes 73786976294838206464 bytes/],
    ["no offsets", fileOf({ a: { dtype: "F32", shape: [1] } }), /tensor "a": data_offsets undefined/],
    ["one offset", fileOf({ a: f32([0], [0]) }), /tensor "a": data_offsets \[0\]/],
    ["three offsets", fileOf({ a: f32([0], [0, 0, 0]) }), /tensor "a": data_offsets/],
    ["offsets backwards", fileOf({ a: f32([1], [4, 0]) }, new Uint8Array(4)), /tensor "a": data_offsets \[4,0\]/],
    ["an offset below 0", fileOf({ a: f32([1], [-4, 0]) }), /tensor "a": data_offsets \[-4,0\]/],
    [
      "too few bytes",
      fileOf({ a: f32([2], [0, 4]) }, new Uint8Array(4)),
      /\[2\] takes 8 bytes, its data_offsets have 4/,
    ],
    [
      "a first tensor after a gap",
      fileOf({ a: f32([1], [4, 8]) }, new Uint8Array(8)),
      /"a": it begins at 4, after a gap/,
    ],
    [
      "a gap between two",
      fileOf({ a: f32([1], [0, 4]), b: f32([1], [8, 12]) }, new Uint8Array(12)),
      /"b": it begins at 8, after a gap/,
    ],
    [
      "two that overlap",
      fileOf({ a: f32([2], [0, 8]), b: f32([2], [4, 12]) }, new Uint8Array(12)),
      /"b": it begins at 4, inside another one/,
    ],
    [
      "two in one place",
      fileOf({ a: f32([1], [0, 4]), b: f32([1], [0, 4]) }, new Uint8Array(4)),
      /"b": it begins at 0, inside another one/,
    ],
    ["a tensor past the end", fileOf({ a: f32([2], [0, 8]) }, new Uint8Array(7)), /cut short: .* 8 bytes, found 7/],
    ["bytes behind the last one", fileOf({ a: f32([1], [0, 4]) }, new Uint8Array(5)), /more than its header says/],
    ["bytes of no tensor", fileOf("{}", new Uint8Array(1)), /more than its header says/],
  ])("%s", async ([, bytes, says]) => {
    const error = await caught(() => read(bytes));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toMatch(says);
    expect(error.message).toContain(file);
  });

  test.for(table.refused)("by both readers: $name", async (each) => {
    const error = await caught(() => read(contentOf(each)));
    expect([error.code, error.message.length < 1000]).toEqual(["BAD_DATA", true]);
    // oxlint-disable-next-line no-control-regex
    expect(error.message).not.toMatch(/[\0-\x1f\x7f-\x9f]/);
    expect(inspect(error)).not.toContain("\x1b[3");
  });

  test.for(table.read)("but not, by both readers: $name", async (each) => {
    const { tensors } = await read(contentOf(each));
    expect(tensors.map(({ name }) => name).toSorted()).toEqual(each.names);
  });

  test("names with terminal escapes, also of a megabyte", async () => {
    const escape = "\x1b]0;owned\x07\x9b31m\u202e";
    const long = escape + "x".repeat(2 ** 20);
    for (const name of [escape, long])
      for (const header of [
        { [name]: null },
        { [name]: f32([2], [0, 4]) },
        { [name]: { ...f32([1], [0, 4]), dtype: name } },
        { [name]: f32([name], [0, 4]) },
        { [name]: f32([[[name]]], [0, 4]) },
        { [name]: f32([1], name) },
        { __metadata__: { [name]: 1 } },
        `{${JSON.stringify(name)}:1,${JSON.stringify(name)}:1}`,
        `{${JSON.stringify(name)}:${name}`,
      ]) {
        const error = await caught(() => read(fileOf(header, new Uint8Array(4))));
        expect([error.code, error.message.length < 2000]).toEqual(["BAD_DATA", true]);
        // oxlint-disable-next-line no-control-regex
        expect(inspect(error)).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
      }
  });

  test("what is no file, also where opening it would wait for ever", async ({ skip }) => {
    if (process.platform === "win32") return skip("there are no pipes in folders here");
    const pipe = join(folder, "pipe");
    await execa("mkfifo", [pipe]);
    const socket = join(folder, "socket");
    const server = createServer().listen(socket);
    await once(server, "listening");
    for (const path of [pipe, socket, "/dev/zero", folder]) {
      expect((await caught(() => openSafetensors(path))).code).toBe("BAD_DATA");
      expect((await caught(() => readIdx(path))).code).toBe("BAD_DATA");
    }
    expect(() => readRegularFile(pipe)).toThrow(/not a regular file/);
    server.close();
    return undefined;
  });

  test("a file that is not there, and a folder", async () => {
    const missing = await caught(() => openSafetensors(join(folder, "nothing")));
    expect([missing.code, missing.message]).toEqual(["BAD_DATA", expect.stringContaining("ENOENT")]);
    const directory = await caught(() => openSafetensors(folder));
    expect([directory.code, directory.message]).toEqual(["BAD_DATA", expect.stringContaining("not a regular file")]);
  });
});

describe("what is one is read", () => {
  test("names that JavaScript has a meaning for, escapes, padding, empty tensors and scalars", async () => {
    const json =
      '{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"1":{"dtype":"U8","shape":[],"data_offsets":[0,1]},' +
      '"\\u00e9\\"{,":{"dtype":"F64","shape":[0,3],"data_offsets":[3,3]},"__metadata__":{"a":"{\\"a\\":1}"}}   \n ';
    const { tensors, metadata, data } = await read(fileOf(json, new Uint8Array([7, 8, 9])));
    expect(tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["1", []],
      ["__proto__", [2]],
      ['é"{,', [0, 3]],
    ]);
    expect(data.map((bytes) => [...bytes])).toEqual([[7], [8, 9], []]);
    expect(metadata).toEqual({ a: '{"a":1}' });
  });

  test("a header of some megabytes, in one string and in many", async () => {
    const long = await read(fileOf({ __metadata__: { a: "\\".repeat(10_000_000) } }));
    expect(long.metadata).toEqual({ a: "\\".repeat(10_000_000) });
    const many = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`t${i}`, f32([0], [0, 0])]));
    expect((await read(fileOf(many))).tensors).toHaveLength(50_000);
  });
});

/** Mulberry32: random numbers that are the same each time. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe("what is written is read again", () => {
  const dtypes = "F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL C64 F8_E4M3 F8_E5M2".split(" ");

  test("200 random states, cut into chunks anywhere", async () => {
    const random = randomNumbers(1);
    const letters = ["a", ".", "é", "🙂", '"', "\\", "\n", "{", "}", ",", "0"];
    for (let round = 0; round < 200; round++) {
      const tensors: TensorInfo[] = Array.from({ length: random(6) }, (_, i) => ({
        name: `${Array.from({ length: random(6) }, () => letters[random(letters.length)]).join("")}${i}`,
        dtype: dtypes[random(dtypes.length)] as SafetensorsDType,
        shape: Array.from({ length: random(4) }, () => random(4)),
      }));
      const bytes = tensors.map((tensor) =>
        Buffer.from(Array.from({ length: byteLengthOf(tensor) }, () => random(256))),
      );
      const metadata = random(2) === 0 ? {} : { [letters[random(letters.length)]!]: letters[random(letters.length)]! };
      const all = Buffer.concat(bytes);
      const cuts = [random(all.length + 1), random(all.length + 1)].toSorted((a, b) => a - b);
      const parts = [all.subarray(0, cuts[0]), all.subarray(cuts[0], cuts[1]), all.subarray(cuts[1])];
      await writeSafetensors(file, tensors, chunks(...parts), metadata);

      const written = await readFile(file);
      expect(Number(written.readBigUInt64LE()) % 8).toBe(0);
      const found = await read(written);
      // Tensors without bytes may come in another order.
      const sorted = (infos: readonly TensorInfo[]): unknown =>
        Object.fromEntries(infos.map(({ name, dtype, shape }) => [name, { dtype, shape }]));
      expect(sorted(found.tensors)).toEqual(sorted(tensors));
      expect(found.metadata).toEqual(metadata);
      expect(Buffer.concat(found.data)).toEqual(all);
    }
  });

  test("some tensors of a file, the rest passed over", async () => {
    const tensors: TensorInfo[] = ["a", "b", "c", "d"].map((name) => ({ name, dtype: "U8", shape: [2] }));
    await writeSafetensors(file, tensors, chunks(new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8])));
    const opened = await openSafetensors(file);
    const found: number[][] = [];
    const wanted = opened.tensors.filter(({ name }) => name !== "b");
    for await (const piece of opened.pieces(wanted, 4)) found.push([...piece]);
    await opened.close();
    expect(found).toEqual([
      [1, 2, 5, 6],
      [7, 8],
    ]);
  });

  test("no bit of a damaged file is taken for another one: it is refused, or reads as what stands there", async () => {
    const random = randomNumbers(2);
    const tensors: TensorInfo[] = [
      { name: "a", dtype: "F32", shape: [2, 3] },
      { name: "b", dtype: "U8", shape: [5] },
    ];
    await writeSafetensors(file, tensors, chunks(new Uint8Array(29)), { a: "b" });
    const whole = await readFile(file);
    let refused = 0;
    for (let round = 0; round < 500; round++) {
      const damaged = Buffer.from(whole);
      const at = random(whole.length - 29);
      damaged[at] = damaged[at]! ^ (1 << random(8));
      const outcome = await read(damaged).then(
        ({ tensors }) => tensors.reduce((sum, tensor) => sum + byteLengthOf(tensor), 0),
        (error: TorchwireError) => error.code,
      );
      expect([29, "BAD_DATA"]).toContain(outcome);
      if (outcome === "BAD_DATA") refused++;
    }
    expect(refused).toBeGreaterThan(250);
  });
});

describe("a save that fails leaves the old file, and nothing else", () => {
  const tensors: TensorInfo[] = [{ name: "a", dtype: "U8", shape: [4] }];
  const old = new Uint8Array([1, 2, 3]);
  const left = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.includes("old"));

  test.for<[name: string, tensors: TensorInfo[], chunks: AsyncIterable<Uint8Array>, code: string]>([
    ["too few bytes", tensors, chunks(old), "MISUSE"],
    ["too many bytes", tensors, chunks(old, old), "MISUSE"],
    ["a name twice", [...tensors, ...tensors], chunks(old), "MISUSE"],
    ["a tensor called __metadata__", [{ ...tensors[0]!, name: "__metadata__" }], chunks(old), "MISUSE"],
  ])("%s", async ([, tensors, parts, code]) => {
    const path = join(folder, "old.safetensors");
    await writeFile(path, old);
    expect((await caught(() => writeSafetensors(path, tensors, parts))).code).toBe(code);
    expect(new Uint8Array(await readFile(path))).toEqual(old);
    expect(await left()).toEqual(["old.safetensors"]);
  });

  test("an error of who gives the bytes", async () => {
    const path = join(folder, "old.safetensors");
    await writeFile(path, old);
    async function* failing(): AsyncGenerator<Uint8Array, void> {
      yield* chunks(old);
      // While it is written, both are there.
      expect(await left()).toHaveLength(2);
      throw new RangeError("no more");
    }
    await expect(writeSafetensors(path, tensors, failing())).rejects.toThrow(RangeError);
    expect(new Uint8Array(await readFile(path))).toEqual(old);
    expect(await left()).toEqual(["old.safetensors"]);
  });

  test("a folder that is not there, and one in the file's place", async () => {
    const nowhere = await caught(() => writeSafetensors(join(folder, "no", "x"), tensors, chunks(old)));
    expect([nowhere.code, nowhere.message]).toEqual(["NOT_SAVED", expect.stringContaining("ENOENT")]);
    const inTheWay = await caught(() => writeSafetensors(folder, tensors, chunks(new Uint8Array(4))));
    expect(inTheWay.code).toBe("NOT_SAVED");
  });

  test("metadata that is not text", async () => {
    const wrong = { epoch: 3 } as unknown as Record<string, string>;
    const error = await caught(() => writeSafetensors(file, tensors, chunks(new Uint8Array(4)), wrong));
    expect([error.code, error.message]).toEqual(["MISUSE", expect.stringContaining("metadata.epoch is not a string")]);
  });
});

test("a symbolic link is written through", async () => {
  const [target, link] = [join(folder, "target.safetensors"), join(folder, "link.safetensors")];
  await writeFile(target, "");
  await symlink(target, link);
  await writeSafetensors(link, [], chunks());
  expect([...(await readFile(target))]).toEqual([8, 0, 0, 0, 0, 0, 0, 0, ...Buffer.from("{}      ")]);
});
