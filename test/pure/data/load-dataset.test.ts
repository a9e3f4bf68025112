/** Data sets in the layout of Hugging Face's hub: which files are rows, and of which split. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadDataset } from "../../../client/data/load-dataset.ts";
import { caught } from "../../observed.ts";
import { all, folderOf, golden } from "../../tables.ts";
import { clean } from "../../scratch.ts";

afterAll(clean);

let parquet: Buffer;
beforeAll(async () => {
  parquet = await readFile(golden("none.parquet"));
});

/** Each split with the values of its column `i`, or with how many rows it has. */
async function splitsOf(files: Record<string, string | Uint8Array>, options = {}): Promise<Record<string, unknown>> {
  const found = await loadDataset<{ i: number }>(await folderOf(files), options);
  const entries: [string, unknown][] = [];
  for (const [split, rows] of Object.entries(found))
    entries.push([split, rows.length === 40 ? 40 : await rows.column("i")]);
  return Object.fromEntries(entries);
}

const csv = (...values: number[]): string => `i\n${values.join("\n")}\n`;
const lines = (...values: number[]): string => values.map((i) => `{"i":${i}}\n`).join("");

describe("splits", () => {
  test("of the hub's own files: shards in data, each split in their order", async () => {
    const found = await loadDataset<{ label: number }>(golden("digits"));
    expect(Object.keys(found)).toEqual(["train", "test"]);
    expect(await found["train"]!.column("label")).toEqual([0, 1, 0, 1, 0, 1]);
    const test = await loadDataset<{ label: number }>(golden("digits"), { split: "test", columns: ["label"] });
    expect(await all(test)).toEqual([{ label: 0 }, { label: 1 }]);
  });

  test.each<[string, Record<string, string>, Record<string, unknown>]>([
    ["files by their names", { "train.csv": csv(1, 2), "test.csv": csv(3) }, { train: [1, 2], test: [3] }],
    ["words in names", { "my_dev_1.jsonl": lines(1), "my-training.jsonl": lines(2) }, { train: [2], validation: [1] }],
    [
      "folders",
      { "train/b.csv": csv(2), "train/a.csv": csv(1), "val/0.csv": csv(3) },
      { train: [1, 2], validation: [3] },
    ],
    ["folders in data", { "data/train/0.csv": csv(1), "data/test/0.csv": csv(2) }, { train: [1], test: [2] }],
    ["a file without a split", { "rows.csv": csv(1), "README.md": "#", "notes.txt": "" }, { train: [1] }],
    ["files without one beside splits", { "train.csv": csv(1), "labels.csv": "x\n1\n" }, { train: [1] }],
    [
      "shards with a name of their own",
      { "data/train_sft-00000-of-00002.jsonl": lines(1), "data/train_sft-00001-of-00002.jsonl": lines(2) },
      { train_sft: [1, 2] },
    ],
    [
      "JSON before CSV, and no file about the data set",
      { "train.json": '[{"i":1}]', "test.csv": csv(2), "dataset_infos.json": "{}" },
      { train: [1] },
    ],
    ["one configuration", { "plain/train.csv": csv(1), "figures/a.png": "" }, { train: [1] }],
  ])("%s", async (_, files, splits) => {
    expect(await splitsOf(files)).toEqual(splits);
  });

  test("Parquet comes before all else, also as the hub converts data sets", async () => {
    expect(await splitsOf({ "default/train/0000.parquet": parquet, "default/test/0000.parquet": parquet })).toEqual({
      train: 40,
      test: 40,
    });
    expect(await splitsOf({ "train.parquet": parquet, "test.csv": csv(1) })).toEqual({ train: 40 });
  });

  test("one of them, by its name or another word for it", async () => {
    const folder = await folderOf({ "train.csv": csv(1), "valid.csv": csv(2) });
    for (const split of ["validation", "val", "dev"])
      expect(await (await loadDataset<{ i: number }>(folder, { split })).column("i")).toEqual([2]);
    expect(await caught(() => loadDataset(folder, { split: "test" }))).toMatchObject({
      code: "MISUSE",
      message: expect.stringContaining('has no split "test"; it has train, validation'),
    });
  });

  test("of one of several configurations, by its name", async () => {
    const files = { "en/train.csv": csv(1), "de/train.csv": csv(2) };
    expect(await splitsOf(files, { name: "de" })).toEqual({ train: [2] });
    expect(await caught(() => splitsOf(files))).toMatchObject({
      code: "MISUSE",
      message: /several configurations; .*: de, en$/,
    });
    expect(await caught(() => splitsOf(files, { name: "fr" }))).toMatchObject({
      code: "MISUSE",
      message: /no configuration "fr"; .* de, en$/,
    });
  });
});

describe("what is no such data set", () => {
  test.each<[string, Record<string, string>, RegExp]>([
    [
      "no rows",
      { "README.md": "#", "img/a.png": "" },
      /has no file of Parquet, JSON lines or CSV.*; it has img\/, README\.md/,
    ],
    [
      "a shard is missing",
      { "data/train-00000-of-00003.csv": csv(1), "data/train-00002-of-00003.csv": csv(1) },
      /00000-of-00003\.csv: 3 such files make the split, and 2 are here/,
    ],
    [
      "Arrow of save_to_disk, with splits",
      { "dataset_dict.json": "{}", "train/state.json": "{}" },
      /written by save_to_disk, as Arrow.*to_parquet/,
    ],
    ["Arrow of save_to_disk", { "state.json": "{}", "data-00000-of-00001.arrow": "" }, /save_to_disk, as Arrow/],
    ["columns differ", { "train/a.csv": csv(1), "train/b.csv": "j\n1\n" }, /different columns/],
  ])("%s", async (_, files, message) => {
    const error = await caught(() => splitsOf(files));
    expect(error.code).toBe("BAD_DATA");
    expect(error.message).toMatch(message);
  });

  test("a folder that is not there, and what is no path", async () => {
    expect(await caught(() => loadDataset("/nowhere/at all"))).toMatchObject({
      code: "BAD_DATA",
      message: /cannot read the folder .*ENOENT/,
    });
    expect(await caught(() => loadDataset(5 as never))).toMatchObject({ code: "MISUSE" });
    expect(await caught(() => loadDataset(""))).toMatchObject({ code: "MISUSE" });
  });
});
