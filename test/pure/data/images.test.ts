/** Images in folders: which are found, how they are read and split, and what is said of those that cannot be read. */
import { cp, readFile, symlink, truncate, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withRoom } from "../../../client/data/image-kinds.ts";
import { imageFolder, type ImageFolder, readImages } from "../../../client/data/images.ts";
import { permutation } from "../../../client/data/shuffle.ts";
import { caught } from "../../observed.ts";
import { crc as crc32Of, dot, type Files, folder, picture, png16, pngOf, raw } from "../../pictures.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

const found = (photos: ImageFolder, root: string): string[] =>
  photos.paths.map((path) => relative(root, path).replaceAll("\\", "/"));

describe("finding", () => {
  test("a folder per class: classes, labels and paths in order", async () => {
    const root = await folder({ "dog/1.png": dot, "cat/b.png": dot, "cat/a.jpg": dot, "cat/B.png": dot });
    const photos = await imageFolder(root);
    expect(photos.classes).toEqual(["cat", "dog"]);
    expect(photos.length).toBe(4);
    expect(found(photos, root)).toEqual(["cat/B.png", "cat/a.jpg", "cat/b.png", "dog/1.png"]);
    expect(photos.labels).toEqual([0, 0, 0, 1]);
    expect(photos.skipped).toEqual([]);
    expect((await photos.get(3)).ys).toBe(1);
    expect((await imageFolder(pathToFileURL(root))).paths).toEqual(photos.paths);
  });

  test("folders within a class's; names of any kind; what is hidden or no image is ignored", async () => {
    const root = await folder({
      "é/ß 1.PNG": dot,
      "é/deep/er/1.webp": dot,
      "é/deep-1/1.gif": dot,
      "é/.hidden.png": dot,
      "é/.hidden/1.png": dot,
      "é/notes.txt": dot,
      ".git/1.png": dot,
      "beside.png": dot,
      "\u{1f600}/1.avif": dot,
      "\ufb00/1.tiff": dot,
    });
    const photos = await imageFolder(root);
    expect(photos.classes).toEqual(["é", "\ufb00", "\u{1f600}"]);
    expect(found(photos, root)).toEqual([
      "é/ß 1.PNG",
      "é/deep-1/1.gif",
      "é/deep/er/1.webp",
      "\ufb00/1.tiff",
      "\u{1f600}/1.avif",
    ]);
    expect((await photos.get(0)).xs.data).toEqual(Uint8Array.of(1, 2, 3));
  });

  test("links are followed, but not round in a circle", async () => {
    const elsewhere = await folder({ "1.png": dot });
    const root = await folder({ "a/2.png": dot });
    await symlink(elsewhere, join(root, "b"));
    await symlink(join(root, "a", "2.png"), join(root, "a", "1.png"));
    await symlink(join(root, "nowhere"), join(root, "a", "3.png"));
    const photos = await imageFolder(root);
    expect(found(photos, root)).toEqual(["a/1.png", "a/2.png", "a/3.png", "b/1.png"]);
    expect((await photos.get(0)).xs.data).toEqual(Uint8Array.of(1, 2, 3));
    expect(await caught(() => photos.get(2))).toMatchObject({ code: "BAD_DATA", message: /3\.png: ENOENT/ });

    await symlink(root, join(elsewhere, "back"));
    expect(await caught(() => imageFolder(root))).toMatchObject({
      code: "BAD_DATA",
      message: expect.stringContaining("is a link back to"),
    });
  });

  test("a pipe by an image's name is none, and is not waited for", async ({ skip }) => {
    if (process.platform === "win32") return skip("there are no pipes in folders here");
    const root = await folder({ "a/1.png": dot });
    const pipe = join(root, "a", "2.png");
    await execa("mkfifo", [pipe]);
    const photos = await imageFolder(root);
    expect(found(photos, root)).toEqual(["a/1.png"]);
    for (const each of [pipe, pathToFileURL(pipe), "/dev/zero"])
      expect(await caught(() => photos.read([each]))).toMatchObject({
        code: "BAD_DATA",
        message: expect.stringContaining("it is not a regular file"),
      });
    return undefined;
  });

  test.each<[string, Files, RegExp]>([
    ["no sub-folder", {}, /a folder per class is needed, as in .*cat.1\.jpg; it has no sub-folder/],
    ["images beside no sub-folder", { "1.png": dot, "2.png": dot }, /a folder per class.*its 2 images lie in no/],
    [
      "a class without an image",
      { "a/1.png": dot, "b/": dot },
      /the class b has no image \(none of \.jpg .*\);.*allowEmpty/,
    ],
    ["a kind that sharp does not read", { "a/1.png": dot, "a/2.BMP": dot }, /cannot read 1 of its images.*2\.BMP/],
  ])("%s is an error", async (_, files, message) => {
    const root = await folder(files);
    const error = await caught(() => imageFolder(root));
    expect(error).toMatchObject({ name: "TorchwireError", code: "BAD_DATA" });
    expect(error.message).toContain(root);
    expect(error.message).toMatch(message);
  });

  test("a missing folder, and a file in its place, are errors", async () => {
    const root = await folder({ "1.png": dot });
    for (const path of [join(root, "missing"), join(root, "1.png")]) {
      const error = await caught(() => imageFolder(path));
      expect(error).toMatchObject({ code: "BAD_DATA" });
      expect(error.message).toContain(`cannot read the folder ${path}`);
    }
  });

  test("an empty class can be allowed, and keeps its place", async () => {
    const photos = await imageFolder(await folder({ "a/": dot, "b/1.png": dot }), { allowEmpty: true });
    expect(photos.classes).toEqual(["a", "b"]);
    expect(photos.labels).toEqual([1]);
  });

  test.each([
    { size: 0 },
    { size: 1.5 },
    { size: [2] },
    { size: [2, 2, 3] },
    { size: 2, fit: "crop" },
    { fit: "fill" },
    { onCorrupt: "ignore" },
  ])("%j is refused", async (options) => {
    const root = await folder({ "a/1.png": dot });
    expect(await caught(() => imageFolder(root, options as object))).toMatchObject({ code: "MISUSE" });
  });

  test("an index out of range is refused", async () => {
    const photos = await imageFolder(await folder({ "a/1.png": dot }));
    for (const index of [1, -1, 0.5, Number.NaN])
      expect(await caught(() => photos.get(index))).toMatchObject({ code: "MISUSE", message: /there are 1, from 0/ });
  });
});

