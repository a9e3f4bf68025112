/** Lists the files of a folder with one sub-folder per class, in the order of torchvision.datasets.ImageFolder. */
import type { Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { oneLine } from "../../bridge/errors/shown.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";

/** A path, or text that holds one, for an error: on one line, and longer than other names may be. */
export const shownPath = (path: string): string => oneLine(path, 1000);

/** The name's ending tells an image; capitals make no difference. An animation gives its first frame. */
export const extensions: readonly string[] = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".avif"];

/** Kinds of images that the published sharp cannot read. Leaving them out in silence would change the data. */
const unreadable: readonly string[] = [".bmp", ".pgm", ".ppm", ".pnm", ".heic", ".heif", ".jxl", ".jp2"];

export interface ClassFiles {
  /** The class: the sub-folder's name. */
  readonly name: string;
  /** Paths of its images, each beginning with the folder's own path. */
  readonly paths: string[];
  /** Paths of images of a kind that cannot be read. */
  readonly unreadable: string[];
}

/**
 * The sub-folders of `root`, by name, each with the images in it and in the folders within it. Images are sorted by
 * folder, then by name; both by code points, which is the same on every platform. Links are followed. Names that start
 * with a dot are ignored, and so are images outside of the sub-folders.
 *
 * Throws BAD_DATA where `root` is not a folder, has no sub-folder, or a link leads back into a folder that holds it.
 */
export async function classFiles(root: string): Promise<ClassFiles[]> {
  const { folders, files } = await list(root);
  if (folders.length === 0) {
    const images = files.filter((name) => has(extensions, name)).length;
    const found = images === 0 ? "it has no sub-folder" : `its ${images} images lie in no sub-folder`;
    throw new TorchwireError(
      "BAD_DATA",
      `${shownPath(root)}: a folder per class is needed, as in ${shownPath(join(root, "cat", "1.jpg"))}; ${found}`,
    );
  }
  const classes: ClassFiles[] = [];
  for (const name of folders.toSorted(byCodePoint)) classes.push(await filesOf(root, name));
  return classes;
}

async function filesOf(root: string, name: string): Promise<ClassFiles> {
  const found: { folder: string; files: string[] }[] = [];
  await walk(root, name, [await realpath(root)], found);
  const paths: string[] = [];
  const unreadablePaths: string[] = [];
  for (const { folder, files } of found.toSorted((a, b) => byCodePoint(a.folder, b.folder)))
    for (const file of files.toSorted(byCodePoint)) {
      if (has(extensions, file)) paths.push(join(root, folder, file));
      else if (has(unreadable, file)) unreadablePaths.push(join(root, folder, file));
    }
  return { name, paths, unreadable: unreadablePaths };
}

/**
 * `folder` and `found` are relative to `root`, with slashes on every platform. `trail`: the real paths of the folders
 * above.
 */
async function walk(
  root: string,
  folder: string,
  trail: readonly string[],
  found: { folder: string; files: string[] }[],
): Promise<void> {
  const path = join(root, folder);
  const real = await realpath(path);
  if (trail.includes(real))
    throw new TorchwireError(
      "BAD_DATA",
      `${shownPath(path)} is a link back to ${shownPath(real)}, which it lies in; remove the link`,
    );
  const { folders, files } = await list(path);
  found.push({ folder, files });
  for (const name of folders) await walk(root, `${folder}/${name}`, [...trail, real], found);
}

/**
 * The names in a folder. A broken link counts as a file: reading it will fail. Sockets, pipes and devices are left out.
 */
async function list(path: string): Promise<{ folders: string[]; files: string[] }> {
  let entries: Dirent[];
  try {
    entries = await readdir(path, { withFileTypes: true });
  } catch (cause) {
    const reason = messageOf(cause);
    throw new TorchwireError("BAD_DATA", `cannot read the folder ${shownPath(path)}: ${shownPath(reason)}`, { cause });
  }
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const kind = entry.isSymbolicLink() ? await stat(join(path, entry.name)).catch(() => undefined) : entry;
    if (kind?.isDirectory() === true) folders.push(entry.name);
    else if (kind === undefined || kind.isFile()) files.push(entry.name);
  }
  return { folders, files };
}

const has = (known: readonly string[], name: string): boolean => known.includes(extname(name).toLowerCase());

/**
 * Python's order of strings. JavaScript compares UTF-16 units, in which U+10000 and above come before U+E000 to U+FFFF.
 */
export function byCodePoint(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const surrogates = Number(isSurrogate(x)) - Number(isSurrogate(y));
    return surrogates === 0 ? x - y : surrogates;
  }
  return a.length - b.length;
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff;
