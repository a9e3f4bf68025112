/**
 * The parts of a learner that a callback may touch. It declares them once; the compiler checks them, and so does the
 * run time.
 */
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Data } from "../data/types.ts";
import type { BetweenSteps, EventName, KeysAt, Step, StepKey, StepState } from "../training/events.ts";
import type { Hyper } from "../optim/hyper.ts";
import type { LossParts, WeighedLoss } from "../losses/weight.ts";
import type { Phase } from "../training/phases.ts";
import type { Ending } from "../training/report.ts";
import type { CallbackState, State, StateKey } from "../training/state.ts";
export type { CallbackState, State, StateKey };

/**
 * "use" hands references to further operations and never awaits them. "read" also awaits the values behind references,
 * at the price of a round trip. "write" allows everything.
 */
export type Mode = "read" | "use" | "write";

/** The `access` of a callback: nothing by default. */
export interface Access {
  readonly model?: Mode;
  readonly optimizer?: Mode;
  /** The optimizer's hyperparameters: all of them, or those that the callback names. */
  readonly hyper?: "write" | { readonly [name: string]: HyperAccess };
  readonly lossFn?: Mode;
  readonly data?: Mode;
  readonly step?: Mode | { readonly [K in StepKey | "group"]?: K extends "group" ? "use" : Mode };
  readonly state?: { readonly [K in StateKey]?: Mode };
  /** Cancels a step, an epoch or the fit. */
  readonly control?: "write";
}

/** All groups, or some by model and group. */
export type HyperAccess = "write" | { readonly [where: string]: HyperAccess };

export const PARTS: readonly (keyof Access)[] = [
  "model",
  "optimizer",
  "hyper",
  "lossFn",
  "data",
  "step",
  "state",
  "control",
];

/** The parts that handlers get where their access allows it. */
export interface Parts {
  model: AnyRef;
  optimizer: AnyRef;
  hyper: Hyper;
  lossFn: (yhat: AnyRef, ys: any) => AnyRef;
  data: { training?: Data; validation?: Data };
  step: StepState;
  state: State;
  control: Control;
}

export interface Control {
  /**
   * Takes effect when the other callbacks have had this event. It does not undo a step of the optimizer that is under
   * way.
   */
  cancel(what: "step" | "epoch" | "fit", reason?: string): void;
}

/** The circumstances that every handler gets, whatever its access. */
export interface Circumstances<E extends EventName = EventName> {
  readonly event: E;
  readonly phase: Phase;
  /** The number of the epoch, from 1. */
  readonly epoch: number;
  /** The number of the step in its epoch, from 0. At an event between steps it is the number of steps so far. */
  readonly index: number;
  /** Batches in an epoch of this phase; undefined where the data does not say it. */
  readonly batches: number | undefined;
  /** The number of training epochs that this fit was asked for; undefined in a lone epoch or step. */
  readonly epochs: number | undefined;
  /** The end of the fit, at "interrupted" and "fitEnd". */
  readonly ending: Ending | undefined;
}

export type DeepReadonly<T> = T extends PyObject | ((...args: never[]) => unknown)
  ? T
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

type Granted<T, A> = {
  readonly [K in keyof A & keyof T as A[K] extends "write" ? never : K]: A[K] extends Mode
    ? DeepReadonly<T[K]>
    : Granted<T[K], A[K]>;
} & { -readonly [K in keyof A & keyof T as A[K] extends "write" ? K : never]: T[K] };

/** A step that has only the keys of its event, and its group. */
type StepAt<E extends EventName> = { [K in KeysAt<E> & keyof StepState]: StepState[K] } & Pick<Step, "group">;

/** The view that a handler of the event `E` gets with the access `A`. */
export type View<A, E extends EventName> = Circumstances<E> &
  Granted<
    { [K in keyof Parts]: K extends "step" ? StepAt<E> : Parts[K] },
    E extends BetweenSteps ? Omit<A, "step"> : A
  >;

/** The view of an observer: numbers, and its own state. It has no references, because they have been freed by then. */
export type ObserverView<A, E extends EventName> = Circumstances<E> &
  Granted<Parts, Pick<A, keyof A & ("state" | "data" | "control")>> &
  (E extends "stepEnd" ? { readonly values: Values; readonly size: number } : {});

/** The `loss`, where the step has one, and the values that the callback's own `measure` asked for. */
export interface Values {
  /** It is undefined in a phase without a loss, and where no target of the batch counts. */
  readonly loss: number;
  /** The step's part of the mean over an epoch, Σ total / Σ weight. Its weight is 0 where no target counts. */
  readonly weighed: WeighedLoss;
  /** The parts of the loss by name, where the model computes it (see `ownLoss`). */
  readonly parts?: LossParts;
  readonly [name: string]: any;
}
