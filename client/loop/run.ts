/**
 * One run of the loop, with its two clocks. Handlers in line run while a step is being issued. Observers run when the
 * worker has acknowledged it, up to a window of steps later, in order.
 */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { Window } from "../../bridge/pace/window.ts";
import { PythonError } from "../../bridge/errors/python-error.ts";
import { CancelEpoch, CancelFitting, CancelStep, isCancel } from "../training/cancel.ts";
import { Cancellation } from "./cancellation.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { samplesIn, toBatch } from "../data/batch.ts";
import { Groups } from "./groups.ts";
import { release } from "../data/lent-batch.ts";
import { samplesOf } from "../data/samples.ts";
import { onWorker } from "../data/on-worker.ts";
import { isPositioned } from "../data/positioned.ts";
import type { BatchLike, Data } from "../data/types.ts";
import type { Done } from "../resume/manifest.ts";
import type { EventName, Step, StepGroup } from "../training/events.ts";
import { CallbackError, stepFailure } from "./failures.ts";
import type { Place, PlaceInData } from "./place.ts";
import type { Interruption } from "./interruption.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Callback } from "../callback/callback.ts";
import type { Moment } from "../callback/parts.ts";
import { Pending } from "./pending.ts";
import type { Phase } from "../training/phases.ts";
import type { Participant, Plan } from "../callback/plan.ts";

export type Handle = (event: EventName) => void | Promise<void>;
export type StepBody = (step: Step, handle: Handle) => Promise<unknown>;

/** The parts of a learner that a run works with. */
export interface Workings {
  readonly learner: Trainer;
  readonly plan: Plan;
  readonly moment: Moment;
  /**
   * Called between two groups of batches, with the steps in flight. It may return something to do there, when no step is
   * in flight.
   */
  readonly between: ((phase: Phase, inFlight: number) => (() => Promise<void>) | undefined) | undefined;
  /** Called for each step that begins. */
  readonly begun: ((place: Place, step: Step) => void) | undefined;
  /** Called for each step that the worker has done, before the observers are. */
  readonly acknowledged: (phase: Phase, index: number, size: number, loss: number | undefined) => void;
}

const NOTHING: Done = { batch: 0, index: 0 };
const ALONE: StepGroup = { isFirst: true, isLast: true, size: 1 };

export class Run {
  readonly cancellation: Cancellation;
  readonly #workings: Workings;
  readonly #windowOf: (phase: Phase) => Window;
  readonly #interruption: Interruption;
  readonly #inFlight: Pending[] = [];
  #group: StepGroup = ALONE;
  /** Gives the samples of the batch under way. */
  #samples: (() => readonly number[]) | undefined;
  #issued = 0;
  #taken = 0;
  /** What its handlers did when the epoch began cannot be done twice: one that lives in a folder makes its first group. */
  #isOpening = false;
  /** An epoch has begun and not ended. */
  isInEpoch = false;
  /** No handler was given up in the middle of a step: all that remember something know of the same steps. */
  isWhole = true;
  /** Callbacks that were given up after an interruption. They are told of nothing more. */
  readonly #hung = new Set<Callback>();

  constructor(workings: Workings, windowOf: (phase: Phase) => Window, interruption: Interruption) {
    this.#workings = workings;
    this.#windowOf = windowOf;
    this.cancellation = new Cancellation(workings.moment);
    this.#interruption = interruption;
  }

