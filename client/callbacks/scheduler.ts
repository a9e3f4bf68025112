import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { AnyRef } from "../../bridge/types/core.ts";
import type { HyperAccess, State } from "../callback/access.ts";
import { callback, CallbackObject, type Callback, type Resolution } from "../callback/callback.ts";
import { Hyperparameter, type HyperChange, type HyperTarget } from "../optim/hyper.ts";
import { described } from "../options/keywords.ts";
import type { Trainer } from "../training/trainer.ts";
import { AbstractTrainingPhase } from "../training/phases.ts";
import { checkOptions, type RunLength, type Schedule } from "../schedules/schedule.ts";

/** A schedule of multiples. */
export class Relative {
  readonly schedule: Schedule;
  constructor(schedule: Schedule) {
    if (typeof schedule !== "function")
      throw new TorchwireError("MISUSE", `relative: ${described(schedule)} is no schedule`);
    this.schedule = schedule;
  }
}

/**
 * Multiplies each group's own value, the one that it was made with or that `learner.hyper.set` gave it last: with groups of several rates,
 * `relative(cosAnneal(1, 0, "run"))` lowers each from where it is.
 */
export const relative = (schedule: Schedule): Relative => new Relative(schedule);

/** What a hyperparameter of the optimizer follows. */
export type Scheduled = Schedule | Relative;

/** What the optimizers of torch.optim have; more, by augmentation, for those of one's own. A tuple's parts go by their number. */
export interface Schedulable {
  readonly lr?: Scheduled;
  readonly weightDecay?: Scheduled;
  readonly momentum?: Scheduled;
  readonly dampening?: Scheduled;
  readonly eps?: Scheduled;
  readonly alpha?: Scheduled;
  readonly rho?: Scheduled;
  readonly lambd?: Scheduled;
  readonly lrDecay?: Scheduled;
  readonly momentumDecay?: Scheduled;
  readonly beta2Decay?: Scheduled;
  readonly [part: `${string}.${number}`]: Scheduled;
}

export interface GroupSchedules extends Schedulable {
  /** Groups of parameters that do not follow the rest, by their names. */
  readonly groups?: { readonly [group: string]: Schedulable };
}

export interface Schedules extends GroupSchedules {
  /** Where the learner has several models: by their names. */
  readonly models?: { readonly [model: string]: GroupSchedules };
  /** One's own hyperparameters. */
  readonly own?: readonly (readonly [Hyperparameter, Schedule])[];
}

export interface SchedulerOptions {
  /** Counts the steps of all fits, as FluxTraining does, instead of beginning anew with each: then there is no "run". Default false. */
  readonly across?: boolean;
  /** Where a learner has several. Default "Scheduler". */
  readonly name?: string;
}

interface Entry extends HyperTarget {
  readonly name: string;
  readonly schedule: Schedule;
  readonly how: "now" | "relative";
}

/**
 * Sets hyperparameters at each training step: `new Scheduler({ lr: oneCycle("run", 1e-3) })`.
 *
 * It acts in line, when the step is issued, and waits for nothing. A schedule's step `t` is a step of the optimizer, from 1: batches whose gradients are
 * added up (`accumulate`) are one. It begins anew with each fit; epochs and steps outside of a fit count on. What was in use is in
 * `learner.state.hyperparams`.
 *
 * Throws MISUSE for what is no schedule. Where the optimizer has no such hyperparameter or group, the first step fails, and says which there are.
 */
export class Scheduler extends CallbackObject {
  constructor(schedules: Schedules, options: SchedulerOptions = {}) {
    checkOptions("Scheduler", options, ["across", "name"]);
    const { across = false, name = "Scheduler" } = options;
    const entries = entriesOf(schedules);
    const own = ownOf(schedules.own ?? []);
    if (entries.length + own.length === 0)
      throw new TorchwireError("MISUSE", "Scheduler: there is nothing to schedule: new Scheduler({ lr: oneCycle(…) })");

    let learner!: Trainer;
    let write!: (changes: readonly HyperChange[]) => AnyRef;
    // Steps of the optimizer that are over: as issued, and as the worker has acknowledged.
    let issued = 0;
    let done = 0;
    // Of the step that is being issued.
    let values: AnyRef | undefined;
    let isSet = false;
    let seen = 0;

    super(
      callback({
        name,
        access: { hyper: accessOf(entries, own), state: { hyperparams: "write" } },
        phase: AbstractTrainingPhase,
        runAfter: ["Recorder"],
        resolveConflict: apartFrom(() => this),
        init: (given) => {
          learner = given;
          write = given.hyper.writer();
          given.state.hyperparams ??= {};
        },
        on: {
          fitBegin: () => {
            if (!across) done = 0;
          },
          epochBegin: () => {
            // Nothing is in flight: what was issued and not acknowledged has failed.
            issued = done;
          },
          stepBegin: ({ batches, epochs }) => {
            isSet = learner.step!.group.isFirst;
            if (!isSet) return;
            const accumulate = learner.backend.accumulate;
            const stepsPerEpoch = batches === undefined ? undefined : Math.ceil(batches / accumulate);
            const steps =
              across || epochs === undefined || stepsPerEpoch === undefined ? undefined : epochs * stepsPerEpoch;
            const run = { steps, stepsPerEpoch };
            for (const [hyperparameter, schedule] of own)
              hyperparameter.value = valueAt(hyperparameter.name, schedule, issued + 1, run);
            const changes = entries.map(({ schedule, ...entry }) => ({
              ...entry,
              value: valueAt(entry.name, schedule, issued + 1, run),
            }));
            values = changes.length === 0 ? undefined : write(changes);
          },
          stepEnd: () => {
            if (learner.step!.group.isLast) issued++;
          },
        },
        measure: () => {
          const isLast = learner.step!.group.isLast ? 1 : 0;
          if (!isSet) return { isLast };
          const mine = Object.fromEntries(own.map(([one], i) => [`own.${i}`, one.value]));
          return { isLast, ...mine, ...(values === undefined ? {} : { values }) };
        },
        observe: {
          stepEnd: ({ phase, state, values: found }) => {
            done += found["isLast"] as number;
            seen++;
            const at = (learner.state as Partial<State>).history?.[phase.name]?.steps ?? seen;
            const mine = own.map(([one], i) => [one.name, found[`own.${i}`]] as const);
            for (const [key, value] of [...Object.entries((found["values"] ?? {}) as object), ...mine])
              if (value !== undefined) (state.hyperparams[key] ??= []).push({ at, value: value as number });
          },
        },
      }),
    );
  }
}