describe("files that cannot be read", () => {
  const whole = picture(64, 64, 3);
  const broken = async (): Promise<Files> => {
    const jpeg = new Uint8Array(await raw(64, 64, whole).jpeg().toBuffer());
    const png = await pngOf(64, 64, whole);
    const flipped = png.slice();
    flipped[flipped.length >> 1]! ^= 0xff;
    return {
      "text.jpg": Buffer.from("not an image"),
      "empty.jpg": new Uint8Array(0),
      "half.jpg": jpeg.subarray(0, jpeg.length >> 1),
      "end.jpg": jpeg.subarray(0, -2),
      "half.png": png.subarray(0, png.length >> 1),
      "flipped.png": flipped,
    };
  };

  test("the error names the file and gives the reason, resized or not, and other images are read all the same", async () => {
    const files = await broken();
    const root = await folder({ "a/good.png": await pngOf(64, 64, whole) });
    for (const [name, content] of Object.entries(files)) await writeFile(join(root, "a", name), content);
    for (const options of [{}, { size: 16 }]) {
      const photos = await imageFolder(root, options);
      expect(photos.length).toBe(7);
      for (const [i, path] of photos.paths.entries()) {
        if (path.endsWith("good.png")) continue;
        const error = await caught(() => photos.get(i));
        expect(error).toMatchObject({ name: "TorchwireError", code: "BAD_DATA" });
        expect(error.message).toContain(`cannot read the image ${path}: `);
        expect(error.cause).toBeInstanceOf(Error);
        expect(error.message.endsWith((error.cause as Error).message.trim().split("\n")[0]!)).toBe(true);
      }
      expect((await photos.get(3)).ys).toBe(0);
    }
    expect((await caught(() => imageFolder(root).then((photos) => photos.get(4)))).message).toMatch(/premature end/i);
  });

  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" fill="red"/></svg>';

  test.each<[string, Uint8Array]>([
    ["an SVG", Buffer.from(svg)],
    ["an SVG after a declaration", Buffer.from(`\ufeff<?xml version="1.0"?>\n<!-- \x89PNG -->${svg}`)],
    ["an SVG that is compressed", gzipSync(svg)],
    ["a PDF", Buffer.from("%PDF-1.4\n%\xe2\xe3")],
    ["a Netpbm file", Buffer.from("P3\n1 1\n255\n1 2 3\n")],
    ["raw numbers of libvips", Buffer.concat([Buffer.of(0xb6, 0xa6, 0xf2, 0x08), Buffer.alloc(200)])],
    ["a film", Buffer.concat([Buffer.from("\0\0\0\x18ftypisom\0\0\0\0isommp42", "latin1"), Buffer.alloc(64)])],
    ["a PNG's start before an SVG", Buffer.concat([dot.subarray(0, 8), Buffer.from(svg)])],
  ])("%s is refused by its content before it is decoded, whatever its name", async (_, content) => {
    const root = await folder({ "a/1.png": content, "a/2.jpg": content, "a/3.tiff": content, "b/1.svg.png": dot });
    const photos = await imageFolder(root);
    for (const read of [() => photos.get(0), () => photos.get(1), () => photos.get(2), () => photos.read([content])])
      expect(await caught(read)).toMatchObject({ code: "BAD_DATA", message: /cannot read the image .*: / });
    expect((await photos.get(3)).ys).toBe(1);
    const skipping = await imageFolder(root, { onCorrupt: "skip", allowEmpty: true });
    expect([skipping.length, skipping.skipped.length]).toEqual([1, 3]);
  });

  test("what a file is, is told by its content: a name with another ending makes no difference", async () => {
    const webp = new Uint8Array(await raw(64, 64, whole).webp().toBuffer());
    const avif = new Uint8Array(await raw(64, 64, whole).avif().toBuffer());
    const photos = await imageFolder(await folder({ "a/1.png": webp, "a/2.jpg": avif, "a/3.gif": dot }));
    expect((await photos.get(0)).xs.shape).toEqual([64, 64, 3]);
    expect((await photos.get(1)).xs.shape).toEqual([64, 64, 3]);
    expect((await photos.get(2)).xs.shape).toEqual([1, 1, 3]);
  });

  test("names with control characters are written as their escapes", async () => {
    const bad = "\u001b[31m\u202e\n1.png";
    const root = await folder({ [`a\u001b/${bad}`]: Buffer.from("no image"), "b\u0007/1.bmp": dot });
    const escaped = /^[ -~äöüé]*$/;
    const photos = await imageFolder(root, { onCorrupt: "skip", allowEmpty: true });
    expect(photos.skipped).toHaveLength(2);
    for (const wrong of [
      () => photos.read([join(root, "a\u001b", bad)]),
      () => photos.read([join(root, "a\u001b", `${bad}.missing`)]),
      () => imageFolder(root),
      () => imageFolder(join(root, "a\u001b")),
      () => imageFolder(join(root, "\u001bnone")),
      () => imageFolder(root, { onCorrupt: "skip" }),
    ]) {
      const error = await caught(wrong);
      expect(error.code).toBe("BAD_DATA");
      expect(error.message).toMatch(escaped);
      expect(error.message).toMatch(/\\x1b|\\x07/);
    }
  });

  /** A PNG that says that it has so many pixels, RGBA, and has none of them. */
  const claims = (width: number, height: number): Uint8Array => {
    const png = Buffer.from(png16(1, 1, 6, [0, 0, 0, 0]));
    png.writeUInt32BE(width, 16);
    png.writeUInt32BE(height, 20);
    png.writeUInt32BE(crc32Of(png.subarray(12, 29)), 29);
    return png;
  };

  test("more pixels than maxPixels are refused before they are decoded", async () => {
    const root = await folder({ "a/1.png": claims(16_000, 16_000), "a/2.png": await pngOf(64, 64, whole) });
    for (const options of [{}, { size: 32 }] as const) {
      const photos = await imageFolder(root, options);
      expect(await caught(() => photos.get(0))).toMatchObject({
        code: "BAD_DATA",
        message: expect.stringMatching(
          /1\.png: it has 256000000 pixels \(16000 × 16000\), more than 89478485; make it smaller, or raise maxPixels$/,
        ),
      });
      expect((await photos.get(1)).ys).toBe(0);
    }
    for (const size of [undefined, 8]) {
      const shape = size === undefined ? {} : { size };
      const within = await imageFolder(root, { ...shape, maxPixels: 64 * 64 });
      expect((await within.get(1)).ys).toBe(0);
      const beyond = await imageFolder(root, { ...shape, maxPixels: 64 * 64 - 1 });
      expect((await caught(() => beyond.get(1))).message).toMatch(/4096 pixels \(64 × 64\), more than 4095/);
    }
    for (const maxPixels of [0, -1, 0.5, Infinity, "4"])
      expect(await caught(() => imageFolder(root, { maxPixels: maxPixels as number }))).toMatchObject({
        code: "MISUSE",
      });
  });

  test("a file larger than all the pixels it may have is not read; nor is what is no file", async () => {
    const root = await folder({ "a/1.png": dot, "a/large.png": dot });
    await truncate(join(root, "a", "large.png"), 2 ** 40);
    const photos = await imageFolder(root);
    expect((await caught(() => photos.get(1))).message).toMatch(/large\.png: it has 1099511627776 bytes; an image of/);
    expect((await caught(() => photos.read([join(root, "a")]))).code).toBe("BAD_DATA");
  });

  test("at once, over all that ask, no more bytes are decoded than there is room for, in order; a larger image alone", async () => {
    const MiB = 2 ** 20;
    let [underway, most] = [0, 0];
    const done: string[] = [];
    const beside: Record<string, number> = {};
    const decodes = (name: string, bytes: number): Promise<void> =>
      withRoom(bytes, async () => {
        most = Math.max(most, (underway += bytes));
        beside[name] = underway - bytes;
        await sleep(2);
        underway -= bytes;
        done.push(name);
        if (name === "c") throw new Error("broken");
      }).catch(() => undefined);
    const sizes = { a: 200, b: 300, c: 200, d: 1, e: 1000, f: 256, g: 256, h: 1 };
    await Promise.all(Object.entries(sizes).map(([name, size]) => decodes(name, size * MiB)));
    expect(done.toSorted()).toEqual(Object.keys(sizes));
    expect(beside["e"]).toBe(0);
    expect(done.indexOf("e")).toBe(4);
    expect(most).toBe(1000 * MiB);
  });

  test('onCorrupt: "skip" checks all before it returns, and tells what it left out', async () => {
    const files = await broken();
    const root = await folder({ "a/1.png": dot, "b/2.png": dot, "b/3.bmp": dot });
    for (const [name, content] of Object.entries(files)) await writeFile(join(root, "a", name), content);
    const progress: [number, number][] = [];
    const photos = await imageFolder(root, {
      onCorrupt: "skip",
      onProgress: (done, total) => progress.push([done, total]),
    });
    expect(found(photos, root)).toEqual(["a/1.png", "b/2.png"]);
    expect(photos.length).toBe(2);
    expect((await photos.get(1)).ys).toBe(1);
    expect(photos.skipped.map(({ path }) => relative(root, path))).toEqual(
      [...Object.keys(files).toSorted(), "3.bmp"].map((name) => join(name === "3.bmp" ? "b" : "a", name)),
    );
    expect(photos.skipped.every(({ path, reason }) => reason !== "" && !reason.includes(path))).toBe(true);
    expect(progress).toEqual(Array.from({ length: 8 }, (_, i) => [i + 1, 8]));
    expect(photos.split(0.5)[0].skipped).toEqual(photos.skipped);
  });

  test("what onProgress throws ends the check", async () => {
    const files = Array.from({ length: 60 }, (_, i) => [`a/${i}.png`, dot] as const);
    let calls = 0;
    const onProgress = (): void => {
      if (++calls === 1) throw new Error("stop");
    };
    const root = await folder(Object.fromEntries(files));
    const error = await caught(() => imageFolder(root, { onCorrupt: "skip", onProgress }));
    expect(error.message).toBe("stop");
    await sleep(100);
    expect(calls).toBeLessThanOrEqual(8);
  });

  test('onCorrupt: "skip" does not hide a class of which nothing is left', async () => {
    const root = await folder({ "a/1.png": dot, "b/2.png": dot.subarray(0, 40) });
    const error = await caught(() => imageFolder(root, { onCorrupt: "skip" }));
    expect(error).toMatchObject({ code: "BAD_DATA", message: /no image \(none that can be read\) in the class b/ });
    const photos = await imageFolder(root, { onCorrupt: "skip", allowEmpty: true });
    expect([photos.classes, photos.labels]).toEqual([["a", "b"], [0]]);
  });
});

