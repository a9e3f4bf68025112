/** The events of a loop, and the keys that a step has at each. */
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";

/** Keys that phases of your own add to a step: `interface StepKeys { fake: AnyRef }`. */
export interface StepKeys {}

/**
 * The keys of a step of the included phases. `xs` and `ys` are as the data gave them until "stepBegin" has converted
 * them.
 */
export interface IncludedStepKeys {
  xs: any;
  ys: any;
  yhat: AnyRef;
  loss: AnyRef;
}

export type StepState = IncludedStepKeys & StepKeys;
export type StepKey = keyof IncludedStepKeys | keyof StepKeys;

/**
 * Events of your own phases, with the keys that their step has by then: `interface Events { fakeEnd: "xs" | "fake" }`.
 */
export interface Events {}

/**
 * FluxTraining's seven events, those of a fit, and those of what did not come to its end, with the keys that a step has
 * by then. Keys of your own exist at all of them.
 */
export interface IncludedEvents {
  fitBegin: never;
  epochBegin: never;
  stepBegin: "xs" | "ys";
  lossBegin: "xs" | "ys" | "yhat";
  backwardBegin: "xs" | "ys" | "yhat" | "loss";
  backwardEnd: "xs" | "ys" | "yhat" | "loss";
  stepEnd: "xs" | "ys" | "yhat" | "loss";
  /**
   * The step was cancelled: no "stepEnd" follows, and it does not count. It has its batch, and whatever it had made by
   * then.
   */
  stepCancelled: "xs" | "ys";
  /**
   * The epoch did not come to its end: it was cancelled, or it failed, or the fit ended in the middle of it. "epochEnd"
   * follows where it alone was cancelled.
   */
  epochCancelled: never;
  /** The fit was interrupted from outside. "fitEnd" follows. */
  interrupted: never;
  epochEnd: never;
  fitEnd: never;
}

type AllEvents = IncludedEvents & Events;
export type EventName = keyof IncludedEvents | keyof Events;

/** The events that can be observed, when the worker has answered. */
export type ObservedEvent = "stepEnd" | BetweenSteps;

/** The events at which nothing is in flight. */
export const betweenSteps = ["fitBegin", "epochBegin", "epochCancelled", "epochEnd", "interrupted", "fitEnd"] as const;
export type BetweenSteps = (typeof betweenSteps)[number];
export type StepEvent = Exclude<EventName, BetweenSteps>;

/** The keys a step has at the event `E`. */
export type KeysAt<E extends EventName> = E extends StepEvent ? AllEvents[E] | keyof StepKeys : never;

export const isStepEvent = (event: EventName): event is StepEvent =>
  !(betweenSteps as readonly string[]).includes(event);

/** One batch on its way through a phase. A phase stores what it makes in it, where handlers find it. */
export interface Step extends StepState {
  /** Its number in the epoch, from 0. */
  readonly index: number;
  /** Samples, by the first axis of `ys`; undefined where that is known in the worker only. */
  readonly size: number | undefined;
  /**
   * Its place among the batches whose gradients are added up before the optimizer steps (see PyTorchBackend's
   * `accumulate`).
   */
  readonly group: StepGroup;
  /**
   * The weight of this step's loss in the mean over an epoch, where a phase of your own says it. Default: the number
   * that `learner.lossFn` divided by, where the step's loss comes from one call of it and that is known; otherwise the
   * step's samples. With 0 the step has no loss.
   */
  lossWeight?: PyObject | number;
}

export interface StepGroup {
  /** No step of the group has been issued yet; one that was cancelled does not count. */
  readonly isFirst: boolean;
  /** Its batch is the last of the group. */
  readonly isLast: boolean;
  /** Batches in the group. */
  readonly size: number;
}

/** An event as a learner gives it to readers outside: plain JSON. */
export type TrainEvent =
  | { readonly type: "fitBegin"; readonly epochs: number; readonly time: number }
  | {
      readonly type: "epochBegin";
      readonly phase: string;
      readonly epoch: number;
      readonly batches: number | null;
      readonly time: number;
    }
  | {
      readonly type: "stepEnd";
      readonly phase: string;
      readonly epoch: number;
      readonly index: number;
      readonly size: number;
      readonly loss: number | null;
      readonly time: number;
    }
  | {
      readonly type: "epochEnd";
      readonly phase: string;
      readonly epoch: number;
      readonly metrics: { readonly [name: string]: number | null };
      readonly time: number;
    }
  | { readonly type: "fitEnd"; readonly status: string; readonly reason: string | null; readonly time: number }
  /** The reader lagged behind: so many events before the next one are lost to it. */
  | { readonly type: "missed"; readonly events: number; readonly time: number };
