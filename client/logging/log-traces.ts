import type { State } from "../callback/access.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { backendsFor, type Backends } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";

/** Logs what Traces follows, in the group `Step/<phase>/Traces`, by the number of the step in its phase. It observes. */
export class LogTraces extends CallbackObject {
  constructor(backends: Backends) {
    const all = backendsFor("LogTraces", backends, "value");
    const unlogged = new Unlogged();
    super(
      callback({
        name: "LogTraces",
        access: { state: { traces: "read" } },
        init: (learner) => {
          const { traces } = learner.state as Partial<State>;
          for (const [phase, history] of Object.entries(traces ?? {})) unlogged.take(phase, history);
        },
        observe: {
          stepEnd: ({ phase, state }) => {
            for (const [at, values] of unlogged.take(phase.name, state.traces[phase.name]))
              for (const backend of all) backend.log({ group: ["Step", phase.name, "Traces"], at, values });
          },
        },
      }),
    );
  }
}
