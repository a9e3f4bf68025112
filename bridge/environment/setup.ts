/** Makes the managed environment, once. */

import { utimesSync } from "node:fs";
import { EnvironmentError } from "../errors/errors.ts";
import { findBase, programAt } from "./base.ts";
import { build } from "./build.ts";
import { NoBackend } from "./install.ts";
import { locked } from "./locked.ts";
import { findManaged, type Managed, type ManagedOptions, markerOf, site } from "./managed.ts";
import { plainProgress, progressOn } from "./progress.ts";

export interface SetupOptions extends ManagedOptions {
  /** The interpreter to make it from, 3.10 to 3.13: a path or a name. Default: the first on `PATH` that serves. */
  python?: string | undefined;
  /**
   * The build of PyTorch, as uv's option of this name takes it: "auto", "cpu", "cu126", … It comes from PyTorch's own
   * index; where that cannot be reached, or there is no uv, the package index's build is taken, and that is said.
   * Default: the one there is, else the package index's.
   */
  torchBackend?: string | undefined;
  /** Takes each line of progress. Default: stderr, on a terminal with a line that is redrawn. */
  onProgress?: ((line: string) => void) | undefined;
}

export interface SetupResult {
  /** The environment's interpreter. */
  executable: string;
  /** False where it was there already. */
  created: boolean;
}

/**
 * Makes the environment that holds everything the worker needs, or finds the one made before, which starts no process.
 * Runs at the same time wait for each other. A run that fails or is interrupted removes what it made; what a killed one
 * left is removed by the next.
 *
 * @throws {EnvironmentError} No interpreter that serves, no space, or a step failed: with the last lines it printed.
 */
export async function setup(options: SetupOptions = {}): Promise<SetupResult> {
  const env = options.env ?? process.env;
  const { torchBackend: asked } = options;
  if (asked !== undefined && !/^[a-z][a-z0-9.]*$/.test(asked)) {
    throw new EnvironmentError(`"${asked}" names no build of PyTorch; it may be auto, cpu, cu126, cu128, cu130, ….`, {
      command: "npx torchwire setup --torch-backend auto",
    });
  }
  const place = site(options);
  const by = options.python && (programAt(options.python, env) ?? options.python);
  const found = findManaged(place, { by, backend: asked });
  if (found !== undefined) return existing(found, options);

  // Known by another path, perhaps: then its version tells.
  const base = await findBase(options.python, env);
  const like = options.python === undefined ? undefined : base;
  const alike = findManaged(place, { like, backend: asked });
  if (alike !== undefined) return existing(alike, options);

  const progress = options.onProgress ? plainProgress(options.onProgress) : progressOn(process.stderr, env);
  return locked(place.directory, progress, async (signal) => {
    const make = async (backend: string | undefined): Promise<SetupResult> => {
      const made = findManaged(place, { like, backend });
      if (made !== undefined) return existing(made, options);
      return { executable: await build(place, { base, env, signal, progress, backend }), created: true };
    };
    try {
      return await make(asked);
    } catch (error) {
      if (!(error instanceof NoBackend)) throw error;
      progress.line(`torchwire: ${error.message}; taking the package index's build instead`);
      return make(undefined);
    }
  });
}

function existing({ folder, executable }: Managed, { python, torchBackend }: SetupOptions): SetupResult {
  // The one last asked for is the one that is found from now on.
  if (python !== undefined || torchBackend !== undefined) utimesSync(markerOf(folder), new Date(), new Date());
  return { executable, created: false };
}
