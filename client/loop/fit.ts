import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { PyObject } from "../../bridge/types/core.ts";
import { iterableAgain } from "../data/iterable.ts";
import type { Data } from "../data/types.ts";
import { TrainingPhase, ValidationPhase, type Phase } from "../training/phases.ts";
import type { LearnerData } from "../training/trainer.ts";
import { onlyOptions } from "../options/keywords.ts";
import { fitOptions, type FitOptions } from "./options.ts";

/** One side of a fit: the phase, its data as it was given, and as it is iterated for each epoch. */
interface Side {
  readonly phase: Phase;
  readonly given: Data | PyObject;
  readonly data: Data;
}

/** Reads what a fit runs. Throws MISUSE for unknown options, and for numbers of epochs and data that make no sense. */
export function sidesOf(
  epochs: number,
  options: FitOptions,
  own: LearnerData,
): { readonly training: Side; readonly validation: Side | undefined } {
  onlyOptions<FitOptions>("fit", fitOptions, options);
  const { data, phases = {} } = options;
  if (!Number.isSafeInteger(epochs) || epochs < 0)
    throw new TorchwireError("MISUSE", `fit: epochs must be a whole number, not ${String(epochs)}`);
  const { training, validation } = { ...own, ...data };
  if (training === undefined)
    throw new TorchwireError("MISUSE", "fit: there is no training data: give the learner data: { training: … }");
  const side = (name: string, phase: Phase, given: Data | PyObject): Side => ({
    phase,
    given,
    data: iterableAgain(given, name),
  });
  return {
    training: side("training", phases.training ?? new TrainingPhase(), training),
    validation: validation && side("validation", phases.validation ?? new ValidationPhase(), validation),
  };
}
