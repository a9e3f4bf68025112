/** What a callback may touch: declared once, checked by the compiler and again at run time. */
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Data } from "../data/types.ts";
import type { BetweenSteps, EventName, KeysAt, Step, StepKey, StepState } from "../training/events.ts";
import type { Hyper } from "../optim/hyper.ts";
import type { WeighedLoss } from "../losses/weight.ts";
import type { Phase } from "../training/phases.ts";
import type { Ending } from "../training/report.ts";
import type { CallbackState, State, StateKey } from "../training/state.ts";
export type { CallbackState, State, StateKey };

/**
 * "read" also allows to await the values behind references, at the price of a round trip; "write" allows everything; "use" is to
 * hand references to further operations and never await them.
 */
export type Mode = "read" | "use" | "write";

/** `access` of a callback: nothing by default. */
export interface Access {
  readonly model?: Mode;
  readonly optimizer?: Mode;
  /** The optimizer's hyperparameters: all of them, or by name those that the callback says it writes. */
  readonly hyper?: "write" | { readonly [name: string]: HyperAccess };
  readonly lossFn?: Mode;
  readonly data?: Mode;
  readonly step?: Mode | { readonly [K in StepKey | "group"]?: K extends "group" ? "use" : Mode };
  readonly state?: { readonly [K in StateKey]?: Mode };
  /** To cancel a step, an epoch or the fit. */
  readonly control?: "write";
}

/** In all groups, or by model and group. */
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

/** What handlers are given where their access allows it. */
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
  /** Takes effect when the other callbacks have had this event. A step of the optimizer that is already under way is not undone. */
  cancel(what: "step" | "epoch" | "fit", reason?: string): void;
}

/** What every handler is told, whatever its access. */
export interface Circumstances<E extends EventName = EventName> {
  readonly event: E;
  readonly phase: Phase;
  /** The number of the epoch, from 1. */
  readonly epoch: number;
  /** The number of the step in its epoch, from 0; at an event that is not a step's, how many there were. */
  readonly index: number;
  /** Batches in an epoch of this phase, where the data says so. */
  readonly batches: number | undefined;
  /** How many training epochs this fit was asked for; undefined in a lone epoch or step. */
  readonly epochs: number | undefined;
  /** How the fit ended, at "interrupted" and "fitEnd". */
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

/** What a handler of the event `E` sees with the access `A`. */
export type View<A, E extends EventName> = Circumstances<E> &
  Granted<
    { [K in keyof Parts]: K extends "step" ? StepAt<E> : Parts[K] },
    E extends BetweenSteps ? Omit<A, "step"> : A
  >;

/** What an observer sees: numbers, and its own state; no references, which have been freed by then. */
export type ObserverView<A, E extends EventName> = Circumstances<E> &
  Granted<Parts, Pick<A, keyof A & ("state" | "data" | "control")>> &
  (E extends "stepEnd" ? { readonly values: Values; readonly size: number } : {});

/** `loss`, where the step has one, and what the callback's own `measure` asked for. */
export interface Values {
  /** There is none in a phase without a loss, nor where no target of the batch counts. */
  readonly loss: number;
  /** What it adds to the mean over an epoch, Σ total / Σ weight: nothing, with a weight of 0, where no target counts. */
  readonly weighed: WeighedLoss;
  readonly [name: string]: any;
}
