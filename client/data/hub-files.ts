/** Finds the files of a data set in the layout of Hugging Face's hub, and the split of each, by their names. */
import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine, quoted } from "../../bridge/errors/shown.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { byCodePoint, shownPath } from "./image-files.ts";

export interface DataFile {
  /** Within the data set's folder, with slashes on every platform. */
  readonly path: string;
  readonly split: string;
  readonly kind: "parquet" | "json" | "csv";
}

/** In the order in which they are preferred. */
const kinds: readonly (readonly [DataFile["kind"], RegExp])[] = [
  ["parquet", /\.parquet$/i],
  ["json", /\.(?:jsonl|ndjson|json)(?:\.gz)?$/i],
  ["csv", /\.(?:csv|tsv)(?:\.gz)?$/i],
];

/** Files about a data set, which have none of its rows. */
const about: readonly string[] = ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"];

const words: ReadonlyMap<string, string> = new Map([
  ...["train", "training"].map((word) => [word, "train"] as const),
  ...["validation", "valid", "val", "dev"].map((word) => [word, "validation"] as const),
  ...["test", "testing", "eval", "evaluation"].map((word) => [word, "test"] as const),
]);

/** The split that a name says by one of its words; undefined where it says none. */
export const splitName = (name: string): string | undefined =>
  name
    .toLowerCase()
    .split(/[^a-z]+/)
    .map((word) => words.get(word))
    .find((split) => split !== undefined);

const SHARD = /^(.+)-(\d{5})-of-(\d{5})\.[^/]*$/;

/** The files of one configuration, those of each split in order: train, validation, test, then others by name. */
export async function dataFiles(root: string, name: string | undefined): Promise<DataFile[]> {
  const { folders, files } = await list(root);
  if (name !== undefined) {
    if (!folders.includes(name))
      throw new TorchwireError(
        "MISUSE",
        `${shownPath(root)} has no configuration ${quoted(name)}; its folders are ${shownNames(folders)}`,
      );
    return (await dataFiles(join(root, name), undefined)).map((file) => ({ ...file, path: `${name}/${file.path}` }));
  }
  if (files.some((file) => about.slice(2).includes(file)) || files.some((file) => file.endsWith(".arrow")))
    throw new TorchwireError(
      "BAD_DATA",
      `${shownPath(root)} was written by save_to_disk, as Arrow. Save it as Parquet, in Python: datasets.load_from_disk(folder)["train"].to_parquet("train.parquet"), or without ["train"] where it has no splits`,
    );

  const paths = [...files, ...(await within(root, "data", folders))];
  for (const folder of folders)
    if (splitName(folder) !== undefined) paths.push(...(await within(root, folder, folders)));
  const kind = kinds.find(([, ending]) => paths.some((path) => isData(path, ending)));
  if (kind === undefined) return configured(root, folders, files);
  const found = paths.filter((path) => isData(path, kind[1]));
  checkShards(root, found);
  const named = found.map((path) => ({ path, split: splitOf(path), kind: kind[0] }));
  const anySplit = named.some(({ split }) => split !== undefined);
  return named
    .flatMap(({ path, split, kind }) =>
      split === undefined && anySplit ? [] : [{ path, split: split ?? "train", kind }],
    )
    .toSorted((a, b) => rank(a.split) - rank(b.split) || byCodePoint(a.split, b.split) || byCodePoint(a.path, b.path));
}

/** The only configuration among `folders`. */
async function configured(root: string, folders: readonly string[], files: readonly string[]): Promise<DataFile[]> {
  const found: [string, DataFile[]][] = [];
  for (const folder of folders) {
    if ((await within(root, folder, folders)).every((path) => !kinds.some(([, ending]) => isData(path, ending))))
      continue;
    found.push([folder, await dataFiles(root, folder)]);
  }
  const [only, ...others] = found;
  if (only === undefined)
    throw new TorchwireError(
      "BAD_DATA",
      `${shownPath(root)} has no file of Parquet, JSON lines or CSV, nor have its folders data, train and so on; it has ${shownNames([...folders.map((folder) => `${folder}/`), ...files])}`,
    );
  if (others.length > 0)
    throw new TorchwireError(
      "MISUSE",
      `${shownPath(root)} has several configurations; say which by name: ${shownNames(found.map(([folder]) => folder))}`,
    );
  return only[1];
}

/** The files of a folder, and those of folders in it that are called by a split. */
async function within(root: string, folder: string, folders: readonly string[]): Promise<string[]> {
  if (!folders.includes(folder)) return [];
  const inside = await list(join(root, folder));
  const paths = inside.files.map((file) => `${folder}/${file}`);
  for (const deeper of inside.folders)
    if (deeper === "data" || splitName(deeper) !== undefined)
      for (const file of (await list(join(root, folder, deeper))).files) paths.push(`${folder}/${deeper}/${file}`);
  return paths;
}

const isData = (path: string, ending: RegExp): boolean => ending.test(path) && !about.includes(path.split("/").at(-1)!);

/** By the file's name, else by those of its folders. */
function splitOf(path: string): string | undefined {
  const parts = path.split("/").toReversed();
  const [, shard] = SHARD.exec(parts[0]!) ?? [];
  if (shard !== undefined && /^\w+$/.test(shard)) return shard;
  return parts.map((part) => splitName(part)).find((split) => split !== undefined);
}

function checkShards(root: string, paths: readonly string[]): void {
  for (const path of paths) {
    const [, start, , count] = SHARD.exec(path) ?? [];
    if (start === undefined) continue;
    const others = paths.filter((other) => other.startsWith(`${start}-`) && other.includes(`-of-${count}.`));
    if (others.length !== Number(count))
      throw new TorchwireError(
        "BAD_DATA",
        `${shownPath(join(root, path))}: ${Number(count)} such files make the split, and ${others.length} are here; a download is not complete`,
      );
  }
}

const order: readonly string[] = ["train", "validation", "test"];
const rank = (split: string): number => (order.includes(split) ? order.indexOf(split) : order.length);

async function list(path: string): Promise<{ folders: string[]; files: string[] }> {
  let entries: Dirent[];
  try {
    entries = await readdir(path, { withFileTypes: true });
  } catch (cause) {
    throw new TorchwireError("BAD_DATA", `cannot read the folder ${shownPath(path)}: ${shownPath(messageOf(cause))}`, {
      cause,
    });
  }
  const names = (keep: (entry: Dirent) => boolean): string[] =>
    entries
      .filter((entry) => !entry.name.startsWith(".") && keep(entry))
      .map(({ name }) => name)
      .toSorted(byCodePoint);
  // A download of the hub's own client consists of links.
  return {
    folders: names((entry) => entry.isDirectory()),
    files: names((entry) => entry.isFile() || entry.isSymbolicLink()),
  };
}

const shownNames = (names: readonly string[]): string =>
  names.length === 0
    ? "nothing"
    : `${names
        .slice(0, 12)
        .map((name) => oneLine(name, 60))
        .join(", ")}${names.length > 12 ? ` and ${names.length - 12} more` : ""}`;
