import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Moment } from "../callback/parts.ts";
import { CancelEpoch, CancelFitting, CancelStep, isCancel, kindOf } from "../training/cancel.ts";

type What = "step" | "epoch" | "fit";

/** Keeps what `control.cancel` asks for. A run obeys it when the event is over. */
export class Cancellation {
  readonly #moment: Moment;
  #asked: CancelStep | CancelEpoch | CancelFitting | undefined;
  /** A step is being issued. */
  isInStep = false;

  constructor(moment: Moment) {
    this.#moment = moment;
  }

  get isAsked(): boolean {
    return this.#asked !== undefined;
  }

  /**
   * Keeps the first of several, but one that ends more takes its place. Throws MISUSE where there is no such thing to
   * cancel.
   */
  ask(what: What, reason: string | undefined, by: string): void {
    const { [what]: Kind } = { step: CancelStep, epoch: CancelEpoch, fit: CancelFitting };
    if (Kind === undefined)
      throw new TorchwireError("MISUSE", `control.cancel: ${what as string} is not "step", "epoch" or "fit"`);
    const refusal = this.#refusal(what);
    if (refusal !== undefined) throw new TorchwireError("MISUSE", `control.cancel("${what}"): ${refusal}`);
    const before = this.#asked;
    if (before === undefined || before instanceof CancelStep || (what === "fit" && !(before instanceof CancelFitting)))
      this.#asked = before instanceof CancelStep && what === "step" ? before : new Kind(reason, by);
  }

  obey(): void {
    const cancelled = this.#asked;
    if (cancelled === undefined) return;
    this.#asked = undefined;
    throw cancelled;
  }

  /** Forgets what was asked for; or only what concerns a step. */
  forget(what?: "step"): void {
    if (what === undefined || this.#asked instanceof CancelStep) this.#asked = undefined;
  }

  /** Returns the error for a handler that throws `error`, where that cancels something that is not under way. */
  refused(error: unknown): TorchwireError | undefined {
    const refusal = isCancel(error) ? this.#refusal(kindOf(error)) : undefined;
    return refusal === undefined ? undefined : new TorchwireError("MISUSE", `${String(error)}: ${refusal}`);
  }

  #refusal(what: What): string | undefined {
    const { event } = this.#moment;
    if (what === "step" && !this.isInStep)
      return event === "stepEnd" ? "the step is over when it is observed" : `there is no step at ${event}`;
    return what === "epoch" && (event === "fitBegin" || event === "interrupted" || event === "fitEnd")
      ? `there is no epoch at ${event}`
      : undefined;
  }
}
