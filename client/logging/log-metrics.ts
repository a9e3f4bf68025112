import type { State } from "../callback/access.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { backendsFor, type Backends } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";

/**
 * Logs the metrics of each step, in the group `Step/<phase>/Metrics`, and of each epoch, in `Epoch/<phase>/Metrics`, by the number of the step or epoch in
 * its phase. Of an epoch that ended before its time, what was done of it. It observes, and reads what Metrics writes.
 */
export class LogMetrics extends CallbackObject {
  constructor(backends: Backends) {
    const all = backendsFor("LogMetrics", backends, "value");
    const steps = new Unlogged();
    const epochs = new Unlogged();
    const log = (
      unit: "Step" | "Epoch",
      histories: { readonly [phase: string]: any },
      phases: readonly string[],
    ): void => {
      const unlogged = unit === "Step" ? steps : epochs;
      for (const phase of phases)
        for (const [at, values] of unlogged.take(phase, histories[phase]))
          for (const backend of all) backend.log({ group: [unit, phase, "Metrics"], at, values });
    };
    super(
      callback({
        name: "LogMetrics",
        access: { state: { metricsStep: "read", metricsEpoch: "read" } },
        init: (learner) => {
          const { metricsStep, metricsEpoch } = learner.state as Partial<State>;
          for (const [phase, history] of Object.entries(metricsStep ?? {})) steps.take(phase, history);
          for (const [phase, history] of Object.entries(metricsEpoch ?? {})) epochs.take(phase, history);
        },
        observe: {
          stepEnd: ({ phase, state }) => log("Step", state.metricsStep, [phase.name]),
          epochEnd: ({ phase, state }) => log("Epoch", state.metricsEpoch, [phase.name]),
          fitEnd: ({ state }) => log("Epoch", state.metricsEpoch, Object.keys(state.metricsEpoch)),
        },
      }),
    );
  }
}