function valueAt(name: string, schedule: Schedule, t: number, run: RunLength): number {
  const value: unknown = schedule(t, run);
  if (typeof value === "number" && !Number.isNaN(value)) return value;
  throw new TorchwireError(
    "MISUSE",
    `Scheduler: the schedule of ${name} gave ${described(value)} at step ${t}; it is to give a number`,
  );
}

const SECTIONS = ["groups", "models", "own"];

/** The general ones first: those of a group come after them, and so take their place there. */
function entriesOf(schedules: Schedules): Entry[] {
  const record = (value: unknown, where: string): [string, any][] => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return Object.entries(value);
    throw new TorchwireError(
      "MISUSE",
      `${where} is ${described(value)}; it is to be an object of schedules by name: { lr: … }`,
    );
  };
  const entries = (those: Schedulable, where: string, target: HyperTarget): Entry[] =>
    record(those, where).flatMap(([name, scheduled]: [string, unknown]) => {
      if (SECTIONS.includes(name) || scheduled === undefined) return [];
      const isRelative = scheduled instanceof Relative;
      const schedule: unknown = isRelative ? scheduled.schedule : scheduled;
      if (typeof schedule === "function")
        return [{ name, ...target, schedule, how: isRelative ? "relative" : "now" } as Entry];
      throw new TorchwireError(
        "MISUSE",
        `${where}: ${name} is ${described(scheduled)}; it is to be a schedule, such as oneCycle("run", 1e-3), relative(…) or a function of the step`,
      );
    });
  const withGroups = (those: GroupSchedules, where: string, target: HyperTarget): Entry[] => [
    ...entries(those, where, target),
    ...record(those.groups ?? {}, `${where}: groups`).flatMap(([group, its]) =>
      entries(its as Schedulable, `${where}: group "${group}"`, { ...target, group }),
    ),
  ];
  return [
    ...withGroups(schedules, "Scheduler", {}),
    ...record(schedules.models ?? {}, "Scheduler: models").flatMap(([model, its]) =>
      withGroups(its as GroupSchedules, `Scheduler: model "${model}"`, { model }),
    ),
  ];
}

function ownOf(own: unknown): readonly (readonly [Hyperparameter, Schedule])[] {
  const isPair = (pair: unknown): boolean =>
    Array.isArray(pair) && pair.length === 2 && pair[0] instanceof Hyperparameter && typeof pair[1] === "function";
  if (!Array.isArray(own) || !own.every(isPair))
    throw new TorchwireError("MISUSE", "Scheduler: own is to be an array of pairs: [[hyperparameter(…), schedule], …]");
  return own as readonly (readonly [Hyperparameter, Schedule])[];
}

/** Each hyperparameter is a path of its own, so that two callbacks that write different ones go together. */
function accessOf(entries: readonly Entry[], own: readonly (readonly [Hyperparameter, Schedule])[]): HyperAccess {
  const tree: { [key: string]: any } = {};
  const paths = [
    ...entries.map(({ name, model, group }) => [
      name,
      ...(model === undefined ? [] : [model]),
      ...(group === undefined ? [] : [group]),
    ]),
    ...own.map(([{ name }]) => ["own", name]),
  ];
  for (const path of paths) {
    let place = tree;
    for (const key of path.slice(0, -1)) {
      if (place[key] === "write") break;
      place = place[key] ??= {};
    }
    if (place[path.at(-2) ?? ""] !== "write") place[path.at(-1)!] = "write";
  }
  return tree;
}

const schedulers = new WeakSet<object>();

/** Of callbacks that each set hyperparameters all the time: it does not matter who goes first where they are different ones. */
export function apartFrom(self: () => Callback): (other: Callback) => Resolution | undefined {
  const resolve = ({ access: { hyper: theirs }, resolveConflict }: Callback): Resolution | undefined => {
    if (theirs === undefined || !overlap(self().access.hyper!, theirs)) return theirs && "either";
    return resolveConflict !== undefined && schedulers.has(resolveConflict) ? "never" : undefined;
  };
  schedulers.add(resolve);
  return resolve;
}

function overlap(mine: HyperAccess, theirs: HyperAccess): boolean {
  if (mine === "write" || theirs === "write") return true;
  return Object.entries(mine).some(([key, part]) => theirs[key] !== undefined && overlap(part, theirs[key]));
}
