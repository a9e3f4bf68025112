/** Disk space: how much an environment needs, whether it is there, how much has been written. */

import { existsSync, lstatSync, statfsSync } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";

export interface SizeOptions {
  /** Default: uv, which needs the least. */
  installer?: "uv" | "pip";
  /** The build of PyTorch that was asked for. */
  backend?: string | undefined;
  platform?: NodeJS.Platform;
}

/**
 * Roughly what the packages take on disk, in bytes. On Linux the package index has PyTorch's CUDA build, 5.7 GB with
 * its libraries (measured on x86-64); elsewhere its CPU or Metal build. pip keeps what it downloads beside that.
 */
export function expectedSize(requirements: string, options: SizeOptions = {}): number {
  const { installer = "uv", backend, platform = process.platform } = options;
  if (!/^torch==/m.test(requirements)) return 100e6;
  // "auto" is the CPU build where there is no GPU; this finds NVIDIA's.
  const small = platform !== "linux" || backend === "cpu" || (backend === "auto" && !existsSync("/dev/nvidiactl"));
  if (installer === "pip") return small ? 1.6e9 : 9e9;
  return small ? 1.2e9 : 5.8e9;
}

/** Free bytes for this user on the file system of an existing folder. */
export function freeSpace(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Throws where fewer than `needed` bytes are free. */
export function checkSpace(folder: string, needed: number): void {
  const free = freeSpace(folder);
  if (free >= needed) return;
  throw new EnvironmentError(
    `not enough disk space in ${folder}: about ${gigabytes(needed)} needed, ${gigabytes(free)} free. ` +
      "Make room, or put the environment on another disk.",
    { command: "TORCHWIRE_CACHE=/folder/on/another/disk npx torchwire setup" },
  );
}

/**
 * Watches how much the file systems of some folders have filled up since now, in bytes. Installers download to places
 * of their own first, so that the environment's folder alone would seem to stand still.
 */
export function watchSpace(watched: readonly string[]): () => number {
  const folders = new Map(watched.flatMap((folder) => deviceOf(folder)));
  const start = new Map([...folders.values()].map((folder) => [folder, freeSpace(folder)]));
  return () => [...start].reduce((sum, [folder, free]) => sum + Math.max(0, free - freeSpace(folder)), 0);
}

/** Bytes in a folder's files. What cannot be read, because it has just vanished, counts as nothing. */
export async function folderSize(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  let sum = 0;
  for (const entry of entries) if (entry.isDirectory()) sum += await folderSize(join(folder, entry.name));
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(folder, entry.name));
  const sizes = await Promise.all(
    files.map((file) =>
      lstat(file).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((total, size) => total + size, sum);
}

export function gigabytes(bytes: number): string {
  return bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function deviceOf(folder: string): [device: number, folder: string][] {
  const status = lstatSync(folder, { throwIfNoEntry: false });
  return status?.isDirectory() ? [[status.dev, folder]] : [];
}
