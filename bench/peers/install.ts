/** Installs the peers: npm packages that only the bench uses, in the versions of the lock beside this file. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";

const FILES = ["package.json", "package-lock.json"] as const;
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/**
 * Gives the folder that has them. The first time it installs them there, which `note` is told. Throws npm's last words
 * where they cannot be installed.
 */
export async function installPeers(note: (text: string) => void): Promise<string> {
  const lock = await readFile(here("package-lock.json"));
  const hash = createHash("sha256").update(lock).digest("hex").slice(0, 12);
  const cache = fileURLToPath(new URL("../../node_modules/.cache/torchwire-bench/", import.meta.url));
  const folder = join(cache, `peers-${hash}`);
  if (existsSync(folder)) return folder;
  note(`installing the peers, TensorFlow.js and pythonia (300 MB), once, into ${folder}`);
  const draft = `${folder}.${process.pid}`;
  try {
    await mkdir(draft, { recursive: true });
    for (const name of FILES) await copyFile(here(name), join(draft, name));
    // No script of theirs has to run.
    await execa("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: draft });
    await rename(draft, folder);
    return folder;
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    const { stderr = "", message } = error as { stderr?: string; message: string };
    throw new Error(stderr.trim().split("\n").at(-1) || message.split("\n")[0]!, { cause: error });
  }
}
