/** Logged values, and the files that they become, without a worker or Python. */
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { array, assert, constantFrom, double, integer, property, string } from "fast-check";
import sharp from "sharp";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { NDArray } from "torchwire";
import { bfloat16 } from "torchwire/bridge";
import {
  csv,
  jsonLines,
  LogHistograms,
  Loggables,
  LogMetrics,
  LogVisualization,
  RunFolder,
  tensorBoard,
  type LoggerBackend,
} from "torchwire/logging";
import { built } from "../../built.ts";

const root = mkdtempSync(join(tmpdir(), "logging-"));
let count = 0;
let folder = "";
beforeEach(() => {
  folder = join(root, String(count++));
});
afterAll(() => rmSync(root, { recursive: true }));

const bytes = (shape: readonly number[], of: (i: number) => number = (i) => (i * 37) % 256): NDArray => ({
  dtype: "uint8",
  shape,
  data: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => of(i)),
});
const read = (name: string): string => readFileSync(join(folder, name), "utf8");
const lines = (): any[] =>
  read("log.jsonl")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);

/** The pixels of a PNG file, as another program reads them. */
async function decoded(png: Uint8Array): Promise<{ shape: number[]; data: number[] }> {
  const { channels } = await sharp(png).metadata();
  const { data, info } = await sharp(png).toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  // Grey is red, green and blue there.
  const kept = [[0], [0, info.channels - 1], [0, 1, 2], [0, 1, 2, 3]][channels - 1]!;
  return {
    shape: [info.height, info.width, channels],
    data: [...data].filter((_, i) => kept.includes(i % info.channels)),
  };
}

