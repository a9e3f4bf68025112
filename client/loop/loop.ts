/** The life of a loop: it takes the worker, runs epochs in a lane of its own, and gives the worker free again. */
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { py } from "../../bridge/reference/py.ts";
import { traced } from "../../bridge/errors/site.ts";
import type { Worker } from "../../bridge/worker.ts";
import { checkWindow, Window } from "../../bridge/pace/window.ts";
import { leaveOf } from "../../bridge/recovery/leaving.ts";
import type { State } from "../callback/access.ts";
import type { Moment } from "../callback/parts.ts";
import { refuseEmpty } from "../data/iterable.ts";
import type { BatchLike, Data } from "../data/types.ts";
import { CancelFitting, isCancel } from "../training/cancel.ts";
import type { Step } from "../training/events.ts";
import { TrainingPhase, type Phase } from "../training/phases.ts";
import type { Ending, Report } from "../training/report.ts";
import type { Trainer } from "../training/trainer.ts";
import { Crash, naming } from "../crash/crash.ts";
import { crashOptions } from "../crash/options.ts";
import { Callbacks } from "./callbacks.ts";
import { claim } from "./claim.ts";
import type { EventStream } from "./events-stream.ts";
import { sidesOf } from "./fit.ts";
import { Interruption } from "./interruption.ts";
import type { FitOptions } from "./options.ts";
import { failureBefore, Preparations } from "./preparations.ts";
import { farewell } from "../resume/farewell.ts";
import { Resumption } from "../resume/resumption.ts";
import type { Resumable } from "../resume/states.ts";
import { START, type Done } from "../resume/manifest.ts";
import { placeOf, type Place } from "./place.ts";
import { Run, type StepBody } from "./run.ts";

/** How a fit ended that did not fail. */
type Completed = Pick<Report, "status" | "reason" | "by" | "crash">;

