/** Where in the training something happened. */
export interface Place {
  readonly phase: string;
  /** From 1. */
  readonly epoch: number;
  /** From 0; undefined outside of steps. */
  readonly step: number | undefined;
}

export const placeOf = ({ phase, epoch, step }: Place): string =>
  step === undefined ? `${phase} epoch ${epoch}` : `${phase} epoch ${epoch}, step ${step}`;
