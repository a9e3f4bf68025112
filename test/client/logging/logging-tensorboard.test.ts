/** The files are what TensorBoard's own reader takes them for, also those of a program that was killed. */
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ensurePython } from "torchwire";
import { Loggables, tensorBoard, type Loggable } from "torchwire/logging";
import { built } from "../../built.ts";
import { testPackages } from "../../python-packages.ts";

const root = mkdtempSync(join(tmpdir(), "tensorboard-"));
const local = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
let folder: string;
let count = 0;
let read: (folder: string) => Promise<Events>;
beforeAll(async () => {
  const { executable } = await ensurePython();
  const env = { PYTHONPATH: await testPackages() };
  read = async (path) =>
    JSON.parse(
      (await execa(executable, [local("../../fixtures/logging/read_events.py"), path], { env })).stdout.replaceAll(
        "NaN",
        "null",
      ),
    ) as Events;
}, 120_000);
beforeEach(() => {
  folder = join(root, String(count++));
});
afterAll(() => rmSync(root, { recursive: true }));

interface Events {
  readonly files: readonly string[];
  readonly events: readonly (readonly [fileVersion: string, step: number, tags: readonly string[]])[];
  readonly plugins: { readonly [tag: string]: string };
  readonly scalars: {
    readonly [tag: string]: readonly (readonly [step: number, value: number | null, time: number])[];
  };
  readonly images: {
    readonly [tag: string]: readonly (readonly [step: number, width: number, height: number, file: string])[];
  };
  readonly audio: { readonly [tag: string]: readonly (readonly unknown[])[] };
  readonly histograms: { readonly [tag: string]: readonly (readonly [step: number, histogram: object])[] };
  readonly texts: { readonly [tag: string]: readonly unknown[] };
  readonly hparams: { readonly [tag: string]: object };
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

describe("TensorBoard reads", () => {
  test("numbers, by tag and step, with the time; those of one record from one event", async () => {
    const before = Date.now() / 1000;
    const backend = tensorBoard(folder);
    backend.log({ group: ["Step", "training", "Metrics"], at: 1, values: { loss: 0.5, bad: NaN } });
    backend.log({ group: ["Step", "training", "Metrics"], at: 2 ** 40, values: { loss: -3e38 } });
    backend.log({ group: [], at: 0, values: { alone: 1 / 3, größe: 7 } });
    const { scalars, events, files, plugins } = await read(folder);
    const [first, second] = scalars["Step/training/Metrics/loss"]!;
    expect([first!.slice(0, 2), second!.slice(0, 2)]).toEqual([
      [1, 0.5],
      [2 ** 40, Math.fround(-3e38)],
    ]);
    expect(first![2]).toBeGreaterThanOrEqual(before);
    expect(first![2]).toBeLessThanOrEqual(Date.now() / 1000);
    expect(scalars["Step/training/Metrics/bad"]![0]!.slice(0, 2)).toEqual([1, null]);
    expect(scalars["alone"]![0]![1]).toBe(Math.fround(1 / 3));
    expect(events).toEqual([
      ["brain.Event:2", 0, []],
      ["", 1, ["Step/training/Metrics/loss", "Step/training/Metrics/bad"]],
      ["", 2 ** 40, ["Step/training/Metrics/loss"]],
      ["", 0, ["alone", "größe"]],
    ]);
    expect(files).toHaveLength(1);
    expect(plugins).toMatchObject({ alone: "scalars", größe: "scalars" });
  });

  test("texts, images, sounds and histograms, on the pages that they are for", async () => {
    const sound = Loggables.audio({ dtype: "float32", shape: [4, 2], data: new Float32Array(8).fill(0.5) }, 16000);
    const picture = Loggables.image({
      dtype: "uint8",
      shape: [3, 200, 3],
      data: new Uint8Array(1800).map((_, i) => i),
    });
    const values: { [name: string]: Loggable } = {
      text: Loggables.text("# Title\n\nä | 🎉"),
      picture,
      sound,
      weights: Loggables.histogram([-1, 0, 0.5, 1, NaN], { bins: 4 }),
      same: Loggables.histogram([2, 2, 2]),
    };
    tensorBoard(folder).log({ group: ["Step"], at: 7, values });
    const found = await read(folder);
    expect(found.plugins).toEqual({
      "Step/text": "text",
      "Step/picture": "images",
      "Step/sound": "audio",
      "Step/weights": "histograms",
      "Step/same": "histograms",
    });
    expect(found.texts["Step/text"]).toEqual([[7, ["# Title\n\nä | 🎉"]]]);
    expect(found.images["Step/picture"]).toEqual([[7, 200, 3, base64(picture.png)]]);
    expect(found.audio["Step/sound"]).toEqual([[7, 16000, 4, "audio/wav", base64(sound.wav)]]);
    expect(found.histograms).toEqual({
      "Step/weights": [
        [
          7,
          {
            min: -1,
            max: 1,
            num: 4,
            sum: 0.5,
            sum_squares: 2.25,
            bucket_limit: [-0.5, 0, 0.5, 1],
            bucket: [1, 0, 1, 2],
          },
        ],
      ],
      "Step/same": [[7, { min: 2, max: 2, num: 3, sum: 6, sum_squares: 12, bucket_limit: [2], bucket: [3] }]],
    });
  });

  test.each([
    ["completed", "STATUS_SUCCESS"],
    ["stopped", "STATUS_SUCCESS"],
    ["failed", "STATUS_FAILURE"],
    ["interrupted", undefined],
  ] as const)("the settings of a run that %s", async (status, expected) => {
    const backend = tensorBoard(folder);
    backend.begin!({ lr: 1e-3, layers: 3, optimizer: "adamW", augmented: true, frozen: false });
    backend.log({ group: [], at: 1, values: { loss: 1 } });
    backend.end!({ status, reason: "why", by: undefined });
    const { hparams, scalars } = await read(folder);
    expect(hparams["_hparams_/session_start_info"]).toMatchObject({
      sessionStartInfo: { hparams: { lr: 1e-3, layers: 3, optimizer: "adamW", augmented: true, frozen: false } },
    });
    const { sessionEndInfo } = hparams["_hparams_/session_end_info"] as {
      sessionEndInfo: { status?: string; endTimeSecs: number };
    };
    expect(sessionEndInfo.status).toBe(expected);
    expect(Math.abs(sessionEndInfo.endTimeSecs - Date.now() / 1000)).toBeLessThan(60);
    expect(scalars["loss"]).toHaveLength(1);
  });

  test("a folder that was opened again: one file more, and everything of both", async () => {
    for (const at of [1, 2, 3]) {
      const backend = tensorBoard(folder);
      backend.log({ group: [], at, values: { loss: at } });
      backend.close();
    }
    const { files, scalars } = await read(folder);
    expect(files).toHaveLength(3);
    expect(scalars["loss"]!.map(([, value]) => value)).toEqual([1, 2, 3]);
  });
});

describe("what stops in the middle", () => {
  test("a program that is killed leaves whole records, in every backend", async () => {
    mkdirSync(folder);
    const child = execa(process.execPath, [built("test/fixtures/logging/write.mts"), folder], {
      reject: false,
      buffer: false,
    });
    await once(child.stdout, "data");
    // The program says its own process.
    const { pid } = JSON.parse(readFileSync(join(folder, "pid"), "utf8")) as { pid: number };
    process.kill(pid, "SIGKILL");
    await child;
    const { scalars, images, texts } = await read(folder);
    const { length } = scalars["Step/loss"]!;
    expect(length).toBeGreaterThanOrEqual(50);
    expect(scalars["Step/loss"]!.map(([step, value]) => [step, value])).toEqual(
      Array.from({ length }, (_, i) => [i + 1, Math.fround(1 / (i + 1))]),
    );
    expect([images["Step/picture"], texts["Step/note"]].map((all) => all!.length)).toEqual([length, length]);
    const text = (name: string): string => readFileSync(join(folder, name), "utf8");
    const lines = text("log.jsonl").split("\n");
    expect(lines.pop()).toBe("");
    const records = lines.map((line) => JSON.parse(line) as { at: number; values: { picture: { image: string } } });
    expect(records.map(({ at }) => at)).toEqual(lines.map((_, i) => i + 1));
    // It may have been killed between one backend and the next.
    expect(length - lines.length).toBeOneOf([0, 1]);
    const rows = text("log.csv").match(/^.*Step\/loss.*\r\n/gm)!;
    expect(lines.length - rows.length).toBeOneOf([0, 1]);
    for (const { values } of records)
      expect(readdirSync(join(folder, "files/Step/picture"))).toContain(values.picture.image.split("/").at(-1));
  }, 60_000);

  test("of a file that was cut off anywhere in its last record, all before it are read", async () => {
    const backend = tensorBoard(folder);
    for (const at of [1, 2, 3]) backend.log({ group: [], at, values: { loss: at } });
    backend.close();
    const [name] = readdirSync(folder) as [string];
    const size = readFileSync(join(folder, name)).length;
    // Three records of one size come after the first.
    const record = (size - (16 + readFileSync(join(folder, name)).readUInt32LE(0))) / 3;
    for (const missing of [1, 4, record - 1, record]) {
      const cut = join(folder, `cut-${missing}`);
      mkdirSync(cut);
      copyFileSync(join(folder, name), join(cut, name));
      truncateSync(join(cut, name), size - missing);
      expect((await read(cut)).scalars["loss"]!.map(([, value]) => value)).toEqual([1, 2]);
    }
  });
});

/**
 * Every file that this side writes, in a folder that becomes full in the middle of a record; then there is room again.
 */
describe.each([
  ["files that may not grow", "limit", process.platform !== "linux" && "prlimit is Linux's"],
  [
    "a disk that is full",
    "disk",
    (process.platform !== "linux" || process.getuid?.() !== 0) && "a small disk is root's to mount",
  ],
] as const)("after %s", (_, how, without) => {
  test("there are whole records, and those that came later", async ({ skip }) => {
    if (without) return skip(without);
    mkdirSync(folder, { recursive: true });
    if (how === "disk") {
      const { failed } = await execa("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { reject: false });
      if (failed) return skip("mounting is not permitted here");
    }
    try {
      const { stdout } = await execa(process.execPath, [built("test/fixtures/logging/full.ts"), folder, how]);
      const told = JSON.parse(stdout) as Full;
      for (const each of [told.jsonLines, told.csv, told.tensorBoard]) expect(each.later).toBe(true);
      expect(told.codes).toEqual(["NOT_SAVED"]);

      const lines = readFileSync(join(folder, "log.jsonl"), "utf8").trimEnd().split("\n");
      const records = lines.map((line) => JSON.parse(line) as { group: string[]; at: number; values: object });
      expect(records.filter(({ group }) => group[0] === "a").map(({ at }) => at)).toEqual(told.jsonLines.there);
      const [heading, ...rows] = readFileSync(join(folder, "log.csv"), "utf8").trimEnd().split("\r\n");
      expect(heading).toBe("time,tag,at,value");
      const cells = rows.map((row) => row.split(","));
      expect(cells.every((row) => row.length === 4)).toBe(true);
      expect(cells.map((row) => `${row[1]} ${row[2]}`)).toEqual(
        told.csv.there.flatMap((at) => ["one", "two", "note"].map((name) => `a/${name} ${at}`)),
      );
      const { scalars } = await read(folder);
      for (const name of ["a/one", "a/two"]) expect(scalars[name]!.map(([at]) => at)).toEqual(told.tensorBoard.there);

      expect(told).toMatchObject({
        full: { config: false, image: false, weights: false },
        left: [],
        after: { config: true, image: true, weights: true },
      });
      expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))).toEqual({ text: "x".repeat(9000) });
      const image = readFileSync(join(folder, "files/b/image/1.png"));
      expect(image.subarray(-8).toString("latin1")).toBe("IEND\xae\x42\x60\x82");
    } finally {
      if (how === "disk") await execa("umount", [folder]);
    }
    return undefined;
  });
});

interface Full {
  readonly jsonLines: Told;
  readonly csv: Told;
  readonly tensorBoard: Told;
  readonly codes: readonly unknown[];
}
interface Told {
  readonly there: readonly number[];
  readonly later: boolean;
}