export class Loop {
  readonly preparations: Preparations;
  readonly callbacks: Callbacks;
  readonly #learner: Trainer;
  readonly #stream: EventStream;
  readonly #given: number | undefined;
  /** Windows that go by time, by the names of phases: the steps of each take their own time. */
  readonly #windows = new Map<string, Window>();
  readonly #moment: Moment = {
    event: "fitBegin",
    phase: new TrainingPhase(),
    epoch: 1,
    index: 0,
    batches: undefined,
    epochs: undefined,
    ending: undefined,
    size: undefined,
    values: {},
  };
  readonly #epochs = new Map<string, number>();
  /** Steps of the training phases that the worker has acknowledged. */
  #steps = 0;
  #run: Run | undefined;
  #saidNoValidation = false;

  constructor(learner: Trainer, window: number | undefined, stream: EventStream) {
    this.#learner = learner;
    checkWindow(window);
    this.#given = window;
    this.#stream = stream;
    this.preparations = new Preparations(learner);
    this.callbacks = new Callbacks(learner, {
      moment: this.#moment,
      cancel: (what, reason, by) => this.#run?.cancellation.ask(what, reason, by),
      preparations: this.preparations,
    });
  }

  /** The most steps in flight. */
  get window(): number {
    return this.callbacks.plan.window(this.#given) ?? this.#windowOf(this.#moment.phase).most;
  }

  explain(): string {
    return this.callbacks.plan.explain(this.#given, this.#learner.worker.calls);
  }

  /** Runs a training epoch and a validation epoch, `epochs` times, as the one loop of this worker. */
  async fit(epochs: number, options: FitOptions): Promise<Report> {
    const { training, validation } = sidesOf(epochs, options, this.#learner.data);
    if (validation === undefined) this.#warnOfNoValidation();
    const checked = epochs > 0 && validation !== undefined ? refuseEmpty(validation.given) : undefined;
    if (checked !== undefined) await checked;
    const given = { training: training.given, ...(validation && { validation: validation.given }) };
    const resumption =
      options.resume === undefined
        ? undefined
        : new Resumption(this.#learner as Resumable, options.resume, given, () => ({
            steps: this.#steps - before,
            epochs: this.#epochs,
          }));
    const crashing = crashOptions(options.crash ?? resumption?.folder !== undefined);
    const crash = crashing && new Crash(this.#learner, crashing, resumption?.folder ?? ".");
    let before = this.#steps;
    let done = 0;
    const ending = await this.#whole(epochs, options.signal, resumption, crash, async (run, interruption) => {
      this.#moment.phase = training.phase;
      const saved = resumption?.saved;
      this.#stream.emit({ type: "fitBegin", epochs, time: Date.now() });
      await run.barrier("fitBegin");
      await resumption?.restore();
      if (saved !== undefined) {
        for (const [phase, count] of Object.entries(saved.epochs)) this.#epochs.set(phase, count);
        before = this.#steps - saved.steps;
      }
      const start = saved?.place ?? START;
      done = start.rounds + (start.side === "validation" ? 1 : 0);
      if (saved?.ending?.status === "stopped") throw new CancelFitting(saved.ending.reason, saved.ending.by);
      for (let round = start.rounds; round < epochs; round++) {
        const from = round === start.rounds ? start : { ...START, rounds: round };
        if (from.side === "training") {
          await resumption?.boundary(from, interruption);
          try {
            await this.#pass(run, training.phase, training.data, from);
          } finally {
            // A fit that is cancelled at "epochEnd" has done that epoch.
            if (!run.isInEpoch) done++;
          }
        }
        if (validation === undefined) continue;
        await resumption?.boundary({ ...START, rounds: round, side: "validation" }, interruption);
        await this.#pass(run, validation.phase, validation.data);
      }
      await resumption?.boundary({ ...START, rounds: Math.max(epochs, start.rounds) });
    });
    const { history = {}, metricsEpoch = {} } = this.#learner.state as Partial<State>;
    const resumed = resumption?.resumed;
    return {
      ...ending,
      epochs: done,
      steps: this.#steps - before,
      history: metricsEpoch,
      ...(resumed && { resumed }),
      phases: history,
    };
  }

  /** Epochs of the phase of this name that have ended. */
  epochsOf(phase: string): number {
    return this.#epochs.get(phase) ?? 0;
  }

  /** A lone epoch of `phase` over `data`. */
  epoch(phase: Phase, data: Data): Promise<void> {
    return this.#within(phase, (run) => this.#pass(run, phase, data));
  }

  /** The frame of a lone epoch. */
  runEpoch(phase: Phase, body: () => Promise<void>): Promise<void> {
    return this.#within(phase, (run) => this.#counted(phase, undefined, () => run.runEpoch(phase, body)));
  }

  /** The frame of a step: of the epoch under way, or else a lone one. */
  runStep(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    return this.#run?.runStep(phase, batch, body) ?? this.#lone(phase, batch, body);
  }

  async #lone(phase: Phase, batch: BatchLike, body: StepBody): Promise<Step> {
    let step!: Step;
    await this.#within(phase, async (alone) => {
      this.#moment.phase = phase;
      step = await alone.runStep(phase, batch, body);
      await alone.drain();
    });
    return step;
  }

  /** The metrics of the epoch that ended last. An epoch without a step has none. */
  lastMetrics({ name: phase }: Phase): { [name: string]: number } {
    const { history, metricsEpoch } = this.#learner.state as Partial<State>;
    const epoch = history?.[phase]?.epochs;
    const last = Object.entries(metricsEpoch?.[phase] ?? {}).map(([name, values]) => [name, values.at(-1)!] as const);
    return Object.fromEntries(
      last.filter(([, { at, partial }]) => at === epoch && !partial).map(([name, { value }]) => [name, value]),
    );
  }

  /**
   * Runs `body` as the one loop of this worker, and "fitEnd" after it, whatever happens. Throws BUSY where a loop is
   * under way.
   */
  #whole(
    epochs: number,
    signal: AbortSignal | undefined,
    resumption: Resumption | undefined,
    crash: Crash | undefined,
    body: (run: Run, interruption: Interruption) => Promise<void>,
  ): Promise<Completed> {
    return traced("fit", async () => {
      const { worker } = this.#learner;
      const leave = resumption && leaveOf(worker);
      leave?.throwIfAborted();
      const release = claim(worker, "fit");
      const interruption = new Interruption();
      const onLeave = (): void => interruption.interrupt(messageOf(leave!.reason));
      let stopListening: (() => void) | undefined;
      try {
        leave?.addEventListener("abort", onLeave);
        stopListening = interruption.listen(signal, resumption !== undefined);
        await this.preparations.ready("fit", true);
        crash?.begin();
        if (resumption !== undefined) await worker.lane(() => resumption.begin(crash));
        const run = this.#start(interruption, resumption, crash);
        this.#moment.epochs = epochs;
        const [outcome] = await Promise.allSettled([worker.lane(() => endingOf(run, interruption, body))]);
        if (outcome.status === "rejected") await caughtUp(worker);
        const ending = outcome.status === "rejected" ? failedWith(outcome.reason) : outcome.value;
        this.#moment.ending = ending;
        // (A checkpoint that is under way makes the file short.)
        if (ending.status !== "interrupted") await resumption?.written();
        const file = await crash?.write(ending, outcome.status === "rejected" ? outcome.reason : undefined);
        if (ending.status === "interrupted") await worker.lane(async () => resumption?.interrupted(run));
        const last = [
          ...(run.isInEpoch ? (["epochCancelled"] as const) : []),
          ...(ending.status === "interrupted" ? (["interrupted"] as const) : []),
          "fitEnd" as const,
        ];
        // A failure has closed the fit's lane: the last events need lanes of their own.
        const ends: PromiseSettledResult<void>[] = [];
        for (const event of last) ends.push(...(await Promise.allSettled([worker.lane(() => run.barrier(event))])));
        if (outcome.status === "fulfilled" && ending.status !== "interrupted")
          await worker.lane(async () => resumption?.ended(ending));
        await resumption?.written();
        const { status, reason } = ending;
        if (status === "interrupted" && interruption.signal !== undefined && resumption !== undefined)
          farewell(interruption.signal, reason!, resumption.standing);
        this.#stream.emit({ type: "fitEnd", status, reason: reason ?? null, time: Date.now() });
        // Throws the first of several errors.
        if (outcome.status === "rejected") throw naming(await failureBefore(this.#learner, outcome.reason), file);
        if (leave?.aborted && status === "interrupted" && interruption.reason === messageOf(leave.reason))
          throw leave.reason;
        // The fit is over: ignore late cancels and hung handlers.
        for (const end of ends)
          if (end.status === "rejected" && !isCancel(end.reason) && !interruption.is(end.reason)) throw end.reason;
        return { ...outcome.value, ...(file !== undefined && { crash: file }) };
      } finally {
        crash?.end();
        Object.assign(this.#moment, { epochs: undefined, ending: undefined });
        this.#run = undefined;
        leave?.removeEventListener("abort", onLeave);
        stopListening?.();
        release();
      }
    });
  }

  /** Runs `body` in a loop of its own. Throws BUSY where a loop is under way. */
  #within(phase: Phase, body: (run: Run) => Promise<void>): Promise<void> {
    return traced("epoch", async () => {
      const { worker } = this.#learner;
      const release = claim(worker, "epoch");
      let run: Run | undefined;
      try {
        await this.preparations.ready("epoch", phase.data === "training");
        const started = (run = this.#start(new Interruption()));
        await worker.lane(() => body(started));
      } catch (error) {
        await caughtUp(worker);
        // Throws the first of several errors.
        if (run?.isInEpoch) await Promise.allSettled([worker.lane(() => run!.barrier("epochCancelled"))]);
        throw error;
      } finally {
        this.#run = undefined;
        release();
      }
    });
  }

  #pass(run: Run, phase: Phase, data: Data, done?: Done): Promise<void> {
    return this.#counted(phase, data, () => run.epoch(phase, data, (batch) => phase.step(this.#learner, batch), done));
  }

  /** An epoch of `phase`, in the phase's context. It counts it, and emits its events. */
  async #counted(phase: Phase, data: Data | undefined, body: () => Promise<void>): Promise<void> {
    const epoch = (this.#epochs.get(phase.name) ?? 0) + 1;
    const length = data?.length;
    const batches = typeof length === "number" ? length : undefined;
    Object.assign(this.#moment, { phase, epoch, index: 0, batches });
    const about = { phase: phase.name, epoch };
    this.#stream.emit({ type: "epochBegin", ...about, batches: batches ?? null, time: Date.now() });
    const context = phase.context(this.#learner);
    const run = this.#run!;
    void this.#hearLatency(phase);
    try {
      const inContext = context === undefined ? body : (): Promise<void> => this.#learner.worker.context(context, body);
      await run.around(phase, inContext);
    } finally {
      // A fit that is cancelled at "epochEnd" has done that epoch.
      if (!run.isInEpoch) {
        this.#epochs.set(phase.name, epoch);
        this.#stream.emit({ type: "epochEnd", ...about, metrics: this.lastMetrics(phase), time: Date.now() });
      }
    }
  }

  #windowOf({ name }: Phase): Window {
    let window = this.#windows.get(name);
    if (window === undefined) this.#windows.set(name, (window = new Window()));
    return window;
  }

  async #hearLatency(phase: Phase): Promise<void> {
    if (this.callbacks.plan.window(this.#given) !== undefined) return;
    // (A worker that is gone is told of by the steps.)
    const stats = await this.#learner.worker.stats().catch(() => undefined);
    if (stats !== undefined) this.#windowOf(phase).hears(stats.latencyMs);
  }

  #warnOfNoValidation(): void {
    if (!this.#saidNoValidation)
      process.emitWarning("there is no validation data: fit runs training epochs only", { type: "TorchwireWarning" });
    this.#saidNoValidation = true;
  }

  #start(interruption: Interruption, resumption?: Resumption, crash?: Crash): Run {
    const moment = this.#moment;
    const acknowledged = (phase: Phase, index: number, size: number, loss: number | undefined): void => {
      if (phase.data === "training") this.#steps++;
      const about = { phase: phase.name, epoch: moment.epoch, index, size };
      this.#stream.emit({ type: "stepEnd", ...about, loss: loss ?? null, time: Date.now() });
    };
    const between =
      resumption &&
      ((phase: Phase, inFlight: number): (() => Promise<void>) | undefined =>
        phase.data === "training" ? resumption.between(inFlight, run) : undefined);
    const begun = crash && ((place: Place, step: Step): void => crash.step(placeOf(place), step));
    const workings = { learner: this.#learner, plan: this.callbacks.plan, moment, between, begun, acknowledged };
    const most = this.callbacks.plan.window(this.#given);
    const fixed = most === undefined ? undefined : new Window(most);
    const run = new Run(workings, (phase) => fixed ?? this.#windowOf(phase), interruption);
    return (this.#run = run);
  }
}

const failedWith = (error: unknown): Ending => ({
  status: "failed",
  reason: messageOf(error),
  by: undefined,
});

/** Waits until nothing is in flight: a failure may have left a part of a step on its way. */
async function caughtUp(worker: Worker): Promise<void> {
  await worker.lane(() => py.js(worker.import("builtins").bool())).catch(() => undefined);
}

async function endingOf(
  run: Run,
  interruption: Interruption,
  body: (run: Run, interruption: Interruption) => Promise<void>,
): Promise<Completed> {
  try {
    await body(run, interruption);
    return { status: "completed", reason: undefined, by: undefined };
  } catch (error) {
    if (error instanceof CancelFitting) {
      return { status: "stopped", reason: error.message, by: error.by };
    }
    if (!interruption.is(error)) throw error;
    return { status: "interrupted", reason: error.message, by: undefined };
  }
}