describe("images", () => {
  test.each([1, 2, 3, 4])("of %i channels are PNG files with the same pixels", async (channels) => {
    const pixels = bytes([5, 7, channels]);
    const image = Loggables.image(pixels);
    expect(image).toMatchObject({ kind: "image", width: 7, height: 5, channels });
    expect(await decoded(image.png)).toEqual({ shape: [5, 7, channels], data: [...(pixels.data as Uint8Array)] });
  });

  test("PyTorch's axes, no axis for the channels, and floats from 0 to 1", async () => {
    const chw = bytes([3, 2, 4]);
    const hwc = Array.from({ length: 2 * 4 * 3 }, (_, i) => chw.data[(i % 3) * 8 + Math.floor(i / 3)]);
    expect(await decoded(Loggables.image(chw, { axes: "CHW" }).png)).toEqual({ shape: [2, 4, 3], data: hwc });
    expect((await decoded(Loggables.image(bytes([2, 4])).png)).shape).toEqual([2, 4, 1]);
    const floats = { dtype: "float32", shape: [1, 6], data: Float32Array.of(0, 1, 0.5, -3, 7, NaN) } as const;
    expect((await decoded(Loggables.image(floats).png)).data).toEqual([0, 255, 128, 0, 255, 0]);
    const half = { dtype: "bfloat16", shape: [1, 2], data: bfloat16.from([0.25, 1]) } as const;
    expect((await decoded(Loggables.image(half).png)).data).toEqual([64, 255]);
    const mask = { dtype: "bool", shape: [1, 2], data: Uint8Array.of(0, 1) } as const;
    expect((await decoded(Loggables.image(mask).png)).data).toEqual([0, 255]);
    const whole = { dtype: "int64", shape: [1, 3], data: BigInt64Array.of(0n, 7n, 300n) } as const;
    expect((await decoded(Loggables.image(whole).png)).data).toEqual([0, 7, 255]);
  });

  test("several are one picture, with gaps", async () => {
    const picture = await decoded(Loggables.image(bytes([3, 2, 2, 1], (i) => i + 1)).png);
    // oxfmt-ignore
    expect(picture).toEqual({ shape: [6, 6, 1], data: [
      1, 2, 0, 0, 5, 6,
      3, 4, 0, 0, 7, 8,
      0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0,
      9, 10, 0, 0, 0, 0,
      11, 12, 0, 0, 0, 0,
    ] });
    const chw = Loggables.image(bytes([2, 3, 4, 5]), { axes: "CHW" });
    expect([chw.height, chw.width, chw.channels]).toEqual([4, 12, 3]);
  });

  test.each<[string, () => unknown, RegExp]>([
    ["too many channels", () => Loggables.image(bytes([2, 2, 5])), /shape is \[2, 2, 5\].*1 to 4 channels/],
    ["PyTorch's axes unsaid", () => Loggables.image(bytes([3, 8, 9])), /for PyTorch's images, say axes: "CHW"/],
    ["a vector", () => Loggables.image(bytes([6])), /shape is \[6\]/],
    ["nothing in it", () => Loggables.image(bytes([0, 6])), /shape is \[0, 6\]/],
    ["no array", () => Loggables.image("cat.png" as never), /'cat.png'; they must be \{ dtype, shape, data \}/],
    ["other axes", () => Loggables.image(bytes([2, 2]), { axes: "WHC" as never }), /"HWC" or "CHW"/],
    [
      "elements that do not fit",
      () => Loggables.image({ ...bytes([2, 2]), shape: [2, 3] }),
      /4 elements are not an array of shape \[2, 3\]/,
    ],
    ["a value that is none", () => Loggables.value("1" as never), /it must be a number/],
    ["a text that is none", () => Loggables.text(1 as never), /it must be a string/],
    ["a sample rate", () => Loggables.audio(Float32Array.of(1), 0), /sampleRate is 0/],
    ["sounds", () => Loggables.audio([1] as never, 8000), /must be a Float32Array/],
    ["sounds of three axes", () => Loggables.audio(bytes([1, 1, 1]), 8000), /\[frames\] or \[frames, channels\]/],
    ["bins", () => Loggables.histogram([1], { bins: 1.5 }), /bins is 1.5/],
    ["numbers", () => Loggables.histogram(1 as never), /it must be an array of numbers/],
  ])("%s: refused", (_, make, message) => {
    expect(make).toThrow(
      expect.objectContaining({ code: "MISUSE", message: expect.stringMatching(message) as string }),
    );
  });
});

test("a sound is a WAV file of 16 bits a sample", () => {
  const { wav, frames, channels } = Loggables.audio(
    { dtype: "float32", shape: [3, 2], data: Float32Array.of(0, 1, -1, 0.5, 9, NaN) },
    44100,
  );
  expect([frames, channels, wav.length]).toEqual([3, 2, 44 + 12]);
  const file = Buffer.from(wav);
  expect([file.toString("latin1", 0, 4), file.toString("latin1", 8, 16), file.toString("latin1", 36, 40)]).toEqual([
    "RIFF",
    "WAVEfmt ",
    "data",
  ]);
  const [size, format, channelsThere, rate, perSecond, perFrame, bits, data] = [
    file.readUInt32LE(4),
    file.readUInt16LE(20),
    file.readUInt16LE(22),
    file.readUInt32LE(24),
    file.readUInt32LE(28),
    file.readUInt16LE(32),
    file.readUInt16LE(34),
    file.readUInt32LE(40),
  ];
  expect({ size, format, channelsThere, rate, perSecond, perFrame, bits, data }).toEqual({
    size: 36 + 12,
    format: 1,
    channelsThere: 2,
    rate: 44100,
    perSecond: 44100 * 4,
    perFrame: 4,
    bits: 16,
    data: 12,
  });
  expect(Array.from({ length: 6 }, (_, i) => file.readInt16LE(44 + 2 * i))).toEqual([
    0, 32767, -32767, 16384, 32767, 0,
  ]);
});

describe("histograms", () => {
  test("by hand", () => {
    const { edges, counts, sum, sumSquares, notFinite } = Loggables.histogram([0, 0.9, 1, 2.5, 4, NaN, Infinity], {
      bins: 4,
    });
    expect({ edges, counts, sum, notFinite }).toEqual({
      edges: [0, 1, 2, 3, 4],
      counts: [2, 1, 1, 1],
      sum: 8.4,
      notFinite: 2,
    });
    expect(sumSquares).toBeCloseTo(0.81 + 1 + 6.25 + 16, 12);
    expect(Loggables.histogram([5, 5])).toMatchObject({ edges: [5, 5], counts: [2] });
    expect(Loggables.histogram([NaN])).toMatchObject({ edges: [0, 0], counts: [0], notFinite: 1 });
    expect(
      Loggables.histogram({ dtype: "int64", shape: [2], data: BigInt64Array.of(1n, 2n) }, { bins: 1 }).counts,
    ).toEqual([2]);
  });

  test("whatever the numbers, each finite one is in the bin whose edges are around it", () => {
    assert(
      property(
        array(double({ min: -1e300, max: 1e300 }), { minLength: 1 }),
        integer({ min: 1, max: 9 }),
        (numbers, bins) => {
          const { edges, counts, notFinite } = Loggables.histogram(numbers, { bins });
          const finite = numbers.filter(Number.isFinite);
          expect(counts.reduce((a, b) => a + b, 0)).toBe(finite.length);
          expect(notFinite).toBe(numbers.length - finite.length);
          const ends = finite.length === 0 ? [0, 0] : [Math.min(...finite) + 0, Math.max(...finite) + 0];
          expect([edges[0], edges.at(-1)]).toEqual(ends);
          expect(edges).toEqual(edges.toSorted((a, b) => a - b));
        },
      ),
    );
  });
});

describe("jsonLines", () => {
  test("a line for each record; what is a file by itself lies beside it", async () => {
    writeFileSync(join(root, "notes.txt"), "hello");
    const backend = jsonLines(folder);
    const pixels = bytes([2, 2]);
    backend.log({ group: ["Step", "training"], at: 3, values: { loss: 0.1 + 0.2, bad: NaN, worse: -Infinity } });
    backend.log({
      group: ["a/b", ".."],
      at: 4,
      values: {
        text: Loggables.text('line\n"two" 🎉'),
        picture: Loggables.image(pixels),
        sound: Loggables.audio(Float32Array.of(0), 8000),
        "../../x": Loggables.file(join(root, "notes.txt")),
        counts: Loggables.histogram([1, 2], { bins: 1 }),
      },
    });
    expect(lines()).toEqual([
      {
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
        group: ["Step", "training"],
        at: 3,
        values: { loss: 0.30000000000000004, bad: "NaN", worse: "-Infinity" },
      },
      {
        time: expect.any(String) as string,
        group: ["a/b", ".."],
        at: 4,
        values: {
          text: 'line\n"two" 🎉',
          picture: { image: "files/a/b/_/picture/4.png" },
          sound: { audio: "files/a/b/_/sound/4.wav" },
          "../../x": { file: "files/a/b/_/_/_/x/4.txt" },
          counts: { histogram: { edges: [1, 2], counts: [2], sum: 3, sumSquares: 5, notFinite: 0 } },
        },
      },
    ]);
    expect((await decoded(readFileSync(join(folder, "files/a/b/_/picture/4.png")))).data).toEqual([
      ...(pixels.data as Uint8Array),
    ]);
    expect(read("files/a/b/_/_/_/x/4.txt")).toBe("hello");
    expect(existsSync(join(root, "x"))).toBe(false);
  });

  test("a file is gone on with, and what is left of a last line is cut off", () => {
    const first = jsonLines(folder);
    first.log({ group: [], at: 1, values: { x: 1 } });
    first.close();
    appendFileSync(join(folder, "log.jsonl"), `{"time":"2026","group":[],${" ".repeat(10_000)}`);
    const second = jsonLines(folder);
    second.log({ group: [], at: 2, values: { x: 2 } });
    second.close();
    second.log({ group: [], at: 3, values: { x: 3 } });
    expect(lines().map(({ at }) => at as number)).toEqual([1, 2, 3]);
    // Nothing but an unfinished line.
    writeFileSync(join(folder, "log.jsonl"), "{");
    jsonLines(folder).log({ group: [], at: 4, values: { x: 4 } });
    expect(lines().map(({ at }) => at as number)).toEqual([4]);
  });

  test("there is no file before there is something in it", () => {
    for (const make of [jsonLines, csv, tensorBoard]) make(folder);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("csv", () => {
  /** Written by hand from RFC 4180. */
  function parsed(text: string): string[][] {
    const rows: string[][] = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
      rows.at(-1)!.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
      if (end !== ",") rows.push([]);
    }
    return rows.slice(0, -1);
  }

  test("a row for each value, under one header", () => {
    const backend = csv(folder);
    backend.log({ group: ["Step", "training"], at: 1, values: { loss: 0.5, bad: NaN } });
    backend.close();
    csv(folder).log({
      group: [],
      at: 2,
      values: { note: Loggables.text("x"), picture: Loggables.image(bytes([1, 1])) },
    });
    const [header, ...rows] = parsed(read("log.csv"));
    expect(header).toEqual(["time", "tag", "at", "value"]);
    expect(rows.map(([, ...rest]) => rest)).toEqual([
      ["Step/training/loss", "1", "0.5"],
      ["Step/training/bad", "1", "NaN"],
      ["note", "2", "x"],
      ["picture", "2", "files/picture/2.png"],
    ]);
  });

  test("any text comes back", () => {
    const backend = csv(folder);
    let at = 0;
    assert(
      property(string({ unit: constantFrom("a", '"', ",", "\n", "\r", "ü") }), string(), (text, name) => {
        backend.log({ group: ["g"], at: ++at, values: { [`n${name}`]: Loggables.text(text) } });
        expect(parsed(read("log.csv")).at(-1)!.slice(1)).toEqual([`g/n${name}`, String(at), text]);
      }),
      { numRuns: 50 },
    );
  });
});

describe("what is refused", () => {
  const broken = { name: "broken", keeps: ["value"], log: "no" } as unknown as LoggerBackend;
  test.each<[string, () => unknown, RegExp]>([
    [
      "a histogram in a table",
      () => csv(folder).log({ group: ["a"], at: 1, values: { h: Loggables.histogram([1]) } }),
      /a\/h: csv cannot keep a histogram; it keeps value, text/,
    ],
    [
      "a callback of histograms for a table",
      () => new LogHistograms(csv(folder)),
      /LogHistograms: csv cannot keep a histogram/,
    ],
    [
      "a file in TensorBoard",
      () => tensorBoard(folder).log({ group: [], at: 1, values: { f: Loggables.file("x") } }),
      /f: tensorBoard cannot keep a file/,
    ],
    [
      "a value that is none",
      () => jsonLines(folder).log({ group: ["a"], at: 1, values: { x: "1" as never } }),
      /jsonLines: a\/x is '1'; it must be a number, or one of Loggables/,
    ],
    [
      "undefined",
      () => tensorBoard(folder).log({ group: ["a"], at: 1, values: { x: undefined as never } }),
      /a\/x is undefined/,
    ],
    [
      "an index that TensorBoard cannot have",
      () => tensorBoard(folder).log({ group: ["a"], at: -1, values: { x: 1 } }),
      /the index of a is -1/,
    ],
    ["no backend", () => new LogMetrics([]), /LogMetrics: there is no backend/],
    [
      "a folder for a backend",
      () => new LogMetrics("runs" as never),
      /LogMetrics: 'runs' is not a backend; give tensorBoard\(folder\)/,
    ],
    ["what is like one", () => new LogMetrics(broken), /is not a backend/],
    [
      "freq",
      () => new LogHistograms(tensorBoard(folder), { freq: 0 }),
      /LogHistograms: freq is 0; it must be a whole number from 1/,
    ],
    [
      "a reference for a function",
      () => new LogVisualization(undefined as never, tensorBoard(folder)),
      /LogVisualization: undefined is not a function of the step/,
    ],
    ["no path", () => jsonLines(""), /jsonLines\(''\): it must be the path of a folder/],
    ["a name with a slash", () => new RunFolder(folder, { name: "a/b" }), /RunFolder: name is 'a\/b'/],
  ])("%s", (_, make, message) => {
    expect(make).toThrow(
      expect.objectContaining({ code: "MISUSE", message: expect.stringMatching(message) as string }),
    );
  });

  test("a folder that cannot be made, and a file that cannot be written", () => {
    writeFileSync(folder, "a file");
    for (const make of [jsonLines, csv, tensorBoard, (path: string) => new RunFolder(path)])
      expect(() => make(join(folder, "below"))).toThrow(expect.objectContaining({ code: "NOT_SAVED" }));
    rmSync(folder);
    const backend = jsonLines(folder);
    rmSync(folder, { recursive: true });
    expect(() => backend.log({ group: [], at: 1, values: { x: 1 } })).toThrow(
      expect.objectContaining({
        code: "NOT_SAVED",
        message: expect.stringContaining(join(folder, "log.jsonl")) as string,
      }),
    );
  });
});

describe("the folder of a run", () => {
  test("is called by the day, a number and a name, and is always a new one", () => {
    const day = new Date();
    const names = [new RunFolder(folder), new RunFolder(folder, { name: "wide.net" }), new RunFolder(folder)].map(
      ({ path }) => path.slice(folder.length + 1),
    );
    const [start] = /^\d{4}-\d\d-\d\d-/.exec(names[0]!)!;
    expect(names).toEqual([`${start}001`, `${start}002-wide.net`, `${start}003`]);
    expect(start.slice(0, 4)).toBe(String(day.getFullYear()));
    expect(readdirSync(folder).toSorted()).toEqual(names);
  });

  test("is one for each, also of programs that make theirs at the same time", async () => {
    const script = built("test/fixtures/logging/folders.mts");
    const start = String(Date.now() + 1500);
    const made = await Promise.all(
      [1, 2, 3].map(async () => {
        const { stdout } = await execa(process.execPath, [script, folder, "50", start]);
        return JSON.parse(stdout) as string[];
      }),
    );
    expect(new Set(made.flat()).size).toBe(150);
    expect(readdirSync(folder)).toHaveLength(150);
  }, 30_000);

  test("the numbers begin anew each day, and what else lies there does not matter", () => {
    for (const other of ["2020-01-01-007", "notes", "2020-01-01"]) jsonLines(join(folder, other));
    expect(new RunFolder(folder).path).toMatch(/-001$/);
  });
});
