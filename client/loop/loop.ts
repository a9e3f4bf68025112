/** The life of a loop: it takes the worker, runs epochs in a lane of its own, and gives the worker free again. */
import { messageOf } from "../../bridge/runtime/kinds.ts";
import { py } from "../../bridge/reference/py.ts";
import { PythonError } from "../../bridge/errors/python-error.ts";
import { traced } from "../../bridge/errors/site.ts";
import type { Worker } from "../../bridge/worker.ts";
import type { State } from "../callback/access.ts";
import { CancelFitting, isCancel } from "../training/cancel.ts";
import { claim } from "./claim.ts";
import { isReference } from "../data/batch.ts";
import { rootOf } from "./failures.ts";
import type { Data } from "../data/types.ts";
import type { EventStream } from "./events-stream.ts";
import { Interruption } from "./interruption.ts";
import type { Trainer } from "../training/trainer.ts";
import type { Moment } from "../callback/parts.ts";
import type { Phase } from "../training/phases.ts";
import type { Plan } from "./plan.ts";
import type { Ending, Report } from "../training/report.ts";
import { Run } from "./run.ts";

/** How a fit ended that did not fail. */
type Completed = Pick<Report, "status" | "reason" | "by">;

/** What has to be there before a loop begins, or undefined; waited for when the worker is taken, so that who was called first has it. */
type Ready = () => Promise<void> | undefined;

interface Fit {
  readonly epochs: number;
  readonly signal: AbortSignal | undefined;
  readonly ready: Ready;
}

export class Loop {
  readonly moment: Moment;
  /** Of the training phases, acknowledged. */
  steps = 0;
  run: Run | undefined;
  readonly #learner: Trainer;
  readonly #stream: EventStream;
  readonly #epochs = new Map<string, number>();

  constructor(learner: Trainer, phase: Phase, stream: EventStream) {
    this.#learner = learner;
    this.#stream = stream;
    this.moment = {
      event: "fitBegin",
      phase,
      epoch: 1,
      index: 0,
      batches: undefined,
      epochs: undefined,
      ending: undefined,
      size: undefined,
      values: {},
    };
  }

