/** Finds an interpreter in any case: where there is none, it makes the managed environment. */

import { type FindOptions, lookForPython, type Python } from "./find.ts";
import { setup } from "./setup.ts";

export interface EnsureOptions extends FindOptions {
  /** The interpreter to make the managed environment from. Default: the first on `PATH` that serves. */
  base?: string | undefined;
  /** The build of PyTorch, where one is made; see `SetupOptions`. */
  torchBackend?: string | undefined;
  /** Takes each line of progress. Default: stderr. */
  onProgress?: ((line: string) => void) | undefined;
}

/**
 * Finds the interpreter to use as `findPython` does; where there is none, makes the managed environment. With
 * TORCHWIRE_WORKER, which names a worker elsewhere, this machine needs none: nothing is made.
 */
export async function ensurePython(options: EnsureOptions = {}): Promise<Python> {
  if ((options.env ?? process.env)["TORCHWIRE_WORKER"]?.trim())
    return { executable: "python3", source: "TORCHWIRE_WORKER" };
  const { python } = await lookForPython(options);
  if (python !== undefined) return python;
  const { executable } = await setup({ ...options, python: options.base });
  return { executable, source: "managed" };
}
