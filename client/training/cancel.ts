/**
 * Errors that end a step, an epoch or a fit. They act at once where a step or a phase throws them; handlers have
 * `control.cancel` instead.
 */

abstract class Cancel extends Error {
  /** The callback that asked for it; undefined where none did. */
  readonly by: string | undefined;

  constructor(reason = "no reason was given", by?: string) {
    super(reason);
    this.by = by;
  }
}

/** Whether `error` is one of these. */
export const isCancel = (error: unknown): error is CancelStep | CancelEpoch | CancelFitting => error instanceof Cancel;

/** Ends the step: its "stepEnd" is not sent and it is not counted; the epoch goes on. */
export class CancelStep extends Cancel {
  override name = "CancelStep";
}

/** Ends the epoch: its "epochEnd" is sent; the fit goes on. */
export class CancelEpoch extends Cancel {
  override name = "CancelEpoch";
}

/** Ends the fit, without "epochEnd". */
export class CancelFitting extends Cancel {
  override name = "CancelFitting";
}

/** The word that `control.cancel` has for it. */
export const kindOf = (error: CancelStep | CancelEpoch | CancelFitting): "step" | "epoch" | "fit" =>
  error instanceof CancelStep ? "step" : error instanceof CancelEpoch ? "epoch" : "fit";
