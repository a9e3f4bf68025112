/** Finds a learning rate by a trial in which it rises, and which leaves no trace. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { py } from "../../bridge/reference/py.ts";
import type { AnyRef, PyObject } from "../../bridge/types/core.ts";
import type { Worker } from "../../bridge/worker.ts";
import { callback, type Callback } from "../callback/callback.ts";
import { Scheduler } from "../callbacks/scheduler.ts";
import { isReference } from "../../bridge/reference/ref.ts";
import { DataLoader } from "../data/loader.ts";
import { overReference } from "../data/remote.ts";
import type { BatchLike, Data } from "../data/types.ts";
import { Learner } from "../learner.ts";
import type { WeighedLoss } from "../losses/weight.ts";
import { TrainingPhase, type Phase } from "../training/phases.ts";
import { curve } from "../schedules/plot.ts";
import { checkOptions } from "../schedules/schedule.ts";

export interface LrFindOptions {
  /** The first rate, above 0. Default 1e-7. */
  readonly from?: number;
  /** The last one. Default 10. */
  readonly to?: number;
  /** Steps of the optimizer; the rate is multiplied by the same factor at each. Default 100. */
  readonly steps?: number;
  /** Ends the trial where the smoothed loss is so many times the least one. Default 4. Infinity: never. */
  readonly diverged?: number;
  /** How much of the smoothed loss stays at each step, from 0, below 1. Default 0.98, as in fastai. */
  readonly smoothing?: number;
  /** Takes the place of the learner's own training data. It is iterated as often as needed. */
  readonly data?: Data | PyObject;
  /** Takes the place of a TrainingPhase. */
  readonly phase?: Phase;
  /**
   * Callbacks that take part, because they change batches or losses. The learner's own do not, so these must be others.
   * The backend has the learner's options.
   */
  readonly callbacks?: readonly Callback[];
  /** Ends the trial between two steps. The result is of the steps that were made. */
  readonly signal?: AbortSignal;
}

/** Rates at which to begin, by fastai's names; undefined where there were too few steps to tell. */
export interface LrSuggestion {
  /** The rate at which the loss falls fastest, per factor of the rate. */
  readonly steepest: number | undefined;
  /** The rate at two thirds of the longest fall of the loss. */
  readonly valley: number | undefined;
}

/** The result of `lrFind`: `String(found)` draws the curve. */
export class LrFound {
  readonly rates: readonly number[];
  /** The loss of each step, before the step's rate changed anything. A step in which no target counts is left out. */
  readonly losses: readonly number[];
  readonly smoothed: readonly number[];
  readonly suggestion: LrSuggestion;
  readonly status: "completed" | "diverged" | "interrupted";

  constructor(rates: readonly number[], losses: readonly number[], smoothing: number, status: LrFound["status"]) {
    this.rates = rates;
    this.losses = losses;
    this.smoothed = smooth(losses, smoothing);
    this.suggestion = suggest(rates, this.smoothed);
    this.status = status;
  }

  toString(): string {
    const { rates, smoothed, suggestion, status } = this;
    if (rates.length === 0) return "no learning rate was tried";
    const text = (rate: number | undefined): string => (rate === undefined ? "-" : rate.toExponential(1));
    // Cuts off a loss that diverges: it would press all the rest to the floor.
    const finite = smoothed.filter(Number.isFinite);
    const top = Math.max(...finite.slice(0, Math.max(1, Math.ceil(finite.length / 10)))) * 1.25;
    const ends = { from: text(rates[0]), to: text(rates.at(-1)) };
    return [
      `loss by learning rate, ${rates.length} steps, ${status}`,
      curve(
        smoothed.map((loss) => Math.min(loss, top)),
        ends,
      ),
      `steepest ${text(suggestion.steepest)}, valley ${text(suggestion.valley)}`,
    ].join("\n");
  }
}

/**
 * Trains for some steps while the learning rate of every group rises from `from` to `to`, and puts everything back:
 * weights and buffers, gradients, the optimizer's state, random numbers, the position in the data. A fit after it has
 * the same bits as without it; history and counters know nothing of it. An interruption or a failure changes nothing of
 * that.
 *
 *     const found = await lrFind(learner);
 *     console.log(String(found), found.suggestion.valley);
 *
 * It needs room for a second copy of model and optimizer state in the worker. Throws MISUSE for options out of range,
 * and BUSY where a fit is under way.
 */
export async function lrFind(learner: Learner, options: LrFindOptions = {}): Promise<LrFound> {
  const { from, to, steps, diverged, smoothing, phase, callbacks, signal, data } = checked(learner, options);
  const backend = learner.backend.another();
  const { accumulate } = backend;
  const rate = (t: number): number => from * (to / from) ** ((t - 1) / (steps - 1));
  const seen: WeighedLoss[] = [];
  let isOver = false;
  const watch = callback({
    name: "lrFind",
    access: { control: "write" },
    observe: {
      stepEnd: ({ values, control }) => {
        if (isOver) return;
        seen.push(values.weighed);
        const smoothed = smooth(stepsOf(seen, accumulate).filter(isKnown), smoothing);
        const last = smoothed.at(-1);
        isOver = last !== undefined && !(last <= diverged * Math.min(...smoothed));
        if (isOver) control.cancel("fit", "the loss runs away");
      },
      // There is nothing to validate: end the fit before.
      epochEnd: ({ control }) => control.cancel("fit", "all rates were tried"),
    },
  });
  const trial = new Learner(learner.model, learner.loss, {
    data: { training: repeated(data, steps * accumulate, learner.worker), validation: NOTHING },
    ...(learner.input && { input: learner.input }),
    ...(learner.target && { target: learner.target }),
    ...(learner.output && { output: learner.output }),
    optimizer: learner.optimizer,
    callbacks: [traceless(learner, data), watch, new Scheduler({ lr: rate }), backend, ...callbacks],
    defaultCallbacks: false,
  });
  trial.lossFn = learner.lossFn;
  const { status } = await learner.worker.context({ rng: "fork" }, () =>
    trial.fit(1, { phases: { training: phase }, ...(signal && { signal }) }),
  );
  const all = stepsOf(seen, accumulate);
  const rates = all.flatMap((loss, i) => (isKnown(loss) ? [rate(i + 1)] : []));
  const losses = all.filter(isKnown);
  return new LrFound(rates, losses, smoothing, status === "interrupted" ? status : isOver ? "diverged" : "completed");
}

