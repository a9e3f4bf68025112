import { py } from "../../bridge/reference/py.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Access } from "../callback/access.ts";
import { CallbackObject, type Callback, type Handlers, type Observers } from "../callback/callback.ts";
import { type PythonForm } from "../callback/python-form.ts";
import { weightArguments } from "../losses/weight.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import type { Trainer } from "../training/trainer.ts";

const EXACT = { step: { loss: "use" } } as const;
const LATE = { control: "write" } as const;

/**
 * Stops the fit when the loss of a training step is NaN. A batch in which no target counts, as where all are ignored,
 * has no loss, and PyTorch makes no gradients of it: the fit goes on.
 *
 * It is exact, and costs no round trip: the worker looks at the loss before the update, and withholds the update and
 * all that comes after it. On CUDA that waits for the loss once a step. `late: true` does not wait: it notices up to a
 * window later, when updates with NaN have been made.
 */
export class StopOnNaNLoss extends CallbackObject {
  override readonly name = "StopOnNaNLoss";
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly state = "none";
  override readonly access: Access;
  override readonly init: Callback["init"];
  readonly pythonForm: () => PythonForm;
  override readonly on: Handlers<typeof EXACT>;
  override readonly observe: Observers<typeof LATE>;
  /** For the step itself, by which its loss's weight is known. */
  #learner!: Trainer;
  #refuse!: AnyRef;

  constructor({ late = false }: { readonly late?: boolean } = {}) {
    super();
    this.access = late ? LATE : EXACT;
    this.pythonForm = (): PythonForm => ({ kind: "stopsOnNaN" });
    this.init = late ? undefined : (learner) => this.#prepare(learner);
    this.on = late ? {} : this.#exact;
    this.observe = late ? this.#late : {};
  }

  #prepare(learner: Trainer): void {
    this.#learner = learner;
    this.#refuse = py.keep(learner.worker.import("torchwire_worker.helpers.training").refuse_nan as AnyRef);
  }

  readonly #exact: Handlers<typeof EXACT> = {
    backwardEnd: ({ step }) => {
      const { modules, step: whole } = this.#learner;
      this.#refuse(step.loss, modules, ...weightArguments(whole!));
    },
  };

  readonly #late: Observers<typeof LATE> = {
    stepEnd: ({ values, index, epoch, phase, control }) => {
      if (Number.isNaN(values.loss))
        control.cancel("fit", `loss is NaN in ${phase.name} epoch ${epoch}, step ${index}`);
    },
  };
}
