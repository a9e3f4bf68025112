/** The states of callbacks, of loaders, and of the objects that are tracked. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { Callback, KeptState } from "../callback/callback.ts";
import type { CheckpointFolder } from "./folder.ts";
import type { Position } from "../data/position.ts";
import { isPositioned, type Positioned } from "../data/positioned.ts";
import { START, type Manifest, type Place } from "./manifest.ts";
import { fromPlain, toPlain } from "./plain.ts";
import type { Trainer } from "../training/trainer.ts";
import { make } from "../weights/modules.ts";

/** A learner with its callbacks in full. */
export interface Resumable extends Trainer {
  readonly callbacks: readonly Callback[];
}

export type CallbackStates = { readonly [name: string]: unknown };

/** The callbacks that remember something, by their names, which are unique. */
export const keptStates = ({ callbacks }: Resumable): (readonly [name: string, kept: KeptState])[] =>
  callbacks.flatMap(({ name, state }) =>
    typeof state === "object" && !("refuses" in state) ? [[name, state] as const] : [],
  );

/** Throws MISUSE for a callback that does not say its state. */
export function refuseStateless({ callbacks }: Resumable): void {
  const undeclared =
    'does not say its state, and a step could stand in its files twice: give it state: { save, load }, or "none" where it remembers nothing';
  for (const { name, state = { refuses: undeclared } } of callbacks)
    if (typeof state === "object" && "refuses" in state)
      throw new TorchwireError("MISUSE", `fit: resume: the callback ${name} ${state.refuses}`);
}

export type Sides = { readonly [side: string]: unknown };

/** What the data in the worker remembers from pass to pass, by side. */
export function passesOf(worker: Worker, sides: Sides): Map<string, AnyRef> {
  const inWorker = Object.entries(sides).filter(([, data]) => isReference(data));
  return new Map(inWorker.map(([side, data]) => [`${side} data`, make(worker, "tracked", "Passes", data)]));
}

/** Everything with a state beside models and optimizers, by name. */
export function trackedIn(learner: Resumable, passes: ReadonlyMap<string, AnyRef>): Map<string, AnyRef> {
  const found = new Map<string, AnyRef>();
  for (const [name, kept] of keptStates(learner))
    for (const [key, object] of Object.entries(kept.objects?.() ?? {})) found.set(`callback ${name}: ${key}`, object);
  for (const [name, object] of [...learner.tracked, ...passes]) found.set(name, object);
  return found;
}

export const savedStates = (learner: Resumable): CallbackStates =>
  Object.fromEntries(keptStates(learner).map(([name, kept]) => [name, kept.save() as unknown]));

export async function loadStates(learner: Resumable, saved: CallbackStates): Promise<void> {
  for (const [name, kept] of keptStates(learner)) await kept.load(saved[name]);
}

/** The positions of the loaders of a fit that stands at `place`. */
export const savedPositions = (sides: Sides, place: Place): Manifest["loaders"] =>
  Object.fromEntries(
    Object.entries(sides).flatMap(([side, data]) =>
      isPositioned(data) ? [[side, positionOf(data, place, side)] as const] : [],
    ),
  );

export function loadPositions(sides: Sides, saved: Manifest["loaders"]): void {
  for (const [side, position] of Object.entries(saved)) {
    const data = sides[side];
    if (isPositioned(data)) data.position = position;
  }
}

/**
 * In the epoch under way, the batches that the fit has taken count, and not those that the loader has prepared. Else it
 * is where the next pass begins: a pass that was left early does not go on.
 */
function positionOf(data: Positioned, { side: under, batch }: Place, side: string): Position {
  const { position, plan } = data;
  if (side === under && batch > 0) return { ...position, batch };
  return { ...position, epoch: plan.epoch, batch: plan.isMidway ? position.batch : 0 };
}

/**
 * The run begins, and the folder keeps how. Where it has begun before, a program has ended before its first checkpoint,
 * and has left steps in its logs: the callbacks and loaders go back to the beginning. A program that was changed since begins a run
 * of its own.
 */
export async function beginAnew(
  learner: Resumable,
  folder: CheckpointFolder,
  program: Manifest["program"],
  sides: Sides,
): Promise<void> {
  const begun = await folder.begun();
  if (begun !== undefined && JSON.stringify(begun.program) === JSON.stringify(program)) {
    await loadStates(learner, fromPlain(begun.callbacks as never) as CallbackStates);
    loadPositions(sides, begun.loaders);
  } else {
    const callbacks = toPlain(savedStates(learner), "the state of the callbacks");
    await folder.begin({ program, callbacks, loaders: savedPositions(sides, START) });
  }
}
