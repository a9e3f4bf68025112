/** Disk space: how much an environment needs, and how much is free. */

import { existsSync, statfsSync } from "node:fs";

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

export function gigabytes(bytes: number): string {
  return bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