describe("read", () => {
  let root: string;
  let photos: ImageFolder;
  beforeAll(async () => {
    root = await folder({
      "a/1.png": await pngOf(4, 2, picture(4, 2, 1)),
      "a/2.png": await pngOf(2, 4, picture(2, 4, 2)),
    });
    photos = await imageFolder(root, { size: 2 });
  });

  test("paths, URLs and bytes, decoded as the folder's images are", async () => {
    const path = photos.paths[0]!;
    const bytes = await readFile(photos.paths[1]!);
    const sources = [path, pathToFileURL(path), bytes, new Uint8Array(bytes)];
    const { dtype, shape, data } = await photos.read(sources);
    expect([dtype, shape]).toEqual(["uint8", [4, 2, 2, 3]]);
    const [one, two] = [(await photos.get(0)).xs.data as Uint8Array, (await photos.get(1)).xs.data as Uint8Array];
    expect(data).toEqual(Uint8Array.from([...one, ...one, ...two, ...two]));
  });

  test("without a folder: the pixels of the files themselves, by the same options and errors", async () => {
    const pixels = [picture(4, 2, 1), picture(4, 2, 3)];
    const files = await Promise.all(pixels.map((one) => pngOf(4, 2, one)));
    const { dtype, shape, data } = await readImages(files);
    expect([dtype, shape]).toEqual(["uint8", [2, 2, 4, 3]]);
    expect(data).toEqual(Uint8Array.from(pixels.flatMap((one) => [...one])));
    expect(await readImages(photos.paths, { size: 2 })).toEqual(await photos.read(photos.paths));
    expect(await caught(() => readImages(files, { maxPixels: 7 }))).toMatchObject({
      code: "BAD_DATA",
      message: /number 0 .* 8 pixels .* more than 7/,
    });
    expect(await caught(() => readImages(files, { size: 0 }))).toMatchObject({ code: "MISUSE" });
  });

  test("none is an array of none", async () => {
    expect(await photos.read([])).toEqual({ dtype: "uint8", shape: [0, 2, 2, 3], data: new Uint8Array(0) });
    const unsized = await imageFolder(root);
    expect(await caught(() => unsized.read([]))).toMatchObject({ code: "MISUSE" });
  });

  test("without a size, images of different sizes are refused by name", async () => {
    const unsized = await imageFolder(root);
    expect((await unsized.read([photos.paths[0]!, photos.paths[0]!])).shape).toEqual([2, 2, 4, 3]);
    const error = await caught(() => unsized.read(photos.paths));
    expect(error).toMatchObject({ code: "BAD_DATA", message: /1\.png has 2 × 4 .*2\.png has 4 × 2; give/ });
  });

  test("an image that cannot be read is named, by its place where it has no path", async () => {
    const good = photos.paths[0]!;
    const missing = join(root, "missing.jpg");
    expect((await caught(() => photos.read([good, missing]))).message).toContain(`the image ${missing}: ENOENT`);
    const error = await caught(() => photos.read([good, Buffer.from("nothing")]));
    expect(error).toMatchObject({ code: "BAD_DATA", message: /the image number 1 \(7 bytes in memory\): / });
    expect(await caught(() => photos.read([good, 7 as never]))).toMatchObject({ code: "MISUSE" });
  });
});

