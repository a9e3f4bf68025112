/** The managed environment: the one there is, or a new one, which the Python half makes. */

import { utimesSync } from "node:fs";
import { recorded, requirementsToAdd, type Made } from "./add.ts";
import { findBase, programAt } from "./base.ts";
import { findManaged, type Managed, type ManagedOptions, markerOf, type Narrowed, type Site, site } from "./managed.ts";
import { runNear } from "./near.ts";
import { setupOrder } from "./order.ts";
import { isProgram } from "./places.ts";
import { plainProgress, progressOn } from "./progress.ts";

export interface SetupOptions extends ManagedOptions {
  /** The interpreter to make it from, 3.10 to 3.13: a path or a name. Default: the first on `PATH` that serves. */
  python?: string | undefined;
  /**
   * The build of PyTorch, as uv's option of this name takes it: "auto", "cpu", "cu126", … It comes from PyTorch's own
   * index; where that cannot be reached, or there is no uv, the package index's build is taken, and that is said.
   * Default: the one there is; else the CPU build where no NVIDIA GPU is seen, and the package index's where one is.
   */
  torchBackend?: string | undefined;
  /**
   * Packages that the project is to have from now on, as pip writes them: `["timm", "einops>=0.8"]`. What came of it is
   * recorded in the project's `torchwire.packages.json`.
   */
  add?: readonly string[] | undefined;
  /** Finds the newest versions that fit: of the packages in `add`, or of all the project's where that is empty. */
  upgrade?: boolean | undefined;
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
 * Runs at the same time wait for each other. A run that fails or is interrupted removes what it made. The next run
 * removes what a killed one left.
 *
 * @throws {EnvironmentError} No interpreter that serves, no space, packages that do not go together, or a step failed:
 *   with the last lines it printed.
 */
export async function setup(options: SetupOptions = {}): Promise<SetupResult> {
  const env = options.env ?? process.env;
  const { torchBackend: asked } = options;
  const progress = options.onProgress ? plainProgress(options.onProgress) : progressOn(process.stderr, env);
  const added = requirementsToAdd(options, (line) => progress.line(line));
  const place = site(options, { added, upgrade: options.upgrade ?? false });
  const order = setupOrder({ ...place, added, upgrade: options.upgrade }, asked);
  const by = options.python && (programAt(options.python, env) ?? options.python);
  const found = find(place, { by, backend: asked });
  if (found !== undefined) return existing(found, options);

  // It may be known by another path: then its version tells.
  const base = await findBase(options.python ?? earlierBase(place), env);
  const like = options.python === undefined ? undefined : base;
  const alike = find(place, { like, backend: asked });
  if (alike !== undefined) return existing(alike, options);

  const { directory, key, wanted } = place;
  const whole = { ...order, python: options.python ?? null, base, directory, key, there: "" };
  const { made } = await runNear(base.executable, whole, { env, progress });
  return recorded(made as Made, wanted);
}

/** The one that serves. One with packages must know of the project: it is kept as long as a project wants it. */
function find(place: Site, made: Narrowed): Managed | undefined {
  if (place.wanted?.open === true) return undefined;
  const found = findManaged(place, made);
  const { projects } = found?.marker ?? {};
  return place.wanted === undefined || projects?.includes(place.wanted.file) !== false ? found : undefined;
}

/** An environment with packages is made from the interpreter of the one that there is: it shares that one's files. */
function earlierBase(place: Site): string | undefined {
  const base = place.wanted && findManaged(place, { anyPackages: true })?.marker.base;
  return base !== undefined && isProgram(base) ? base : undefined;
}

function existing({ folder, executable }: Managed, { python, torchBackend }: SetupOptions): SetupResult {
  // From now on, the one last asked for is the one that is found.
  if (python !== undefined || torchBackend !== undefined) utimesSync(markerOf(folder), new Date(), new Date());
  return { executable, created: false };
}
