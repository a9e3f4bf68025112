import { callback, CallbackObject } from "../callback/callback.ts";
import type { PhaseHistory } from "../training/state.ts";

/** Counts epochs, steps and samples of each phase, in `learner.state.history`. Only what the worker has acknowledged. */
export class Recorder extends CallbackObject {
  constructor() {
    const of = (history: { [phase: string]: PhaseHistory }, phase: string): PhaseHistory =>
      (history[phase] ??= { epochs: 0, steps: 0, stepsEpoch: 0, samples: 0 });
    super(
      callback({
        name: "Recorder",
        access: { state: { history: "write" } },
        init: ({ state }) => {
          state.history = {};
        },
        observe: {
          epochBegin: ({ phase, state }) => {
            of(state.history, phase.name).stepsEpoch = 0;
          },
          stepEnd: ({ phase, state, size }) => {
            const history = of(state.history, phase.name);
            history.steps++;
            history.stepsEpoch++;
            history.samples += size;
          },
          epochEnd: ({ phase, state }) => {
            of(state.history, phase.name).epochs++;
          },
        },
      }),
    );
  }
}