/** Fills in the defaults. Throws MISUSE for options out of range. */
function checked(learner: Learner, options: LrFindOptions) {
  checkOptions("lrFind", options, [
    "from",
    "to",
    "steps",
    "diverged",
    "smoothing",
    "data",
    "phase",
    "callbacks",
    "signal",
  ]);
  const { from = 1e-7, to = 10, steps = 100, diverged = 4, smoothing = 0.98 } = options;
  const { phase = new TrainingPhase(), callbacks = [], signal, data = learner.data.training } = options;
  if (!(from > 0 && to > from && to < Infinity))
    throw new TorchwireError("MISUSE", `lrFind: it goes up, from above 0: not from ${String(from)} to ${String(to)}`);
  if (!Number.isSafeInteger(steps) || steps < 2)
    throw new TorchwireError("MISUSE", `lrFind: steps must be a whole number from 2, not ${String(steps)}`);
  if (!(smoothing >= 0 && smoothing < 1) || !(diverged > 1))
    throw new TorchwireError("MISUSE", "lrFind: smoothing is from 0 and below 1, diverged above 1");
  if (data === undefined)
    throw new TorchwireError("MISUSE", "lrFind: there is no training data: give the learner data: { training: … }");
  return { from, to, steps, diverged, smoothing, phase, callbacks, signal, data };
}

/** Validation data that nothing uses. It avoids the warning that there is none. */
const NOTHING: Data = { *[Symbol.iterator](): Generator<BatchLike> {} };

/**
 * Keeps what the trial changes when it begins, and puts it back when it ends, also where it fails. The loop has the
 * worker meanwhile.
 */
function traceless({ worker, modules, optimizer }: Learner, data: Data | PyObject): Callback {
  let kept: AnyRef | undefined;
  return callback({
    name: "traceless",
    on: {
      fitBegin: () => {
        worker.scope(() => {
          const { Trial } = worker.import("torchwire_worker.helpers.trial");
          kept = py.keep(Trial(modules, optimizer, isReference(data) ? data : null));
        });
      },
      fitEnd: async () => {
        await worker.scope(() => py.js(kept!.restore()));
        kept![Symbol.dispose]();
      },
    },
  });
}

/** Gives `count` batches, in as many passes as that takes. A loader's own passes go on where they were. */
function repeated(given: Data | PyObject, count: number, worker: Worker): Data {
  const data: Data = isReference(given)
    ? overReference(given)
    : given instanceof DataLoader
      ? given.clone().on(worker)
      : (given as Data);
  return {
    length: count,
    async *[Symbol.asyncIterator](): AsyncGenerator<BatchLike> {
      for (let left = count, before = Infinity; left > 0 && left < before;) {
        before = left;
        for await (const batch of data) {
          yield batch;
          if (--left === 0) return;
        }
      }
    },
  };
}

/** Returns the mean over each step's batches; undefined where no target in them counts. */
function stepsOf(losses: readonly WeighedLoss[], batches: number): (number | undefined)[] {
  const whole = Math.floor(losses.length / batches);
  return Array.from({ length: whole }, (_, i) => {
    const own = losses.slice(i * batches, (i + 1) * batches);
    const weight = own.reduce((sum, one) => sum + one.weight, 0);
    return weight === 0 ? undefined : own.reduce((sum, one) => sum + one.total, 0) / weight;
  });
}

const isKnown = (loss: number | undefined): loss is number => loss !== undefined;

/** Computes running means, without the pull to 0 at the beginning. */
function smooth(losses: readonly number[], beta: number): number[] {
  let mean = 0;
  return losses.map((loss, i) => {
    mean = beta * mean + (1 - beta) * loss;
    return mean / (1 - beta ** (i + 1));
  });
}

/** Suggests fastai's two rates, which leave out the first tenth and the last five. */
function suggest(allRates: readonly number[], allLosses: readonly number[]): LrSuggestion {
  const finite = allLosses.findIndex((loss) => !Number.isFinite(loss));
  const end = (finite < 0 ? allLosses.length : finite) - 5;
  const start = Math.floor(allLosses.length / 10);
  const [rates, losses] = [allRates.slice(start, end), allLosses.slice(start, end)];
  if (end - start < 3) return { steepest: undefined, valley: undefined };
  const slopes = losses
    .slice(1)
    .map((loss, i) => (loss - losses[i]!) / (Math.log(rates[i + 1]!) - Math.log(rates[i]!)));
  const steepest = rates[slopes.indexOf(Math.min(...slopes))];
  // Finds the longest falling subsequence, by its length and where it ends.
  const lengths = losses.map(() => 1);
  let last = 0;
  for (let i = 1; i < losses.length; i++)
    for (let j = 0; j < i; j++) {
      if (losses[i]! < losses[j]!) lengths[i] = Math.max(lengths[i]!, lengths[j]! + 1);
      if (lengths[last]! < lengths[i]!) last = i;
    }
  const first = Math.max(0, last - lengths[last]!);
  const third = (last - first) / 3;
  return { steepest, valley: rates[first + Math.floor(third) + Math.floor(third / 2)] };
}
