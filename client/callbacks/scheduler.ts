import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { Access, State, View } from "../callback/access.ts";
import type { CallbackOptions, Callback, Handlers, Measured, Observers, KeptState } from "../callback/callback.ts";
import { type PythonForm, type ScheduledValues } from "../callback/python-form.ts";
import type { Hyperparameter, HyperChange } from "../optim/hyper.ts";
import { described } from "../options/keywords.ts";
import { checkOptions, toldOf, type RunLength, type Schedule } from "../schedules/schedule.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import type { Trainer } from "../training/trainer.ts";
import { HyperCallback } from "./hyper-callback.ts";
import { accessOf, entriesOf, ownOf, type Entry, type Schedules } from "./scheduled.ts";

export interface SchedulerOptions {
  /**
   * Counts the steps of all fits, as FluxTraining does. Then there is no "run". Default false: each fit begins anew.
   */
  readonly across?: boolean;
  /** Tells several of one learner apart. Default "Scheduler". */
  readonly name?: string;
}

/** Beside the hyperparameters, which each has paths of its own. */
const ACCESS = { step: { group: "use" }, state: { hyperparams: "write" } } as const;

/**
 * Sets hyperparameters at each training step: `new Scheduler({ lr: oneCycle("run", 1e-3) })`.
 *
 * It acts in line, when the step is issued, and waits for nothing. A schedule's step `t` is a step of the optimizer,
 * from 1: batches whose gradients are added up (`accumulate`) are one. It begins anew with each fit; epochs and steps
 * outside of a fit count on. The values that were in use are in `learner.state.hyperparams`.
 *
 * Throws MISUSE for what is no schedule. Where the optimizer has no such hyperparameter or group, the first step fails,
 * and says which there are.
 */
export class Scheduler extends HyperCallback {
  override readonly name: string;
  override readonly access: Access;
  override readonly phase: Callback["phase"] = AbstractTrainingPhase;
  override readonly runAfter: Callback["runAfter"] = ["Recorder"];
  readonly #entries: readonly Entry[];
  readonly #own: readonly (readonly [Hyperparameter, Schedule])[];
  readonly #across: boolean;
  #write!: (changes: readonly HyperChange[]) => AnyRef;
  /** For its backend, and for the history, which is no part of `access` because there may be no Recorder. */
  #learner!: Trainer;
  /** Steps of the optimizer that have been issued. */
  #issued = 0;
  /** Steps of the optimizer that the worker has acknowledged. */
  #done = 0;
  /** Training steps that were observed. */
  #seen = 0;
  /** Whether the step that is being issued sets the hyperparameters, and the values that the worker then has. */
  #isSet = false;
  #values: AnyRef | undefined;

