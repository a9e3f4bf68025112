import type { State } from "../callback/access.ts";
import { CallbackObject, type Callback, type Observers } from "../callback/callback.ts";
import { backendsFor, stateWith, type Backends, type LoggerBackend } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";
import type { Trainer } from "../training/trainer.ts";

/**
 * Logs what Traces follows, in the group `Step/<phase>/Traces`, by the number of the step in its phase. It observes.
 */
export class LogTraces extends CallbackObject {
  override readonly name = "LogTraces";
  override readonly access = { state: { traces: "read" } } as const;
  override readonly state: Callback["state"];
  readonly #backends: readonly LoggerBackend[];
  readonly #unlogged = new Unlogged();

  constructor(backends: Backends) {
    super();
    this.#backends = backendsFor("LogTraces", backends, "value");
    this.state = stateWith(this.#backends, this.#unlogged.state);
  }

  override readonly init = ({ state }: Trainer): void => {
    const { traces } = state as Partial<State>;
    for (const [phase, history] of Object.entries(traces ?? {})) this.#unlogged.take(phase, history);
  };

  override readonly observe: Observers<LogTraces["access"]> = {
    stepEnd: ({ phase, state }) => {
      for (const [at, values] of this.#unlogged.take(phase.name, state.traces[phase.name]))
        for (const backend of this.#backends) backend.log({ group: ["Step", phase.name, "Traces"], at, values });
    },
  };
}
