/** The description of a checkpoint, manifest.json. */
import type { Position } from "../data/position.ts";
import type { Ending } from "../training/report.ts";
import type { Digest } from "./disk.ts";

/** The files of a checkpoint: the model's tensors, and all others. */
export const FILES = ["model.safetensors", "training.safetensors"] as const;

/** The part of an epoch that is over: so many batches, of which so many were steps. */
export interface Done {
  readonly batch: number;
  readonly index: number;
}

/** Where a fit goes on: the step to be run next. `batch` is 0 where its epoch has not begun. */
export interface Place extends Done {
  /** Rounds of a training epoch and its validation that are over. */
  readonly rounds: number;
  /** The side of the round that comes next, or is under way. */
  readonly side: "training" | "validation";
}

export const START: Place = { rounds: 0, side: "training", batch: 0, index: 0 };

export interface Manifest {
  readonly format: 1;
  /** Training steps of the whole run. */
  readonly steps: number;
  readonly place: Place;
  /** How the fit ended, where it did. */
  readonly ending: Ending | undefined;
  /** How often the run was resumed before. */
  readonly resumed: number;
  /** The epochs that have ended, by phase. */
  readonly epochs: { readonly [phase: string]: number };
  /** Positions of the loaders, by side. */
  readonly loaders: { readonly [side: string]: Position };
  /** Each thing that must be the same, from the outside to the inside. */
  readonly program: readonly (readonly [what: string, how: string])[];
  /** What bits depend on, beside the program. */
  readonly environment: { readonly [what: string]: string };
  /** The state of the callbacks, and the learner's own, as `toPlain` gives it. */
  readonly state: unknown;
  readonly files: { readonly [name in (typeof FILES)[number]]: Digest };
}

/** How a run began, begun.json: a program that begins again before the first checkpoint cuts its files back to this. */
export interface Begun extends Pick<Manifest, "program" | "loaders"> {
  /** The state of the callbacks after "fitBegin". */
  readonly callbacks: unknown;
}
