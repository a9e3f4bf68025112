import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { View } from "../callback/access.ts";
import { CallbackObject, type Callback, type Measured, type Observers } from "../callback/callback.ts";
import { described, keywordsOf, type Kinds } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { phaseClass, type PhaseClass } from "../training/phase-class.ts";

/** The view of a trace: references, which it hands on and does not await. */
export type TraceView = View<{ model: "use"; optimizer: "use"; step: "use" }, "stepEnd">;

/** Returns a reference to a number, or a number. */
export type Trace = (view: TraceView) => object | number;

export interface TracesOptions {
  /** Only in steps of this phase. Default: in all. */
  readonly phase?: PhaseClass;
}

const KINDS: Kinds<TracesOptions> = { phase: phaseClass };

/**
 * Keeps numbers of each step, by name, in `learner.state.traces`. Nothing waits for them:
 *
 *     new Traces({ head: ({ model }) => model.fc.weight.norm() }, { phase: AbstractTrainingPhase })
 *
 * Each is kept by phase and name, with the number of steps of that phase. Throws MISUSE where no function is given, or
 * something else.
 */
export class Traces extends CallbackObject {
  override readonly name = "Traces";
  override readonly access = {
    model: "use",
    optimizer: "use",
    step: "use",
    state: { history: "read", traces: "write" },
  } as const;
  override readonly phase: Callback["phase"];
  readonly #traces: readonly (readonly [name: string, trace: Trace])[];

  constructor(traces: { readonly [name: string]: Trace }, options: TracesOptions = {}) {
    super();
    keywordsOf("Traces", KINDS, options);
    this.#traces = Object.entries(traces ?? {});
    if (this.#traces.length === 0)
      throw misuse("Traces takes functions by name: new Traces({ norm: ({ model }) => … })");
    for (const [name, trace] of this.#traces)
      if (typeof trace !== "function") throw misuse(`Traces: ${name} is ${described(trace)}; it must be a function`);
    this.phase = options.phase;
  }

  override readonly init = ({ state }: Trainer): void => {
    state.traces ??= {};
  };

  override readonly state = "none";

  override readonly measure = (view: TraceView): Measured =>
    Object.fromEntries(this.#traces.map(([name, trace]) => [name, trace(view)])) as Measured;

  override readonly observe: Observers<Traces["access"]> = {
    stepEnd: ({ phase, state, values }) => {
      const at = state.history[phase.name]!.steps;
      for (const [name] of this.#traces) {
        const value = values[name] as unknown;
        if (typeof value !== "number" && typeof value !== "boolean")
          throw misuse(`Traces: ${name} gave ${described(value)}; a trace is a number, such as x.norm() or x.mean()`);
        ((state.traces[phase.name] ??= {})[name] ??= []).push({ at, value: Number(value) });
      }
    },
  };
}

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
