/** Folders for what tests write. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

let scratch: Promise<string> | undefined;
let paths = 0;

/** A path in a new folder. A file that calls this says `afterAll(clean)`. */
export async function fresh(name: string): Promise<string> {
  scratch ??= mkdtemp(join(tmpdir(), "torchwire-test-"));
  const folder = join(await scratch, String(paths++));
  await mkdir(folder);
  return join(folder, name);
}

/** Removes all of them. The files of one process share this module, one after the other. */
export async function clean(): Promise<void> {
  const folder = await scratch;
  scratch = undefined;
  if (folder !== undefined) await rm(folder, { recursive: true });
}
