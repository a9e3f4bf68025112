/**
 * One run of the loop, with its two clocks. In line, handlers run while a step is being issued; observers run when the worker has
 * acknowledged it, up to `window` steps later, in order.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { PythonError } from "../../bridge/errors/python-error.ts";
import { CancelEpoch, CancelFitting, CancelStep, isCancel, kindOf } from "../training/cancel.ts";
import { isReference, samplesIn, toBatch } from "../data/batch.ts";
import { groupsOf } from "./groups.ts";
import { DataLoader } from "../data/loader.ts";
import type { BatchLike, Data } from "../data/types.ts";
import type { EventName, Step, StepGroup } from "../training/events.ts";
import { CallbackError, stepFailure } from "./failures.ts";
import type { Place } from "./place.ts";
import type { Interruption } from "./interruption.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Moment } from "../callback/parts.ts";
import { Pending } from "./pending.ts";
import type { Phase } from "../training/phases.ts";
import type { Participant, Plan } from "../callback/plan.ts";

export type Handle = (event: EventName) => void | Promise<void>;
export type StepBody = (step: Step, handle: Handle) => Promise<unknown>;

/** What a run works with. */
export interface Workings {
  readonly learner: Trainer;
  readonly plan: Plan;
  readonly moment: Moment;
  /** Told of each step that the worker has done, before the observers are. */
  readonly acknowledged: (phase: Phase, index: number, size: number, loss: number | undefined) => void;
}

const ALONE: StepGroup = { isFirst: true, isLast: true, size: 1 };

export class Run {
  readonly window: number;
  readonly #workings: Workings;
  readonly #interruption: Interruption;
  readonly #inFlight: Pending[] = [];
  #group: StepGroup = ALONE;
  #issued = 0;
  /** A step is being issued. */
  #isInStep = false;
  /** An epoch has begun and not ended. */
  isInEpoch = false;
  #cancelled: CancelStep | CancelEpoch | CancelFitting | undefined;

  constructor(workings: Workings, window: number, interruption: Interruption) {
    this.#workings = workings;
    this.window = window;
    this.#interruption = interruption;
  }

  /** What `control.cancel` does: it is obeyed when the event is over. */
  cancel(what: "step" | "epoch" | "fit", reason: string | undefined, by: string): void {
    const { [what]: Kind } = { step: CancelStep, epoch: CancelEpoch, fit: CancelFitting };
    if (Kind === undefined)
      throw new TorchwireError("MISUSE", `control.cancel: ${what as string} is not "step", "epoch" or "fit"`);
    const refused = this.#nothingToCancel(what);
    if (refused !== undefined) throw new TorchwireError("MISUSE", `control.cancel("${what}"): ${refused}`);
    const before = this.#cancelled;
    // The first one, and whichever ends more.
    if (before === undefined || before instanceof CancelStep || (what === "fit" && !(before instanceof CancelFitting)))
      this.#cancelled = before instanceof CancelStep && what === "step" ? before : new Kind(reason, by);
  }

  /** Why there is no such thing under way, where that is so. */
  #nothingToCancel(what: "step" | "epoch" | "fit"): string | undefined {
    const { event } = this.#workings.moment;
    if (what === "step" && !this.#isInStep)
      return event === "stepEnd" ? "the step is over when it is observed" : `there is no step at ${event}`;
    return what === "epoch" && (event === "fitBegin" || event === "interrupted" || event === "fitEnd")
      ? `there is no epoch at ${event}`
      : undefined;
  }

  /** A whole pass of `phase` over `data`. */
  async epoch(phase: Phase, data: Data, body: (batch: BatchLike) => Promise<unknown>): Promise<void> {
    const accumulate = this.#workings.learner.backend.accumulate;
    await this.runEpoch(phase, async () => {
      let isEmpty = true;
      for await (const group of groupsOf(data, phase.data === "training" ? accumulate : 1, this.#interruption)) {
        isEmpty = false;
        const start = this.#issued;
        for (const [index, batch] of group.entries()) {
          this.#group = { isFirst: this.#issued === start, isLast: index === group.length - 1, size: group.length };
          try {
            await body(batch);
          } finally {
            this.#group = ALONE;
          }
        }
      }
      // A loader may stand at the end of its pass, and go on from there; but it must have something to give.
      if (isEmpty && (!(data instanceof DataLoader) || data.length === 0))
        throw new TorchwireError(
          "BAD_DATA",
          `the ${phase.data} data gave no batches in epoch ${this.#workings.moment.epoch}: it must give them each time it is iterated`,
        );
    });
  }

  /** `epoch`, inside of what callbacks put around it. */
  around(phase: Phase, epoch: () => Promise<void>): Promise<void> {
    return this.#workings.plan.callbacks.reduce<() => Promise<void>>(
      (inner, { around }) => (around === undefined ? inner : () => around(phase, inner)),
      epoch,
    )();
  }