describe("split", () => {
  let photos: ImageFolder;
  beforeAll(async () => {
    const files = Array.from({ length: 11 }, (_, i) => [`${i % 2 === 0 ? "a" : "b"}/${i + 10}.png`, dot] as const);
    photos = await imageFolder(await folder(Object.fromEntries(files)), { size: 2 });
  });

  test("is the permutation's first part and the rest, each in order, with labels that go with the paths", () => {
    const order = permutation(11, 5);
    const [first, second] = photos.split(0.7, { seed: 5 });
    const expected = (part: Uint32Array): string[] => [...part].toSorted((a, b) => a - b).map((i) => photos.paths[i]!);
    expect(first.paths).toEqual(expected(order.slice(0, 8)));
    expect(second.paths).toEqual(expected(order.slice(8)));
    for (const part of [first, second]) {
      expect(part.classes).toEqual(["a", "b"]);
      expect(part.labels).toEqual(part.paths.map((path) => photos.labels[photos.paths.indexOf(path)]));
    }
  });

  test("parts are folders like the whole", async () => {
    const [part] = photos.split(0.5);
    const { xs, ys } = await part.get(0);
    expect([xs.shape, ys]).toEqual([[2, 2, 3], part.labels[0]]);
    expect((await part.read(part.paths)).shape).toEqual([6, 2, 2, 3]);
    expect(part.split(0.9).map(({ length }) => length)).toEqual([5, 1]);
    expect(photos.split(0.5, { seed: 1 })[0].paths).not.toEqual(part.paths);
    expect(photos.split(0.5, { seed: 0 })[0].paths).toEqual(part.paths);
  });

  test.each([0, 1, -0.1, 1.1, Number.NaN])("at %d is refused", async (fraction) => {
    expect(await caught(() => photos.split(fraction))).toMatchObject({ code: "MISUSE" });
  });
});

test("without sharp, the error names the command that installs it", async () => {
  const root = await folder({ "a/1.png": dot });
  // The sources where no node_modules is above them: Node looks for sharp and finds none.
  const copy = await folder();
  for (const part of ["client", "bridge"])
    await cp(fileURLToPath(new URL(`../../../${part}`, import.meta.url)), join(copy, part), { recursive: true });
  await writeFile(join(copy, "package.json"), '{ "type": "module" }');
  await writeFile(
    join(copy, "main.ts"),
    `import { imageFolder } from "./client/data/images.ts";
     await imageFolder(${JSON.stringify(root)}).catch(({ name, code, command, message, cause }) =>
       console.log(JSON.stringify({ name, code, command, message, cause: cause.code })));`,
  );
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const { stdout } = await execa(process.execPath, ["--import", tsx, join(copy, "main.ts")], { cwd: copy });
  expect(JSON.parse(stdout)).toEqual({
    name: "EnvironmentError",
    code: "ENVIRONMENT",
    command: "npm install sharp",
    message: expect.stringMatching(/package sharp; it is an optional .* not installed\nRun: npm install sharp$/),
    cause: "ERR_MODULE_NOT_FOUND",
  });
});
