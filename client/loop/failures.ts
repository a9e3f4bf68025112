/** Errors of a loop, with their place in it. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { PythonError } from "../../bridge/errors/python-error.ts";
import { adviceOn } from "./advice.ts";
import { namesOf, placeOf, type Place, type PlaceInData } from "./place.ts";
import { CancelFitting } from "../training/cancel.ts";
import { LOSS_IS_NAN } from "../training/nan.ts";

/** A handler of a callback threw. `cause` is its error. */
export class CallbackError extends TorchwireError implements Place {
  override name = "CallbackError";
  readonly callback: string;
  readonly event: string;
  readonly phase: string;
  readonly epoch: number;
  readonly step: number | undefined;
  /**
   * The samples of the step's batch, by their indices in the data of its `DataLoader`; undefined for other data, and
   * outside of steps that are being issued.
   */
  readonly samples: readonly number[] | undefined;

  constructor(callback: string, event: string, place: PlaceInData, cause: unknown) {
    const reason = messageOf(cause);
    const samples = place.samplesThere?.();
    super(
      cause instanceof TorchwireError ? cause.code : "CALLBACK",
      `callback ${callback} failed at ${event} (${placeOf(place)}${named(samples, cause)}): ${reason}`,
      { cause },
    );
    ({ phase: this.phase, epoch: this.epoch, step: this.step } = place);
    this.callback = callback;
    this.event = event;
    this.samples = samples;
  }
}

/** A step failed. `cause` is the reason; it is a PythonError where PyTorch raised one. */
export class StepError extends TorchwireError implements Place {
  override name = "StepError";
  readonly phase: string;
  readonly epoch: number;
  readonly step: number | undefined;
  /** The samples of its batch, by their indices in the data of its `DataLoader`; undefined for other data. */
  readonly samples: readonly number[] | undefined;

  constructor(place: PlaceInData, cause: Error) {
    const advice = adviceOn(cause, place);
    const samples = place.samplesThere?.();
    super(
      cause instanceof TorchwireError ? cause.code : "STEP",
      `${placeOf(place)}${named(samples, cause)}: ${cause.message}${advice === undefined ? "" : `\n${advice}`}`,
      { cause },
    );
    ({ phase: this.phase, epoch: this.epoch, step: this.step } = place);
    this.samples = samples;
  }
}

/** A batch may be why a worker ended. For other failures PyTorch says more, and the error has the samples. */
const named = (samples: readonly number[] | undefined, cause: unknown): string =>
  samples !== undefined && cause instanceof TorchwireError && cause.code === "WORKER_GONE"
    ? `, ${namesOf(samples)}`
    : "";

/** Returns the failure itself, where `error` only says that something was not run because of it. */
export const rootOf = (error: unknown): unknown =>
  error instanceof TorchwireError && error.code === "NOT_RUN" ? (error.cause ?? error) : error;

/** Gives PyTorch's errors and ours their place. Other errors of user code stay as they are. */
export function stepFailure(failure: unknown, place: PlaceInData): unknown {
  // Mostly a step waits for a later operation, the loss's value, and not for the one that failed.
  const error = rootOf(failure);
  if (error instanceof PythonError) {
    const stop = error.mro.includes(LOSS_IS_NAN)
      ? `loss is NaN in ${place.phase} epoch ${place.epoch}, step ${String(place.step)}`
      : undefined;
    return stop === undefined ? new StepError(place, error) : new CancelFitting(stop, "StopOnNaNLoss");
  }
  return error instanceof TorchwireError ? new StepError(place, error) : error;
}
