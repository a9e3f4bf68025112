import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Access, State } from "../callback/access.ts";
import { CallbackObject, type Callback, type Observers } from "../callback/callback.ts";
import { backendsFor, stateWith, type Backends, type LoggerBackend, type RunHyperparameters } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";

export interface LogHyperParamsOptions {
  /**
   * The run's settings, which never change. They are written when the fit begins; how it ended is written when it ends.
   * TensorBoard's page HParams compares runs by them. With these the learner needs no Scheduler.
   */
  readonly hyperparameters?: RunHyperparameters;
}

/**
 * Logs the hyperparameters that Scheduler moves, in the group `Step/HParams`, by the number of the training step. It
 * observes.
 */
export class LogHyperParams extends CallbackObject {
  override readonly name = "LogHyperParams";
  override readonly access: Access;
  override readonly runAfter: Callback["runAfter"] = ["Scheduler"];
  override readonly state: Callback["state"];
  readonly #backends: readonly LoggerBackend[];
  readonly #hyperparameters: RunHyperparameters | undefined;
  readonly #unlogged = new Unlogged();
  /** The learner's own, and not what `access` gives: with settings there may be no Scheduler that writes it. */
  #state: Partial<State> = {};

  constructor(backends: Backends, { hyperparameters }: LogHyperParamsOptions = {}) {
    super();
    this.#backends = backendsFor("LogHyperParams", backends, "value");
    this.state = stateWith(this.#backends, this.#unlogged.state);
    for (const [name, value] of Object.entries(hyperparameters ?? {}))
      if (!["number", "string", "boolean"].includes(typeof value))
        throw new TorchwireError(
          "MISUSE",
          `LogHyperParams: ${name} is ${described(value)}; it must be a number, a string or a boolean`,
        );
    this.#hyperparameters = hyperparameters;
    this.access = hyperparameters === undefined ? { state: { hyperparams: "read" } } : {};
  }

  override readonly init = ({ state }: Trainer): void => {
    this.#state = state;
    this.#unlogged.take("", state.hyperparams);
  };

  override readonly observe: Observers<{}> = {
    fitBegin: () => {
      if (this.#hyperparameters === undefined) return;
      for (const backend of this.#backends) backend.begin?.(this.#hyperparameters);
    },
    stepEnd: () => this.#log(),
    fitEnd: ({ ending }) => {
      this.#log();
      if (this.#hyperparameters === undefined) return;
      for (const backend of this.#backends) backend.end?.(ending!);
    },
  };

  #log(): void {
    for (const [at, values] of this.#unlogged.take("", this.#state.hyperparams))
      for (const backend of this.#backends) backend.log({ group: ["Step", "HParams"], at, values });
  }
}
