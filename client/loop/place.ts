/** The place of something in the training. */
export interface Place {
  readonly phase: string;
  /** The number of the epoch, from 1. */
  readonly epoch: number;
  /** The number of the step in its epoch, from 0; undefined outside of steps. */
  readonly step: number | undefined;
}

/** A place of which the batch is known, too. */
export interface PlaceInData extends Place {
  /** Gives the samples of the step's batch, by their indices in the data of its `DataLoader`. */
  readonly samplesThere?: (() => readonly number[]) | undefined;
}

/** More samples are not named in a message. */
const NAMED = 16;

export const namesOf = (samples: readonly number[]): string =>
  `samples ${samples.slice(0, NAMED).join(", ")}${samples.length > NAMED ? `, … (${samples.length} in all)` : ""} of its data`;

export const placeOf = ({ phase, epoch, step }: Place): string =>
  step === undefined ? `${phase} epoch ${epoch}` : `${phase} epoch ${epoch}, step ${step}`;
