import { TorchwireError } from "../../bridge/errors/errors.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import type { State } from "../callback/access.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { backendsFor, type Backends, type RunHyperparameters } from "./backend.ts";
import { Unlogged } from "./unlogged.ts";

export interface LogHyperParamsOptions {
  /**
   * The run's settings, which stay as they are: they are written when the fit begins, and how it ended when it ends. On TensorBoard's page HParams
   * runs are compared by them. With these there need be no Scheduler.
   */
  readonly hyperparameters?: RunHyperparameters;
}

/** Logs the hyperparameters that Scheduler moves, in the group `Step/HParams`, by the number of the training step. It observes. */
export class LogHyperParams extends CallbackObject {
  constructor(backends: Backends, { hyperparameters }: LogHyperParamsOptions = {}) {
    const all = backendsFor("LogHyperParams", backends, "value");
    for (const [name, value] of Object.entries(hyperparameters ?? {}))
      if (!["number", "string", "boolean"].includes(typeof value))
        throw new TorchwireError(
          "MISUSE",
          `LogHyperParams: ${name} is ${described(value)}; it is to be a number, a string or a boolean`,
        );
    const unlogged = new Unlogged();
    let learner: Trainer | undefined;
    const log = (): void => {
      const { hyperparams } = learner!.state as Partial<State>;
      for (const [at, values] of unlogged.take("", hyperparams))
        for (const backend of all) backend.log({ group: ["Step", "HParams"], at, values });
    };
    super(
      callback({
        name: "LogHyperParams",
        access: hyperparameters === undefined ? { state: { hyperparams: "read" } } : {},
        runAfter: ["Scheduler"],
        init: (given) => {
          learner = given;
          unlogged.take("", given.state.hyperparams);
        },
        observe: {
          fitBegin: () => {
            if (hyperparameters !== undefined) for (const backend of all) backend.begin?.(hyperparameters);
          },
          stepEnd: log,
          fitEnd: ({ ending }) => {
            log();
            if (hyperparameters !== undefined) for (const backend of all) backend.end?.(ending!);
          },
        },
      }),
    );
  }
}
