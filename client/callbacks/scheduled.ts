/** Reads what a Scheduler was given: which hyperparameter, in which groups, follows which schedule. */
import { TorchwireError } from "../../bridge/errors/errors.ts";
import type { HyperAccess } from "../callback/access.ts";
import { Hyperparameter, type HyperTarget } from "../optim/hyper.ts";
import { described } from "../options/keywords.ts";
import type { Schedule } from "../schedules/schedule.ts";

/** A schedule of multiples. */
export class Relative {
  readonly schedule: Schedule;
  constructor(schedule: Schedule) {
    if (typeof schedule !== "function")
      throw new TorchwireError("MISUSE", `relative: ${described(schedule)} is not a schedule`);
    this.schedule = schedule;
  }
}

/**
 * Multiplies each group's own value, which it was made with or which `learner.hyper.set` gave it last. With groups of
 * several rates `relative(cosAnneal(1, 0, "run"))` lowers each from where it is.
 */
export const relative = (schedule: Schedule): Relative => new Relative(schedule);

/** The schedule that a hyperparameter of the optimizer follows. */
export type Scheduled = Schedule | Relative;

/**
 * The hyperparameters of torch.optim's optimizers. Augment it for optimizers of your own. A tuple's parts go by their
 * number.
 */
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
  /** Schedules by the name of the model, where the learner has several. */
  readonly models?: { readonly [model: string]: GroupSchedules };
  /** Hyperparameters of your own. */
  readonly own?: readonly (readonly [Hyperparameter, Schedule])[];
}

export interface Entry extends HyperTarget {
  readonly name: string;
  readonly schedule: Schedule;
  readonly how: "now" | "relative";
}

const SECTIONS = ["groups", "models", "own"];

/** Lists the general ones first: those of a group come after them, and so take their place there. */
export function entriesOf(schedules: Schedules): Entry[] {
  const record = (value: unknown, where: string): [string, any][] => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return Object.entries(value);
    throw new TorchwireError(
      "MISUSE",
      `${where} is ${described(value)}; it must be an object of schedules by name: { lr: … }`,
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
        `${where}: ${name} is ${described(scheduled)}; it must be a schedule, such as oneCycle("run", 1e-3), relative(…) or a function of the step`,
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

export function ownOf(own: unknown): readonly (readonly [Hyperparameter, Schedule])[] {
  const isPair = (pair: unknown): boolean =>
    Array.isArray(pair) && pair.length === 2 && pair[0] instanceof Hyperparameter && typeof pair[1] === "function";
  if (!Array.isArray(own) || !own.every(isPair))
    throw new TorchwireError("MISUSE", "Scheduler: own must be an array of pairs: [[hyperparameter(…), schedule], …]");
  return own as readonly (readonly [Hyperparameter, Schedule])[];
}

/** Gives each hyperparameter a path of its own, so that two callbacks that write different ones go together. */
export function accessOf(
  entries: readonly Entry[],
  own: readonly (readonly [Hyperparameter, Schedule])[],
): HyperAccess {
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
