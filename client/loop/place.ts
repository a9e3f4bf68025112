/** The place of something in the training. */
export interface Place {
  readonly phase: string;
  /** The number of the epoch, from 1. */
  readonly epoch: number;
  /** The number of the step in its epoch, from 0; undefined outside of steps. */
  readonly step: number | undefined;
}

export const placeOf = ({ phase, epoch, step }: Place): string =>
  step === undefined ? `${phase} epoch ${epoch}` : `${phase} epoch ${epoch}, step ${step}`;
