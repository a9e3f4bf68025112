/** A callback says in one literal, or in the fields of a class, what it may touch, when it runs, and what it does. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { betweenSteps, type EventName, type ObservedEvent } from "../training/events.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Phase } from "../training/phases.ts";
import { PARTS, type Access, type Mode, type ObserverView, type View } from "./access.ts";

/**
 * The state of a callback, for checkpoints of a fit (`fit(n, { resume })`): all that it remembers from one step or epoch
 * to the next, beside what it writes in `learner.state`, which is kept anyway.
 */
export interface KeptState<S = any> {
  /** Returns it as plain values: numbers, text, arrays, records, Maps and NDArrays. Nothing is in flight then. */
  readonly save: () => S;
  /** Takes it, after "fitBegin" of the fit that goes on. */
  readonly load: (saved: S) => void | PromiseLike<void>;
  /** Its objects in the worker that have a state, by name: those with a state_dict, tensors, generators. */
  readonly objects?: () => { readonly [name: string]: AnyRef };
  /** Resolves when the files that it has begun are written. A checkpoint is not whole before. */
  readonly written?: () => PromiseLike<void>;
  /** Why its state cannot be saved now, in the middle of an epoch: the checkpoint then waits for the epoch's end. */
  readonly waits?: () => string | undefined;
}

/** Why a callback cannot be in a fit that is resumed, and what to do about it: "makes a new folder …". */
export interface Refusal {
  readonly refuses: string;
}

export interface CallbackSpec<A extends Access> {
  /** Unique among the callbacks of a learner. */
  readonly name: string;
  /** Nothing by default. */
  readonly access?: A;
  /** It takes part only in phases of this class, or of one derived from it. Default: in all. */
  readonly phase?: abstract new (...args: any[]) => Phase;
  /** Callbacks that go before this one, by their names or by their class. They may be missing. */
  readonly runAfter?: readonly (string | CallbackClass)[];
  /**
   * Called where this callback and `other` write the same, or one of them writes what the other reads. "before": this
   * one goes first; "after": the other does; "either": it does not matter; "never": they cannot be used together.
   * Undefined leaves it to `other`, or to the rules: a writer goes before a reader, and two that write the same are an
   * error.
   */
  readonly resolveConflict?: (other: Callback) => Resolution | undefined;
  /** Called when the learner gets the callback, with the learner itself. */
  readonly init?: (learner: Trainer) => void;
  /**
   * Goes around each epoch: `epoch()` runs it, from before the first handler of "epochBegin" until after the last one
   * of "epochEnd", and rejects where it fails or is cancelled. It is for what must hold for all other callbacks, in
   * whatever order they are.
   */
  readonly around?: (phase: Phase, epoch: () => Promise<void>) => Promise<void>;
  /** Handlers in line: they run when the step is issued, and may still change it. The loop awaits what they await. */
  readonly on?: Handlers<A>;
  /**
   * Returns at the end of a step, by name, references whose values `observe.stepEnd` gets as `values`. They travel with
   * the step, so nothing waits for them.
   */
  readonly measure?: (view: View<A, "stepEnd">) => Measured;
  /** Observers: they run when the worker has answered, in order, with plain numbers. */
  readonly observe?: Observers<A>;
  /** What checkpoints must keep of it; "none", the default, where it remembers nothing from step to step. */
  readonly state?: KeptState | "none";
  /**
   * Plain values by name that decide what it does: a checkpoint of a fit with other ones is refused, as one of another
   * program.
   */
  readonly options?: CallbackOptions;
}

export type CallbackOptions = { readonly [name: string]: unknown };

/** The handlers of a callback with the access `A`, by event. */
export type Handlers<A extends Access> = {
  readonly [E in EventName]?: (view: View<A, E>) => void | PromiseLike<void>;
};

/** The observers of a callback with the access `A`, by event. */
export type Observers<A extends Access> = {
  readonly [E in ObservedEvent]?: (view: ObserverView<A, E>) => void | PromiseLike<void>;
};

export type CallbackClass = abstract new (...args: any[]) => Callback;
export type Resolution = "before" | "after" | "either" | "never";

/**
 * References to numbers or tensors, plain numbers, or values on their way: `py.len(x)`, not awaited. It must not be a
 * promise itself, because nothing waits for it.
 */
export type Measured = { readonly [name: string]: object | number } & { readonly then?: never };

type AnyHandler = (view: any) => void | PromiseLike<void>;

