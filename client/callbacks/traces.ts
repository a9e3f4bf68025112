import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { View } from "../callback/access.ts";
import { callback, CallbackObject, type Measured } from "../callback/callback.ts";
import type { MetricHistory } from "../training/state.ts";
import { described, keywordsOf, type Kinds } from "../options/keywords.ts";
import { aPhase, type PhaseClass } from "../stopping/options.ts";

/** What a trace may look at: references, which it hands on and does not await. */
export type TraceView = View<{ model: "use"; optimizer: "use"; step: "use" }, "stepEnd">;

/** Gives a reference to a number, or a number. */
export type Trace = (view: TraceView) => object | number;

export interface TracesOptions {
  /** Only in steps of this phase. Default: in all. */
  readonly phase?: PhaseClass;
}

const KINDS: Kinds<TracesOptions> = { phase: aPhase };

/**
 * Numbers of each step, by name, in `learner.state.traces`; nothing waits for them:
 *
 *     new Traces({ head: ({ model }) => model.fc.weight.norm() }, { phase: AbstractTrainingPhase })
 *
 * Each is kept by phase and name, with the number of steps of that phase. Throws MISUSE where there is none, or one is no function.
 */
export class Traces extends CallbackObject {
  constructor(traces: { readonly [name: string]: Trace }, options: TracesOptions = {}) {
    keywordsOf("Traces", KINDS, options);
    const all = Object.entries(traces ?? {});
    if (all.length === 0) throw misuse("Traces takes functions by name: new Traces({ norm: ({ model }) => … })");
    for (const [name, trace] of all)
      if (typeof trace !== "function") throw misuse(`Traces: ${name} is ${described(trace)}; it is to be a function`);
    super(
      callback({
        name: "Traces",
        access: { model: "use", optimizer: "use", step: "use", state: { history: "read", traces: "write" } },
        ...(options.phase === undefined ? {} : { phase: options.phase }),
        init: ({ state }) => {
          state.traces ??= {};
        },
        measure: (view) => Object.fromEntries(all.map(([name, trace]) => [name, trace(view)])) as Measured,
        observe: {
          stepEnd: ({ phase, state, values }) => {
            const at = state.history[phase.name]!.steps;
            const history: MetricHistory = state.traces;
            for (const [name] of all) {
              const value = values[name] as unknown;
              if (typeof value !== "number" && typeof value !== "boolean")
                throw misuse(
                  `Traces: ${name} gave ${described(value)}; a trace is a number, such as x.norm() or x.mean()`,
                );
              ((history[phase.name] ??= {})[name] ??= []).push({ at, value: Number(value) });
            }
          },
        },
      }),
    );
  }
}

const misuse = (message: string): TorchwireError => new TorchwireError("MISUSE", message);