  constructor(schedules: Schedules, options: SchedulerOptions = {}) {
    super();
    checkOptions("Scheduler", options, ["across", "name"]);
    const { across = false, name = "Scheduler" } = options;
    this.#entries = entriesOf(schedules);
    this.#own = ownOf(schedules.own ?? []);
    if (this.#entries.length + this.#own.length === 0)
      throw new TorchwireError("MISUSE", "Scheduler: there is nothing to schedule: new Scheduler({ lr: oneCycle(…) })");
    this.name = name;
    this.#across = across;
    this.access = { hyper: accessOf(this.#entries, this.#own), ...ACCESS };
  }

  override readonly init = (learner: Trainer): void => {
    this.#learner = learner;
    this.#write = learner.hyper.writer();
    learner.state.hyperparams ??= {};
  };

  readonly pythonForm: () => PythonForm = () => ({
    kind: "schedules",
    scheduled: (steps, stepsPerEpoch) => this.#scheduled(steps, stepsPerEpoch),
    own: this.#own.map(([{ name }]) => name),
  });

  override readonly on: Handlers<typeof ACCESS> = {
    fitBegin: () => {
      if (!this.#across) this.#done = 0;
    },
    epochBegin: () => {
      // Nothing is in flight: a step that was issued and not acknowledged has failed.
      this.#issued = this.#done;
    },
    stepBegin: ({ batches, epochs, step: { group } }) => {
      this.#isSet = group.isFirst;
      if (!this.#isSet) return;
      const stepsPerEpoch = batches === undefined ? undefined : Math.ceil(batches / this.#learner.backend.accumulate);
      const isKnown = !this.#across && epochs !== undefined && stepsPerEpoch !== undefined;
      const length = { steps: isKnown ? epochs * stepsPerEpoch : undefined, stepsPerEpoch };
      const at = (name: string, schedule: Schedule): number => valueAt(name, schedule, this.#issued + 1, length);
      for (const [hyperparameter, schedule] of this.#own) hyperparameter.value = at(hyperparameter.name, schedule);
      const changes = this.#entries.map(({ schedule, ...entry }) => ({ ...entry, value: at(entry.name, schedule) }));
      this.#values = changes.length === 0 ? undefined : this.#write(changes);
    },
    stepEnd: ({ step: { group } }) => {
      if (group.isLast) this.#issued++;
    },
  };

  /** A schedule is a function, and is known by some of its values. */
  override get options(): CallbackOptions {
    const run = { steps: 1000, stepsPerEpoch: 100 };
    const values = (name: string, schedule: Schedule): unknown[] => {
      try {
        return [1, 250, 500, 750, 1000].map((t) => valueAt(name, schedule, t, run));
      } catch {
        // It is one for runs of other lengths.
        return [];
      }
    };
    const own = this.#own.map(([{ name }, schedule]) => ({ name, values: values(name, schedule) }));
    const entries = this.#entries.map(({ schedule, name, ...how }) => ({
      name,
      ...how,
      values: values(name, schedule),
    }));
    return { across: this.#across, schedules: [...entries, ...own] };
  }

  override readonly state: KeptState<{ done: number; seen: number; own: readonly number[] }> = {
    save: () => ({ done: this.#done, seen: this.#seen, own: this.#own.map(([{ value }]) => value) }),
    load: ({ done, seen, own }) => {
      this.#issued = this.#done = done;
      this.#seen = seen;
      // A validation that comes next reads them, too.
      for (const [i, [hyperparameter]] of this.#own.entries()) hyperparameter.value = own[i]!;
    },
  };

  override readonly measure = ({ step: { group } }: View<typeof ACCESS, "stepEnd">): Measured => {
    const isLast = group.isLast ? 1 : 0;
    if (!this.#isSet) return { isLast };
    const own = Object.fromEntries(this.#own.map(([one], i) => [`own.${i}`, one.value]));
    return { isLast, ...own, ...(this.#values === undefined ? {} : { values: this.#values }) };
  };

  #scheduled(steps: number, stepsPerEpoch: number): ScheduledValues[] {
    const length = { steps: this.#across ? undefined : steps, stepsPerEpoch };
    const before = this.#across ? this.#done : 0;
    return this.#entries.map(({ name, group, how, schedule }) => ({
      name,
      group,
      how,
      values: Array.from({ length: steps }, (_, i) => valueAt(name, schedule, before + i + 1, length)),
      told: before === 0 ? toldOf(schedule, length) : undefined,
    }));
  }

  override readonly observe: Observers<typeof ACCESS> = {
    stepEnd: ({ phase, state, values: found }) => {
      this.#done += found["isLast"] as number;
      this.#seen++;
      const { history } = this.#learner.state as Partial<State>;
      const at = history?.[phase.name]?.steps ?? this.#seen;
      const own = this.#own.map(([one], i) => [one.name, found[`own.${i}`]] as const);
      for (const [key, value] of [...Object.entries((found["values"] ?? {}) as object), ...own])
        if (value !== undefined) (state.hyperparams[key] ??= []).push({ at, value: value as number });
    },
  };
}

function valueAt(name: string, schedule: Schedule, t: number, length: RunLength): number {
  const value: unknown = schedule(t, length);
  if (typeof value === "number" && !Number.isNaN(value)) return value;
  throw new TorchwireError(
    "MISUSE",
    `Scheduler: the schedule of ${name} gave ${described(value)} at step ${t}; it must return a number`,
  );
}