/** A callback as a learner takes it: the result of `callback`, or an object of a class like `Metrics`. */
export interface Callback {
  readonly name: string;
  readonly access: Access;
  readonly phase: (abstract new (...args: any[]) => Phase) | undefined;
  readonly runAfter: readonly (string | CallbackClass)[];
  readonly resolveConflict: ((other: Callback) => Resolution | undefined) | undefined;
  readonly init: ((learner: Trainer) => void) | undefined;
  readonly around: CallbackSpec<Access>["around"];
  readonly on: { readonly [event: string]: AnyHandler };
  readonly measure: ((view: any) => Measured) | undefined;
  readonly observe: { readonly [event: string]: AnyHandler };
  readonly state: KeptState | "none" | Refusal | undefined;
  readonly options: CallbackOptions | undefined;
}

/**
 * Makes a callback from a literal:
 *
 *     callback({
 *       name: "StopOnHighLoss",
 *       access: { step: { loss: "read" }, control: "write" },
 *       on: {
 *         backwardEnd: async ({ step, control }) => {
 *           if ((await step.loss.item()) > 100) control.cancel("fit", "too high");
 *         },
 *       },
 *     })
 *
 * Handlers see what `access` grants and nothing else, for the compiler and at run time.
 */
export function callback<const A extends Access = {}>(spec: CallbackSpec<A>): Callback {
  const {
    name,
    access = {},
    phase,
    runAfter = [],
    resolveConflict,
    init,
    around,
    on = {},
    measure,
    observe = {},
    state = "none",
    options,
  } = spec;
  if (typeof name !== "string" || name === "") throw new TorchwireError("MISUSE", "a callback needs a name");
  const handlers = on as Callback["on"];
  const observers = observe as Callback["observe"];
  for (const [key, handler] of [...Object.entries(handlers), ...Object.entries(observers)])
    if (typeof handler !== "function") throw new TorchwireError("MISUSE", `callback ${name}: ${key} is not a function`);
  checkAccess(name, access);
  for (const event of Object.keys(observers))
    if (!OBSERVED.includes(event))
      throw new TorchwireError(
        "MISUSE",
        `callback ${name}: ${event} cannot be observed; only ${OBSERVED.join(", ")} can, the others are for "on"`,
      );
  return {
    name,
    access,
    phase,
    runAfter,
    resolveConflict,
    init,
    around,
    on: handlers,
    measure,
    observe: observers,
    state,
    options,
  };
}

const OBSERVED: readonly string[] = ["stepEnd", ...betweenSteps] satisfies ObservedEvent[];

const MODES: readonly unknown[] = ["read", "use", "write"] satisfies Mode[];

/** Checks what the types say, for programs without them. It allows every key of a step and of the state. */
function checkAccess(name: string, access: Access): void {
  const check = (part: unknown, path: string): void => {
    if (part === undefined || MODES.includes(part)) return;
    if (typeof part !== "object" || part === null)
      throw new TorchwireError(
        "MISUSE",
        `callback ${name}: ${path} is ${JSON.stringify(part)}; it must be "read", "use" or "write"`,
      );
    for (const [key, inner] of Object.entries(part)) check(inner, `${path}.${key}`);
  };
  for (const [key, part] of Object.entries(access)) {
    if (!(PARTS as readonly string[]).includes(key))
      throw new TorchwireError("MISUSE", `callback ${name}: access has no "${key}"; it has ${PARTS.join(", ")}`);
    check(part, `access.${key}`);
  }
}

/**
 * The base of callbacks that are classes, so that a learner can be asked for them: `learner.getCallback(Metrics)`. A
 * class sets as fields what a literal gives to `callback`. The type of `on` and `observe` names its `access`, which
 * keeps the handlers to it:
 *
 *     override readonly access = { state: { history: "write" } } as const;
 *     override readonly observe: Observers<Recorder["access"]> = { epochBegin: ({ phase, state }) => … };
 */
export abstract class CallbackObject implements Callback {
  abstract readonly name: string;
  readonly access: Access = {};
  readonly phase: Callback["phase"] = undefined;
  readonly runAfter: Callback["runAfter"] = [];
  readonly resolveConflict: Callback["resolveConflict"] = undefined;
  readonly init: Callback["init"] = undefined;
  readonly around: Callback["around"] = undefined;
  readonly on: Callback["on"] = {};
  readonly measure: Callback["measure"] = undefined;
  readonly observe: Callback["observe"] = {};
  readonly state: Callback["state"] = undefined;

  get options(): Callback["options"] {
    return undefined;
  }
}