  /** `body`, as the one loop of this worker, and "fitEnd" after it, whatever happens. */
  fit(plan: Plan, window: number, options: Fit, body: (run: Run) => Promise<void>): Promise<Completed> {
    return traced("fit", async () => {
      const { worker } = this.#learner;
      const release = claim(worker, "fit");
      const interruption = new Interruption();
      let stopListening: (() => void) | undefined;
      try {
        stopListening = interruption.listen(options.signal);
        await options.ready();
        const run = this.#start(plan, window, interruption);
        this.moment.epochs = options.epochs;
        const [outcome] = await Promise.allSettled([worker.lane(() => endingOf(run, interruption, body))]);
        if (outcome.status === "rejected") await caughtUp(worker);
        const ending = outcome.status === "rejected" ? failedWith(outcome.reason) : outcome.value;
        this.moment.ending = ending;
        const last = [
          ...(run.isInEpoch ? (["epochCancelled"] as const) : []),
          ...(ending.status === "interrupted" ? (["interrupted"] as const) : []),
          "fitEnd" as const,
        ];
        // What failed has closed the fit's lane; what ends it still runs.
        const ends: PromiseSettledResult<void>[] = [];
        for (const event of last) ends.push(...(await Promise.allSettled([worker.lane(() => run.barrier(event))])));
        const { status, reason } = ending;
        this.#stream.emit({ type: "fitEnd", status, reason: reason ?? null, time: Date.now() });
        // Of several errors the first is told.
        if (outcome.status === "rejected") throw await failureBefore(this.#learner, outcome.reason);
        // Who cancels now is too late, and nobody waits any longer for who hangs: it is over.
        for (const end of ends)
          if (end.status === "rejected" && !isCancel(end.reason) && !interruption.is(end.reason)) throw end.reason;
        return outcome.value;
      } finally {
        Object.assign(this.moment, { epochs: undefined, ending: undefined });
        this.run = undefined;
        stopListening?.();
        release();
      }
    });
  }

  /** `body` in a loop of its own. Throws BUSY where one is under way. */
  within(plan: Plan, window: number, ready: Ready, body: (run: Run) => Promise<void>): Promise<void> {
    return traced("epoch", async () => {
      const { worker } = this.#learner;
      const release = claim(worker, "epoch");
      let run: Run | undefined;
      try {
        await ready();
        const started = (run = this.#start(plan, window, new Interruption()));
        await worker.lane(() => body(started));
      } catch (error) {
        await caughtUp(worker);
        // Of several errors the first is told.
        if (run?.isInEpoch) await Promise.allSettled([worker.lane(() => run!.barrier("epochCancelled"))]);
        throw error;
      } finally {
        this.run = undefined;
        release();
      }
    });
  }

  /** An epoch of `phase`: in its context, counted, and told to those who watch from outside. */
  async epoch(phase: Phase, data: Data | undefined, body: () => Promise<void>): Promise<void> {
    const { moment } = this;
    const epoch = (this.#epochs.get(phase.name) ?? 0) + 1;
    const length = data?.length;
    const batches = typeof length === "number" ? length : undefined;
    Object.assign(moment, { phase, epoch, index: 0, batches });
    const about = { phase: phase.name, epoch };
    this.#stream.emit({ type: "epochBegin", ...about, batches: batches ?? null, time: Date.now() });
    const context = phase.context(this.#learner);
    try {
      const inContext = context === undefined ? body : (): Promise<void> => this.#learner.worker.context(context, body);
      await this.run!.around(phase, inContext);
    } finally {
      // Also where the fit was cancelled at its end.
      if (!this.run!.isInEpoch) {
        this.#epochs.set(phase.name, epoch);
        this.#stream.emit({ type: "epochEnd", ...about, metrics: this.lastMetrics(phase), time: Date.now() });
      }
    }
  }

  /** Of the epoch that ended last: one without a step has none. */
  lastMetrics({ name: phase }: Phase): { [name: string]: number } {
    const { history, metricsEpoch } = this.#learner.state as Partial<State>;
    const epoch = history?.[phase]?.epochs;
    const last = Object.entries(metricsEpoch?.[phase] ?? {}).map(([name, values]) => [name, values.at(-1)!] as const);
    return Object.fromEntries(
      last.filter(([, { at, partial }]) => at === epoch && !partial).map(([name, { value }]) => [name, value]),
    );
  }

  #start(plan: Plan, window: number, interruption: Interruption): Run {
    const { moment } = this;
    const acknowledged = (phase: Phase, index: number, size: number, loss: number | undefined): void => {
      if (phase.data === "training") this.steps++;
      const about = { phase: phase.name, epoch: moment.epoch, index, size };
      this.#stream.emit({ type: "stepEnd", ...about, loss: loss ?? null, time: Date.now() });
    };
    return (this.run = new Run({ learner: this.#learner, plan, moment, acknowledged }, window, interruption));
  }
}

const failedWith = (error: unknown): Ending => ({
  status: "failed",
  reason: messageOf(error),
  by: undefined,
});

/** What was made before the fit and has no value failed there: that error, rather than that a step could not use it. */
export async function failureBefore({ modules, optimizer }: Trainer, error: unknown): Promise<unknown> {
  const root = rootOf(error instanceof PythonError ? error : (error as { cause?: unknown } | undefined)?.cause);
  if (!(root instanceof PythonError)) return error;
  try {
    for (const made of [...modules, ...(isReference(optimizer) ? [optimizer] : Object.values(optimizer))])
      await py.settle(made);
  } catch (earlier) {
    const before = rootOf(earlier);
    // The step met it as it was, or, where it was not known here yet, as a reference without a value.
    if (before === root || root.pyType === "torchwire_worker.objects.NoValue") return before;
  }
  return error;
}

/** Waits until nothing is in flight: what failed may have left a part of a step on its way. */
async function caughtUp(worker: Worker): Promise<void> {
  await worker.lane(() => py.js(worker.import("builtins").bool())).catch(() => undefined);
}

async function endingOf(run: Run, interruption: Interruption, body: (run: Run) => Promise<void>): Promise<Completed> {
  try {
    await body(run);
    return { status: "completed", reason: undefined, by: undefined };
  } catch (error) {
    if (error instanceof CancelFitting) {
      return { status: "stopped", reason: error.message, by: error.by };
    }
    if (!interruption.is(error)) throw error;
    return { status: "interrupted", reason: error.message, by: undefined };
  }
}
