import { py } from "../../bridge/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import { callback, CallbackObject } from "../callback/callback.ts";
import { AbstractTrainingPhase } from "../phases.ts";

/**
 * Stops the fit when the loss of a training step is NaN.
 *
 * Exact, and without a round trip: the worker looks at the loss before the update and withholds it, and all that comes after it. On CUDA that
 * waits for the loss once a step; `late: true` does not, and notices up to a window later, when the updates with NaN have been made.
 */
export class StopOnNaNLoss extends CallbackObject {
  constructor({ late = false }: { readonly late?: boolean } = {}) {
    let refuse: AnyRef | undefined;
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
            init: ({ worker }) => {
              refuse = py.keep(worker.import("torchwire_worker.helpers.training").refuse_nan as AnyRef);
            },
            on: {
              backwardEnd: ({ step }) => void refuse!(step.loss),
            },
          }),
    );
  }
}
