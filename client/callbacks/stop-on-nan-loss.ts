import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import type { Trainer } from "../training/trainer.ts";
import { weightArguments } from "../losses/weight.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";

/**
 * Stops the fit when the loss of a training step is NaN. A batch of which no target counts, as where all are ignored, has no loss, and gives PyTorch
 * no gradients: the fit goes on.
 *
 * Exact, and without a round trip: the worker looks at the loss before the update and withholds it, and all that comes after it. On CUDA that
 * waits for the loss once a step; `late: true` does not, and notices up to a window later, when the updates with NaN have been made.
 */
export class StopOnNaNLoss extends CallbackObject {
  constructor({ late = false }: { readonly late?: boolean } = {}) {
    let refuse: AnyRef | undefined;
    let learner!: Trainer;
    super(
      late
        ? callback({
            name: "StopOnNaNLoss",
            phase: AbstractTrainingPhase,
            access: { control: "write" },
            observe: {
              stepEnd: ({ values, index, epoch, phase, control }) => {
                if (Number.isNaN(values.loss))
                  control.cancel("fit", `loss is NaN in ${phase.name} epoch ${epoch}, step ${index}`);
              },
            },
          })
        : callback({
            name: "StopOnNaNLoss",
            phase: AbstractTrainingPhase,
            access: { step: { loss: "use" } },
            init: (given) => {
              learner = given;
              refuse = py.keep(given.worker.import("torchwire_worker.helpers.training").refuse_nan as AnyRef);
            },
            on: {
              backwardEnd: ({ step }) => void refuse!(step.loss, learner.modules, ...weightArguments(learner.step!)),
            },
          }),
    );
  }
}