  async runEpoch(phase: Phase, body: () => Promise<void>): Promise<void> {
    const { moment } = this.#workings;
    Object.assign(moment, { phase, index: 0 });
    this.#issued = 0;
    this.isInEpoch = true;
    try {
      await this.barrier("epochBegin");
      await body();
      await this.drain();
    } catch (error) {
      const ending = error instanceof CallbackError ? error : await this.#finish(error);
      moment.index = this.#issued;
      if (!(ending instanceof CancelEpoch)) throw ending;
      await this.#over("epochCancelled");
    }
    moment.index = this.#issued;
    this.isInEpoch = false;
    await this.#over("epochEnd");
  }

  /** An event at which there is no epoch left to be cancelled. */
  async #over(event: "epochCancelled" | "epochEnd"): Promise<void> {
    await this.barrier(event).catch((error: unknown) => {
      if (!(error instanceof CancelEpoch)) throw error;
    });
  }

  async runStep(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    const { learner, moment, plan } = this.#workings;
    this.#interruption.check();
    while (this.#inFlight.length >= this.window) await this.#acknowledge();
    this.#obey();
    const index = this.#issued;
    const place = { phase: phase.name, epoch: moment.epoch, step: index };
    const handle: Handle = (event) => this.#handle(event, index);
    let step: Step | undefined;
    try {
      await learner.worker.scope(async () => {
        const { xs, ys } = toBatch(batch);
        step = { xs, ys, index, size: samplesIn({ xs, ys }), group: this.#group } as Step;
        learner.step = step;
        this.#isInStep = true;
        await handle("stepBegin");
        await body(step, handle);
        await this.#run("stepEnd", index);
        this.#inFlight.push(new Pending(step, place, learner.worker, plan.measuring(phase)));
        this.#issued++;
      });
    } catch (error) {
      this.#cancelled = undefined;
      if (!(error instanceof CancelStep)) throw await this.#failure(error, place);
      this.#isInStep = false;
      await this.#handle("stepCancelled", index);
    } finally {
      this.#isInStep = false;
    }
    // Asked for at "stepEnd": it is over already.
    if (this.#cancelled instanceof CancelStep) this.#cancelled = undefined;
    this.#obey();
    return step!;
  }

  /** Waits until every step has been acknowledged, and those who observe have seen it. */
  async drain(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#acknowledge();
    this.#obey();
  }

  /**
   * Waits for what is in flight when the loop ends with `error`: it still counts, and is observed. Returns what the loop ends with: what failed in a
   * step that was issued earlier came first; what observers cancel now matters where it ends more.
   */
  async #finish(error: unknown): Promise<unknown> {
    let ending = error;
    while (this.#inFlight.length > 0 || this.#cancelled !== undefined)
      try {
        await this.drain();
      } catch (next) {
        const isEnd = isCancel(next) || this.#interruption.is(next);
        if (!isEnd) return next;
        const endsMore = isCancel(ending) || this.#interruption.is(ending) ? ending instanceof CancelEpoch : true;
        if (endsMore && !(next instanceof CancelEpoch)) ending = next;
      }
    return ending;
  }

  /** An event between steps: nothing is in flight, so that each callback's handlers of both kinds run, in the order of the callbacks. */
  async barrier(event: EventName): Promise<void> {
    const { plan, moment } = this.#workings;
    const { phase } = moment;
    moment.event = event;
    this.#workings.learner.step = undefined;
    const inline = plan.inline(event, phase);
    const observing = plan.observing(event, phase);
    for (const callback of plan.callbacks)
      for (const [those, kind] of [[inline, "on"] as const, [observing, "observe"] as const]) {
        const one = those.find((other) => other.callback === callback);
        if (one !== undefined) await this.#call(one, one[kind][event]!, event, undefined);
      }
    this.#obey();
  }

  // --- in line ---

  /** Tells those who are in line, and does what they ask for. */
  #handle(event: EventName, index: number): void | Promise<void> {
    const result = this.#run(event, index);
    if (result === undefined) return this.#obey();
    return result.then(() => this.#obey());
  }

  #run(event: EventName, index: number): void | Promise<void> {
    const { plan, moment } = this.#workings;
    moment.event = event;
    moment.index = index;
    const inline = plan.inline(event, moment.phase);
    for (let i = 0; i < inline.length; i++) {
      const result = this.#call(inline[i]!, inline[i]!.on[event]!, event, index);
      // Waits only where there is something to wait for: most handlers are not async, and a step has many.
      if (result !== undefined) return this.#runRest(result, inline, i + 1, event, index);
    }
  }

  async #runRest(
    first: Promise<void>,
    inline: readonly Participant[],
    from: number,
    event: EventName,
    index: number,
  ): Promise<void> {
    await first;
    for (const one of inline.slice(from)) await this.#call(one, one.on[event]!, event, index);
  }

  #call(
    { callback, view }: Participant,
    handler: (view: object) => void | PromiseLike<void>,
    event: EventName,
    step: number | undefined,
  ): undefined | Promise<void> {
    const wrapped = (error: unknown): unknown => {
      const refused = isCancel(error) ? this.#nothingToCancel(kindOf(error)) : undefined;
      if (isCancel(error) && refused === undefined) return error;
      const { phase, epoch } = this.#workings.moment;
      const cause = refused === undefined ? error : new TorchwireError("MISUSE", `${String(error)}: ${refused}`);
      return new CallbackError(callback.name, event, { phase: phase.name, epoch, step }, cause);
    };
    let result: void | PromiseLike<void>;
    try {
      result = handler(view);
    } catch (error) {
      throw wrapped(error);
    }
    if (!isPromise(result)) return undefined;
    const who = `callback ${callback.name} (${event})`;
    return this.#interruption.waitFor(result, who, event === "fitEnd").catch((error: unknown) => {
      throw this.#interruption.is(error) ? error : wrapped(error);
    });
  }

  #obey(): void {
    const cancelled = this.#cancelled;
    if (cancelled === undefined) return;
    this.#cancelled = undefined;
    throw cancelled;
  }

  // --- observing ---

  /** Waits for the oldest step in flight; then it counts, and observers see it. */
  async #acknowledge(): Promise<void> {
    const { plan, moment, acknowledged } = this.#workings;
    const { index, size, loss, weighed, measured } = await this.#inFlight[0]!.arrival().catch((error: unknown) => {
      // Those after it were not run.
      this.#inFlight.length = 0;
      throw error;
    });
    this.#inFlight.shift();
    acknowledged(moment.phase, index, size, loss);
    const issuing = { event: moment.event, index: moment.index };
    for (const one of plan.observing("stepEnd", moment.phase)) {
      Object.assign(moment, { event: "stepEnd", index, size, values: { loss, weighed, ...measured.get(one) } });
      await this.#call(one, one.observe["stepEnd"]!, "stepEnd", index);
    }
    Object.assign(moment, issuing, { size: undefined, values: {} });
  }

  /** The first thing that went wrong: what a step that was issued earlier failed of, rather than that later ones were not run. */
  async #failure(error: unknown, place: Place): Promise<unknown> {
    if (error instanceof CancelEpoch || error instanceof CancelFitting || this.#interruption.is(error)) return error;
    try {
      while (this.#inFlight.length > 0) await this.#acknowledge();
    } catch (earlier) {
      return earlier;
    }
    if (!(error instanceof CallbackError)) return stepFailure(error, place);
    // A handler that awaits what was never run did not fail by itself.
    const { cause } = error;
    return cause instanceof PythonError && cause.code === "NOT_RUN" ? stepFailure(cause, place) : error;
  }
}

/** Something to wait for. Not a reference: that would be a round trip for what nobody looks at. */
const isPromise = (value: unknown): value is PromiseLike<void> =>
  value !== undefined &&
  value !== null &&
  !isReference(value) &&
  typeof (value as { then?: unknown }).then === "function";
