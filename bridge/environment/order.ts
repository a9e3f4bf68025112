/** The set-up's Python half, near or far: what it is told, and what it says. */

import { EnvironmentError, type ErrorCode } from "../errors/errors.ts";
import type { Progress } from "./progress.ts";
import { expectedSize, type SizeOptions } from "./space.ts";

export interface SetupOrder {
  readonly setup: { readonly backend: string | null; readonly sizes: object };
  readonly requirements: string;
}

/** `requirements` is the text of the list. `platform` is given where the machine is another one. */
export function setupOrder(requirements: string, backend?: string, platform?: NodeJS.Platform): SetupOrder {
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
  const build = platform !== undefined && backend === "auto" ? undefined : backend;
  return {
    setup: { backend: backend ?? null, sizes: { asked: size({ ...there, backend: build }), default: size(there) } },
    requirements,
  };
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
