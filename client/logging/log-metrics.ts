import type { State } from "../callback/access.ts";
import { CallbackObject, type Callback, type Observers } from "../callback/callback.ts";
import { backendsFor, stateWith, type Backends, type LoggerBackend } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";
import type { Trainer } from "../training/trainer.ts";

/**
 * Logs the metrics of each step, in the group `Step/<phase>/Metrics`, and of each epoch, in `Epoch/<phase>/Metrics`, by
 * the number of the step or epoch in its phase. For an epoch that ended early it logs the part that was done. It
 * observes, and reads what Metrics writes.
 */
export class LogMetrics extends CallbackObject {
  override readonly name = "LogMetrics";
  override readonly access = { state: { metricsStep: "read", metricsEpoch: "read" } } as const;
  override readonly state: Callback["state"];
  readonly #backends: readonly LoggerBackend[];
  readonly #unlogged = { Step: new Unlogged(), Epoch: new Unlogged() };

  constructor(backends: Backends) {
    super();
    this.#backends = backendsFor("LogMetrics", backends, "value");
    const { Step, Epoch } = this.#unlogged;
    this.state = stateWith(this.#backends, {
      save: () => [Step.state.save(), Epoch.state.save()],
      load: async ([steps, epochs]) => {
        await Step.state.load(steps);
        await Epoch.state.load(epochs);
      },
    });
  }

  override readonly init = ({ state }: Trainer): void => {
    const { metricsStep = {}, metricsEpoch = {} } = state as Partial<State>;
    for (const [phase, history] of Object.entries(metricsStep)) this.#unlogged.Step.take(phase, history);
    for (const [phase, history] of Object.entries(metricsEpoch)) this.#unlogged.Epoch.take(phase, history);
  };

  override readonly observe: Observers<LogMetrics["access"]> = {
    stepEnd: ({ phase, state }) => this.#log("Step", state.metricsStep, [phase.name]),
    epochEnd: ({ phase, state }) => this.#log("Epoch", state.metricsEpoch, [phase.name]),
    fitEnd: ({ state }) => this.#log("Epoch", state.metricsEpoch, Object.keys(state.metricsEpoch)),
  };

  #log(unit: "Step" | "Epoch", histories: { readonly [phase: string]: any }, phases: readonly string[]): void {
    for (const phase of phases)
      for (const [at, values] of this.#unlogged[unit].take(phase, histories[phase]))
        for (const backend of this.#backends) backend.log({ group: [unit, phase, "Metrics"], at, values });
  }
}
