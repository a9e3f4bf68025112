/** Builds one environment: a folder that either gets its marker or is removed. */

import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { install } from "./install.ts";
import { finish, leftovers, newFolder, type Site } from "./managed.ts";
import { venvPython } from "./places.ts";
import type { Probed } from "./probe.ts";
import { duration, type Progress } from "./progress.ts";
import { checkSpace, expectedSize, folderSize, freeSpace, gigabytes, watchSpace } from "./space.ts";

export interface BuildOptions {
  base: Probed;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  progress: Progress;
  /** The build of PyTorch that was asked for. Default: the package index's. */
  backend?: string | undefined;
}

/** Resolves to the interpreter of the new environment. The caller holds the lock of `place`. */
export async function build(place: Site, options: BuildOptions): Promise<string> {
  const { directory, requirements } = place;
  const { base, env, signal, progress, backend } = options;
  for (const folder of leftovers(place)) await remove(folder);
  const packages = readFileSync(requirements, "utf8");
  const expected = expectedSize(packages, { backend });
  checkSpace(directory, expected);

  const folder = newFolder(place, base, backend);
  const start = performance.now();
  const sizes = `about ${gigabytes(expected)} on disk, ${gigabytes(freeSpace(directory))} free`;
  progress.line(`torchwire: making a Python environment with PyTorch (${sizes})`);
  progress.line(`  in ${folder}`);
  progress.line(`  from Python ${base.version}, ${base.executable}`);
  const watch = watchBuild(folder, [directory, env.HOME ?? env.USERPROFILE ?? directory, tmpdir()], progress, expected);
  try {
    const { onStep } = watch;
    const onPip = (): void => {
      // It was not known before, and pip needs more.
      const needed = expectedSize(packages, { backend, installer: "pip" });
      if (needed > expected) progress.line(`  with pip, which takes about ${gigabytes(needed)} while it is at work`);
      checkSpace(directory, needed);
    };
    const job = { base, folder, requirements, env, signal, cwd: directory, backend, onStep, onPip };
    const installer = await install(job);
    await watch.stop();
    const size = gigabytes(await folderSize(folder));
    signal.throwIfAborted();
    finish(folder, { base: base.executable, version: base.version, installer, ...(backend && { backend }) });
    progress.line(`torchwire: ready in ${duration(performance.now() - start)}, ${size}: ${folder}`);
    return venvPython(folder);
  } catch (error) {
    await watch.stop();
    progress.live("  removing what was made");
    await remove(folder);
    if (signal.aborted) progress.line("torchwire: interrupted; what was made is removed again");
    throw error;
  }
}

interface Watch {
  onStep: (step: string) => void;
  stop: () => Promise<void>;
}

/** The live line: the step, the time, and how much has been written so far. */
function watchBuild(folder: string, around: string[], progress: Progress, expected: number): Watch {
  const start = performance.now();
  const written = watchSpace(around);
  let step = "";
  let size = 0;
  let measuring: Promise<void> | undefined;
  let measureAfter = 0;
  const measure = async (): Promise<void> => {
    const from = performance.now();
    size = await folderSize(folder);
    // At most a tenth of the time: it is twenty thousand files in the end.
    measureAfter = performance.now() + Math.max(2_000, 10 * (performance.now() - from));
    measuring = undefined;
  };
  const timer = setInterval(() => {
    if (measuring === undefined && performance.now() > measureAfter) measuring = measure();
    const bytes = Math.max(size, written());
    // More than expected is no mistake: pip keeps what it downloads until it is done.
    const total = bytes < expected ? ` of about ${gigabytes(expected)}` : "";
    progress.live(`  ${step}: ${duration(performance.now() - start)}, ${gigabytes(bytes)}${total} written`);
  }, 500);
  return {
    onStep: (text) => void (step = text),
    stop: async () => {
      clearInterval(timer);
      await measuring;
    },
  };
}

async function remove(folder: string): Promise<void> {
  // Retries: a child that was killed may still be closing its files.
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