  get #window(): Window {
    return this.#windowOf(this.#workings.moment.phase);
  }

  /** The batches and steps of the epoch that were issued. */
  get done(): Done {
    return { batch: this.#taken, index: this.#issued };
  }

  /** A pass of `phase` over `data`, or what is left of it. */
  async epoch(
    phase: Phase,
    data: Data,
    body: (batch: BatchLike) => Promise<unknown>,
    done: Done = NOTHING,
  ): Promise<void> {
    const accumulate = this.#workings.learner.backend.accumulate;
    const pass = async (): Promise<void> => {
      let isEmpty = done.batch === 0;
      const samples = samplesOf(data);
      // A loader goes on at its position.
      const rest = Array.isArray(data) ? data.slice(done.batch) : onWorker(data, this.#workings.learner.worker);
      const size = phase.data === "training" ? accumulate : 1;
      const groups = new Groups(rest, size, this.#interruption, () => this.#isOpening);
      try {
        for (let group = await groups.next(); group !== undefined; group = await groups.next()) {
          isEmpty = false;
          await this.#runGroup(group, body, samples);
          const between = this.#workings.between?.(phase, this.#inFlight.length);
          if (between === undefined) continue;
          await this.drain();
          await between();
        }
      } finally {
        groups.leave();
      }
      // A loader that stands at the end of its pass gives nothing now, and goes on in the next epoch.
      if (isEmpty && (!isPositioned(data) || data.length === 0))
        throw new TorchwireError(
          "BAD_DATA",
          `the ${phase.data} data gave no batches in epoch ${this.#workings.moment.epoch}: it must give them each time it is iterated`,
        );
    };
    await this.runEpoch(phase, pass, done);
  }

  async #runGroup(
    group: readonly BatchLike[],
    body: (batch: BatchLike) => Promise<unknown>,
    samples: ((batch: number) => readonly number[]) | undefined,
  ): Promise<void> {
    const start = this.#issued;
    for (const [index, batch] of group.entries()) {
      const number = this.#taken + index;
      this.#samples = samples && (() => samples(number));
      this.#group = { isFirst: this.#issued === start, isLast: index === group.length - 1, size: group.length };
      try {
        await body(batch);
      } finally {
        this.#group = ALONE;
        this.#samples = undefined;
        release(batch);
      }
    }
    this.#taken += group.length;
    this.#isOpening = false;
  }

  /** Runs `epoch` inside of what callbacks put around it. */
  around(phase: Phase, epoch: () => Promise<void>): Promise<void> {
    return this.#workings.plan.callbacks.reduce<() => Promise<void>>(
      (inner, { around }) => (around === undefined ? inner : () => around(phase, inner)),
      epoch,
    )();
  }

  /** Callbacks that go on in the middle of an epoch have seen its beginning. */
  async runEpoch(phase: Phase, body: () => Promise<void>, { batch, index }: Done = NOTHING): Promise<void> {
    const { moment } = this.#workings;
    Object.assign(moment, { phase, index });
    this.#issued = index;
    this.#taken = batch;
    this.isInEpoch = true;
    this.#isOpening = batch === 0 && phase.data === "training" && this.#workings.between !== undefined;
    try {
      if (batch === 0) await this.barrier("epochBegin");
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

  /** Tells of an event after the epoch's body: cancelling the epoch has no effect any more. */
  async #over(event: "epochCancelled" | "epochEnd"): Promise<void> {
    await this.barrier(event).catch((error: unknown) => {
      if (!(error instanceof CancelEpoch)) throw error;
    });
  }

  async runStep(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    const { learner, moment, plan } = this.#workings;
    // A group is never left in the middle: its gradients would be lost.
    if (this.#group.isFirst && !this.#isOpening) this.#interruption.check();
    const window = this.#window;
    if (this.#inFlight.length >= window.most) {
      while (this.#inFlight.length > window.enough) await this.#acknowledge();
      window.goesOn(performance.now());
    }
    this.cancellation.obey();
    const index = this.#issued;
    const place = { phase: phase.name, epoch: moment.epoch, step: index, samplesThere: this.#samples };
    const handle: Handle = (event) => this.#handle(event, index);
    let step: Step | undefined;
    try {
      await learner.worker.scope(async () => {
        const given = toBatch(batch);
        const { xs, ys } = given;
        step = { xs, ys, index, size: samplesIn(given), group: this.#group } as Step;
        learner.step = step;
        this.#workings.begun?.(place, step);
        this.cancellation.isInStep = true;
        const beginning = handle("stepBegin");
        if (beginning !== undefined) await beginning;
        await body(step, handle);
        const ending = this.#tell("stepEnd", index);
        if (ending !== undefined) await ending;
        this.#inFlight.push(new Pending(step, place, learner, plan.measuring(phase)));
        this.#issued++;
      });
    } catch (error) {
      this.cancellation.forget();
      if (!(error instanceof CancelStep)) throw await this.#failure(error, place);
      this.cancellation.isInStep = false;
      await this.#handle("stepCancelled", index);
    } finally {
      this.cancellation.isInStep = false;
    }
    // A step cannot be cancelled any more at "stepEnd".
    this.cancellation.forget("step");
    this.cancellation.obey();
    return step!;
  }

  /** Waits until every step has been acknowledged, and observers have seen it. */
  async drain(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#acknowledge();
    this.#window.rests();
    this.cancellation.obey();
  }

  /**
   * Waits for the steps in flight when the loop ends with `error`: they still count, and are observed. Returns the
   * error that the loop ends with. A failure of a step that was issued earlier comes first. A cancellation by an
   * observer takes the place of `error` where it ends more.
   */
  async #finish(error: unknown): Promise<unknown> {
    let ending = error;
    while (this.#inFlight.length > 0 || this.cancellation.isAsked)
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

  /**
   * Tells of an event between steps. Nothing is in flight, so each callback's handlers of both kinds run, in the order
   * of the callbacks.
   */
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
    this.cancellation.obey();
  }

  // --- in line ---

  /** Tells the handlers in line, and does what they ask for. */
  #handle(event: EventName, index: number): void | Promise<void> {
    const result = this.#tell(event, index);
    if (result === undefined) return this.cancellation.obey();
    return result.then(() => this.cancellation.obey());
  }

  #tell(event: EventName, index: number): void | Promise<void> {
    const { plan, moment } = this.#workings;
    moment.event = event;
    moment.index = index;
    const inline = plan.inline(event, moment.phase);
    for (let i = 0; i < inline.length; i++) {
      const result = this.#call(inline[i]!, inline[i]!.on[event]!, event, index);
      // Waits only for a promise: most handlers are not async, and a step has many.
      if (result !== undefined) return this.#tellRest(result, inline, i + 1, event, index);
    }
  }

  async #tellRest(
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
    one: Participant,
    handler: (view: object) => void | PromiseLike<void>,
    event: EventName,
    step: number | undefined,
  ): undefined | Promise<void> {
    if (this.#hung.has(one.callback)) return undefined;
    const wrapped = (error: unknown): unknown => {
      const refused = this.cancellation.refused(error);
      if (isCancel(error) && refused === undefined) return error;
      const { phase, epoch } = this.#workings.moment;
      // Observers see steps that were issued before.
      const samplesThere = step === this.#issued ? this.#samples : undefined;
      const place = { phase: phase.name, epoch, step, samplesThere };
      return new CallbackError(one.callback.name, event, place, refused ?? error);
    };
    let result: void | PromiseLike<void>;
    try {
      result = handler(one.view);
    } catch (error) {
      throw wrapped(error);
    }
    if (!isPromise(result)) return undefined;
    const who = `callback ${one.callback.name} (${event})`;
    return this.#interruption.waitFor(result, who, event === "fitEnd").catch((error: unknown) => {
      if (!this.#interruption.is(error)) throw wrapped(error);
      this.#hung.add(one.callback);
      this.isWhole = false;
      throw error;
    });
  }

  // --- observing ---

  /** Waits for the oldest step in flight. Then the step counts, and observers see it. */
  async #acknowledge(): Promise<void> {
    const { plan, moment, acknowledged } = this.#workings;
    const { index, size, loss, weighed, parts, measured } = await this.#inFlight[0]!.arrival().catch(
      (error: unknown) => {
        // The worker did not run the steps after it.
        this.#inFlight.length = 0;
        throw error;
      },
    );
    this.#inFlight.shift();
    this.#window.answered();
    acknowledged(moment.phase, index, size, loss);
    const issuing = { event: moment.event, index: moment.index };
    let givenUp: Error | undefined;
    for (const one of plan.observing("stepEnd", moment.phase)) {
      Object.assign(moment, { event: "stepEnd", index, size, values: { loss, weighed, parts, ...measured.get(one) } });
      const { isWhole } = this;
      try {
        const seen = this.#call(one, one.observe["stepEnd"]!, "stepEnd", index);
        if (seen !== undefined) await seen;
      } catch (error) {
        if (!this.#interruption.is(error)) throw error;
        // The others still hear of the step. One that remembers nothing leaves nothing out.
        this.isWhole = isWhole && typeof one.callback.state !== "object";
        givenUp ??= error;
      }
    }
    Object.assign(moment, issuing, { size: undefined, values: {} });
    if (givenUp !== undefined) throw givenUp;
  }

  /** Returns what went wrong first: the failure of a step that was issued earlier comes before those that it caused. */
  async #failure(error: unknown, place: PlaceInData): Promise<unknown> {
    if (error instanceof CancelEpoch || error instanceof CancelFitting || this.#interruption.is(error)) return error;
    try {
      while (this.#inFlight.length > 0) await this.#acknowledge();
    } catch (earlier) {
      return earlier;
    }
    if (!(error instanceof CallbackError)) return stepFailure(error, place);
    // A handler that awaited an operation that never ran did not fail by itself.
    const { cause } = error;
    return cause instanceof PythonError && cause.code === "NOT_RUN" ? stepFailure(cause, place) : error;
  }
}

/** Whether to wait for `value`. References are no promises here: awaiting one would be a round trip for nothing. */
const isPromise = (value: unknown): value is PromiseLike<void> =>
  value !== undefined &&
  value !== null &&
  !isReference(value) &&
  typeof (value as { then?: unknown }).then === "function";
