/** The set-up's Python half, near or far: what it is told, and what it says. */

import { EnvironmentError, type ErrorCode } from "../errors/errors.ts";
import type { Packages, Wanted } from "./packages.ts";
import type { Progress } from "./progress.ts";
import { quoted, type Requirement } from "./requirement.ts";
import { expectedSize, type SizeOptions } from "./space.ts";

export interface SetupOrder {
  readonly setup: { readonly backend: string | null; readonly sizes: object };
  readonly requirements: string;
  readonly packages: OrderedPackages | null;
  /** The command that does it again. */
  readonly again: string;
}

/** What the project wants beside the worker's own packages, as the Python half is told. */
export interface OrderedPackages extends Packages {
  /** Versions are to be found for those that have none. */
  readonly open: boolean;
  /** The project's file, where it is on that machine. */
  readonly file: string | null;
}

/** What there is to be made. */
export interface Task {
  /** The text of the list of the worker's own packages. */
  readonly requirements: string;
  readonly wanted: Wanted | undefined;
  readonly added?: readonly Requirement[];
  readonly upgrade?: boolean | undefined;
}

/** `platform` is given where the machine is another one. */
export function setupOrder(
  { requirements, wanted, added = [], upgrade = false }: Task,
  backend?: string,
  platform?: NodeJS.Platform,
): SetupOrder {
  if (backend !== undefined && !/^[a-z][a-z0-9.]*$/.test(backend)) {
    throw new EnvironmentError(`"${backend}" names no build of PyTorch; it may be auto, cpu, cu126, cu128, cu130, ….`, {
      command: "npx torchwire setup --torch-backend auto",
    });
  }
  const size = (options: SizeOptions): object => ({
    uv: expectedSize(requirements, { ...options, installer: "uv" }),
    pip: expectedSize(requirements, { ...options, installer: "pip" }),
  });
  const there = platform === undefined ? {} : { platform };
  // Only the other machine knows whether it has a GPU.
  const build = platform !== undefined && backend === "auto" ? undefined : (backend ?? "cpu");
  const words = [...(upgrade ? ["--upgrade"] : []), ...added.map(({ text }) => quoted(text))].join(" ");
  return {
    setup: { backend: backend ?? null, sizes: { asked: size({ ...there, backend: build }), default: size(there) } },
    requirements,
    packages: orderedPackages(wanted, platform === undefined),
    again: words === "" ? "npx torchwire setup" : `npx torchwire add ${words}`,
  };
}

/** `here`: the project is on the machine of the Python half. */
export function orderedPackages(wanted: Wanted | undefined, here: boolean): OrderedPackages | null {
  if (wanted === undefined) return null;
  const { packages, versions, open, file } = wanted;
  return { packages, versions, open, file: here ? file : null };
}

/** What is missing on its machine, as a Python half says it. */
export interface HalfFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly command?: string | null;
}

/** Takes each thing that the Python half says. Lines go to `progress`; the result and the failure are kept. */
export class Heard {
  readonly said: Record<string, unknown> = {};
  failure: HalfFailure | undefined;
  readonly #progress: Progress;

  constructor(progress: Progress) {
    this.#progress = progress;
  }

  take(said: Readonly<Record<string, unknown>>): void {
    if (typeof said["line"] === "string") this.#progress.line(said["line"]);
    if (typeof said["live"] === "string") this.#progress.live(said["live"]);
    if ("error" in said) this.failure = said["error"] as HalfFailure;
    Object.assign(this.said, said);
  }
}
