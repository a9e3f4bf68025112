import { CallbackObject, type Observers } from "../callback/callback.ts";
import type { Trainer } from "../training/trainer.ts";
import type { PhaseHistory } from "../training/state.ts";

/**
 * Counts the epochs, steps and samples of each phase in `learner.state.history`. It counts only what the worker has
 * acknowledged.
 */
export class Recorder extends CallbackObject {
  override readonly name = "Recorder";
  override readonly access = { state: { history: "write" } } as const;

  override readonly state = "none";

  override readonly init = ({ state }: Trainer): void => {
    state.history = {};
  };

  override readonly observe: Observers<Recorder["access"]> = {
    epochBegin: ({ phase, state }) => {
      historyOf(state.history, phase.name).stepsEpoch = 0;
    },
    stepEnd: ({ phase, state, size }) => {
      const history = historyOf(state.history, phase.name);
      history.steps++;
      history.stepsEpoch++;
      history.samples += size;
    },
    epochEnd: ({ phase, state }) => {
      historyOf(state.history, phase.name).epochs++;
    },
  };
}

const historyOf = (history: { [phase: string]: PhaseHistory }, phase: string): PhaseHistory =>
  (history[phase] ??= { epochs: 0, steps: 0, stepsEpoch: 0, samples: 0 });
